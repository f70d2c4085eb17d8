"""Small files for commands to read."""

from __future__ import annotations

import json
from pathlib import Path


def write_pairs(path: Path, count: int) -> Path:
    lines = [{"prompt": f"q{n}", "chosen": f"good {n}", "rejected": f"bad {n}"} for n in range(count)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


def write_votes(path: Path, *labels: str) -> Path:
    lines = [
        json.dumps({"prompt": f"question {n}", "completion": f"answer {n}", "label": label, "user": f"u{n}"})
        for n, label in enumerate(labels)
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
