"""What every candidate stage gives back, and the counting that all of them share.

A stage is `stage(candidates, config, *, digest_in) -> StageResult`: pure, sorted by `row_id`, and its counts sum. Where
rows come in partitions, each part has a report of its own, and `merge_reports` makes them one.
`write_stage` puts a result on disk; nothing else here touches files.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from feedback.hashing import keys_of_texts, stage_digest
from schemas.datasets import CANDIDATE
from schemas.manifest import write_last
from schemas.report import LabelCounts, StageReport

__all__ = [
    "CANDIDATE_TYPES",
    "StageResult",
    "count_labels",
    "counted",
    "finish_stage",
    "merge_reports",
    "sort_rows",
    "write_stage",
]

CANDIDATE_TYPES: Final = pl.Schema(CANDIDATE)
"""`schemas.datasets.CANDIDATE` in polars' types."""

_DECISIONS: Final = ("row_key", "label", "weight", "group_id", "cluster_id", "split")
"""What a stage decides about a row, beside its votes. Rater keys are not in it: they differ between installations."""


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
        figures: further numbers, JSON values only; whole numbers where parts are to be merged.

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
        digest_out=stage_digest(digest_in, name, config, kept, _DECISIONS, _event_keys(kept)),
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


def merge_reports(reports: Sequence[StageReport], notes: Iterable[str] | None = None) -> StageReport:
    """The report of a stage that ran over several parts of the rows: counts and figures summed, digests chained.

    Args:
        reports: one for each part, in the order of the parts, of one stage with one config; at least one.
        notes: notes on all parts; null takes those of the first.
    """
    first = reports[0]
    if len(reports) == 1:
        return first if notes is None else replace(first, notes=tuple(notes))
    dropped: Counter[str] = Counter()
    for report in reports:
        dropped.update(report.dropped)
    digest = hashlib.blake2b("".join(report.digest_out for report in reports).encode(), digest_size=16)
    return StageReport(
        stage=first.stage,
        rows_in=sum(report.rows_in for report in reports),
        rows_created=sum(report.rows_created for report in reports),
        rows_kept=sum(report.rows_kept for report in reports),
        dropped=dict(sorted(dropped.items())),
        labels_in=_sum_labels([report.labels_in for report in reports]),
        labels_kept=_sum_labels([report.labels_kept for report in reports]),
        digest_in=first.digest_in,
        digest_out=digest.hexdigest(),
        config=first.config,
        notes=first.notes if notes is None else tuple(notes),
        figures=_sum_figures([report.figures for report in reports]),
    )


def sort_rows(frame: pl.DataFrame) -> pl.DataFrame:
    """`frame` in its one order: by `row_id`, and rows of one id by what tells them apart."""
    if _is_ascending(frame["row_key"]):
        return frame
    # Keys are quick to sort by; only where two are equal, which a record read twice makes them, must all else decide.
    ordered = _taken(frame, frame["row_key"].arg_sort())
    if _is_ascending(ordered["row_key"]):
        return ordered
    more = [name for name in ("text_side", "text_id", "event_ts", "label", "drop_reason") if name in frame.columns]
    return ordered.sort("row_key", "row_id", *more, nulls_last=True)


def _taken(frame: pl.DataFrame, rows: pl.Series) -> pl.DataFrame:
    """Some rows of `frame`, in memory of their own.

    Lists of structs are taken apart first: polars gathers them 10 times as slowly as this. Texts are copied, since what
    polars gathers still points into the files that `frame` was read from, and would keep them in memory.
    """
    nested = [name for name, kind in frame.schema.items() if isinstance(kind, pl.List) and not frame[name].null_count()]
    taken = _copied_texts(frame.drop(nested)[rows])
    return taken.with_columns(_taken_lists(frame[name], rows.to_numpy()) for name in nested).select(frame.columns)


def _taken_lists(lists: pl.Series, rows: NDArray[np.uint32]) -> pl.Series:
    counts = lists.list.len().to_numpy().astype(np.int64)
    starts = np.cumsum(counts) - counts
    taken = counts[rows]
    offsets = np.concatenate((np.zeros(1, np.int64), np.cumsum(taken)))
    places = np.repeat(starts[rows] - offsets[:-1], taken) + np.arange(offsets[-1])
    values = lists.explode(empty_as_null=False).gather(places)
    if isinstance(values.dtype, pl.Struct):
        values = _copied_texts(values.struct.unnest()).to_struct(lists.name)
    places_of = pl.Series(offsets).to_arrow()
    made = pa.LargeListArray.from_arrays(places_of, values.to_arrow(compat_level=pl.CompatLevel.newest()))
    return pl.Series(lists.name, made, dtype=lists.dtype)


def _copied_texts(frame: pl.DataFrame) -> pl.DataFrame:
    texts = [name for name, kind in frame.schema.items() if kind == pl.String]
    return frame.with_columns(pl.concat_str(pl.col(name), pl.lit("")).alias(name) for name in texts)


def _is_ascending(keys: pl.Series) -> bool:
    values = keys.to_numpy()
    return bool((values[1:] > values[:-1]).all())


def write_stage(result: StageResult, folder: Path) -> None:
    """Write `kept-00000.parquet`, `dropped-00000.parquet` and, last, `report.json` into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    result.kept.write_parquet(folder / "kept-00000.parquet")
    result.dropped.write_parquet(folder / "dropped-00000.parquet")
    write_last(folder / "report.json", result.report.to_json())


def _sum_labels(counts: Sequence[LabelCounts]) -> LabelCounts:
    return LabelCounts(
        sum(one.desirable for one in counts),
        sum(one.undesirable for one in counts),
        sum(one.unlabelled for one in counts),
    )


def _sum_figures(figures: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Numbers summed key by key; what is no number is the same in every part."""
    summed: dict[str, Any] = {}
    for key in sorted({key for one in figures for key in one}):
        values = [one[key] for one in figures if key in one]
        if isinstance(values[0], Mapping):
            summed[key] = _sum_figures(values)
        elif isinstance(values[0], int | float) and not isinstance(values[0], bool):
            summed[key] = sum(values)
        else:
            summed[key] = values[0]
    return summed


def _count_reasons(dropped: pl.DataFrame) -> dict[str, int]:
    counts = dropped.group_by("drop_reason").len().sort("drop_reason")
    return dict(counts.iter_rows())


def _event_keys(rows: pl.DataFrame) -> Iterator[pl.Series]:
    """How many votes each row has and a key of each vote; the same of its other events, where any row has some."""
    votes, others = rows["votes"], rows["other_event_ids"]
    yield votes.list.len().alias("votes")
    yield _keys_of_ids(votes.explode(empty_as_null=False).struct.field("event_id"))
    if others.null_count() < others.len():
        yield others.list.len().fill_null(0).alias("other_event_ids")
        yield _keys_of_ids(others.explode(empty_as_null=False, keep_nulls=False).alias("event_id"))


def _keys_of_ids(ids: pl.Series) -> pl.Series:
    return ids.to_frame().select(keys_of_texts(pl.col("event_id"))).to_series()
