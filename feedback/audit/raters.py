"""Who gave the feedback: how much comes from a few, and that nobody can be recognised."""

from __future__ import annotations

from typing import Final

import polars as pl

from feedback.audit.config import AuditConfig
from feedback.audit.counted import counted_share
from feedback.audit.report import Column, Metric, Table
from feedback.audit.severity import warn_if
from feedback.audit.statistics import gini, wilson_interval
from feedback.audit.wording import count, none_of, number, percent, plural

__all__ = ["measure_privacy", "measure_raters", "rater_curve", "shown_rater", "tabulate_raters", "votes"]

_LEAST_KEY: Final = 2**32
"""A keyed hash is smaller once in four thousand million raters; ids that count users from 1 all are."""
_POINTS: Final = 100
_SHOWN: Final = 10


def votes(frame: pl.DataFrame) -> pl.DataFrame:
    """Every judgement behind the rows, once.

    Args:
        frame: rows of `schemas.datasets.CANDIDATE`.

    Returns:
        prompt_key, completion_key and origin of the row; event_id, rater_key, event_ts and label of the judgement.
    """
    exploded = frame.select("prompt_key", "completion_key", "origin", "votes").explode("votes", empty_as_null=False)
    judgement = pl.col("votes").struct.field("event_id", "rater_key", "event_ts", "label")
    flat = exploded.with_columns(judgement).drop("votes")
    return flat.unique(subset=["prompt_key", "completion_key", "event_id", "label"], keep="first", maintain_order=True)


def shown_rater(key: int) -> str:
    """The first digits of a rater's keyed hash; a raw id is never shown, not even the start of it.

    >>> shown_rater(0xABCDEF0123456789), shown_rater(42)
    ('abcdef01…', '(raw id)')
    """
    return "(raw id)" if key < _LEAST_KEY else f"{key:016x}"[:8] + "…"


def measure_raters(judged: pl.DataFrame, config: AuditConfig) -> list[Metric]:
    """The metrics `top_rater`, `top_10_raters` and `rater_gini` of `votes`, or one that says that no rater is known."""
    counts, total = _count(judged)
    known = sum(counts)
    if not known:
        return [_unknown(total)] if total else []
    return [_top_rater(counts, total, config), _top_raters(counts), _gini(counts)]


def measure_privacy(frame: pl.DataFrame) -> list[Metric]:
    """The metric `raw_rater_ids`: raters whose key is too small for a keyed hash, so that it may be a raw id."""
    voters = frame["votes"].explode(empty_as_null=False).struct.field("rater_key")
    keys = pl.concat([frame["rater_key"], voters.rename("rater_key")]).drop_nulls().unique()
    raw = int((keys < _LEAST_KEY).sum())
    return [
        Metric(
            name="raw_rater_ids",
            title="Raw user ids",
            value=raw,
            kind="count",
            n=keys.len(),
            severity="fail" if raw else "ok",
            sentence=f"{plural(raw, 'rater key')} of {count(keys.len())} cannot be a keyed hash, "
            "so raw user ids may be in the table."
            if raw
            else f"{none_of(keys.len(), 'rater key')} is a raw user id.",
            threshold="none",
        )
    ]


def tabulate_raters(judged: pl.DataFrame) -> list[Table]:
    """The table `raters` of `votes`: those who judged most, named by the first digits of their keyed hash."""
    known = judged.drop_nulls("rater_key")
    if known.is_empty():
        return []
    by_rater = known.group_by("rater_key").agg(
        judgements=pl.col("event_id").n_unique(), labels=pl.len(), up=pl.col("label").sum()
    )
    total = int(by_rater["judgements"].sum())
    top = by_rater.sort(["judgements", "rater_key"], descending=[True, False]).head(_SHOWN)
    rows = []
    for key, judgements, labels, up in top.iter_rows():
        low, high = wilson_interval(up, labels)
        rows.append((shown_rater(key), judgements, judgements / total, up / labels, low, high))
    columns = (
        Column("rater", "Rater", "text"),
        Column("judgements", "Judgements", "count"),
        Column("share", "Share of all", "share"),
        Column("share_up", "Share up", "share"),
        Column("low", "95% from", "share"),
        Column("high", "to", "share"),
    )
    return [
        Table("raters", "Raters who judged most", columns, tuple(rows), "A rater is a keyed hash, never a user id.")
    ]


def rater_curve(judged: pl.DataFrame) -> list[Table]:
    """The series `rater_curve` (Lorenz): the share of judgements that the least active share of raters gave."""
    counts, _ = _count(judged)
    if not counts:
        return []
    ordered, known = sorted(counts), sum(counts)
    sums = [0]
    for value in ordered:
        sums.append(sums[-1] + value)
    places = sorted({round(step * len(ordered) / _POINTS) for step in range(_POINTS + 1)})
    points = tuple((place / len(ordered), sums[place] / known) for place in places)
    columns = (Column("raters", "Share of raters", "share"), Column("judgements", "Share of judgements", "share"))
    return [Table("rater_curve", "Judgements by rater", columns, points)]


def _count(judged: pl.DataFrame) -> tuple[list[int], int]:
    """Judgements of each known rater, most first, and of all: a pair is one judgement though it labels two answers."""
    judgements = judged.select("event_id", "rater_key").unique()
    counts = judgements.drop_nulls("rater_key").group_by("rater_key").len()["len"].sort(descending=True)
    return counts.to_list(), judgements.height


def _unknown(total: int) -> Metric:
    return Metric(
        name="top_rater",
        title="Most active rater",
        value=None,
        kind="share",
        n=0,
        severity="info",
        sentence=f"No rater is known for {plural(total, 'judgement')}, so a few people may have given them all.",
    )


def _top_rater(counts: list[int], total: int, config: AuditConfig) -> Metric:
    known = sum(counts)
    share = counts[0] / known
    partly = (
        "" if known == total else f" A rater is known for {percent(known / total)} of {plural(total, 'judgement')}."
    )
    return counted_share(
        name="top_rater",
        title="Most active rater",
        cases=counts[0],
        n=known,
        severity=warn_if(share > config.max_top_rater, known, config),
        sentence=f"One rater of {count(len(counts))} gave {percent(share, config.max_top_rater)} of "
        f"{plural(known, 'judgement')} ({count(counts[0])}): the model learns that much from one person's taste."
        f"{partly}",
        threshold=f"at most {percent(config.max_top_rater)}",
        details={"raters": len(counts), "judgements": counts[0], "known": known, "total": total},
    )


def _top_raters(counts: list[int]) -> Metric:
    known, top = sum(counts), sum(counts[:10])
    who = "The only rater" if len(counts) == 1 else f"The {min(10, len(counts))} most active of {len(counts):,} raters"
    return counted_share(
        name="top_10_raters",
        title="Ten most active raters",
        cases=top,
        n=known,
        sentence=f"{who} gave {percent(top / known)} of {plural(known, 'judgement')}.",
    )


def _gini(counts: list[int]) -> Metric:
    value = gini(counts)
    return Metric(
        name="rater_gini",
        title="Inequality of raters (Gini)",
        value=value,
        kind="number",
        n=len(counts),
        severity="info",
        sentence=f"Gini {number(value)} over {plural(len(counts), 'rater')}: "
        "0 if all judged equally often, near 1 if one did it all.",
    )
