"""What a format gives for a record: drafts of events and pairs, before ids, hashes and times are worked out.

A draft holds the source's own values. `feedback.ingest.draft_tables` turns drafts into rows, and the value rules check
them. Drafts are structs, which are built ten times as fast as dataclasses, since a file makes millions of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import msgspec

from feedback.formats.plain import PlainRecords
from schemas.messages import Message

__all__ = ["Draft", "EventDraft", "Format", "FoundPartner", "IgnoredDraft", "Join", "PairDraft", "Time"]

Time = datetime | int | float | str
"""A point in time as sources give it: ISO 8601, or seconds since 1970."""


class EventDraft(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A judgement of one answer; the fields are those of `schemas.events.FEEDBACK_EVENT`.

    Args:
        rater: the raw id of who judged; it becomes a keyed hash and goes no further.
        event_time: when it was judged.
        updated_time: when it was last changed.
        record_id: the source's own id of the record, if it has one.
        raw_value: the judgement as it came.
        tools: tool definitions, as JSON.
    """

    prompt: list[Message]
    completion: list[Message]
    signal: str
    raw_value: Any
    label: bool | None
    record_id: str | None = None
    op: str = "create"
    rater: str | None = None
    rater_kind: str = "end_user"
    event_time: Time | None = None
    updated_time: Time | None = None
    model_id: str | None = None
    conversation_id: str | None = None
    message_id: str | None = None
    strength: float | None = None
    reason_codes: tuple[str, ...] = ()
    comment: str | None = None
    lang: str | None = None
    consent: bool | None = None
    tools: str | None = None
    flags: tuple[str, ...] = ()


class PairDraft(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A judgement between two answers; the fields are those of `schemas.pairs.PREFERENCE_PAIR`.

    Args:
        outcome: `a`, `b`, `tie`, `both_bad` or `abstain`.
        rater: the raw id of who judged; it becomes a keyed hash and goes no further.
        presented_first: `a` or `b`, where the source says what was shown first.
    """

    prompt: list[Message]
    response_a: list[Message]
    response_b: list[Message]
    outcome: str
    raw_value: Any
    record_id: str | None = None
    rater: str | None = None
    rater_kind: str = "unknown"
    event_time: Time | None = None
    margin: float | None = None
    score_a: float | None = None
    score_b: float | None = None
    presented_first: str | None = None
    model_a: str | None = None
    model_b: str | None = None
    conversation_id: str | None = None
    tools: str | None = None
    flags: tuple[str, ...] = ()


class IgnoredDraft(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What is sound and left out on purpose: the source's map does not ask for it, or it is about no answer.

    Args:
        what: what was left out and why, in the plural and in words that many share, since reports count them.
        score: the name of a score that the map does not name.
        value: its value.
        is_correction: whether its rater wrote an answer and gave no value.
        is_vague: whether nothing in the record is of this format alone, so that it does not speak for it.
    """

    what: str
    score: str | None = None
    value: Any = None
    is_correction: bool = False
    is_vague: bool = False


Draft = EventDraft | PairDraft | IgnoredDraft
"""What one record becomes, once or more often; each is a row that is kept or left out, and counted."""


class FoundPartner(dict[str, Any]):
    """A record of the other file that holds as little as a stub: it was found, and nothing more is to be had."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Join:
    """What a record lacks and another file has: judgements in one file, the answers that they are about in another.

    Args:
        what: what the other file holds, in the plural, as messages call it.
        key: dotted path of the id in the record.
        other: dotted path of the same id in the records of the other file.
        into: top-level key of the record under which the other record is placed, where it is not there already.
        holds: keys of the other record, of which a whole one has at least one. An object under `into`, or the JSON of
            one, that has none of them is a stub, such as the name of whose it is; empty: any value is whole.
        is_many: place a list of all records with the id, in the order of the file, instead of the only one.
        is_itself: the other file is the same file, unless another one is named.
        file: the other file, where the format itself names it: a map may; one that is asked for wins over it.
        whole: top-level keys, of which one stands in records that hold their judgements themselves and need no file.
        is_judged: whether a record holds a judgement, for formats of which many do not; `Format.parse` then looks at
            nothing that is joined, so that nothing is placed. None: all do.
    """

    what: str
    key: str
    other: str
    into: str
    holds: tuple[str, ...] = ()
    is_many: bool = False
    is_itself: bool = False
    file: str | None = None
    whole: tuple[str, ...] = ()
    is_judged: Callable[[dict[str, Any]], bool] | None = None

    def is_lacking(self, record: Mapping[str, Any]) -> bool:
        """Whether a record still lacks its partner: nothing stands in its place, or a stub that says too little.

        >>> join = Join(what="traces", key="trace_id", other="id", into="trace", holds=("input", "output"))
        >>> [join.is_lacking({"trace": trace}) for trace in (None, {"user": "u1"}, {"user": "u1", "input": "q"})]
        [True, True, False]
        """
        own = record.get(self.into)
        if own is None:
            return True
        return not isinstance(own, FoundPartner) and self.is_stub(own)

    def is_stub(self, own: Any) -> bool:
        """Whether a value is an object, or the JSON of one, without any of the keys that a whole one has."""
        if not self.holds:
            return False
        if isinstance(own, str) and own.lstrip().startswith("{"):
            try:
                own = msgspec.json.decode(own)
            except ValueError:
                return False
        return isinstance(own, dict) and all(own.get(key) is None for key in self.holds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """A way in which sources write feedback.

    Args:
        name: what the format is called in configs and on the command line.
        kind: whether its records are events, pairs, or can be both.
        summary: what it is, one sentence.
        label_rule: how a raw value becomes a label, one sentence. Nothing else becomes one.
        fields: the fields that a record needs and may have, as shown where they are missed.
        keys: all top-level keys that are read; None where any may be.
        parse: the drafts of one record; raises `RecordRejectedError`.
        plain: the shapes of its plain records, if it has any.
        rankings: what parses a record under each value of the setting `ranking`, for formats that rank answers.
        join: what its records need from another file, where judgements and texts are exported apart.
        marks: dotted paths that every record has, and together no record of another format. A format without them is
            known by what its `parse` accepts, see `feedback.formats.sniffing`.
        with_map: the format as a map makes it, by the map's path, for formats that need one.
        user_keys: keys, at any depth, whose value says who somebody is. Quarantine keeps keyed hashes in their place;
            network addresses, e-mail addresses and telephone numbers it never keeps, whatever the format.
    """

    name: str
    kind: Literal["events", "pairs", "both"]
    summary: str
    label_rule: str
    fields: str
    keys: frozenset[str] | None
    parse: Callable[[dict[str, Any]], Iterator[Draft]]
    plain: tuple[PlainRecords, ...] = ()
    rankings: Mapping[str, Callable[[dict[str, Any]], Iterator[Draft]]] | None = None
    join: Join | None = None
    marks: tuple[str, ...] = ()
    with_map: Callable[[Path], Format] | None = None
    user_keys: frozenset[str] = frozenset()
