"""The feedback store: what was taken in once is there once, in every version that held it, for its owner only."""

from __future__ import annotations

import errno
import json
import os
import stat
from pathlib import Path

import pytest

from feedback.config import SourceConfig
from feedback.pipeline import curate, curate_store, default_config, store_config
from feedback.store import IngestSummary, Store
from schemas.errors import (
    CorruptionError,
    InputNotFoundError,
    LockedError,
    OutputExistsError,
    TooManyRejectedError,
    UsageError,
)

pytestmark = pytest.mark.usefixtures("rater_key")

HOUR = "2026-03-01T{:02}:00:00Z"


def vote(number: int, label: str = "up", **more: object) -> dict[str, object]:
    return {"prompt": f"question {number}", "completion": f"answer {number}", "label": label, "user": "u1", **more}


def votes(path: Path, *rows: dict[str, object]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def take_in(store: Store, *paths: Path, **more: object) -> IngestSummary:
    return store.ingest([SourceConfig(path=str(path), format="thumbs") for path in paths], **more)  # type: ignore[arg-type]


def counts(summary: IngestSummary) -> tuple[int, int, int, int]:
    return summary.rows_in, summary.new, summary.already_there, summary.quarantined


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "store", create=True)


def test_a_new_store_is_empty(store: Store) -> None:
    assert store.version == 0
    assert store.events().collect().is_empty()
    assert store.pairs().collect().is_empty()
    assert store.source_files() == ()


def test_same_file_twice_adds_no_row_and_no_version(store: Store, tmp_path: Path) -> None:
    path = votes(tmp_path / "votes.jsonl", *map(vote, range(5)), {"prompt": "no answer", "label": "up"})
    assert counts(take_in(store, path)) == (6, 5, 0, 1)
    again = take_in(store, path)
    assert counts(again) == (6, 0, 5, 1)
    assert (again.before, again.version, again.known_files, store.version) == (1, 1, 1, 1)


def test_rows_of_another_export_are_told_by_their_ids(store: Store, tmp_path: Path) -> None:
    """An export that holds the old rows again, the same bad one too, and a row twice: only the new row comes in."""
    bad = {"prompt": "no answer", "label": "up"}
    old = [vote(1), vote(2), vote(4), vote(5)]
    take_in(store, votes(tmp_path / "first.jsonl", *old, bad))
    summary = take_in(store, votes(tmp_path / "second.jsonl", *old, bad, vote(3), vote(3)))
    assert counts(summary) == (7, 1, 5, 1)
    assert store.events(revisions="all").collect().height == 5
    assert store.quarantine().collect().height == 1


def test_pairs_and_events_of_one_call_are_one_version(store: Store, tmp_path: Path) -> None:
    pairs = votes(tmp_path / "pairs.jsonl", {"prompt": "q", "chosen": "good", "rejected": "bad"})
    events = votes(tmp_path / "votes.jsonl", vote(1))
    summary = store.ingest(
        [SourceConfig(path=str(events), format="thumbs"), SourceConfig(path=str(pairs), format="trl")]
    )
    assert (summary.events, summary.pairs, summary.version) == (1, 1, 1)
    assert store.pairs().collect()["outcome"].to_list() == ["a"]


def test_latest_revision_by_its_own_time_is_the_current_one(store: Store, tmp_path: Path) -> None:
    """The edit comes in first and the older vote later, as exports out of order bring them."""
    take_in(store, votes(tmp_path / "b.jsonl", vote(1, "down", id="r1", time=HOUR.format(9))))
    take_in(store, votes(tmp_path / "a.jsonl", vote(1, "up", id="r1", time=HOUR.format(8)), vote(2, id="r2")))
    assert store.events(revisions="all").collect().height == 3
    current = dict(store.events().select("source_record_id", "label").collect().iter_rows())
    assert current == {"r1": False, "r2": True}
    assert dict(store.events(1).select("source_record_id", "label").collect().iter_rows()) == {"r1": False}


def test_a_retracted_record_is_in_history_and_not_in_the_current_view(store: Store, tmp_path: Path) -> None:
    take_in(store, votes(tmp_path / "a.jsonl", vote(1, id="r1", time=HOUR.format(8)), vote(2, id="r2")))
    take_in(store, votes(tmp_path / "b.jsonl", vote(1, id="r1", op="retract", time=HOUR.format(9))))
    assert store.events(revisions="all").collect().height == 3
    assert store.events().collect()["source_record_id"].to_list() == ["r2"]
    assert store.events(1).collect().height == 2


