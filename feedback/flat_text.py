"""Conversations as one text each, for what works on texts: keys, sketches and counts of characters."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

__all__ = ["flat_text"]


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
    from feedback.turn_kernels import join_turns  # loads numba

    roles = turns.flatten().field("role")
    firsts = _offsets(turns.offsets, len(turns))
    bytes_of, places = zip(*(_bytes_and_offsets(one) for one in (roles, content)), strict=True)
    size = sum(int(one[-1] - one[0]) for one in places) + 2 * len(content)
    ends, out = np.zeros(len(turns) + 1, dtype=np.int64), np.empty(size, dtype=np.uint8)
    join_turns(bytes_of[0], places[0], bytes_of[1], places[1], firsts - firsts[0], ends[1:], out)
    return pa.LargeStringArray.from_buffers(len(turns), pa.py_buffer(ends), pa.py_buffer(out[: ends[-1]]))


def _bytes_and_offsets(texts: pa.Array) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    texts = texts if texts.type == pa.string() else texts.cast(pa.string())
    signs = np.frombuffer(texts.buffers()[2] or b"", dtype=np.uint8)
    if not len(texts):
        return signs, np.zeros(1, dtype=np.int32)
    return signs, np.frombuffer(texts.buffers()[1], dtype=np.int32)[texts.offset : texts.offset + len(texts) + 1]


def _offsets(offsets: pa.Array, rows: int) -> NDArray[np.int32]:
    return np.frombuffer(offsets.buffers()[1], dtype=np.int32)[offsets.offset : offsets.offset + rows + 1]


def _has_one_each(turns: pa.ListArray) -> bool:
    return bool((np.diff(_offsets(turns.offsets, len(turns))) == 1).all())
