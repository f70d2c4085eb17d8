"""Killed at every fault point of a night: the next call ends where a night without a kill does."""

from __future__ import annotations

import os
import shutil
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

import pytest

from align.champion.registry import Registry
from feedback.config import SourceConfig
from feedback.store import Store
from schemas.manifest import Manifest
from tests.duel_nights import FIRST, NIGHTLY, duels, ingest, votes, write_pairs_config
from tests.product_year import write_config, write_export
from tests.retrain_night import nights, start_night

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

WEEKS = 6


@pytest.fixture(scope="module", autouse=True)
def quiet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Reference log-probabilities go into a folder of the tests; processes inherit it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("THUMBLINE_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("THUMBLINE_RATER_KEY", "0" * 64)
        patch.setenv("OMP_NUM_THREADS", "1")
        yield


def outcome(folder: Path) -> dict[str, Any]:
    """All that a night may decide, without the time."""
    registry = Registry(folder / "models")
    history = [{**asdict(one), "decided_at": None} for one in registry.history()]
    latest = registry.latest()
    assert latest is not None
    run = folder / "models" / "runs" / latest.run
    return {
        "history": history,
        "link": str((folder / "models" / "champion").readlink()),
        "datasets": {name: Manifest.read(run / name).digest for name in ("dataset", "mixed") if (run / name).is_dir()},
        "frozen": Manifest.read(folder / "models" / "evaluation").digest,
        "report": (run / "report.json").is_file() and (run / "report.html").is_file(),
        "left_over": sorted(path.name for path in run.rglob("*.partial*")),
    }


TURN = threading.Lock()
"""To start a process looks after all others too; if two threads look at once, one of them reads no exit code."""


def night(folder: Path, fault: str | None = None) -> int:
    with TURN:
        process = start_night(nights(), folder, fault)
    wait([process.sentinel])
    with TURN:
        process.join()
    assert process.exitcode is not None
    return process.exitcode


@pytest.fixture(scope="module")
def evenings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A folder before its first night, one before its second, one before a night of pairs, and one of none."""
    folder = tmp_path_factory.mktemp("evenings")
    first = folder / "first"
    first.mkdir()
    write_config(first)
    store = Store.open(first / "store", create=True)
    for week in range(WEEKS):
        store.ingest([SourceConfig(path=str(write_export(first, week)), format="thumbs", name="chat")])
    second = folder / "second"
    shutil.copytree(first, second)
    assert night(second) == 0
    store = Store.open(second / "store")
    store.ingest([SourceConfig(path=str(write_export(second, WEEKS)), format="thumbs", name="chat")])
    pairs, waits = folder / "pairs", folder / "waits"
    pairs.mkdir()
    write_pairs_config(pairs)
    ingest(pairs, duels(0, FIRST), "duels-0")
    assert night(pairs) == 0
    shutil.copytree(pairs, waits, symlinks=True)
    ingest(pairs, duels(1, NIGHTLY), "duels-1")
    ingest(waits, votes(1), "votes-1")
    return {"first": first, "second": second, "pairs": pairs, "waits": waits}


def points(folder: Path, evening: Path) -> list[str]:
    """Every fault point of ours that a night passes, with the number of its passage."""
    trace = folder / "trace"
    shutil.copytree(evening, folder / "traced", symlinks=True)
    assert night(folder / "traced", f"trace:{trace}") == (75 if evening.name == "waits" else 0)
    seen: dict[str, int] = {}
    found = []
    for name in trace.read_text().split():
        seen[name] = seen.get(name, 0) + 1
        if name.startswith("retrain."):
            found.append(f"{name}@{seen[name]}")
    return found


@pytest.mark.parametrize("which", ["first", "second", "pairs"])
def test_night_that_is_killed_anywhere_ends_like_one_that_is_not(
    which: str, evenings: dict[str, Path], tmp_path: Path
) -> None:
    places = points(tmp_path, evenings[which])
    assert len(places) > 15
    assert {"retrain.decision.before@1", "retrain.decision.after@1", "retrain.pointer.after@1"} <= set(places)
    expected = outcome(tmp_path / "traced")

    def killed_and_gone_on_with(number: int) -> None:
        """One night, killed at one place, and the next."""
        place, folder = places[number], tmp_path / f"night-{number}"
        shutil.copytree(evenings[which], folder, symlinks=True)
        assert night(folder, f"{place}:kill") == -signal.SIGKILL, place
        assert night(folder) in (0, 75), place  # 75 where the decision was there already
        assert outcome(folder) == expected, place
        shutil.rmtree(folder)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(killed_and_gone_on_with, range(len(places))))


def test_night_that_waits_for_pairs_and_is_killed_behind_curation_waits_and_leaves_no_dataset(
    evenings: dict[str, Path], tmp_path: Path
) -> None:
    places = points(tmp_path, evenings["waits"])
    places = places[places.index("retrain.curate.after@1") :]
    assert {"retrain.waits.done@1", "retrain.clear.before@1"} <= set(places)
    before = outcome(evenings["waits"])["history"]
    for number, place in enumerate(places):
        folder = tmp_path / f"night-{number}"
        shutil.copytree(evenings["waits"], folder, symlinks=True)
        assert night(folder, f"{place}:kill") == -signal.SIGKILL, place
        assert night(folder) == 75, place
        (waiting,) = (path.parent for path in (folder / "models" / "runs").glob("*/waits.json"))
        assert sorted(path.name for path in waiting.iterdir()) == ["audit.html", "audit.json", "run.json", "waits.json"]
        assert outcome(folder)["history"] == before, place
        shutil.rmtree(folder)


@pytest.mark.parametrize("kind", ["enospc", "eio"])
def test_disk_that_is_full_or_fails_is_told_and_the_next_night_goes_on(
    kind: str, evenings: dict[str, Path], tmp_path: Path
) -> None:
    shutil.copytree(evenings["second"], tmp_path / "clean", symlinks=True)
    assert night(tmp_path / "clean") == 0
    for place in ("retrain.run.write.before", "retrain.audit.write.before", "retrain.contest.write.before"):
        folder = tmp_path / "night"
        shutil.copytree(evenings["second"], folder, symlinks=True)
        assert night(folder, f"{place}:{kind}") == 1, place
        assert night(folder) == 0
        assert outcome(folder) == outcome(tmp_path / "clean"), place
        shutil.rmtree(folder)


def test_process_that_trains_is_killed_and_gone_on_with(evenings: dict[str, Path], tmp_path: Path) -> None:
    """Not at a fault point, but as soon as there is a checkpoint."""
    import time

    shutil.copytree(evenings["second"], tmp_path / "clean", symlinks=True)
    assert night(tmp_path / "clean") == 0
    folder = tmp_path / "night"
    shutil.copytree(evenings["second"], folder, symlinks=True)
    process = start_night(nights(), folder)
    while process.is_alive() and not list(folder.glob("models/runs/*/training/checkpoints/step-*")):
        time.sleep(0.005)
    if process.pid is not None and process.is_alive():
        os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert night(folder) in (0, 75)
    assert outcome(folder) == outcome(tmp_path / "clean")
