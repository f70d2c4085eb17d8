"""Work on a store in processes of its own, which a fault may kill, votes for it, and what it holds, to be compared.

The processes are forked from a server that has loaded everything and used nothing, so each starts in a moment. It has
the environment of when it started, perhaps for other tests, so each process gets the present one.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from feedback.config import SourceConfig
from feedback.store import Store
from feedback.store.faults import FAULT_VARIABLE
from schemas.errors import ThumblineError

KEY = "0" * 64
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["tests.store_runs", "feedback.near.preload", "feedback.pipeline"])


def run(target: Callable[..., None], *arguments: Any, fault: str | None = None) -> int:
    """Run `target` in a process of its own; its exit code, negative where a signal ended it."""
    process = _CONTEXT.Process(target=_guarded, args=(dict(os.environ), fault, target, *arguments))
    process.start()
    process.join(500)
    assert process.exitcode is not None
    return process.exitcode


def start(target: Callable[..., None], *arguments: Any) -> Any:
    """Start `target` in a process of its own."""
    process = _CONTEXT.Process(target=_guarded, args=(dict(os.environ), None, target, *arguments))
    process.start()
    return process


def write_votes(path: Path, rows: int, first: int = 0, *, more: Iterable[dict[str, Any]] = ()) -> Path:
    """Votes of nine users, in turn up and down, in the format `thumbs`; those of one number are alike in every file.

    Args:
        path: where the file goes.
        rows: how many votes.
        first: the number of the first.
        more: records behind them.
    """
    votes = [
        {"prompt": f"question {n}", "completion": f"answer {n}", "label": ("up", "down")[n % 2], "user": f"u{n % 9}"}
        for n in range(first, first + rows)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in [*votes, *more]), encoding="utf-8")
    return path


def ingest(store: Path, files: list[Path]) -> None:
    """Take files of the format `thumbs` in, and make the store where it is not there."""
    Store.open(store, create=True).ingest([SourceConfig(path=str(path), format="thumbs") for path in files])


def points(target: Callable[..., None], *arguments: Any, trace: Path) -> list[str]:
    """The fault points that `target` passes, each once."""
    assert run(target, *arguments, fault=f"trace:{trace}") == 0
    return list(dict.fromkeys(trace.read_text("utf-8").split()))


def contents(store: Path) -> dict[str, Any]:
    """All rows of a store, in an order of their own and without the version that brought them."""
    opened = Store.open(store)
    frames = {
        "events": opened.events(revisions="all").collect().sort("event_id"),
        "pairs": opened.pairs(revisions="all").collect().sort("pair_id"),
        "quarantine": opened.quarantine().collect().sort("source", "reason", "raw_sha256"),
    }
    rows = {name: frame.drop("store_version").to_dicts() for name, frame in frames.items()}
    return {**rows, "files": sorted(file.sha256 for file in opened.source_files())}


def _guarded(environment: dict[str, str], fault: str | None, target: Callable[..., None], *arguments: Any) -> None:
    os.environ.clear()
    os.environ.update(environment)
    os.environ["THUMBLINE_RATER_KEY"] = KEY
    if fault is not None:
        os.environ[FAULT_VARIABLE] = fault
    try:
        target(*arguments)
    except ThumblineError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(error.exit_code)
