"""The command `train` in several processes: `accelerate launch`, with what it needs on a CPU too."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence

__all__ = ["is_main_process", "launch", "launch_command"]


def launch(processes: int, arguments: Sequence[str]) -> int:
    """Run `thumbline ARGUMENTS` in several processes of this machine, and return the exit code of all together.

    Ctrl-C reaches every process, which saves a checkpoint; this one waits for them.

    Args:
        processes: how many, at least 2.
        arguments: what follows `thumbline` on the command line.
    """
    threads = max(1, (os.cpu_count() or 1) // processes)
    env = {"OMP_NUM_THREADS": str(threads), **os.environ}
    command = launch_command(processes, arguments)
    with subprocess.Popen(command, env=env) as process:  # noqa: S603 - our own command line once more
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            return process.wait()
        finally:
            signal.signal(signal.SIGINT, before)


def launch_command(processes: int, arguments: Sequence[str]) -> list[str]:
    """The command that starts them: each runs `python -m cli.main ARGUMENTS` and knows its rank.

    Args:
        processes: how many.
        arguments: what follows `thumbline` on the command line.
    """
    # accelerate starts CPU processes through MPI only; its launcher for GPUs starts them anywhere, and ours then
    # compute where the config's `device` says.
    return [
        *(sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", str(processes)),
        *("--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"),
        *("--main_process_ip", "127.0.0.1", "--main_process_port", str(_free_port())),
        *("-m", "cli.main", *arguments),
    ]


def is_main_process() -> bool:
    """Whether this process is the one that speaks: alone, or the first of several."""
    return os.environ.get("RANK", "0") == "0"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
