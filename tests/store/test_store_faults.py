"""Crashes and errors of the disk at every place of the store: the next call gives what a clean run gives."""

from __future__ import annotations

import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from feedback.audit.sources import audit
from feedback.store import Store
from feedback.store.faults import FAULT_KINDS, faultpoint
from schemas.errors import ThumblineError, UsageError
from tests.store_runs import contents, ingest, points, run, start, write_votes

pytestmark = pytest.mark.usefixtures("rater_key")

_FEW = ("raw.rename.after", "landing.rename.before", "event.rename.after", "commit.before", "commit.after")


def export(path: Path, rows: int, first: int = 0) -> Path:
    """Votes, and a record without an answer."""
    return write_votes(path, rows, first, more=[{"prompt": "no answer", "label": "up", "number": first}])


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("exports")
    return [export(folder / "a.jsonl", 20), export(folder / "b.jsonl", 20, first=10)]


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory, files: list[Path]) -> dict[str, object]:
    store = tmp_path_factory.mktemp("clean") / "store"
    assert run(ingest, store, files[:1]) == 0
    assert run(ingest, store, files[1:]) == 0
    return contents(store)


def check(store: Path, clean: dict[str, object]) -> None:
    assert contents(store) == clean
    assert Store.open(store).doctor().is_well
    assert contents(store) == clean
    assert not list(store.glob("staging/*"))


def check_faults(
    tmp_path: Path, files: list[Path], clean: dict[str, object], kinds: tuple[str, ...], only: tuple[str, ...] = ()
) -> None:
    """A store with the first file; then the second one is broken off at every place, and taken in again."""
    before = tmp_path / "before"
    assert run(ingest, before, files[:1]) == 0
    shutil.copytree(before, tmp_path / "traced")
    passed = points(ingest, tmp_path / "traced", files[1:], trace=tmp_path / "trace")
    assert {*_FEW, "raw.sync.before", "quarantine.rename.before", "commit.done"} <= set(passed)
    for number, (point, kind) in enumerate((point, kind) for point in only or passed for kind in kinds):
        store = tmp_path / f"broken-{number}"
        shutil.copytree(before, store)
        code = run(ingest, store, files[1:], fault=f"{point}:{kind}")
        assert code == (-signal.SIGKILL if kind in ("kill", "torn") else 1), (point, kind)
        assert run(ingest, store, files[1:]) == 0, (point, kind)
        check(store, clean)
        shutil.rmtree(store)


def test_ingest_killed_on_its_way_goes_on_as_if_nothing_had_been(
    tmp_path: Path, files: list[Path], clean: dict[str, object]
) -> None:
    check_faults(tmp_path, files, clean, ("kill",), _FEW)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_ingest_killed_anywhere_goes_on_too(tmp_path: Path, files: list[Path], clean: dict[str, object]) -> None:
    check_faults(tmp_path, files, clean, ("kill",))


def test_ingest_on_a_full_disk_names_the_file_and_goes_on_later(
    tmp_path: Path, files: list[Path], clean: dict[str, object]
) -> None:
    check_faults(tmp_path, files, clean, ("enospc",), ("event.sync.before",))


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_ingest_with_a_full_or_broken_disk_goes_on_too(
    tmp_path: Path, files: list[Path], clean: dict[str, object]
) -> None:
    check_faults(tmp_path, files, clean, ("enospc", "eio", "torn"))


def test_a_store_whose_making_was_killed_early_is_no_foreign_folder(tmp_path: Path, files: list[Path]) -> None:
    for point in ("key.sync.before", "create.commit.after"):
        store = tmp_path / point
        assert run(ingest, store, files[:1], fault=f"{point}:kill") == -signal.SIGKILL
        assert run(ingest, store, files[:1]) == 0
        assert not list(store.glob("*.partial"))


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_store_whose_making_was_killed_is_made_by_the_next_call(
    tmp_path: Path, files: list[Path], clean: dict[str, object]
) -> None:
    passed = points(ingest, tmp_path / "traced", files[:1], trace=tmp_path / "trace")
    for point in passed[: passed.index("create.done") + 1]:
        for kind in ("kill", "torn"):
            store = tmp_path / f"{point}-{kind}"
            assert run(ingest, store, files[:1], fault=f"{point}:{kind}") == -signal.SIGKILL
            assert run(ingest, store, files[:1]) == 0
            assert run(ingest, store, files[1:]) == 0
            check(store, clean)


