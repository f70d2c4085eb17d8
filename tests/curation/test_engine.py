"""Engines and staging: order, laziness, errors, and stages that are skipped only when they are whole."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal
from xxhash import xxh3_128_hexdigest

from feedback.engine import (
    Engine,
    LocalEngine,
    StagedEngine,
    open_engine,
)
from feedback.engine.staging import STAGE_FILE, FileBatch, digest_files
from schemas.errors import DataGateError, ThumblineError, UnknownChoiceError, UsageError
from tests.engine_kernels import ROWS, Block, fail_on_odd, run_toy_plan, square


@dataclass(frozen=True, slots=True)
class Plain:
    """A result of every kind that can be stored."""

    path: Path
    texts: tuple[str, ...]
    counts: dict[str, int]
    share: float
    nested: tuple[Block, ...]
    nothing: None = None


class CountingEngine:
    """Runs on one thread and remembers what it ran."""

    def __init__(self) -> None:
        self.ran: list[str] = []
        self._inner = LocalEngine(1)

    def run(self, name: str, kernel: Any, tasks: Any, *, key: str = "") -> list[Any]:
        self.ran.append(name)
        return self._inner.run(name, kernel, tasks, key=key)


@given(tasks=st.lists(st.integers(-100, 100), max_size=30), workers=st.integers(1, 5))
@settings(max_examples=30, deadline=None)
def test_results_come_in_the_order_of_the_tasks(tasks: list[int], workers: int) -> None:
    assert LocalEngine(workers).run("square", square, iter(tasks)) == [task * task for task in tasks]


def test_an_iterator_is_read_one_task_ahead_at_most() -> None:
    """Two workers: two tasks run and one waits, whatever the iterator could still give."""
    gate, started = threading.Event(), threading.Semaphore(0)
    given_out: list[int] = []
    read_while_blocked: list[int] = []

    def tasks() -> Iterator[int]:
        for number in range(10):
            given_out.append(number)
            yield number

    def kernel(task: int) -> int:
        started.release()
        assert gate.wait(10)
        return task

    def open_the_gate() -> None:
        assert started.acquire(timeout=10)
        assert started.acquire(timeout=10)
        while len(given_out) < 3:
            threading.Event().wait(0.001)
        threading.Event().wait(0.05)
        read_while_blocked.extend(given_out)
        gate.set()

    watcher = threading.Thread(target=open_the_gate)
    watcher.start()
    assert LocalEngine(2).run("read", kernel, tasks()) == list(range(10))
    watcher.join()
    assert read_while_blocked == [0, 1, 2]


@given(tasks=st.lists(st.integers(0, 9), min_size=1, max_size=20), workers=st.integers(1, 4))
@settings(max_examples=30, deadline=None)
def test_the_error_is_that_of_the_first_failing_task_unchanged(tasks: list[int], workers: int) -> None:
    odd = [task for task in tasks if task % 2]
    if not odd:
        assert LocalEngine(workers).run("even", fail_on_odd, tasks) == [task * 10 for task in tasks]
        return
    with pytest.raises(DataGateError, match=f"task {odd[0]}: an odd task") as caught:
        LocalEngine(workers).run("odd", fail_on_odd, tasks)
    assert (type(caught.value), caught.value.received, caught.value.exit_code) == (DataGateError, odd[0], 3)


def test_the_first_error_stops_the_rest() -> None:
    ran: list[int] = []

    def kernel(task: int) -> int:
        ran.append(task)
        return fail_on_odd(task)

    with pytest.raises(DataGateError):
        LocalEngine(1).run("stop", kernel, [0, 1, 2, 4, 6, 8, 10])
    assert ran[:2] == [0, 1]
    assert len(ran) <= 3


def test_ctrl_c_stops_the_rest_and_waits_for_what_runs() -> None:
    ran: list[int] = []

    def tasks() -> Iterator[int]:
        yield from range(2)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        LocalEngine(1).run("interrupted", ran.append, tasks())
    assert threading.active_count() == 1 or not [t for t in threading.enumerate() if t.name.startswith("thumbline")]
    assert ran in ([0], [0, 1])


def test_processes_give_what_threads_give() -> None:
    engine = LocalEngine(2, processes=True)
    assert engine.run("square", square, [3, 1, 2]) == [9, 1, 4]
    with pytest.raises(DataGateError, match="task 5: an odd task: got 5"):
        engine.run("odd", fail_on_odd, [4, 5, 6])


def test_a_killed_process_is_told_as_such() -> None:
    with pytest.raises(ThumblineError, match=r"stage 'killed': a process that ran a task was killed\. .*fewer workers"):
        LocalEngine(1, processes=True).run("killed", _kill_me, [1])


def test_an_engine_is_opened_by_name() -> None:
    engine = open_engine("local", workers=3)
    assert isinstance(engine, LocalEngine)
    assert engine.workers == 3
    with pytest.raises(
        UnknownChoiceError, match=r"--engine: unknown engine: got 'spark'; expected one of local, ray\."
    ):
        open_engine("spark")
    with pytest.raises(UsageError, match=r"--ray-address: .*got 'head:6379'.* Add --engine ray"):
        open_engine("local", "head:6379")
    with pytest.raises(UsageError, match="no worker is left to run a task: got 0"):
        open_engine("local", workers=0)


def test_workers_and_blocks_change_no_file(tmp_path: Path) -> None:
    outcomes = [run_toy_plan(LocalEngine(workers), tmp_path / str(workers)) for workers in (1, 4)]
    assert {total for total, _, _ in outcomes} == {4 * ROWS}
    assert file_bytes(tmp_path / "1") == file_bytes(tmp_path / "4")
    few, many = run_toy_plan(LocalEngine(2), tmp_path / "p1", partitions=1)[1], outcomes[0][1]
    rows = pl.concat([pl.read_parquet(block.path) for block in many]).sort("key")
    assert_frame_equal(rows, pl.read_parquet(few[0].path))


def test_complete_stages_are_skipped_with_the_same_results(tmp_path: Path) -> None:
    first, second = CountingEngine(), CountingEngine()
    outcome = run_toy_plan(first, tmp_path)
    assert [name for name in first.ran if not name.endswith("-digest")] == ["make", "count", "spread-scatter", "spread"]
    assert run_toy_plan(second, tmp_path)[:2] == outcome[:2]
    assert {name for name in second.ran if not name.endswith("-digest")} == set()


def test_results_follow_a_folder_that_was_moved(tmp_path: Path) -> None:
    _, blocks, _ = run_toy_plan(LocalEngine(), tmp_path / "here")
    (tmp_path / "here").rename(tmp_path / "there")
    engine = CountingEngine()
    _, moved, _ = run_toy_plan(engine, tmp_path / "there")
    assert {name for name in engine.ran if not name.endswith("-digest")} == set()
    assert [tmp_path / "there" / block.path.relative_to(tmp_path / "here") for block in blocks] == [
        block.path for block in moved
    ]


@pytest.mark.parametrize("damage", ["cut", "flip", "missing", "no manifest", "torn manifest"])
def test_a_stage_that_is_not_whole_is_done_again(tmp_path: Path, damage: str) -> None:
    _, _, staged = run_toy_plan(LocalEngine(), tmp_path)
    before = file_bytes(tmp_path)
    victim = staged.folder("make") / (STAGE_FILE if "manifest" in damage else "block-00001.parquet")
    content = victim.read_bytes()
    if damage in {"missing", "no manifest"}:
        victim.unlink()
    elif damage == "flip":
        victim.write_bytes(content[:100] + bytes([content[100] ^ 1]) + content[101:])
    else:
        victim.write_bytes(content[: len(content) // 2])
    engine = CountingEngine()
    run_toy_plan(engine, tmp_path)
    assert [name for name in engine.ran if not name.endswith("-digest")] == ["make"]
    assert file_bytes(tmp_path) == before


def test_a_stage_is_done_again_under_another_key_kernel_or_task(tmp_path: Path) -> None:
    engine = CountingEngine()
    staged = StagedEngine(engine, tmp_path, "plan")

    def ran(kernel: Any, tasks: list[int], key: str) -> bool:
        engine.ran.clear()
        staged.run("stage", kernel, tasks, key=key)
        return "stage" in engine.ran

    assert ran(square, [2], "a")
    assert not ran(square, [2], "a")
    assert ran(square, [2], "b")
    assert ran(square, [4], "b")
    assert ran(fail_on_odd, [4], "b")
    assert not ran(fail_on_odd, [4], "b")
    staged = StagedEngine(engine, tmp_path, "another plan")
    assert ran(fail_on_odd, [4], "b")


def test_a_failed_stage_leaves_no_manifest(tmp_path: Path) -> None:
    staged = StagedEngine(LocalEngine(), tmp_path, "plan")
    with pytest.raises(DataGateError):
        staged.run("stage", fail_on_odd, [1])
    assert not (staged.folder("stage") / STAGE_FILE).exists()


def test_an_iterator_of_a_complete_stage_is_not_read(tmp_path: Path) -> None:
    staged = StagedEngine(LocalEngine(), tmp_path, "plan")
    assert staged.run("stage", square, iter([1, 2])) == [1, 4]

    def unread() -> Iterator[int]:
        raise AssertionError("read")
        yield 1

    assert staged.run("stage", square, unread()) == [1, 4]


def test_half_written_files_of_a_lost_task_are_removed(tmp_path: Path) -> None:
    staged = StagedEngine(LocalEngine(), tmp_path, "plan")
    staged.run("stage", _leave_a_partial, [staged.folder("stage")])
    assert [path.name for path in staged.folder("stage").iterdir()] == [STAGE_FILE]


def test_results_of_plain_values_survive_the_disk(tmp_path: Path) -> None:
    staged = StagedEngine(LocalEngine(), tmp_path, "plan")
    tasks = [staged.folder("stage") / "a.parquet", Path("/elsewhere/b.parquet")]
    made = staged.run("stage", _plain, tasks)
    assert repr(staged.run("stage", _plain, tasks)) == repr(made)
    stored = json.loads((staged.folder("stage") / STAGE_FILE).read_text())["results"]
    assert [one["path"] for one in stored] == ["staging:/stage/a.parquet", "/elsewhere/b.parquet"]


@pytest.mark.parametrize(
    ("name", "message"), [("_unannotated", "does not say what it returns"), ("_opaque", "got 'DataFrame'")]
)
def test_results_that_cannot_be_stored_are_refused(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        StagedEngine(LocalEngine(), tmp_path, "plan").run("stage", globals()[name], [1])


def test_a_stage_name_is_a_plain_folder_name(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"got '\.\./out'; expected lower-case letters and digits"):
        StagedEngine(LocalEngine(), tmp_path, "plan").run("../out", square, [1])


def test_large_files_are_digested_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Five files of 10 bytes, a task ends at 20: two, two and one, in their order."""
    monkeypatch.setattr("feedback.engine.staging._BYTES_A_BATCH", 20)
    seen: list[int] = []

    class Seeing(CountingEngine):
        def run(self, name: str, kernel: Any, tasks: Any, *, key: str = "") -> list[Any]:
            if kernel is digest_files:
                seen.extend(len(task.files) for task in tasks if isinstance(task, FileBatch))
            return super().run(name, kernel, tasks, key=key)

    staged = StagedEngine(Seeing(), tmp_path, "plan")
    staged.run("stage", _five_files, [staged.folder("stage")])
    listed = json.loads((staged.folder("stage") / STAGE_FILE).read_text())["files"]
    assert seen == [2, 2, 1]
    assert [file["path"] for file in listed] == [f"{number}.bin" for number in range(5)]


