"""Drafts of one kind as columns of Arrow, some hundred at a time, before ids, hashes and times are worked out.

    drafts ─► tuples ─► columns ─► a table of a piece ─┐
                                   ... of others ──────┴─► `feedback.ingest.draft_tables`

What is made here is what must be made of Python's objects, so that they can be let go while they are few. A raw user id
is still a column here; it ends in the tables.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from operator import itemgetter
from typing import Any, Final

import msgspec
import numpy as np
import pyarrow as pa

from feedback.formats.drafts import EventDraft, PairDraft
from feedback.ingest.arrow_columns import as_field, indices, repeated
from schemas.events import FEEDBACK_EVENT
from schemas.messages import MESSAGES, Message
from schemas.pairs import PREFERENCE_PAIR
from schemas.reasons import RejectReason
from schemas.rules import FeedbackEventRules, PreferencePairRules, Rules

__all__ = ["EVENTS", "KINDS", "PAIRS", "DraftColumns", "DraftKind"]

_PARTS: Final = (itemgetter("role"), itemgetter("content"))
"""In the order of the fields of `schemas.messages.MESSAGES`."""
_OWN: Final = (pa.field("record_id", pa.string()), pa.field("rater", pa.string()))
"""What the drafts have and the tables have in another form."""
_AS_JSON: Final = json.JSONEncoder(ensure_ascii=False, default=str).encode
_KEPT: Final = (bool, int, str, type(None))
"""Types of raw values of which equal ones of one type have the same JSON; not so floats: 0.0 equals -0.0."""


@dataclass(frozen=True, slots=True)
class DraftKind:
    """Drafts of events, or of pairs, and the table that they become.

    Args:
        name: what its files are called.
        draft: the class of the drafts.
        blank: a draft that says nothing.
        schema: schema of the table.
        rules: rules of the table.
        turns: the fields that hold chat turns.
        times: the fields that hold times.
    """

    name: str
    draft: type[EventDraft | PairDraft]
    blank: EventDraft | PairDraft
    schema: pa.Schema
    rules: Rules
    turns: tuple[str, ...]
    times: tuple[str, ...]


EVENTS: Final = DraftKind(
    name="events",
    draft=EventDraft,
    blank=EventDraft(prompt=[], completion=[], signal="", raw_value=None, label=None),
    schema=FEEDBACK_EVENT,
    rules=FeedbackEventRules,
    turns=("prompt", "completion"),
    times=("event_time", "updated_time"),
)
PAIRS: Final = DraftKind(
    name="pairs",
    draft=PairDraft,
    blank=PairDraft(prompt=[], response_a=[], response_b=[], outcome="", raw_value=None),
    schema=PREFERENCE_PAIR,
    rules=PreferencePairRules,
    turns=("prompt", "response_a", "response_b"),
    times=("event_time",),
)
KINDS: Final = (EVENTS, PAIRS)


class DraftColumns:
    """All drafts of one kind in a block, in their order.

    Args:
        kind: the kind.

    Attributes:
        owners: number of the record that each is of.
        orders: which of its record's drafts it is, where that is not the first, by its place in the columns.
        repeats: how many drafts of its record with the same id stand before it, where any do, by its place.
        times: the times as the drafts hold them, by field.
        broken: `RejectReason` and detail of those that cannot be columns, by their place.
    """

    def __init__(self, kind: DraftKind) -> None:
        self.kind = kind
        self.owners: list[int] = []
        self.orders: dict[int, int] = {}
        self.repeats: dict[int, int] = {}
        self.times: dict[str, list[Any]] = {name: [] for name in kind.times}
        self.broken: dict[int, tuple[str, str]] = {}
        self._waiting: list[EventDraft | PairDraft] = []
        self._tables: list[pa.Table] = []

    def add(self, draft: EventDraft | PairDraft, owner: int, *, order: int = 0, repeat: int = 0) -> None:
        """Take a draft.

        Args:
            draft: the draft.
            owner: number of its record.
            order: which of its record's drafts it is, from 0.
            repeat: how many of those before it have its id.
        """
        if order:
            self.orders[len(self.owners)] = order
        if repeat:
            self.repeats[len(self.owners)] = repeat
        self._waiting.append(draft)
        self.owners.append(owner)

    def settle(self, least: int = 1) -> None:
        """Make columns of the drafts that wait, and let go of them.

        Args:
            least: how many must wait.
        """
        if not self._waiting or len(self._waiting) < least:
            return
        try:
            table = self._made()
        except UnicodeEncodeError:
            self._blank_surrogates()
            table = self._made()
        for name, times in self.times.items():
            times.extend(getattr(draft, name) for draft in self._waiting)
        self._tables.append(table)
        self._waiting = []

    def table(self) -> pa.Table:
        """The columns of all drafts: those that are copied, turns, and ids as they came.

        There is at least one draft.
        """
        self.settle()
        return pa.concat_tables(self._tables).combine_chunks()

    def _blank_surrogates(self) -> None:
        """Empty the drafts with half of a surrogate pair, which JSON in a text of the record can hold."""
        first = len(self.owners) - len(self._waiting)
        for place, draft in enumerate(self._waiting):
            try:
                _AS_JSON(msgspec.structs.astuple(draft)).encode("utf-8")
            except UnicodeEncodeError as error:
                detail = f"the text holds {error.object[error.start]!a}, half of a surrogate pair"
                self.broken[first + place] = (RejectReason.LONE_SURROGATE, detail)
                self._waiting[place] = self.kind.blank

    def _made(self) -> pa.Table:
        drafts = self._waiting
        names = self.kind.draft.__struct_fields__
        given: dict[str, Sequence[Any]] = dict(
            zip(names, zip(*map(msgspec.structs.astuple, drafts), strict=True), strict=True)
        )
        given["raw_value"] = _json_texts(given["raw_value"])
        copied = [field for field in self.kind.schema if field.name in given and field.name not in self.kind.turns]
        arrays = {field.name: _array(given[field.name], field.type) for field in (*copied, *_OWN)}
        for name in self.kind.turns:
            arrays[name] = _turns(given[name])
        return pa.table(arrays)


def _array(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    """The values as an array. Most columns hold one value again and again, which is quick to see and to write."""
    first, count = values[0], len(values)
    if first is None and values.count(None) == count:
        return pa.nulls(count, kind)
    if isinstance(first, str) and kind == pa.string() and values.count(first) == count:
        return repeated(first, count)
    if first == () and values.count(()) == count:
        return as_field(None, pa.field("", kind), count)
    return pa.array(values, kind)


def _turns(lists: Sequence[list[Message]]) -> pa.Array:
    """Lists of turns as an array of `schemas.messages.MESSAGES`, put together from flat columns."""
    offsets = np.zeros(len(lists) + 1, dtype=np.int32)
    np.cumsum(np.fromiter(map(len, lists), np.int32, len(lists)), out=offsets[1:])
    turns = list(chain.from_iterable(lists))
    columns = [_array(list(map(part, turns)), pa.string()) if turns else pa.nulls(0, pa.string()) for part in _PARTS]
    said = pa.StructArray.from_arrays(columns, fields=list(MESSAGES.value_type))
    return pa.ListArray.from_arrays(indices(offsets), said, type=MESSAGES)


def _json_texts(values: Sequence[Any]) -> list[str]:
    """The JSON of each value; most are one of few."""
    known: dict[tuple[type, Any], str] = {}
    texts: list[str] = []
    for value in values:
        kind = type(value)
        if kind not in _KEPT:
            texts.append(_AS_JSON(value))
            continue
        text = known.get((kind, value))
        if text is None:
            text = known[kind, value] = _AS_JSON(value)
        texts.append(text)
    return texts
