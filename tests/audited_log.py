"""Logs of votes with texts of their own, and the audit of them."""

from __future__ import annotations

import json
import random
from pathlib import Path

from feedback.audit import AuditConfig, AuditReport, Metric
from feedback.audit.sources import audit
from tests.feedback_log import story


def write_log(folder: Path, rows: list[dict[str, object]]) -> Path:
    path = folder / "thumbs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def vote(number: int, label: bool | None = None, **changes: object) -> dict[str, object]:
    """A vote about texts of its own; every third is down."""
    is_up = number % 3 > 0 if label is None else label
    made = {"prompt": f"{story(f'q{number}', 9)}?", "completion": f"{story(f'a{number}', 30)}."}
    return made | {"label": "up" if is_up else "down", "time": f"2026-01-{1 + number % 28:02d}T10:00:00Z"} | changes


def found(report: AuditReport, name: str) -> Metric:
    metric = report.metric(name)
    assert metric is not None, name
    return metric


def audited(folder: Path, rows: list[dict[str, object]], **options: float) -> AuditReport:
    return audit([write_log(folder, rows)], source_format="thumbs", config=AuditConfig(**options))


def sycophantic(count: int, odds_with: float, seed: int = 0) -> list[dict[str, object]]:
    """Half of the answers flatter; those are up with this chance, the others with 0.5. Flattery makes none longer."""
    chance = random.Random(seed)
    rows = []
    for number in range(count):
        flatters = number % 2 == 0
        up = chance.random() < (odds_with if flatters else 0.5)
        opening = "What a great question! " if flatters else "Here is what I know of it. "[:23]
        rows.append(vote(number, up, completion=opening + story(f"s{number}", 10 + number % 30) + "."))
    return rows