@pytest.mark.parametrize("time", [{}, {"time": HOUR.format(8)}])
def test_a_retraction_without_a_later_time_takes_the_vote_back(
    store: Store, tmp_path: Path, time: dict[str, str]
) -> None:
    """As products write them that keep the time of the answer: in half of the records the vote has the greater id."""
    records = [vote(number, id=f"r{number}", **time) for number in range(8)]
    take_in(store, votes(tmp_path / "a.jsonl", *(one | {"op": "retract"} for one in records)))
    take_in(store, votes(tmp_path / "b.jsonl", *records))
    assert store.events().collect().is_empty()
    assert store.events(revisions="all").collect().height == 16


@pytest.mark.parametrize("name", ["feature%2Fx", "a%41b", "back\\slash"])
def test_a_path_that_the_table_would_be_looked_for_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "aAb").mkdir()
    with pytest.raises(UsageError, match="which Delta Lake reads as another path"):
        Store.open(tmp_path / name / "store", create=True)
    assert not (tmp_path / name).exists()
    assert Store.open(tmp_path / "100% sure" / "store", create=True).version == 0


def test_events_since_a_version_are_those_that_came_after_it(store: Store, tmp_path: Path) -> None:
    for number in range(3):
        take_in(store, votes(tmp_path / f"{number}.jsonl", vote(number), vote(number + 1)))
    since = store.events_since(1).sort("store_version").collect()
    assert since["prompt"].list.first().struct.field("content").to_list() == ["question 2", "question 3"]
    assert since["store_version"].to_list() == [2, 3]
    assert store.events_since(1, until=2).collect().height == 1
    assert store.events_since(3).collect().is_empty()


def test_dataset_of_a_store_is_that_of_the_same_files_from_scratch(store: Store, tmp_path: Path) -> None:
    rows = [vote(n, "down" if n % 3 else "up", user=f"u{n % 7}", id=f"r{n}") for n in range(60)]
    take_in(store, votes(tmp_path / "a.jsonl", *rows[:40]))
    take_in(store, votes(tmp_path / "b.jsonl", *rows[20:]))
    result = curate_store(store, store_config(), tmp_path / "of-store")
    scratch = curate(default_config([votes(tmp_path / "all.jsonl", *rows)], "thumbs"), tmp_path / "of-files")
    assert result.manifest.digest == scratch.manifest.digest
    assert [file.name for file in result.manifest.sources] == ["a.jsonl", "b.jsonl"]
    assert result.manifest.config["store"] == {"id": store.id, "version": 2}
    (record,) = store.datasets()
    assert (record.digest, record.store_version, record.needs_retrain) == (scratch.manifest.digest, 2, False)
    assert curate_store(store, store_config(), tmp_path / "of-store").was_done


def test_dataset_of_an_older_version_holds_what_was_there_then(store: Store, tmp_path: Path) -> None:
    first = [vote(n, "down" if n % 2 else "up") for n in range(40)]
    take_in(store, votes(tmp_path / "a.jsonl", *first))
    old = curate_store(store, store_config(), tmp_path / "old")
    take_in(store, votes(tmp_path / "b.jsonl", *(vote(n) for n in range(40, 50))))
    assert curate_store(store, store_config(), tmp_path / "again", version=1).manifest.digest == old.manifest.digest
    with pytest.raises(InputNotFoundError, match="no such version"):
        curate_store(store, store_config(), tmp_path / "none", version=9)


def test_refused_files_leave_nothing_behind(store: Store, tmp_path: Path) -> None:
    bad = votes(tmp_path / "bad.jsonl", vote(1), *({"prompt": "x", "label": "up"} for _ in range(9)))
    with pytest.raises(TooManyRejectedError):
        take_in(store, bad)
    assert store.version == 0
    assert not [path for path in (store.folder / "raw").rglob("*") if path.is_file()]
    assert counts(take_in(store, bad, max_rejected_share=1.0)) == (10, 1, 0, 9)


