"""Format `otel_genai`: evaluations as OpenTelemetry's conventions for generative AI write them, with the spans judged.

    event gen_ai.evaluation.result {gen_ai.evaluation.{name, score.value, score.label, explanation}, gen_ai.response.id}
      alone, as a log record         ── gen_ai.response.id ──► span            --join spans.jsonl
      in the events of its span      ─► that span
      in an OTLP envelope            ─► the span or record in the envelope with its response id, else with its span id

Attributes may be an object or OTLP's list of keys and values, and an envelope (`resourceSpans`, `resourceLogs`) one
line of the collector's file exporter. Log records without the response id join by the span instead, in the map:
`[join] key = "spanId"` and `other = "spanId"`. The other file may also hold the events
`gen_ai.client.inference.operation.details`, which have the same attributes.

The text is `gen_ai.input.messages` and `gen_ai.output.messages`, JSON in a string on spans, with
`gen_ai.system_instructions` in front; older instrumentations have `gen_ai.prompt.N.content` and
`gen_ai.completion.N.content`. Recording it is opt-in: a span without it is rejected. The conventions do not say who
judged, so the map has to (`rater_kind`). Evaluations with an `error.type` failed and are left out.

Source: model/gen-ai/events.yaml, docs/gen-ai/gen-ai-events.md and docs/gen-ai/non-normative/examples-llm-calls.md of
open-telemetry/semantic-conventions, and opentelemetry-proto.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import polars as pl
import pyarrow as pa

from feedback.formats.drafts import Draft, IgnoredDraft, Join, Time
from feedback.formats.mapping.score_columns import SCORE, score_fields, told_scores
from feedback.formats.mapping.score_map import ScoreMap
from feedback.formats.mapping.scores import Score, Subject, need_joined, score_drafts, scored_format
from feedback.formats.parts.attributes import find_attribute, plain_attributes
from feedback.formats.parts.field_columns import is_id, seconds_of_nanoseconds, text_of
from feedback.formats.parts.fields import optional_id, optional_text, reject, shown
from feedback.formats.parts.message_columns import messages_in_texts, system_in_texts
from feedback.formats.parts.trace_texts import chat_turns, decoded, decoded_system
from feedback.formats.plain import BOOLEAN, FLOAT, ID, ITEM, TEXT, WHOLE, Items, PlainRecords, Turns
from schemas.reasons import RejectReason

__all__ = ["OTEL_GENAI"]

_ENVELOPES: Final = (
    ("resourceSpans", "scopeSpans", "spans"),
    ("resource_spans", "scope_spans", "spans"),
    ("resourceLogs", "scopeLogs", "logRecords"),
    ("resource_logs", "scope_logs", "log_records"),
)
_TIMES: Final = ("timeUnixNano", "time_unix_nano", "observedTimeUnixNano", "observed_time_unix_nano")
_RESPONSE: Final = "gen_ai.response.id"
_NAME: Final = "gen_ai.evaluation.name"
_EXPLANATION: Final = "gen_ai.evaluation.explanation"
_CONVERSATION: Final = "gen_ai.conversation.id"
_SYSTEM: Final = "gen_ai.system_instructions"
_MODELS: Final = ("gen_ai.response.model", "gen_ai.request.model")
_WITHOUT: Final = "spans and log records without an evaluation"
_NANOSECONDS: Final = f"{ITEM}.{_TIMES[0]}"
_INPUTS: Final = ("gen_ai.input.messages", "gen_ai.prompt")
_OUTPUTS: Final = ("gen_ai.output.messages", "gen_ai.completion")
_READ: Final = (_RESPONSE, _CONVERSATION, _SYSTEM, _INPUTS[0], _OUTPUTS[0], *_MODELS)
_SAID: Final = (_NAME, _RESPONSE, _EXPLANATION, "gen_ai.evaluation.score.label")
"""What texts plain spans, and the evaluations in them, have for attributes."""


@dataclass(frozen=True, slots=True)
class _Place:
    """A span, a log record or an event of a span.

    Args:
        raw: as it came.
        attributes: its attributes as an object.
    """

    raw: dict[str, Any]
    attributes: dict[str, Any]

    def find(self, name: str) -> Any:
        """The value of an attribute, or None."""
        value = self.attributes.get(name)
        return find_attribute(self.attributes, name) if value is None else value

    @property
    def data(self) -> dict[str, Any]:
        """Where mapped paths begin: as it came, with its attributes as an object."""
        raw = self.raw
        return raw if raw.get("attributes") is self.attributes else {**raw, "attributes": self.attributes}

    def first(self, names: tuple[str, ...]) -> Any:
        """The value of the first of these attributes that there is."""
        for name in names:
            if (value := self.find(name)) is not None:
                return value
        return None

    @property
    def span_id(self) -> Any:
        """The id of the span that it is, or lies in."""
        return find_attribute(self.raw, "context.span_id") or self.raw.get("spanId") or self.raw.get("span_id")

    @property
    def has_texts(self) -> bool:
        """Whether it says what was asked or answered."""
        return self.first(_INPUTS) is not None or self.first(_OUTPUTS) is not None


class _Spans:
    """The spans and log records of a record, with those that hold texts by what they are known by.

    Args:
        places: the spans and log records.
    """

    def __init__(self, places: list[_Place]) -> None:
        self.places = places
        self._by_name: dict[str, dict[Any, _Place]] = {}

    def of_response(self, response: Any) -> _Place | None:
        """The first one with texts that has a response id."""
        return self._first("response", response, lambda place: place.find(_RESPONSE))

    def of_span(self, span_id: Any) -> _Place | None:
        """The first one with texts that has a span id."""
        return self._first("span", span_id, lambda place: place.span_id)

    def _first(self, name: str, sought: Any, known_by: Callable[[_Place], Any]) -> _Place | None:
        if not isinstance(sought, str):
            same = (place for place in self.places if known_by(place) == sought and place.has_texts)
            return next(same, None) if sought is not None else None
        if name not in self._by_name:
            # An envelope holds hundreds of spans, and an evaluation of each.
            found: dict[Any, _Place] = {}
            for place in self.places:
                own = known_by(place)
                if isinstance(own, str) and own not in found and place.has_texts:
                    found[own] = place
            self._by_name[name] = found
        return self._by_name[name].get(sought)


def _parse(record: dict[str, Any], known: ScoreMap) -> Iterator[Draft]:
    spans = _Spans(_places(record))
    is_judged = False
    for place in spans.places:
        for evaluation in _evaluations(place):
            is_judged = True
            yield from _evaluation(evaluation, place, spans, record.get("span"), known)
    if not is_judged:
        is_known = any(envelope[0] in record for envelope in _ENVELOPES)
        if not is_known and (record.get("attributes") is None or spans.places[0].span_id is None):
            reject(RejectReason.MISSING_FIELD, f"field 'attributes[\"{_NAME}\"]' is absent or null")
        yield IgnoredDraft(what=_WITHOUT)


def _places(record: dict[str, Any]) -> list[_Place]:
    """All spans and log records in a record: those of an envelope, or the record itself."""
    found: list[_Place] = []
    is_envelope = False
    for resources, scopes, items in _ENVELOPES:
        if resources in record:
            is_envelope = True
            for resource in _objects(record[resources], resources):
                for scope in _objects(resource.get(scopes), scopes):
                    found += [_place(one) for one in _objects(scope.get(items), items)]
    return found if is_envelope else [_place(record)]


def _objects(value: Any, field: str) -> list[dict[str, Any]]:
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        reject(RejectReason.WRONG_TYPE, f"field {field!r} is {shown(value)}; expected a list of objects")
    return value


def _place(raw: dict[str, Any]) -> _Place:
    # A record without attributes may have them for keys, as tables of log records do.
    return _Place(raw, plain_attributes(raw["attributes"]) if raw.get("attributes") is not None else raw)


def _evaluations(place: _Place) -> list[_Place]:
    own = [place] if place.find(_NAME) is not None else []
    events = place.raw.get("events")
    told = [_place(one) for one in events if isinstance(one, dict)] if isinstance(events, list) else []
    return own + [event for event in told if event.find(_NAME) is not None]


def _evaluation(event: _Place, owner: _Place, spans: _Spans, joined: Any, known: ScoreMap) -> Iterator[Draft]:
    if event.find("error.type") is not None:
        yield IgnoredDraft(what="evaluations that failed")
        return
    told = {"explanation": event.find(_EXPLANATION)}
    score = Score(
        name=str(event.find(_NAME)),
        values=(event.find("gen_ai.evaluation.score.label"), event.find("gen_ai.evaluation.score.value")),
        event_time=_time(event.raw),
        comment=optional_text(told, "explanation"),
    )
    yield from score_drafts(score, known, partial(_subject, event, owner, spans, joined))


def _time(raw: dict[str, Any]) -> Time | None:
    value = next((raw[key] for key in _TIMES if raw.get(key) is not None), None)
    if isinstance(value, str) and value.isascii() and value.isdigit():
        value = int(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value / 1_000_000_000
    return raw.get("timestamp") if value is None else value


def _subject(event: _Place, owner: _Place, spans: _Spans, joined: Any) -> Subject:
    held = _holder(event, owner, spans, joined)
    answered = held.first(_OUTPUTS)
    answered = chat_turns(answered) or decoded(answered)
    if isinstance(answered, list) and len(answered) > 1:
        detail = f"the span has {len(answered)} output messages; expected one, the one judged"
        reject(RejectReason.WRONG_TYPE, detail)
    told = {name: held.find(name) for name in (_CONVERSATION, _RESPONSE)}
    told["model"] = held.first(_MODELS)
    return Subject(
        data=held.data,
        asked=_asked(held),
        answered=answered,
        fields=_INPUTS[:1] + _OUTPUTS[:1],
        model_id=optional_id(told, "model"),
        conversation_id=optional_id(told, _CONVERSATION),
        message_id=optional_id(told, _RESPONSE),
    )


def _asked(held: _Place) -> Any:
    """What was asked, behind the instructions of the system."""
    system = decoded_system(held.find(_SYSTEM))
    asked = held.first(_INPUTS)
    turns = chat_turns(asked)
    if turns is not None and isinstance(system, str | None):
        return [{"role": "system", "content": system}, *turns] if system else turns
    asked = decoded(asked)
    return {"messages": asked, "system": system} if system and isinstance(asked, list) else asked


def _holder(event: _Place, owner: _Place, spans: _Spans, joined: Any) -> _Place:
    """The span, or the record of details, that holds the texts of what was judged."""
    if joined is not None:
        return _place(need_joined(joined, "span", "spans"))
    response = event.find(_RESPONSE)
    found = spans.of_response(response)
    if found is not None:
        return found
    if response in (None, owner.find(_RESPONSE)) and owner.has_texts:
        return owner
    return spans.of_span(owner.span_id) or _place(need_joined(None, "span", "spans, with their content recorded"))


def _own(name: str) -> str:
    """The path of an attribute of a span."""
    return f'attributes["{name}"]'


def _told(name: str) -> str:
    """The path of an attribute of an event of a span."""
    return f'{ITEM}.attributes["{name}"]'


_LABEL, _VALUE = _told("gen_ai.evaluation.score.label"), _told("gen_ai.evaluation.score.value")
_ASKED, _ANSWERED = _own(_INPUTS[0]), _own(_OUTPUTS[0])
_OWN_RESPONSE: Final = _own(_RESPONSE)
_OWN_MODELS: Final = tuple(map(_own, _MODELS))
_MOMENT: Final = pl.when(pl.col(_NANOSECONDS).cast(pl.String).str.contains("^[0-9]+$")).then(pl.col(_NANOSECONDS))


def _plain(known: ScoreMap) -> tuple[PlainRecords, ...]:
    """Spans with evaluations among their events, all attributes in objects, and messages as JSON in texts."""
    shape = PlainRecords(
        kind="events",
        turns=_plain_turns(),
        types={
            **dict.fromkeys((*map(_own, _READ), *map(_told, _SAID)), TEXT),
            _VALUE: (*FLOAT, *WHOLE, *TEXT, *BOOLEAN),
            "spanId": TEXT,
            _NANOSECONDS: ID,
        },
        columns={"attributes": ("attributes", _are_there)},
        parts={
            SCORE: told_scores(known, pl.col(_told(_NAME)), (_LABEL, _VALUE), lambda rule: not rule.paths),
            "asked": messages_in_texts(_ASKED),
            "answered": messages_in_texts(_ANSWERED),
            "system": system_in_texts(_own(_SYSTEM)),
        },
        fields=_plain_fields(),
        left_out=pl.col(SCORE).struct.field("left_out"),
        where=_are_plain(),
        needs=(_told(_NAME), _ASKED, _ANSWERED),
        nulls=("span", _own(_NAME), _told("error.type"), f'{ITEM}["{_NAME}"]'),
        never=tuple(envelope[0] for envelope in _ENVELOPES),
        attributes={
            "attributes": (*_READ, _NAME),
            f"{ITEM}.attributes": (*_SAID, "gen_ai.evaluation.score.value", "error.type"),
            ITEM: (_NAME,),
        },
        items=Items(
            path="events",
            judged=_told(_NAME),
            without=_WITHOUT,
            where=pl.col("attributes") & (pl.col("spanId").str.len_bytes() > 0),
        ),
    )
    return (shape,)


def _plain_turns() -> dict[str, Turns]:
    asked, system = pl.col("asked"), pl.col("system")
    instructions = pl.struct(pl.lit("system").alias("role"), system.alias("content"))
    instructed = pl.concat_list(pl.concat_list(instructions), asked)
    return {
        "prompt": Turns(_ASKED, made=pl.when(system.is_null()).then(asked).otherwise(instructed)),
        "completion": Turns(_ANSWERED, starts="assistant", made=pl.col("answered")),
    }


def _plain_fields() -> dict[str, pl.Expr]:
    return {
        **score_fields(),
        "rater_kind": pl.col(SCORE).struct.field("rater_kind"),
        "event_time": seconds_of_nanoseconds(_MOMENT),
        "model_id": pl.coalesce(_OWN_MODELS),
        "conversation_id": pl.col(_own(_CONVERSATION)),
        "message_id": pl.col(_OWN_RESPONSE),
        "comment": text_of(_told(_EXPLANATION)),
    }


def _are_plain() -> pl.Expr:
    """Where an evaluation is of the answer of its span, and needs no second look."""
    response, answered = pl.col(_told(_RESPONSE)), pl.col("answered")
    return pl.all_horizontal(
        pl.col(SCORE).struct.field("is_known"),
        pl.col(_ASKED).is_not_null() & pl.col(_ANSWERED).is_not_null(),
        response.is_null() | (response == pl.col(_OWN_RESPONSE)),
        *map(is_id, (*_OWN_MODELS, _own(_CONVERSATION), _OWN_RESPONSE)),
        pl.col("spanId").is_not_null(),
        _MOMENT.cast(pl.Int64, strict=False).is_not_null(),
        (answered.list.len() == 1) | answered.is_null(),
        pl.col(_own(_SYSTEM)).is_null() | (pl.col("system").str.len_bytes() > 0),
    )


def _are_there(objects: pa.Array) -> pl.Series:
    return pl.Series(objects.is_valid())


OTEL_GENAI: Final = scored_format(
    "otel_genai",
    _parse,
    kind="events",
    summary="Evaluation events of OpenTelemetry's conventions for generative AI, with the spans that they judge.",
    fields="attributes with gen_ai.evaluation.name and gen_ai.evaluation.score.value or .label and the joined span; or "
    "a span with such events; or resourceSpans, resourceLogs",
    keys=None,
    user_keys=frozenset({"user.id", "enduser.id"}),
    join=Join(
        what="spans",
        key=f'attributes["{_RESPONSE}"]',
        other=f'attributes["{_RESPONSE}"]',
        into="span",
        whole=tuple(resources for resources, _, _ in _ENVELOPES),
    ),
    plain=_plain,
)
