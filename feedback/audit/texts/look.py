"""What an audit needs to know of the texts of rows: the narrow table, with the style of those that ask for it."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from feedback.audit.config import AuditConfig
from feedback.audit.texts.features import read_features
from feedback.audit.texts.style import rows_for_style
from feedback.export import TextTable

__all__ = ["look_at_texts"]


def look_at_texts(frame: pl.DataFrame, tables: Sequence[TextTable], config: AuditConfig) -> pl.DataFrame:
    """Rows of `feedback.audit.texts.FEATURES` for the texts of candidates.

    Args:
        frame: rows of `schemas.datasets.CANDIDATE`.
        tables: where their texts lie.
        config: the regions of telephone numbers, and the most rows whose style is looked at.

    Raises:
        UnknownChoiceError: a region that there is not.
    """
    return read_features(tables, styled=rows_for_style(frame, config), phone_regions=config.phone_regions)
