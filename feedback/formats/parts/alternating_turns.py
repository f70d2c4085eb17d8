"""Conversations whose messages are a name and a text each, as columns: names say nothing, and speakers take turns.

state   { messages: [[name, text], ...], offset, ... }      messages before `offset` are none of the conversation
"""

from __future__ import annotations

from typing import Final

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

__all__ = ["STATE_FIELDS", "alternating_turns"]

Places = NDArray[np.int64]

STATE_FIELDS: Final = (pa.field("messages", pa.list_(pa.list_(pa.string()))), pa.field("offset", pa.int64()))
"""What of a conversation is read here."""

_QUESTION, _ANSWER = "user", "assistant"
_TURN: Final = pa.struct([("role", pa.string()), ("content", pa.string())])


def alternating_turns(states: pa.StructArray) -> pl.Series:
    """The turns of each conversation that is questions and answers, an answer last. [N] of lists; null for others.

    Args:
        states: conversations with at least `STATE_FIELDS`. [N].
    """
    messages, skipped = (states.field(states.type.get_field_index(one.name)) for one in STATE_FIELDS)
    names_and_texts = messages.values
    bounds, pairs, texts = _offsets(messages), _offsets(names_and_texts), names_and_texts.values
    is_there = _valid(states) & _valid(messages) & _valid(skipped)
    skip = np.where(is_there, pl.Series(skipped).fill_null(0).to_numpy(), 0)
    first, last = bounds[:-1] + skip, bounds[1:]
    is_there &= (skip >= 0) & (last - first >= 2) & ((last - first) % 2 == 0)
    first = np.where(is_there, first, last)
    is_wrong = np.diff(pairs) != 2
    spoken = np.minimum(pairs[:-1] + 1, max(len(texts) - 1, 0))
    if texts.null_count:
        is_wrong |= ~_valid(texts)[spoken]
    wrong = np.concatenate(([0], np.cumsum(is_wrong)))
    is_there &= wrong[last] == wrong[first]
    counts = np.where(is_there, last - first, 0)
    ends = np.cumsum(counts)
    # The place of each turn: how far it stands behind the first of its conversation, from where that begins.
    places = np.arange(counts.sum()) + np.repeat(first - ends + counts, counts)
    said = texts.take(pa.array(spoken[places]))
    turns = pa.StructArray.from_arrays([_speakers(len(places)), said], fields=list(_TURN))
    offsets = pa.array(np.concatenate(([0], ends)).astype(np.int32))
    return pl.Series(pa.ListArray.from_arrays(offsets, turns, mask=pa.array(~is_there)))


def _speakers(count: int) -> pa.StringArray:
    """Who says each of an even number of turns. [count]."""
    lengths = np.tile(np.array([len(_QUESTION), len(_ANSWER)], np.int32), count // 2)
    offsets = np.concatenate(([0], np.cumsum(lengths))).astype(np.int32)
    words = (_QUESTION + _ANSWER).encode() * (count // 2)
    return pa.StringArray.from_buffers(count, pa.py_buffer(offsets), pa.py_buffer(words))


def _offsets(lists: pa.ListArray) -> Places:
    """Where each list begins in what all hold, and the end. [N + 1]."""
    found = np.frombuffer(lists.buffers()[1] or bytes(4), np.int32)
    return found[lists.offset : lists.offset + len(lists) + 1].astype(np.int64)


def _valid(array: pa.Array) -> NDArray[np.bool_]:
    """Which values are there. [N]."""
    return np.asarray(pl.Series(array.is_valid()).to_numpy())
