"""The language of each row, as its source says it; nothing is guessed from texts."""

from __future__ import annotations

import polars as pl

from feedback.hashing import keys_of_ids

__all__ = ["with_language"]


def with_language(frame: pl.DataFrame, features: pl.DataFrame | None) -> pl.DataFrame:
    """`frame` with a column `lang`, null where the source does not say; as it is where no row has a language.

    Args:
        frame: rows of `schemas.datasets.CANDIDATE`.
        features: rows of `feedback.audit.texts.features.FEATURES`; null where texts were not read.
    """
    if features is None or features["lang"].null_count() == features.height:
        return frame
    known = features.select("text_key", "text_side", "lang")
    keyed = frame.with_columns(text_key=keys_of_ids(pl.col("text_id")))
    return keyed.join(known, on=["text_key", "text_side"], how="left", maintain_order="left").drop("text_key")