def test_a_torn_last_commit_is_set_aside_and_its_rows_come_back(
    tmp_path: Path, files: list[Path], clean: dict[str, object]
) -> None:
    """Nobody had been told that the rows are safe; whoever opens the store next finds them there."""
    store = tmp_path / "store"
    ingest(store, files[:1])
    assert run(ingest, store, files[1:], fault="commit.after:torn") == -signal.SIGKILL
    assert Store.open(store).version == 2
    check(store, clean)
    assert [path.name for path in (store / "damaged").iterdir()] == ["commit-2-0.mended"]


def test_an_empty_last_commit_is_too(tmp_path: Path, files: list[Path], clean: dict[str, object]) -> None:
    store = tmp_path / "store"
    ingest(store, files[:1])
    ingest(store, files[1:])
    (store / "table" / "_delta_log" / "00000000000000000002.json").write_bytes(b"")
    report = Store.open(store, is_mended=False).doctor()
    assert report.findings[0].what == "The last commit was torn."
    assert report.is_well
    check(store, clean)


@pytest.mark.parametrize("content", [b"", b'{"commitInfo": {"timest'])
def test_an_earlier_commit_that_is_damaged_is_corruption(tmp_path: Path, files: list[Path], content: bytes) -> None:
    store = tmp_path / "store"
    ingest(store, files[:1])
    ingest(store, files[1:])
    path = store / "table" / "_delta_log" / "00000000000000000001.json"
    path.write_bytes(content)
    assert run(ingest, store, files) == 5
    assert run(doctor, store) == 5
    path.unlink()
    assert run(ingest, store, files) == 5


def doctor(store: Path) -> None:
    """Run the doctor."""
    Store.open(store, is_mended=False).doctor()


@pytest.mark.parametrize("kind", ["event", "quarantine", "source"])
@pytest.mark.parametrize("damage", ["flip", "cut", "gone"])
def test_a_damaged_file_is_made_again_from_the_raw_copies(
    tmp_path: Path, files: list[Path], clean: dict[str, object], kind: str, damage: str
) -> None:
    store = tmp_path / "store"
    ingest(store, files[:1])
    ingest(store, files[1:])
    path = sorted((store / "table" / f"kind={kind}").iterdir())[0]
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.unlink() if damage == "gone" else path.write_bytes(content if damage == "flip" else content[:-9])
    report = Store.open(store).doctor()
    assert [(one.is_healed, Path(one.where).name) for one in report.findings] == [(True, path.name)]
    check(store, clean)


def test_a_damaged_file_without_raw_copies_is_named_and_nothing_is_lost_silently(
    tmp_path: Path, files: list[Path]
) -> None:
    store = tmp_path / "store"
    ingest(store, files[:1])
    (path,) = (store / "table" / "kind=event").iterdir()
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    shutil.rmtree(store / "raw")
    report = Store.open(store).doctor()
    assert not report.is_well
    assert str(path) in {one.where for one in report.findings}
    path.write_bytes(content)
    assert Store.open(store).events().collect().height == 20


def test_a_damaged_raw_copy_is_found_and_comes_back_with_the_same_file(
    tmp_path: Path, files: list[Path], clean: dict[str, object]
) -> None:
    store = tmp_path / "store"
    ingest(store, files[:1])
    ingest(store, files[1:])
    (path,) = (store / "raw").rglob("a.jsonl")
    path.write_bytes(path.read_bytes().replace(b"answer 3", b"answer 4"))
    assert [one.where for one in Store.open(store).doctor().findings] == [str(path)]
    assert Store.open(store).doctor().findings[0].what.startswith("A raw copy is missing")
    ingest(store, files[:1])
    assert path.read_bytes() == files[0].read_bytes()
    assert Store.open(store).doctor().findings == ()
    check(store, clean)


def test_nothing_is_made_again_from_a_raw_copy_that_changed(tmp_path: Path, files: list[Path]) -> None:
    """It would give as many rows, and others."""
    store = tmp_path / "store"
    ingest(store, files[:1])
    (copy,) = (store / "raw").rglob("a.jsonl")
    copy.write_bytes(copy.read_bytes().replace(b"answer 3", b"answer 4"))
    (path,) = (store / "table" / "kind=event").iterdir()
    path.unlink()
    report = Store.open(store).doctor()
    assert [one.is_healed for one in report.findings] == [True, False]
    assert not report.is_well


