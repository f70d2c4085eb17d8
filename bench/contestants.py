"""Who is measured in `bench.curate`, and how each is run: its commands, and where it leaves the rows that it kept.

All that a contestant's own format asks for is prepared beforehand and not measured. Where there is a choice, it gets
the options that are fastest on two cores: two workers, the quickest hash, 128 permutations.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ["BY_HAND", "CONVMERGE", "FLOOR", "OURS", "Contestant", "Step", "contestants", "count_rows"]

OURS: Final = "thumbline"
FLOOR: Final = "polars floor"
BY_HAND: Final = "datasets + Python"
CONVMERGE: Final = "convmerge"
_SCRIPTS: Final = Path(__file__).parent / "scripts"
_PYTHON: Final = sys.executable
_CONVMERGE_MAIN: Final = (_PYTHON, "-m", "convmerge", "dedupe")


@dataclass(frozen=True)
class Step:
    """One command of a contestant, a process of its own.

    Args:
        name: what the table calls it.
        command: program and arguments; OUT stands for an empty folder of this round.
        kept: glob below OUT of the files with the rows that are left after it.
    """

    name: str
    command: tuple[str, ...]
    kept: str


@dataclass(frozen=True)
class Contestant:
    """One line of the table, or a line for each step and one for them together.

    Args:
        name: what the table calls it.
        steps: its commands in order.
        does: what it does and does not do, for the reader.
        is_slow: takes minutes, so it may run fewer rounds; the table says how many.
    """

    name: str
    steps: tuple[Step, ...]
    does: str
    is_slow: bool = False


def contestants(log: Path, texts: Path) -> tuple[Contestant, ...]:
    """All contestants.

    Args:
        log: the log, format `thumbs`.
        texts: folder with the same rows as `text`, see `scripts/texts.py`.
    """
    return (_ours(log), _floor(log), _by_hand(log), _convmerge(log), _text_dedup(texts), _datatrove(texts))


def _ours(log: Path) -> Contestant:
    command = (_PYTHON, "-m", "cli.main", "curate", str(log), "--from", "thumbs", "-o", "OUT/dataset", "--json")
    does = "validate, quarantine, exact and near duplicates, conflicts, caps, split, rebalance, shards and manifest"
    return Contestant(OURS, (Step(OURS, command, "dataset/data/**/*.parquet"),), does)


def _floor(log: Path) -> Contestant:
    command = (_PYTHON, str(_SCRIPTS / "floor.py"), str(log), "OUT")
    return Contestant(FLOOR, (Step(FLOOR, command, "*.parquet"),), "read the JSONL, write Parquet, nothing else")


def _by_hand(log: Path) -> Contestant:
    command = (_PYTHON, str(_SCRIPTS / "by_hand.py"), str(log), "OUT")
    does = "exact duplicates, majority label, downsampling: no validation, no near-duplicates, no history"
    return Contestant(BY_HAND, (Step(BY_HAND, command, "by_hand.parquet"),), does)


def _convmerge(log: Path) -> Contestant:
    exact = ("-i", str(log), "-o", "OUT/exact.jsonl", "--keys", "prompt", "completion", "label")
    near = (
        "--near",
        "--workers",
        "2",
        "-i",
        "OUT/exact.jsonl",
        "-o",
        "OUT/near.jsonl",
        "--keys",
        "prompt",
        "completion",
    )
    steps = (
        Step(f"{CONVMERGE} dedupe", (*_CONVMERGE_MAIN, *exact), "exact.jsonl"),
        Step(f"{CONVMERGE} dedupe --near", (*_CONVMERGE_MAIN, *near), "near.jsonl"),
    )
    does = "exact duplicates, then near-duplicates of what is left (word 5-grams, threshold 0.8), JSONL to JSONL"
    return Contestant(CONVMERGE, steps, does, is_slow=True)


def _text_dedup(texts: Path) -> Contestant:
    options = ("--ngram", "3", "--threshold", "0.8", "--num_perm", "128", "--hash_func", "xxh3", "--num_proc", "2")
    read = ("--path", "json", "--data_files", f"{texts}/*.jsonl", "--split", "train", "--cache_dir", "OUT/cache")
    command = (_PYTHON, "-m", "text_dedup.minhash", *read, "--column", "text", *options, "--output", "OUT/kept")
    does = "near-duplicates of prompt and answer as one text (word 3-grams, threshold 0.8), JSONL to Arrow"
    return Contestant("text-dedup minhash", (Step("text-dedup minhash", command, "kept/*.arrow"),), does, is_slow=True)


def _datatrove(texts: Path) -> Contestant:
    command = (_PYTHON, str(_SCRIPTS / "trove.py"), str(texts), "OUT", "3")
    does = "near-duplicates of prompt and answer as one text (word 3-grams, 14 bands of 8), JSONL to JSONL"
    return Contestant("datatrove minhash", (Step("datatrove minhash", command, "kept/*.jsonl"),), does, is_slow=True)


def count_rows(folder: Path, kept: str) -> int:
    """Rows in all files of `folder` that match `kept`: Parquet, Arrow streams or JSONL."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = 0
    for path in sorted(folder.glob(kept)):
        if path.suffix == ".parquet":
            rows += pq.ParquetFile(path).metadata.num_rows
        elif path.suffix == ".arrow":
            with pa.memory_map(str(path)) as source:
                rows += sum(batch.num_rows for batch in pa.ipc.open_stream(source))
        else:
            with path.open("rb") as lines:
                rows += sum(1 for _ in lines)
    return rows
