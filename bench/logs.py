"""Seeded feedback logs of any size, with the faults of real ones, for measurements.

One line is one thumb in the format `thumbs`. Rows, share of thumbs-up, share of duplicates and number of raters are
parameters; the same parameters and seed give the same bytes.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Final

__all__ = ["write_log"]

_WORDS: Final = (
    "export",
    "note",
    "table",
    "report",
    "sync",
    "folder",
    "link",
    "share",
    "calendar",
    "invoice",
    "draft",
    "meeting",
    "budget",
    "list",
    "tag",
    "search",
    "filter",
    "device",
    "backup",
    "version",
    "comment",
    "review",
    "file",
    "team",
    "week",
    "plan",
    "chart",
    "format",
    "paste",
    "print",
    "archive",
    "restore",
)
_FIRST_TIME: Final = 1_750_000_000


def write_log(
    path: Path, *, rows: int, up_share: float = 0.85, duplicate_share: float = 0.1, raters: int = 500, seed: int = 0
) -> None:
    """Write a log of `rows` lines to `path`.

    Args:
        path: file to write, JSONL.
        rows: lines in all.
        up_share: share of thumbs-up, in [0, 1].
        duplicate_share: share of lines that repeat an earlier answer, by another rater, in [0, 1].
        raters: number of distinct raters; the first gives a tenth of all votes.
        seed: of the random source.
    """
    source = random.Random(seed)
    recent: list[tuple[str, str]] = []
    with path.open("w", encoding="utf-8") as stream:
        for number in range(rows):
            if recent and source.random() < duplicate_share:
                prompt, completion = source.choice(recent)
            else:
                prompt = f"How do I {' '.join(source.choices(_WORDS, k=source.randint(4, 20)))} ({number})?"
                completion = " ".join(source.choices(_WORDS, k=source.randint(20, 120)))
                recent = [*recent[-999:], (prompt, completion)]
            record = {
                "id": str(number),
                "prompt": prompt,
                "completion": completion,
                "label": "up" if source.random() < up_share else "down",
                "user": f"u{0 if source.random() < 0.1 else source.randrange(raters)}",
                "time": _FIRST_TIME + number,
                "model": source.choice(("m-1", "m-2")),
            }
            stream.write(json.dumps(record) + "\n")