def test_nothing_is_cleared_up_while_something_is_not_healed(tmp_path: Path, files: list[Path]) -> None:
    """What no commit names may be all that is left of it, though another damage was healed."""
    store = tmp_path / "store"
    ingest(store, files[:1])
    left = store / "table" / "kind=event" / "nobody-knows.parquet"
    left.write_bytes(b"rows")
    left.chmod(0o600)
    (copy,) = (store / "raw").rglob("a.jsonl")
    copy.write_bytes(copy.read_bytes() + b"\n")
    next(path for path in left.parent.iterdir() if path != left).unlink()
    report = Store.open(store).doctor()
    assert [one.is_healed for one in report.findings] == [True, False]
    assert left.read_bytes() == b"rows"


def test_doctor_clears_up_what_a_crash_left(tmp_path: Path, files: list[Path]) -> None:
    store = tmp_path / "store"
    ingest(store, files[:1])
    assert run(ingest, store, files[1:], fault="commit.before:kill") == -signal.SIGKILL
    (store / "raw").chmod(0o755)
    report = Store.open(store).doctor()
    assert report.is_well
    assert {one.what for one in report.findings} == {
        "A file belongs to no commit.",
        "Something half made was left behind.",
        "A raw file was copied, and its ingest never ended.",
        "Others could get at it.",
    }
    assert Store.open(store).doctor().findings == ()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system in memory with room for 16 MB."""
    mount = tmp_path / "disk"
    mount.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", mount], capture_output=True, check=False)
    if made.returncode:
        pytest.skip("no file system can be mounted here")
    try:
        yield mount
    finally:
        subprocess.run(["umount", mount], check=True)


def test_a_disk_that_is_really_full_loses_nothing(small_disk: Path, tmp_path: Path) -> None:
    """An export that does not fit is refused with the file named; when there is room, the same call takes it in."""
    store = small_disk / "store"
    ingest(store, [export(tmp_path / "a.jsonl", 100)])
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"0" * (15 << 20))
    large = export(tmp_path / "b.jsonl", 6_000, first=50)
    with pytest.raises(ThumblineError, match="No space left") as refused:
        ingest(store, [large])
    assert str(small_disk) in str(refused.value.where)
    assert Store.open(store).events(revisions="all").collect().height == 100
    ballast.unlink()
    ingest(store, [large])
    assert Store.open(store).events(revisions="all").collect().height == 6_050
    assert Store.open(store).doctor().is_well


def test_a_disk_that_cannot_be_written_to_can_still_be_read(small_disk: Path, tmp_path: Path) -> None:
    store = small_disk / "store"
    ingest(store, [export(tmp_path / "a.jsonl", 100)])
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    with pytest.raises(ThumblineError, match="Read-only file system") as refused:
        ingest(store, [export(tmp_path / "b.jsonl", 10, first=200)])
    assert str(small_disk) in str(refused.value.where)
    assert Store.open(store).events().collect().height == 100
    assert audit([store]).rows["total"] == 100


def race(tmp_path: Path, rows: int, name: str) -> None:
    path = export(tmp_path / f"{name}.jsonl", rows)
    store = tmp_path / name
    Store.open(store, create=True)
    racers = [start(ingest, store, [path]) for _ in range(2)]
    for racer in racers:
        racer.join(300)
        assert racer.exitcode == 0
    ids = Store.open(store).events(revisions="all").collect()["event_id"]
    assert (len(ids), ids.n_unique()) == (rows, rows)
    shutil.rmtree(store)


def test_two_ingests_at_once_take_each_row_in_once(tmp_path: Path) -> None:
    for number in range(3):
        race(tmp_path, 500, f"store-{number}")


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_two_ingests_of_100_000_rows_at_once_20_times(tmp_path: Path) -> None:
    for number in range(20):
        race(tmp_path, 100_000, f"store-{number}")


def test_a_fault_that_cannot_be_read_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAULT", "commit.before:melt")
    with pytest.raises(UsageError, match=", ".join(FAULT_KINDS)):
        faultpoint("commit.before")