def test_only_the_owner_can_read_any_file(store: Store, tmp_path: Path) -> None:
    for number in range(21):  # so many that Delta writes a checkpoint too
        take_in(store, votes(tmp_path / f"{number}.jsonl", vote(number)))
    assert list(store.folder.glob("table/_delta_log/*.checkpoint.parquet"))
    for path in [store.folder, *store.folder.rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_log_holds_no_text_of_users(store: Store, tmp_path: Path) -> None:
    take_in(store, votes(tmp_path / "a.jsonl", vote(1, user="canary-user", id="canary-id") | {"prompt": "canary ask"}))
    logged = b"".join(path.read_bytes() for path in (store.folder / "table" / "_delta_log").iterdir())
    assert b"canary" not in logged
    assert b'\\"store_version\\": 1' in logged


def test_raw_file_is_kept_as_it_came(store: Store, tmp_path: Path) -> None:
    path = votes(tmp_path / "votes.jsonl", vote(1))
    take_in(store, path)
    (copy,) = (store.folder / "raw").rglob("votes.jsonl")
    assert copy.read_bytes() == path.read_bytes()


def test_bytes_that_changed_on_the_disk_are_found_and_named(store: Store, tmp_path: Path) -> None:
    take_in(store, votes(tmp_path / "a.jsonl", *map(vote, range(50))))
    (path,) = (store.folder / "table" / "kind=event").iterdir()
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 1
    path.write_bytes(content)
    with pytest.raises(CorruptionError, match=path.name):
        store.events()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(CorruptionError, match=path.name):
        store.events()
    with pytest.raises(CorruptionError, match=path.name):
        take_in(store, votes(tmp_path / "b.jsonl", vote(60)))
    path.unlink()
    with pytest.raises(CorruptionError, match="not there"):
        store.events()


def test_a_locked_store_names_who_holds_it(store: Store, tmp_path: Path) -> None:
    with (
        store.locked("forget", exclusive=True),
        pytest.raises(LockedError, match=rf"forget \(process {os.getpid()}"),
    ):
        take_in(store, votes(tmp_path / "a.jsonl", vote(1)))
    with store.locked("curate", exclusive=False):
        assert take_in(store, tmp_path / "a.jsonl").new == 1
        with pytest.raises(LockedError, match="curate") as refused, store.locked("forget", exclusive=True):
            pass
    assert refused.value.exit_code == 75


def test_a_store_on_a_read_only_file_system_can_be_read_and_not_worked_on(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Readers still keep out who must be alone on another mount of it."""
    opened = os.open

    def open_read_only(path: Path, flags: int, mode: int = 0o777) -> int:
        if flags & (os.O_RDWR | os.O_CREAT):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
        return opened(path, flags, mode)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", open_read_only)
        with pytest.raises(OSError, match="Read-only file system"), store.locked("forget", exclusive=True):
            pass
        held = store.locked("audit", exclusive=False)
        held.__enter__()
    with pytest.raises(LockedError, match="another process"), store.locked("forget", exclusive=True):
        pass
    held.__exit__(None, None, None)
    with store.locked("forget", exclusive=True):
        pass


def test_opening_what_is_no_store_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputNotFoundError, match="no store here"):
        Store.open(tmp_path / "none")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").touch()
    with pytest.raises(OutputExistsError, match="no store"):
        Store.open(tmp_path / "full", create=True)
    theirs = tmp_path / "tables" / "table" / "mine.parquet"
    theirs.parent.mkdir(parents=True)
    theirs.touch()
    with pytest.raises(OutputExistsError, match="no store"):
        Store.open(tmp_path / "tables", create=True)
    assert theirs.exists()
    for place in ("gs://bucket/store", "s3://bucket", "s3://key:s3cret@bucket/store"):
        with pytest.raises(UsageError, match=r"expected s3://BUCKET/PREFIX") as info:
            Store.open(place, create=True)
        assert "s3cret" not in str(info.value)


def test_store_has_its_own_key_where_none_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("THUMBLINE_RATER_KEY")
    path = votes(tmp_path / "a.jsonl", vote(1))
    keys = set()
    for name in ("one", "two"):
        store = Store.open(tmp_path / name, create=True)
        take_in(store, path)
        keys |= set(store.events().collect()["rater_key"].to_list())
        assert Store.open(tmp_path / name).rater_key == store.rater_key
    assert len(keys) == 2
