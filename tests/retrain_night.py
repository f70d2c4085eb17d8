"""A night of `thumbline retrain` in a process of its own, which may be killed at a fault point.

It trains on one thread, whatever the tests before it left in the environment of these processes: sums of another number
of threads are rounded otherwise, and so is the model.
"""

from __future__ import annotations

import multiprocessing
import os
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path


def nights() -> ForkServerContext:
    """Processes that have everything loaded already, so that a night costs its own work only."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["cli.workflows.retrain", "tests.retrain_night"])
    return context


def start_night(context: ForkServerContext, folder: Path, fault: str | None = None) -> ForkServerProcess:
    """Begin a night on the config in `folder`."""
    process = context.Process(target=_night, args=(str(folder), fault))
    process.start()
    return process


def _night(folder: str, fault: str | None) -> None:
    import torch

    from cli.main import run

    torch.set_num_threads(1)
    os.environ.pop("FAULT", None)
    if fault is not None:
        os.environ["FAULT"] = fault
    raise SystemExit(run(["retrain", f"{folder}/retrain.toml"]))
