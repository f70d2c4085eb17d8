"""Everything that an audit says of texts, from candidates and the narrow table of what is known of their texts."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from feedback.audit.balance import training_rows
from feedback.audit.config import AuditConfig
from feedback.audit.report import Metric, Table
from feedback.audit.texts.integrity import measure_integrity
from feedback.audit.texts.personal import measure_consent, measure_personal, tabulate_personal
from feedback.audit.texts.style import find_lifts, measure_style, tabulate_style
from feedback.hashing import keys_of_ids

__all__ = ["TextFindings", "measure_texts"]

_OF_ROWS = ("row_key", "text_side", "label", "split", "prompt_key", "completion_key")


@dataclass(frozen=True, slots=True)
class TextFindings:
    """Metrics and tables of texts."""

    metrics: tuple[Metric, ...] = ()
    tables: tuple[Table, ...] = ()


def measure_texts(frame: pl.DataFrame, features: pl.DataFrame | None, config: AuditConfig) -> TextFindings:
    """What there is to say of the texts of candidates; nothing where no features are given.

    Style and integrity are of the rows that would be trained on, personal data and consent of all.

    Args:
        frame: rows of `schemas.datasets.CANDIDATE`.
        features: rows of `feedback.audit.texts.features.FEATURES`; null where texts were not read.
        config: the thresholds.
    """
    if features is None:
        return TextFindings()
    narrow = frame.select(keys_of_ids(pl.col("text_id")).alias("text_key"), *_OF_ROWS)
    rows = narrow.join(features, on=["text_key", "text_side"], how="inner", maintain_order="left")
    trained = training_rows(rows)
    lifts = find_lifts(trained, config)
    return TextFindings(
        (
            *measure_integrity(trained, config),
            *measure_style(lifts, config),
            *measure_personal(rows, config),
            *measure_consent(rows, config),
        ),
        (*tabulate_style(lifts), *tabulate_personal(rows)),
    )
