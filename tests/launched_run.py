"""A run of `tests.tiny_run` in processes of its own, started by accelerate; they compute on the CPU, over gloo."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


def launch(launcher: list[str], options: dict[str, Any], cache: Path) -> None:
    """Train as `options` say, and wait for the end.

    Args:
        launcher: arguments of `accelerate launch` that say how many processes there are and of what kind.
        options: what `tests.tiny_run` takes.
        cache: folder for the reference's numbers.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-W", "ignore", "-m", "accelerate.commands.launch", *launcher]
    command += ["--main_process_ip", "127.0.0.1", "--main_process_port", str(port)]
    done = subprocess.run(
        [*command, "-m", "tests.tiny_run", json.dumps(options)],
        cwd=ROOT,
        env={**os.environ, "THUMBLINE_CACHE_DIR": str(cache), "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr[-3000:]
