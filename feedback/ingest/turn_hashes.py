"""Identities of turns for whole columns, as `feedback.hashing.messages_hash` gives them one by one."""

from __future__ import annotations

from typing import Final

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from feedback.hashing import exact_text, ids_of_turns, messages_hash
from feedback.ingest.arrow_columns import text_offsets
from schemas.messages import ROLES

__all__ = ["list_hashes", "turn_hashes"]

_TEXT: Final = "text"
_ROLES: Final = tuple(sorted(ROLES))
_NAMES: Final = np.frombuffer("".join(_ROLES).encode("ascii"), dtype=np.uint8)
_NAME_OFFSETS: Final = np.cumsum([0, *map(len, _ROLES)], dtype=np.int64)
_NO_ROLE: Final = 255
_DIGEST_BYTES: Final = 16
_RETURN: Final = ord("\r")
_CUT_OFF: Final = np.isin(np.arange(256), [9, 10, 11, 12, 13, 28, 29, 30, 31, 32])
"""ASCII characters that `str.rstrip` cuts."""


def turn_hashes(role: str, texts: pa.Array) -> pl.Series:
    """`messages_hash` of each text as one turn: of its own bytes where they are exact already. [N] string.

    Args:
        role: who says all of them.
        texts: what is said. [N] string.
    """
    said = pl.DataFrame({_TEXT: pl.Series(texts)})
    ids = said.select(ids_of_turns(role, pl.col(_TEXT))).to_series()
    rows = pl.Series(np.flatnonzero(_are_inexact(texts)))
    if not len(rows):
        return ids
    exact = pl.DataFrame({_TEXT: [exact_text(text) for text in said[_TEXT].gather(rows)]})
    return ids.scatter(rows, exact.select(ids_of_turns(role, pl.col(_TEXT))).to_series())


def list_hashes(turns: pa.ListArray) -> pl.Series:
    """`messages_hash` of each list of turns. [N] string.

    Args:
        turns: of `schemas.messages.MESSAGES`; its values begin with the first list's and end with the last one's. [N].
    """
    said, firsts = turns.values, np.frombuffer(turns.offsets.buffers()[1], dtype=np.int32)[: len(turns) + 1]
    roles, texts = pl.Series(said.field("role")), said.field("content")
    speakers = roles.unique()
    if len(said) == len(turns) and len(speakers) == 1 and (np.diff(firsts) == 1).all():
        return turn_hashes(speakers[0], texts)
    codes = roles.replace_strict(_ROLES, range(len(_ROLES)), default=_NO_ROLE, return_dtype=pl.UInt8).to_numpy()
    hashes = _chained(texts, codes, firsts.astype(np.int64))
    for row in _rows_of(np.flatnonzero(codes == _NO_ROLE), firsts):
        # A role that breaks the rules of rows: the row goes to quarantine later.
        hashes = hashes.scatter(row, messages_hash(turns[row].as_py()))
    return hashes


def _chained(texts: pa.Array, roles: NDArray[np.uint8], firsts: NDArray[np.int64]) -> pl.Series:
    """The hashes of lists whose roles are numbered; nonsense for those with other roles."""
    from feedback.hash_kernels import chain_hashes  # loads numba

    is_inexact = _are_inexact(texts)
    rows = np.flatnonzero(is_inexact)
    exact = [exact_text(text).encode("utf-8") for text in pl.Series(texts).gather(pl.Series(rows))] if len(rows) else []
    places = np.full(len(texts), -1)
    places[rows] = np.arange(len(rows))
    found = np.empty((len(firsts) - 1, 2), np.uint64)
    chain_hashes(
        np.frombuffer(texts.buffers()[2] or b"\0", dtype=np.uint8),
        text_offsets(texts).astype(np.int64),
        np.frombuffer(b"".join(exact), dtype=np.uint8),
        np.cumsum([0, *map(len, exact)], dtype=np.int64),
        places,
        np.minimum(roles, np.uint8(len(_ROLES) - 1)),
        firsts,
        _NAMES,
        _NAME_OFFSETS,
        found,
    )
    digests = found[:, ::-1].astype(">u8")
    offsets = np.arange(len(found) + 1, dtype=np.int64) * _DIGEST_BYTES
    whole = pa.LargeBinaryArray.from_buffers(
        pa.large_binary(), len(found), [None, pa.py_buffer(offsets), pa.py_buffer(digests.tobytes())]
    )
    return pl.Series(whole).bin.encode("hex")


def _rows_of(turns: NDArray[np.int64], firsts: NDArray[np.int32]) -> list[int]:
    """The lists that some turns are in."""
    return sorted(set((np.searchsorted(firsts, turns, side="right") - 1).tolist()))


def _are_inexact(texts: pa.Array) -> NDArray[np.bool_]:
    """Which texts may not be exact already, see `exact_text`: rather too many than too few."""
    from feedback.records.byte_kernels import count_bytes, count_code_points

    offsets = text_offsets(texts).astype(np.int64)
    signs = np.frombuffer(texts.buffers()[2] or b"\0", dtype=np.uint8)
    chars = np.empty(len(texts), dtype=np.int64)
    count_code_points(signs, offsets, chars)
    is_inexact: NDArray[np.bool_] = _CUT_OFF[signs[np.maximum(offsets[1:] - 1, 0)]] | (chars != np.diff(offsets))
    if count_bytes(signs, 0, _RETURN):
        at = np.searchsorted(np.flatnonzero(signs == _RETURN), offsets)
        is_inexact |= at[1:] > at[:-1]
    return is_inexact
