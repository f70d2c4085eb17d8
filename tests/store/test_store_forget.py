"""Who is forgotten is in no byte of the store, nor of what was made of it, and does not come back."""

from __future__ import annotations

import gzip
import json
import shutil
import signal
from pathlib import Path

import polars as pl
import pytest

from feedback.config import SourceConfig
from feedback.ingest.rater_key import rater_key
from feedback.pipeline import curate_store, store_config
from feedback.store import Receipt, Store
from feedback.store.receipts import unfinished_receipts
from schemas.errors import InputNotFoundError, UsageError
from schemas.manifest import Manifest
from tests.canary import places_of
from tests.store_runs import KEY, contents, points, run

CANARY = "zebrafinch"
"""In every text and id of the one who is forgotten, and nowhere else."""
USER = f"user-{CANARY}"
HASH = rater_key(USER, KEY.encode())[:16]
"""Who it is by keyed hash; the store keeps it in a tombstone, what was made of the store must not."""


@pytest.fixture(autouse=True)
def _own_rater_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THUMBLINE_RATER_KEY", KEY)


def vote(number: int, **more: object) -> dict[str, object]:
    label = "down" if number % 2 else "up"
    return {
        "prompt": f"question {number}",
        "completion": f"answer {number}",
        "label": label,
        "user": f"u{number}",
        **more,
    }


def secret(number: int, **more: object) -> dict[str, object]:
    return vote(
        number,
        prompt=f"what does the {CANARY} number {number} eat & drink?",
        completion=f'the {CANARY} number {number} eats "seeds"',
        comment=f"thanks from {CANARY}",
        id=f"{CANARY}-{number}",
        conversation=f"talk-{CANARY}",
        user=USER,
        **more,
    )


