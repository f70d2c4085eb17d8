"""Metrics of privacy that need texts or events: personal data by kind, and rows without consent."""

from __future__ import annotations

from dataclasses import replace

import polars as pl

from feedback.audit.config import AuditConfig
from feedback.audit.report import Column, Metric, Table
from feedback.audit.statistics import wilson_interval
from feedback.audit.texts.features import PERSONAL
from feedback.audit.texts.shares import share_metric
from feedback.audit.wording import percent, plural
from feedback.personal import KINDS

__all__ = ["measure_consent", "measure_personal", "tabulate_personal"]


def measure_personal(rows: pl.DataFrame, config: AuditConfig) -> list[Metric]:
    """The metric `personal_data`: the share of rows whose prompt, answer or tools hold any, by kind in its details.

    Args:
        rows: candidates of all splits with `feedback.audit.texts.features.FEATURES`.
        config: the thresholds.
    """
    if rows.is_empty():
        return []
    by_kind = _by_kind(rows)
    listed = ", ".join(f"{KINDS[kind]} in {count:,}" for kind, count in by_kind.items() if count)
    return [
        share_metric(
            "personal_data",
            "Personal data in texts",
            int(rows.select(pl.any_horizontal(*PERSONAL)).to_series().sum()),
            rows.height,
            most=config.max_personal_data,
            least_rows=1,  # one person's address is one too many in a small table as well
            claim="hold what looks like personal data" + (f" ({listed})" if listed else ""),
            why="A model may repeat it; names and postal addresses are not looked for.",
            noun="row",
            details={"kinds": by_kind},
        )
    ]


def tabulate_personal(rows: pl.DataFrame) -> list[Table]:
    """The table `personal_data`: rows with each kind, and the interval of their share; no table where there is none."""
    found = {kind: count for kind, count in _by_kind(rows).items() if count}
    if not found:
        return []
    columns = (
        Column("kind", "Kind", "text"),
        Column("rows", "Rows", "count"),
        Column("share", "Share of rows", "share"),
        Column("low", "95% from", "share"),
        Column("high", "to", "share"),
    )
    lines = tuple(
        (KINDS[kind], count, count / rows.height, *wilson_interval(count, rows.height))
        for kind, count in sorted(found.items(), key=lambda item: (-item[1], item[0]))
    )
    note = "Found by patterns that are checked; what was found is not kept."
    return [Table("personal_data", "Personal data in texts", columns, lines, note)]


def measure_consent(rows: pl.DataFrame, config: AuditConfig) -> list[Metric]:
    """The metric `consent`: the share of rows whose user refused it, and how many never said.

    Args:
        rows: candidates of all splits with `feedback.audit.texts.features.FEATURES`.
        config: the thresholds.
    """
    n, known = rows.height, rows["consent"].drop_nulls()
    if not n:
        return []
    if known.is_empty():
        return [
            Metric(
                name="consent",
                title="Consent refused",
                value=None,
                kind="share",
                n=0,
                severity="info",
                sentence=f"Of {plural(n, 'row')} the source does not say whether the user consented to training.",
                details={"rows": 0, "unknown": n},
            )
        ]
    unknown = n - len(known)
    left = f" Of {percent(unknown / n)} of all rows ({unknown:,}) it is not known." if unknown else ""
    metric = share_metric(
        "consent",
        "Consent refused",
        int((~known).sum()),
        len(known),
        most=config.max_refused_consent,
        least_rows=1,
        claim="come from a user who did not consent to training",
        why="They must not be trained on.",
        noun="row",
        details={"unknown": unknown},
    )
    return [replace(metric, sentence=metric.sentence + left)]


def _by_kind(rows: pl.DataFrame) -> dict[str, int]:
    return {kind: int(rows[name].sum()) for name, kind in PERSONAL.items()}
