"""What every measurement shares: a process timed with its peak memory, the machine described, the result written."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

__all__ = ["describe_machine", "measure_process", "write_result"]

_RESULTS: Final = Path(__file__).parent / "results"
_VERSIONS: Final = ("thumbline", "polars", "pyarrow", "datasets", "torch", "transformers", "accelerate")


def measure_process(command: Sequence[str]) -> tuple[float, float]:
    """Wall seconds and peak resident memory in MiB of a command, run to its end.

    Raises:
        CalledProcessError: the command failed; what it printed is in the error.
    """
    start = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        stream = process.stderr
        errors = stream.read() if stream is not None else ""
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - start
    if process.returncode != 0:
        raise subprocess.CalledProcessError(process.returncode, command, stderr=errors[-2000:])
    return seconds, usage.ru_maxrss / 1024


def describe_machine() -> dict[str, Any]:
    """Processor, cores, system, and the versions of what was measured."""
    return {
        "machine": f"{_processor()}, {os.cpu_count()} cores, {platform.system()}",
        "python": platform.python_version(),
        "versions": {name: version(name) for name in _VERSIONS},
    }


def write_result(part: str, result: dict[str, Any]) -> Path:
    """Write a part's result to `bench/results/<part>.json` and return its path."""
    _RESULTS.mkdir(exist_ok=True)
    path = _RESULTS / f"{part}.json"
    path.write_text(json.dumps(result, indent=2, sort_keys=True) + "\n", "utf-8")
    return path


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    if information.is_file():
        for line in information.read_text("utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