def test_an_empty_file_has_a_digest_too(tmp_path: Path) -> None:
    staged = StagedEngine(CountingEngine(), tmp_path, "plan")
    staged.run("stage", _empty_file, [staged.folder("stage")])
    assert json.loads((staged.folder("stage") / STAGE_FILE).read_text())["files"][0]["xxh3"] == xxh3_128_hexdigest(b"")


def _empty_file(folder: Path) -> int:
    (folder / "empty").touch()
    return 0


def _five_files(folder: Path) -> int:
    for number in range(5):
        (folder / f"{number}.bin").write_bytes(bytes([number]) * 10)
    return 5


def file_bytes(folder: Path) -> dict[str, bytes]:
    """What a staged plan left behind, by path below the plan, without the stages' manifests."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != STAGE_FILE]
    return {"/".join(path.relative_to(folder).parts[1:]): path.read_bytes() for path in files}


def _kill_me(task: int) -> int:
    import os
    import signal

    os.kill(os.getpid(), signal.SIGKILL)
    return task


def _leave_a_partial(folder: Path) -> int:
    (folder / ".file.node-1-2.partial").write_text("half")
    return 0


def _plain(path: Path) -> Plain:
    return Plain(path, ("a", "b"), {"kept": 3}, float("inf"), (Block(path, 3),))


def _unannotated(task: int):  # type: ignore[no-untyped-def]
    return task


def _opaque(task: int) -> pl.DataFrame:
    return pl.DataFrame({"a": [task]})


def _accepts(engine: Engine) -> Engine:
    """Checked by mypy: each engine is an `Engine`."""
    return engine


def test_every_engine_has_the_protocol(tmp_path: Path) -> None:
    for engine in (_accepts(LocalEngine()), _accepts(StagedEngine(LocalEngine(), tmp_path, "plan"))):
        assert engine.run("square", square, [2]) == [4]
