"""Identities of turns for whole columns, as `feedback.hashing.messages_hash` gives them one by one."""

from __future__ import annotations

from typing import Final

import numpy as np
import polars as pl
import pyarrow as pa

from feedback.hashing import exact_text, ids_of_turns
from feedback.ingest.arrow_columns import text_offsets

__all__ = ["turn_hashes"]

_TEXT: Final = "text"
_RETURN: Final = ord("\r")
_CUT_OFF: Final = np.isin(np.arange(256), [9, 10, 11, 12, 13, 28, 29, 30, 31, 32])
"""ASCII characters that `str.rstrip` cuts."""


def turn_hashes(role: str, texts: pa.Array) -> pl.Series:
    """`messages_hash` of each text as one turn: of its own bytes where they are exact already. [N] string.

    Args:
        role: who says all of them.
        texts: what is said. [N] string.
    """
    from feedback.records.byte_kernels import count_bytes, count_code_points

    offsets = text_offsets(texts).astype(np.int64)
    signs = np.frombuffer(texts.buffers()[2] or b"\0", dtype=np.uint8)
    chars = np.empty(len(texts), dtype=np.int64)
    count_code_points(signs, offsets, chars)
    is_inexact = _CUT_OFF[signs[np.maximum(offsets[1:] - 1, 0)]] | (chars != np.diff(offsets))
    if count_bytes(signs, 0, _RETURN):
        at = np.searchsorted(np.flatnonzero(signs == _RETURN), offsets)
        is_inexact |= at[1:] > at[:-1]
    said = pl.DataFrame({_TEXT: pl.Series(texts)})
    ids = said.select(ids_of_turns(role, pl.col(_TEXT))).to_series()
    rows = pl.Series(np.flatnonzero(is_inexact))
    if not len(rows):
        return ids
    exact = pl.DataFrame({_TEXT: [exact_text(text) for text in said[_TEXT].gather(rows)]})
    return ids.scatter(rows, exact.select(ids_of_turns(role, pl.col(_TEXT))).to_series())
