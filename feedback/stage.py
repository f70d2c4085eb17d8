"""What every candidate stage gives back, and the counting that all of them share.

A stage is `stage(candidates, config, *, digest_in) -> StageResult`: pure, sorted by `row_id`, and its counts sum.
`write_stage` puts a result on disk; nothing else here touches files.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import polars as pl

from feedback.hashing import stable_id, stage_digest
from schemas.datasets import CANDIDATE
from schemas.manifest import write_last
from schemas.report import LabelCounts, StageReport

__all__ = [
    "CANDIDATE_TYPES",
    "StageResult",
    "count_labels",
    "counted",
    "finish_stage",
    "hash_column",
    "sort_rows",
    "write_stage",
]

CANDIDATE_TYPES: Final = pl.Schema(pl.DataFrame(pl.from_arrow(CANDIDATE.empty_table())).schema)
"""`schemas.datasets.CANDIDATE` in polars' types."""

_DECISIONS: Final = ("row_id", "label", "weight", "group_id", "split", "vote_ids")
"""What a stage decides about a row. Rater keys are not in it: they differ between installations."""


@dataclass(frozen=True, slots=True)
class StageResult:
    """Rows kept, rows dropped (the same columns and `drop_reason`), and the report that counts both."""

    kept: pl.DataFrame
    dropped: pl.DataFrame
    report: StageReport


def counted(number: int, noun: str) -> str:
    """A number with its noun, for notes.

    >>> counted(1, "row"), counted(1204, "row")
    ('1 row', '1,204 rows')
    """
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def finish_stage(
    name: str,
    kept: pl.DataFrame,
    dropped: pl.DataFrame,
    *,
    rows_in: int,
    labels_in: LabelCounts,
    config: Mapping[str, Any],
    digest_in: str,
    rows_created: int = 0,
    notes: Iterable[str] = (),
    figures: Mapping[str, Any] | None = None,
) -> StageResult:
    """The result of a stage: both tables sorted, counted and digested.

    Args:
        name: the stage's name.
        kept: rows that go on, in any order.
        dropped: rows left out, with the column `drop_reason`, in any order.
        rows_in: rows that came in.
        labels_in: their labels.
        config: the stage's resolved config, JSON values only.
        digest_in: digest of the input.
        rows_created: rows that the stage made beyond those that came in.
        notes: what the stage did and could not do, a sentence each.
        figures: further numbers, JSON values only.

    Raises:
        ShapeError: the counts do not sum.
    """
    kept, dropped = sort_rows(kept), sort_rows(dropped)
    report = StageReport(
        stage=name,
        rows_in=rows_in,
        rows_created=rows_created,
        rows_kept=kept.height,
        dropped=_count_reasons(dropped),
        labels_in=labels_in,
        labels_kept=count_labels(kept),
        digest_in=digest_in,
        digest_out=stage_digest(digest_in, name, config, _with_vote_ids(kept), _DECISIONS),
        config=config,
        notes=tuple(notes),
        figures=figures or {},
    )
    return StageResult(kept, dropped, report)


def count_labels(frame: pl.DataFrame) -> LabelCounts:
    """Rows of `frame` by label."""
    label = frame["label"]
    desirable = int(label.sum() or 0)
    unlabelled = label.null_count()
    return LabelCounts(desirable, frame.height - desirable - unlabelled, unlabelled)


def hash_column(values: pl.Series, *salt: str) -> pl.Series:
    """A stable hash of each text, as hex digits: an order that depends on the texts and the salt only.

    >>> hash_column(pl.Series(["a", "b"]), "split", "0").str.len_chars().to_list()
    [32, 32]
    """
    return pl.Series(values.name, [stable_id(*salt, value) for value in values], dtype=pl.String)


def sort_rows(frame: pl.DataFrame) -> pl.DataFrame:
    """`frame` in its one order: by `row_id`, and rows of one id by what tells them apart."""
    more = [name for name in ("text_side", "text_id", "event_ts", "label", "drop_reason") if name in frame.columns]
    return frame.sort("row_id", *more, nulls_last=True)


def write_stage(result: StageResult, folder: Path) -> None:
    """Write `kept-00000.parquet`, `dropped-00000.parquet` and, last, `report.json` into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    result.kept.write_parquet(folder / "kept-00000.parquet")
    result.dropped.write_parquet(folder / "dropped-00000.parquet")
    write_last(folder / "report.json", result.report.to_json())


def _count_reasons(dropped: pl.DataFrame) -> dict[str, int]:
    counts = dropped.group_by("drop_reason").len().sort("drop_reason")
    return dict(counts.iter_rows())


def _with_vote_ids(frame: pl.DataFrame) -> pl.DataFrame:
    ids = pl.col("votes").list.eval(pl.element().struct.field("event_id")).list.join(",")
    return frame.with_columns(vote_ids=ids)
