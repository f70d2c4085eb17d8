"""Conversations as one text each, for what works on texts: keys, sketches and counts of characters."""

from __future__ import annotations

from typing import Final

import numpy as np
import polars as pl
import pyarrow as pa

__all__ = ["flat_text"]

_TURN: Final = "\x1e"
_ROLE: Final = "\x1f"


def flat_text(turns: pa.ListArray) -> pa.Array:
    r"""One text for each list of turns: the words of a single turn, or all turns with their roles.

    >>> from schemas.messages import MESSAGES
    >>> said = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    >>> flat_text(pa.array([said[:1], said], MESSAGES)).to_pylist()
    ['Hi', 'user\x1fHi\x1eassistant\x1fHello']

    Args:
        turns: lists of `schemas.messages.Message`. [N].
    """
    content = turns.flatten().field("content")
    if len(content) == len(turns) and _has_one_each(turns):
        return content
    turn = pl.element().struct
    whole = pl.concat_str(turn.field("role"), pl.lit(_ROLE), turn.field("content"))
    texts = (
        pl.Series("turns", turns)
        .to_frame()
        .select(
            pl.when(pl.col("turns").list.len() == 1)
            .then(pl.col("turns").list.first().struct.field("content"))
            .otherwise(pl.col("turns").list.eval(whole).list.join(_TURN))
        )
    )
    return texts.to_series().to_arrow(compat_level=pl.CompatLevel.oldest()).cast(pa.large_string())


def _has_one_each(turns: pa.ListArray) -> bool:
    return bool((np.diff(np.frombuffer(turns.offsets.buffers()[1], dtype=np.int32)[: len(turns) + 1]) == 1).all())
