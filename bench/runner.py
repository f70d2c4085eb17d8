"""What every measurement shares: a process timed with the memory of its tree, the machine's name, results on disk."""

from __future__ import annotations

import datetime as dt
import json
import os
import platform
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

__all__ = ["Measured", "describe_machine", "measure_process", "results_folder", "write_result"]

_PROC: Final = Path("/proc")
_SAMPLE_S: Final = 0.05
_VERSIONS: Final = (
    *("thumbline", "polars", "pyarrow", "numpy", "datasets", "xxhash", "numba", "ray", "deltalake"),
    *("convmerge", "datasketch", "datatrove", "rensa", "text-dedup", "scipy"),
    *("torch", "transformers", "trl"),
)


@dataclass(frozen=True)
class Measured:
    """What a command took.

    Args:
        seconds: wall time from its start to its end.
        peak_mib: most resident memory of the process and all that it started, together, in MiB.
        output: what it printed, both streams, the last 4,000 characters.
    """

    seconds: float
    peak_mib: float
    output: str


def measure_process(
    command: Sequence[str], *, env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> Measured:
    """Run a command to its end and say what it took.

    What others have written goes to the disk first, so that nobody waits for another's bytes. Memory is read 20 times a
    second. One process counts with its high-water mark, so nothing is missed; several count with their proportional
    shares (PSS) at a time, so that a page which two of them share counts once.

    Raises:
        CalledProcessError: the command failed; the end of what it printed is in the error.
    """
    os.sync()
    start = time.perf_counter()
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=None if env is None else dict(env), cwd=cwd
    ) as process:
        watch = _MemoryWatch(process.pid)
        watch.start()
        stream = process.stdout
        printed = b"" if stream is None else stream.read()
        code = process.wait()
        seconds = time.perf_counter() - start
        watch.stop()
    output = printed.decode("utf-8", errors="replace")[-4000:]
    if code != 0:
        raise subprocess.CalledProcessError(code, command, output=output)
    return Measured(seconds, watch.peak_kib / 1024, output)


class _MemoryWatch(threading.Thread):
    """Keeps the largest memory of a process tree until it is stopped; 0 where there is no /proc."""

    def __init__(self, root: int) -> None:
        super().__init__(daemon=True)
        self.root = root
        self.peak_kib = 0
        self._is_over = threading.Event()

    def run(self) -> None:
        """Sample until stopped."""
        while _PROC.is_dir() and not self._is_over.wait(_SAMPLE_S):
            tree = [self.root, *_descendants(self.root)]
            alone = _field_kib(self.root, "status", "VmHWM")
            together = sum(_field_kib(one, "smaps_rollup", "Pss") for one in tree) if len(tree) > 1 else 0
            self.peak_kib = max(self.peak_kib, alone, together)

    def stop(self) -> None:
        """End the sampling."""
        self._is_over.set()
        self.join()


def _descendants(root: int) -> list[int]:
    found: list[int] = []
    for path in _PROC.glob(f"{root}/task/*/children"):
        try:
            children = [int(one) for one in path.read_text("ascii").split()]
        except OSError:  # the thread ended between listing and reading
            continue
        for child in children:
            found += [child, *_descendants(child)]
    return found


def _field_kib(process: int, file: str, field: str) -> int:
    """A field of a process in KiB; 0 for a process that is gone."""
    try:
        text = (_PROC / str(process) / file).read_text("ascii", errors="replace")
    except OSError:
        return 0
    for line in text.splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1])
    return 0


def describe_machine() -> dict[str, Any]:
    """The day, processor, cores, memory, load before the start, system, and the versions of what was measured.

    The environment variable BENCH_DATE names the day; without it, today.
    """
    return {
        "date": os.environ.get("BENCH_DATE") or dt.datetime.now(dt.UTC).date().isoformat(),
        "machine": f"{_processor()}, {os.cpu_count()} cores, {_memory_gib()} GiB, {platform.system()}",
        "load_before": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "versions": {name: found for name in _VERSIONS if (found := _version(name)) is not None},
    }


def results_folder() -> Path:
    """Where results lie, `bench/results`; the environment variable BENCH_RESULTS names another place."""
    return Path(os.environ.get("BENCH_RESULTS") or Path(__file__).parent / "results")


def write_result(part: str, result: Mapping[str, Any], *, is_whole: bool = True) -> Path:
    """Write a part's result to `<part>.json` and return its path.

    A result that is not whole goes to `<part>.partial.json`, so that an interrupted run leaves what it measured and
    spoils nothing; the whole one removes it.
    """
    folder = results_folder()
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f"{part}.partial.json"
    path = folder / f"{part}.json" if is_whole else partial
    path.write_text(json.dumps(result, indent=2, sort_keys=True) + "\n", "utf-8")
    if is_whole:
        partial.unlink(missing_ok=True)
    return path


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    information = _PROC / "cpuinfo"
    if information.is_file():
        for line in information.read_text("utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _memory_gib() -> int:
    return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30)