def lines(*rows: dict[str, object]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def write_exports(folder: Path) -> list[Path]:
    """Lines, packed lines, a table and a list; each holds rows of the one, and of others. Two prompts make a pair."""
    bad = {"prompt": f"no answer, {CANARY}", "label": "up", "user": USER}
    siblings = [vote(7), vote(7, completion="another answer 7", label="up"), secret(105)]
    siblings.append({**secret(106), "prompt": siblings[-1]["prompt"]})
    exports = {
        "a.jsonl": lines(*map(vote, range(30)), *siblings, secret(100), bad),
        "b.jsonl.gz": gzip.compress(lines(*map(vote, range(20, 50)), secret(101)), mtime=0),
        "c.json": json.dumps([*map(vote, range(50, 60)), secret(102)], indent=1).encode(),
    }
    for name, content in exports.items():
        (folder / name).write_bytes(content)
    return [folder / name for name in exports]


def build(folder: Path) -> Path:
    """A store with the exports, a dataset of it with a report beside it, and a run on that."""
    store = Store.open(folder / "store", create=True)
    for path in write_exports(folder):
        store.ingest([SourceConfig(path=str(path), format="thumbs")])
    config = store_config(["rebalance.mode=off", "split.test_fraction=0.2", "export.raters=true"])
    result = curate_store(store, config, folder / "dataset")
    (folder / "dataset" / "audit.html").write_text(f"<p>what does the {CANARY} number 100 eat &amp; drink?</p>")
    (folder / "dataset" / "thesis.tex").write_text("not ours")
    (folder / "run").mkdir()
    (folder / "run" / "answers.jsonl").write_text(json.dumps({"prompt": secret(100)["prompt"]}))
    (folder / "run" / "page.html").write_text(f"<p>what does the <mark>{CANARY}</mark> number 101 eat &amp; dr...</p>")
    (folder / "run" / "run.json").write_text("{}")
    store.register_run(folder / "run", result.manifest.digest)
    return folder


def places_of_canary(folder: Path) -> list[str]:
    """Files below the store, the dataset and the run that hold it."""
    hidden = {"store": [CANARY], "dataset": [CANARY, HASH], "run": [CANARY, HASH]}
    found = [path for name, words in hidden.items() for word in words for path in places_of(word, folder / name)]
    return [Path(path).relative_to(folder).as_posix() for path in dict.fromkeys(found)]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("THUMBLINE_RATER_KEY", KEY)
        return build(tmp_path_factory.mktemp("built"))


@pytest.fixture
def folder(built: Path, tmp_path: Path) -> Path:
    """A copy of what was built; its records name the folders of the copy."""
    copy = tmp_path / "copy"
    shutil.copytree(built, copy)
    for path in [*copy.glob("store/datasets/*"), *copy.glob("store/runs/*")]:
        path.unlink()
    store = Store.open(copy / "store")
    digest = Manifest.read(copy / "dataset").digest
    store.register_dataset(copy / "dataset", digest, 3)
    store.register_run(copy / "run", digest)
    return copy


def test_the_canary_is_everywhere_before(folder: Path) -> None:
    """Else the other tests would say nothing."""
    kinds = {Path(name).suffix for name in places_of_canary(folder)}
    assert {".jsonl", ".gz", ".json", ".parquet", ".arrow", ".html"} <= kinds
    for name in ("dataset", "dataset/preference"):
        rows = pl.concat([pl.read_parquet(path) for path in (folder / name / "data").glob("*.parquet")])
        assert HASH in rows["rater_key"].to_list()


def test_no_byte_of_a_forgotten_rater_stays(folder: Path) -> None:
    store = Store.open(folder / "store")
    before = store.events().collect()
    receipt = store.forget(rater=USER)
    assert places_of_canary(folder) == []
    assert receipt.is_done
    assert receipt.rows == {"event": 5, "quarantine": 1}
    assert receipt.raw is not None
    assert (receipt.raw.records, receipt.raw.removed) == (6, ())
    after = store.events().collect()
    assert after.height == before.height - 5
    kept = before.filter(pl.col("event_id").is_in(after["event_id"].implode()))
    assert after.sort("event_id").equals(kept.sort("event_id"))
    report = store.doctor()
    assert report.is_well
    assert [one.what[:9] for one in report.findings] == ["Version 3"]  # of the dataset, which is marked


def test_datasets_and_runs_that_saw_the_rows_are_marked(folder: Path) -> None:
    store = Store.open(folder / "store")
    before, pairs_before = (Manifest.read(folder / name) for name in ("dataset", "dataset/preference"))
    store.register_run(folder / "run-on-pairs", pairs_before.digest)
    receipt = store.forget(rater=USER)
    (dataset,), (trained, on_pairs) = store.datasets(), store.runs()
    assert dataset.needs_retrain
    assert on_pairs.needs_retrain
    assert trained.needs_retrain
    assert dataset.earlier == (pairs_before.digest, before.digest)
    after = Manifest.read(folder / "dataset")
    after.verify(folder / "dataset")
    assert (after.digest, after.parent_digest) == (dataset.digest, before.digest)
    rows = [pl.read_parquet(folder / "dataset" / shard.path).height for shard in after.shards]
    assert rows == [shard.rows for shard in after.shards]
    pairs_after = Manifest.read(folder / "dataset" / "preference")
    assert (pairs_after.parent_digest, sum(shard.rows for shard in pairs_after.shards)) == (pairs_before.digest, 1)
    lost = sum(shard.rows for shard in before.shards) - sum(rows) + 1
    assert sum(one.rows for one in receipt.datasets) == lost > 1
    for name in ("dataset", "run"):
        mark = json.loads((folder / name / "needs_retrain.json").read_text())
        assert mark == {"store": store.id, "receipts": [receipt.receipt]}
    assert receipt.datasets[0].left == ("thesis.tex",)
    assert receipt.runs[0].removed == ("answers.jsonl", "page.html")
    assert (folder / "run" / "run.json").exists()
    # A run that is recorded later, on the dataset as it was, is marked from the beginning.
    for digest in (before.digest, pairs_before.digest):
        assert store.register_run(folder / "later", digest).needs_retrain


def test_a_dataset_made_afterwards_is_not_marked(folder: Path) -> None:
    store = Store.open(folder / "store")
    store.forget(rater=USER)
    result = curate_store(store, store_config(["rebalance.mode=off"]), folder / "new")
    (new,) = [one for one in store.datasets() if one.digest == result.manifest.digest]
    assert not new.needs_retrain
    store.forget(rater="u3")
    assert {Path(one.folder).name: len(one.forgotten) for one in store.datasets()} == {"dataset": 2, "new": 1}


def test_a_dataset_whose_maker_was_killed_at_the_very_end_is_found(folder: Path) -> None:
    """And what a maker that was killed earlier left half made is removed."""
    store = Store.open(folder / "store")
    for path in (folder / "store" / "datasets").iterdir():
        path.unlink()
    store.begin_dataset(folder / "dataset", 3)
    half = folder / "new.partial"
    shutil.copytree(folder / "dataset", half)
    (half / "audit.html").unlink()
    store.begin_dataset(folder / "new", 3)
    assert store.datasets() == ()
    receipt = store.forget(rater=USER)
    assert [Path(one.folder).name for one in receipt.datasets] == ["dataset"]
    assert [one.needs_retrain for one in store.datasets()] == [True]
    assert [one.needs_retrain for one in store.runs()] == [True]
    assert places_of_canary(folder) == []
    assert [path.name for path in half.iterdir()] == ["thesis.tex"]


def test_a_forgotten_rater_does_not_come_back(folder: Path) -> None:
    """Neither with the same file, nor with another one that holds their rows again, nor in its raw copy."""
    store = Store.open(folder / "store")
    store.forget(rater=USER)
    for name in ("a.jsonl", "b.jsonl.gz", "c.json"):
        assert store.ingest([SourceConfig(path=str(folder / name), format="thumbs")]).new == 0
    assert places_of_canary(folder) == []
    bad = {"prompt": f"no answer, {CANARY}", "label": "up", "user": USER}
    (folder / "d.jsonl").write_bytes(lines(vote(70), secret(100), secret(103), bad, *map(vote, range(10))))
    summary = store.ingest([SourceConfig(path=str(folder / "d.jsonl"), format="thumbs")])
    assert (summary.new, summary.forgotten, summary.already_there, summary.quarantined) == (1, 3, 10, 0)
    assert places_of_canary(folder) == []
    again = store.ingest([SourceConfig(path=str(folder / "c.json"), format="thumbs", name="other")])
    assert (again.new, again.forgotten) == (10, 0)  # of the copy, which they are not in


def test_a_conversation_is_forgotten_by_its_id(folder: Path) -> None:
    store = Store.open(folder / "store")
    (folder / "e.jsonl").write_bytes(lines(vote(80, conversation="talk-1", prompt="a very long question of talk one")))
    store.ingest([SourceConfig(path=str(folder / "e.jsonl"), format="thumbs")])
    assert store.forget(conversation="talk-1").rows == {"event": 1}
    assert store.events().filter(pl.col("conversation_id") == "talk-1").collect().is_empty()
    (folder / "f.jsonl").write_bytes(lines(vote(80, conversation="talk-1"), vote(81)))
    assert store.ingest([SourceConfig(path=str(folder / "f.jsonl"), format="thumbs")]).forgotten == 1
    copies = [path.read_bytes() for path in (folder / "store" / "raw").rglob("*.jsonl")]
    assert not any(b"talk-1" in copy for copy in copies)


def test_versions_that_held_the_rows_cannot_be_read_any_more(folder: Path) -> None:
    store = Store.open(folder / "store")
    store.forget(rater=USER)
    with pytest.raises(InputNotFoundError, match="somebody in it was forgotten"):
        store.events(3)
    assert store.events(0).collect().is_empty()


def test_forgetting_who_is_not_there_is_kept_in_mind(folder: Path) -> None:
    store = Store.open(folder / "store")
    receipt = store.forget(rater="nobody")
    assert (receipt.rows, receipt.datasets, store.version) == ({}, (), 4)
    assert store.forget(rater="nobody").version == 4
    with pytest.raises(UsageError, match="a rater or a conversation"):
        store.forget()


def test_nothing_in_the_receipt_says_who_it_was(folder: Path) -> None:
    store = Store.open(folder / "store")
    receipt = store.forget(rater=USER)
    text = (folder / "store" / "forgotten" / f"{receipt.receipt}.json").read_text()
    assert USER not in text
    assert json.loads(text) == json.loads(json.dumps(receipt.to_dict()))


def forget(store: Path) -> None:
    """Forget the one."""
    Store.open(store).forget(rater=USER)


def outcome(folder: Path) -> object:
    receipts = [json.loads(path.read_text())["is_done"] for path in folder.glob("store/forgotten/*.json")]
    records = [(one.needs_retrain, one.digest) for one in Store.open(folder / "store").datasets()]
    manifests = [Manifest.read(folder / name).to_json() for name in ("dataset", "dataset/preference")]
    return contents(folder / "store"), receipts, records, manifests, places_of_canary(folder)


def check_faults(folder: Path, tmp_path: Path, few: tuple[str, ...] = ()) -> None:
    """In one place, since the records name it: broken off at a point, and made again."""
    kept = tmp_path / "kept"
    shutil.copytree(folder, kept)
    passed = points(forget, folder / "store", trace=tmp_path / "trace")
    clean = outcome(folder)
    assert {"erase.mark.rename.before", "erase.shard.before", "erase.raw.rename.before", "commit.before"} <= set(passed)
    for point in few or passed:
        shutil.rmtree(folder)
        shutil.copytree(kept, folder)
        assert run(forget, folder / "store", fault=f"{point}:kill") == -signal.SIGKILL, point
        assert run(forget, folder / "store") == 0, point
        assert outcome(folder) == clean, point
        assert unfinished_receipts(folder / "store") == []
        assert Store.open(folder / "store").doctor().is_well, point


def test_forget_killed_on_its_way_is_finished_by_the_next_call(folder: Path, tmp_path: Path) -> None:
    check_faults(
        folder, tmp_path, ("erase.shard.after", "erase.raw.rename.after", "commit.after", "forget.file.remove.before")
    )


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_forget_killed_anywhere_is_finished_by_the_next_call(folder: Path, tmp_path: Path) -> None:
    check_faults(folder, tmp_path)


def test_doctor_tells_of_a_forget_that_was_broken_off(folder: Path) -> None:
    assert run(forget, folder / "store", fault="commit.before:kill") == -signal.SIGKILL
    report = Store.open(folder / "store").doctor()
    assert not report.is_well
    assert any("broken off" in one.what for one in report.findings)
    assert isinstance(Store.open(folder / "store").forget(rater=USER), Receipt)
    assert Store.open(folder / "store").doctor().is_well


def last_commit(store: Path) -> Path:
    return max((store / "table" / "_delta_log").glob("*.json"))


@pytest.mark.parametrize("kept", [0, 300])
@pytest.mark.parametrize("opens", ["doctor", "open"])
def test_a_forgetting_whose_commit_is_torn_afterwards_is_committed_again(folder: Path, kept: int, opens: str) -> None:
    """Its files hold the only rows left: the old ones are deleted, and the raw copies lack whoever was forgotten."""
    store = folder / "store"
    receipt = Store.open(store).forget(rater=USER)
    rows = contents(store)
    commit = last_commit(store)
    commit.write_bytes(commit.read_bytes()[:kept])
    if opens == "doctor":
        report = Store.open(store, is_mended=False).doctor()
        assert report.is_well
        assert f"The forgetting of receipt {receipt.receipt} was committed again." in report.findings[0].done
    assert contents(store) == rows
    assert Store.open(store).version == receipt.version
    assert Store.open(store).doctor().is_well
    assert places_of_canary(folder) == []
    assert Store.open(store).ingest([SourceConfig(path=str(folder / "a.jsonl"), format="thumbs")]).new == 0


def test_doctor_removes_nothing_from_a_store_that_is_not_whole(folder: Path) -> None:
    """The torn commit's files are all that is left, though one of them is damaged, so that nobody can say of what."""
    store = folder / "store"
    before = {path.name for path in (store / "table").glob("kind=*/*")}
    Store.open(store).forget(rater=USER)
    last_commit(store).write_bytes(b"")
    new = sorted(path for path in (store / "table").glob("kind=event/*") if path.name not in before)
    with new[0].open("ab") as stream:
        stream.write(b"x")
    report = Store.open(store, is_mended=False).doctor()
    assert not report.is_well
    assert all(path.is_file() for path in new)


def test_a_forgetting_is_not_committed_again_with_rows_missing(folder: Path) -> None:
    """One of the torn commit's files is gone, and the others are whole: what they give is not all that was left."""
    store = folder / "store"
    before = {path.name for path in (store / "table").glob("kind=*/*")}
    Store.open(store).forget(rater=USER)
    last_commit(store).write_bytes(b"")
    first, *others = sorted(path for path in (store / "table").glob("kind=event/*") if path.name not in before)
    first.unlink()
    report = Store.open(store, is_mended=False).doctor()
    assert not report.is_well
    assert not any("committed again" in one.done for one in report.findings)
    assert all(path.is_file() for path in others)


@pytest.mark.parametrize("content", ["", "{}", '{"name": "a"} x'])
def test_a_damaged_note_of_what_was_erased_is_found_and_named(folder: Path, content: str) -> None:
    store = folder / "store"
    Store.open(store).forget(rater=USER)
    note = next((store / "raw").glob("*/*/erased.json"))
    note.write_text(content)
    report = Store.open(store).doctor()
    found = [one for one in report.findings if not one.is_healed]
    assert [one.where for one in found] == [str(note)]
    assert found[0].what.startswith("The note of what was erased from a raw copy cannot be read")
