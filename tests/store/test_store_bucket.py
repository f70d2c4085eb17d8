"""A store in a bucket does what one in a folder does; against an S3 server that is really started."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from deltalake import DeltaTable

from cli.main import run as command
from cli.workflows.retrain import load_retrain_config, retrain
from feedback.config import SourceConfig
from feedback.pipeline import curate_store, store_config
from feedback.store import Store, forget
from feedback.store.bucket import Bucket
from feedback.store.raw_erasure import erase_raw
from feedback.store.registry import Registry
from schemas.errors import ConfigError, InputNotFoundError, LockedError, NothingToDoError, OutputExistsError
from tests.canary import places_of
from tests.product_year import write_config, write_export
from tests.servers import s3_server
from tests.store_runs import KEY, contents, run, start

pytestmark = pytest.mark.slow
CANARY = "zebrafinch"


@pytest.fixture(scope="module")
def put() -> Iterator[Callable[[str, bytes], None]]:
    with s3_server() as put, pytest.MonkeyPatch.context() as patch:
        patch.setenv("THUMBLINE_RATER_KEY", KEY)
        put("bucket/other/data/a.txt", b"not ours")
        yield put


@pytest.fixture
def url(put: Callable[[str, bytes], None], request: pytest.FixtureRequest) -> str:
    """A prefix of the test's own."""
    return f"s3://bucket/{request.node.name}/store"


def votes(numbers: range, user: str = "u") -> bytes:
    rows = [
        {
            "id": f"{user}-{number}",
            "prompt": f"question {user} {number}",
            "completion": f"answer {user} {number}",
            "label": "down" if number % 3 else "up",
            "user": f"{user}{number if user == 'u' else ''}",
        }
        for number in numbers
    ]
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def write(path: Path, *contents: bytes) -> Path:
    path.write_bytes(b"".join(contents))
    return path


def take_in(store: Store, path: Path) -> int:
    return store.ingest([SourceConfig(path=str(path), format="thumbs")]).new


def ingest(url: str, path: Path) -> None:
    take_in(Store.open(url, create=True), path)


def brought(url: str, folder: Path) -> Path:
    """Every object of a store, in a folder."""
    bucket = Bucket(url)
    for one in bucket.list():
        (folder / one.name).parent.mkdir(parents=True, exist_ok=True)
        bucket.fetch(one.name, folder / one.name)
    return folder


def test_a_store_in_a_bucket_holds_what_one_in_a_folder_holds(url: str, tmp_path: Path) -> None:
    """Taken in twice, each row is in it once; and any reader of Delta Lake reads it."""
    files = [write(tmp_path / "a.jsonl", votes(range(50))), write(tmp_path / "b.jsonl", votes(range(30, 80)))]
    here = Store.open(tmp_path / "store", create=True)
    there = Store.open(url, create=True)
    for path in files:
        assert take_in(here, path) == take_in(there, path)
        assert take_in(Store.open(url), path) == 0
    assert contents(url) == contents(tmp_path / "store")
    assert there.version == here.version == 2
    assert Store.open(url).events(1).collect().height == 50
    assert Store.open(url).events_since(1).collect().height == 30
    options = {"AWS_ALLOW_HTTP": "true", "AWS_ENDPOINT_URL": os.environ["AWS_ENDPOINT_URL"]}
    table = DeltaTable(f"{url}/table", storage_options=options)
    assert table.version() == 2
    assert sum(pl.DataFrame(table.get_add_actions(flatten=True))["num_records"].to_list()) == 82


def test_a_dataset_of_a_bucket_is_the_one_of_a_folder(url: str, tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", votes(range(60)))
    stores = [Store.open(tmp_path / "store", create=True), Store.open(url, create=True)]
    digests = []
    for number, store in enumerate(stores):
        take_in(store, path)
        made = curate_store(store, store_config(["rebalance.mode=off"]), tmp_path / f"dataset-{number}")
        digests.append(made.manifest.digest)
    assert digests[0] == digests[1]
    assert [one.digest for one in Store.open(url).datasets()] == [digests[1]]


def test_a_working_copy_sees_what_others_did_since(url: str, tmp_path: Path) -> None:
    first, second = Store.open(url, create=True), Store.open(url)
    assert first.id == second.id
    assert first.rater_key == second.rater_key
    take_in(first, write(tmp_path / "a.jsonl", votes(range(20))))
    assert second.version == 1
    assert take_in(second, tmp_path / "a.jsonl") == 0
    assert take_in(second, write(tmp_path / "b.jsonl", votes(range(10, 40)))) == 20
    assert first.events().collect().height == 40


def test_two_ingests_at_once_bring_each_row_once(url: str, tmp_path: Path) -> None:
    """Also where they make the store, ten times; of the same file, and of files that share rows."""
    same = write(tmp_path / "a.jsonl", votes(range(2000)))
    other = write(tmp_path / "b.jsonl", votes(range(1000, 3000)))
    for number in range(10):
        files = (same, same) if number % 2 else (same, other)
        both = [start(ingest, f"{url}{number}", path) for path in files]
        for one in both:
            one.join(300)
        assert [one.exitcode for one in both] == [0, 0]
        store = Store.open(f"{url}{number}")
        rows = store.events().collect()
        assert rows["event_id"].n_unique() == rows.height == (2000 if number % 2 else 3000)
        assert len(store.source_files()) == len(set(files))
        assert store.doctor().is_well


@pytest.mark.parametrize("point", ["raw.done", "landing.done", "event.done", "commit.before", "commit.after"])
def test_an_ingest_that_was_killed_is_made_again(url: str, point: str, tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", votes(range(30)))
    assert run(ingest, url, path, fault=f"{point}:kill") < 0
    assert run(ingest, url, path) == 0
    store = Store.open(url)
    assert store.version == 1
    assert store.events().collect().height == 30
    assert store.doctor().is_well
    assert run(ingest, url, path, fault="commit.done:kill") == 0  # nothing is left to commit


def test_nobody_who_was_forgotten_is_in_any_object(url: str, tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", votes(range(30)), votes(range(5), CANARY))
    store = Store.open(url, create=True)
    take_in(store, path)
    curate_store(store, store_config(["rebalance.mode=off"]), tmp_path / "dataset")
    assert places_of(CANARY, brought(url, tmp_path / "before"))
    receipt = Store.open(url).forget(rater=CANARY)
    assert receipt.rows == {"event": 5}
    assert places_of(CANARY, brought(url, tmp_path / "after"), tmp_path / "dataset") == []
    assert take_in(Store.open(url), path) == 0
    assert take_in(store, write(tmp_path / "b.jsonl", votes(range(3), CANARY), votes(range(30, 33)))) == 3
    assert places_of(CANARY, brought(url, tmp_path / "again"), store.folder) == []
    assert [one.needs_retrain for one in Store.open(url).datasets()] == [True]
    assert Store.open(url).doctor().is_well


def test_who_is_forgotten_while_a_dataset_is_made_is_not_in_it(url: str, tmp_path: Path) -> None:
    store = Store.open(url, create=True)
    take_in(store, write(tmp_path / "a.jsonl", votes(range(30)), votes(range(5), CANARY)))
    store.begin_dataset(tmp_path / "dataset", 1)
    (tmp_path / "dataset").mkdir()
    Store.open(url).forget(rater=CANARY)
    with pytest.raises(LockedError, match="somebody was forgotten while the dataset was made"):
        store.register_dataset(tmp_path / "dataset", "0" * 32, 1)
    assert not (tmp_path / "dataset").exists()
    assert not Registry(Store.open(url).folder).pinned()


def test_optimize_and_vacuum_keep_the_rows_and_what_datasets_need(url: str, tmp_path: Path) -> None:
    store = Store.open(url, create=True)
    for number in range(3):
        take_in(store, write(tmp_path / f"{number}.jsonl", votes(range(number * 10, number * 10 + 20))))
    curate_store(store, store_config(["rebalance.mode=off"]), tmp_path / "dataset", version=2)
    rows = contents(url)
    assert Store.open(url).optimize() > 0
    found = Store.open(url).vacuum(0)
    assert found.files > 0
    assert found.kept_versions == (2, 4)
    assert contents(url) == rows
    assert Store.open(url).events(2).collect().height == 30
    with pytest.raises(InputNotFoundError, match="cannot be read any more"):
        Store.open(url).events(3).collect()


def test_an_optimize_that_another_machine_overtakes_is_refused(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store.open(url, create=True)
    for number in range(2):
        take_in(store, write(tmp_path / f"{number}.jsonl", votes(range(number * 10, number * 10 + 20))))
    commit = store.opened.log.commit

    def overtaken(*args: object, **more: object) -> None:
        monkeypatch.undo()
        os.environ["THUMBLINE_RATER_KEY"] = KEY
        take_in(Store.open(url), write(tmp_path / "late.jsonl", votes(range(100, 110))))
        commit(*args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(store.opened.log, "commit", overtaken)
    with pytest.raises(LockedError, match=r"made version 3 \(ingest\)") as info:
        store.optimize()
    assert url in str(info.value)
    assert store.events().collect().height == 40
    assert store.optimize() > 0


def test_a_forget_that_another_machine_overtakes_begins_again(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What came in meanwhile is forgotten too."""
    store = Store.open(url, create=True)
    take_in(store, write(tmp_path / "a.jsonl", votes(range(10)), votes(range(3), CANARY)))
    commit = store.opened.log.commit

    def overtaken(*args: object, **more: object) -> None:
        monkeypatch.setattr(store.opened.log, "commit", commit)
        take_in(Store.open(url), write(tmp_path / "late.jsonl", votes(range(5, 20)), votes(range(3, 6), CANARY)))
        commit(*args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(store.opened.log, "commit", overtaken)
    receipt = store.forget(rater=CANARY)
    assert (receipt.rows, receipt.version, receipt.is_done) == ({"event": 6}, 3, True)
    assert Store.open(url).events().collect().height == 20
    assert places_of(CANARY, brought(url, tmp_path / "after")) == []


def test_rows_that_come_in_while_somebody_is_forgotten_are_forgotten_too(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They come in behind the version that was looked through, and long before the commit."""
    store = Store.open(url, create=True)
    take_in(store, write(tmp_path / "a.jsonl", votes(range(10)), votes(range(3), CANARY)))

    def overtaken(*args: Any, **more: Any) -> Any:
        monkeypatch.setattr(forget, "erase_raw", erase_raw)
        take_in(Store.open(url), write(tmp_path / "late.jsonl", votes(range(5, 20)), votes(range(3, 6), CANARY)))
        return erase_raw(*args, **more)

    monkeypatch.setattr(forget, "erase_raw", overtaken)
    receipt = store.forget(rater=CANARY)
    assert (receipt.rows, receipt.version, receipt.is_done) == ({"event": 6}, 3, True)
    assert places_of(CANARY, brought(url, tmp_path / "after")) == []


@pytest.mark.usefixtures("own_cache")
def test_a_night_of_retraining_takes_a_store_in_a_bucket(url: str, tmp_path: Path) -> None:
    for week in range(6):
        path = write_export(tmp_path, week)
        assert path is not None
        Store.open(url, create=True).ingest([SourceConfig(path=str(path), format="thumbs", name="chat")])
    config = load_retrain_config(write_config(tmp_path), [f"store={url}"])
    assert retrain(config).decision.kind == "promote"
    with pytest.raises(NothingToDoError, match=url):
        retrain(config)
    assert [one.needs_retrain for one in Store.open(url).runs()] == [False]
    with pytest.raises(ConfigError, match="lies on this machine"):
        load_retrain_config(tmp_path / "retrain.toml", ["folder=s3://bucket/models"])


def test_the_doctor_makes_a_damaged_object_again(url: str, tmp_path: Path, put: Callable[[str, bytes], None]) -> None:
    store = Store.open(url, create=True)
    take_in(store, write(tmp_path / "a.jsonl", votes(range(30))))
    rows = contents(url)
    name = next(one.name for one in Bucket(url).list("table/kind=event"))
    put(f"{url.removeprefix('s3://')}/{name}", b"PAR1 and nothing of it")
    report = Store.open(url).doctor()
    assert report.is_well
    assert [one.where for one in report.findings] == [f"{url}/{name}"]
    assert contents(url) == rows
    Bucket(url).delete(name)
    assert Store.open(url).doctor().is_well
    assert contents(url) == rows


def test_a_raw_file_whose_ingest_never_ended_is_told_and_stays(url: str, tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", votes(range(30)))
    assert run(ingest, url, path, fault="commit.before:kill") < 0
    report = Store.open(url).doctor()
    assert report.is_well
    assert any("has not ended" in one.what for one in report.findings)
    assert any("belongs to no commit" in one.what for one in report.findings)
    assert Store.open(url).vacuum(0).files > 0
    assert run(ingest, url, path) == 0
    assert Store.open(url).events().collect().height == 30


def test_a_prefix_without_a_store_is_told_and_others_are_left_alone(put: Callable[[str, bytes], None]) -> None:
    with pytest.raises(InputNotFoundError, match="no store here"):
        Store.open("s3://bucket/nothing")
    with pytest.raises(OutputExistsError, match="files that are no store"):
        Store.open("s3://bucket/other", create=True)


def test_every_command_takes_a_store_in_a_bucket(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "a.jsonl", votes(range(60)), votes(range(5), CANARY))
    assert command(["ingest", "a.jsonl", "--from", "thumbs", "--store", url]) == 0
    assert f"Store: {url}, version 1" in capsys.readouterr().out
    assert command(["curate", "--store", url, "-o", "dataset"]) == 0
    assert command(["audit", url]) in (0, 3)
    assert "store (version 1)" in capsys.readouterr().out
    assert command(["forget", "--store", url, "--rater", CANARY]) == 0
    assert command(["doctor", "--store", url, "--optimize", "--vacuum", "0"]) == 0
    assert "All is well" in capsys.readouterr().out
    assert command(["ingest", url, "--from", "thumbs", "--store", "other"]) == 1
    assert "is a feedback store" in capsys.readouterr().err
    assert command(["doctor", "--store", "s3://bucket/nothing"]) == 1
    assert "s3://bucket/nothing: no store here" in capsys.readouterr().err
