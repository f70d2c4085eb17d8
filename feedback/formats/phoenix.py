"""Format `phoenix`: annotations of Arize Phoenix, each joined with the span that it is about.

    annotation {span_id, name, annotator_kind, result: {label, score}} ── span_id ──► span      --join spans.jsonl

Both may be what the REST API gives or rows of the client's data frames, in which keys have dots: `result.label`,
`attributes.llm.input_messages`. Spans of data frames join with `[join] other = '["context.span_id"]'`, and annotations
of traces with `key = "trace_id"` and `other = "context.trace_id"`, given root spans. A map may name the `label` or the
`score`; the label comes first. `LLM` and `CODE` are machines; what kind of person `HUMAN` is the map has to say. A
span, a name and an identifier have one annotation: writing it again changes it, so these three are its id. Annotations
of documents and of sessions are left out.

The text is the messages of the model's input and output (OpenInference, `llm.input_messages`), else `input.value` and
`output.value`.

Source: src/phoenix/server/api/routers/v1/{annotations,spans}.py and the client's `get_span_annotations_dataframe` of
Arize-ai/phoenix, and the semantic conventions of OpenInference.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any, Final

import polars as pl

from feedback.formats.drafts import Draft, IgnoredDraft, Join
from feedback.formats.mapping.score_columns import SCORE, score_fields, told_scores
from feedback.formats.mapping.score_map import ScoreMap
from feedback.formats.mapping.scores import Score, Subject, known_word, need_joined, score_drafts, scored_format
from feedback.formats.parts.attributes import find_attribute, find_attributes
from feedback.formats.parts.field_columns import id_of, is_id, is_said, text_of
from feedback.formats.parts.fields import need, optional_id, optional_text, optional_time
from feedback.formats.parts.message_columns import messages_in_attributes
from feedback.formats.plain import FLOAT, ID, TEXT, WHOLE, Joined, PlainRecords, Turns

__all__ = ["PHOENIX"]

_RATERS: Final = {"HUMAN": None, "LLM": "llm_judge", "CODE": "code"}
_KEYS: Final = (
    *("id", "span_id", "trace_id", "session_id", "document_position", "name", "annotation_name", "annotator_kind"),
    *("result", "result.label", "result.score", "result.explanation", "metadata", "identifier", "created_at"),
    *("updated_at", "source", "user_id", "span"),
)
_RESULT: Final = ("label", "score", "explanation")
_READ: Final = (
    *("llm.input_messages", "llm.output_messages", "input.value", "output.value"),
    *("llm.model_name", "session.id"),
)
_SAID: Final = {"role", "content"}
_KEYS_BELOW: Final = "keys of messages"
_MESSAGE_KEYS: Final = f"span.{_KEYS_BELOW}"


def _parse(record: dict[str, Any], known: ScoreMap) -> Iterator[Draft]:
    kind = known_word(need(record, "annotator_kind"), "annotator_kind", _RATERS)
    name = record.get("annotation_name")
    name = need(record, "name") if name is None else name
    subject = optional_id(record, "span_id") or optional_id(record, "trace_id")
    if record.get("document_position") is not None or (subject is None and record.get("session_id") is not None):
        yield IgnoredDraft(what="annotations of documents or sessions")
        return
    if subject is None and record.get("span") is None:
        need(record, "span_id")
    told = _below(record, "result", _RESULT)
    score = Score(
        name=str(name),
        values=(told["label"], told["score"]),
        record_id=None if subject is None else f"{subject}/{name}/{record.get('identifier') or ''}",
        rater=optional_id(record, "user_id"),
        rater_kind=_RATERS[kind],
        event_time=optional_time(record, "created_at"),
        updated_time=optional_time(record, "updated_at"),
        comment=optional_text(told, "explanation"),
    )
    yield from score_drafts(score, known, partial(_span, record))


def _span(record: dict[str, Any]) -> Subject:
    span = need_joined(record.get("span"), "span", "spans")
    found = _below(span, "attributes", _READ)
    sides = []
    for messages, value in (("llm.input_messages", "input.value"), ("llm.output_messages", "output.value")):
        sides.append((_messages(found[messages]), messages) if found[messages] else (found[value], value))
    return Subject(
        data=span,
        asked=sides[0][0],
        answered=sides[1][0],
        fields=(sides[0][1], sides[1][1]),
        model_id=optional_id(found, "llm.model_name"),
        conversation_id=optional_id(found, "session.id"),
        message_id=optional_id(record, "span_id"),
    )


def _below(record: dict[str, Any], head: str, names: tuple[str, ...]) -> dict[str, Any]:
    """The attributes `names` under `head`, an object or the beginning of keys with dots."""
    below = record.get(head)
    if type(below) is dict and f"{head}." not in "\n".join(record):
        return find_attributes(below, names)
    return {name: find_attribute(record, f"{head}.{name}") for name in names}


def _messages(value: Any) -> Any:
    """Messages of OpenInference with the keys of OpenAI's chat format."""
    if not isinstance(value, list):
        return value
    return [_message(one) if isinstance(one, dict) else one for one in value]


def _message(one: dict[str, Any]) -> dict[str, Any]:
    said = one.get("message")
    if len(one) == 1 and type(said) is dict and said.keys() == _SAID:
        return said
    content = find_attribute(one, "message.content")
    parts = find_attribute(one, "message.contents")
    if content is None and isinstance(parts, list):
        content = [find_attribute(part, "message_content") if isinstance(part, dict) else part for part in parts]
    return {
        "role": find_attribute(one, "message.role"),
        "content": content,
        "tool_calls": find_attribute(one, "message.tool_calls"),
    }


def _attribute(name: str) -> str:
    """The path of an attribute of the joined span."""
    return f'span.attributes["{name}"]'


def _plain(known: ScoreMap) -> tuple[PlainRecords, ...]:
    """Annotations of spans as the REST API gives both: flat attributes, messages among them."""
    asked, answered = (pl.col(name).list.len() for name in ("asked", "answered"))
    name = pl.coalesce("annotation_name", "name")
    identifier = pl.col("identifier").fill_null("")
    label, score, explanation = (f"result.{one}" for one in _RESULT)
    model, session = _attribute("llm.model_name"), _attribute("session.id")
    told = pl.col(SCORE).struct
    machines = {kind: rater for kind, rater in _RATERS.items() if rater is not None}
    kind = pl.col("annotator_kind").replace_strict(machines, default=None, return_dtype=pl.String)
    shape = PlainRecords(
        kind="events",
        turns={
            "prompt": Turns("span", made=pl.col("asked")),
            "completion": Turns("span", starts="assistant", made=pl.col("answered")),
        },
        types={
            **dict.fromkeys(("span_id", "annotator_kind", "name", "annotation_name", "identifier", "user_id"), TEXT),
            **dict.fromkeys((label, explanation, model, "created_at", "updated_at"), TEXT),
            session: ID,
            score: (*FLOAT, *WHOLE),
        },
        columns={
            "asked": ("span.attributes", partial(messages_in_attributes, name=_READ[0])),
            "answered": ("span.attributes", partial(messages_in_attributes, name=_READ[1])),
        },
        parts={SCORE: told_scores(known, name, (label, score), lambda rule: not rule.paths)},
        fields={
            **score_fields(),
            "record_id": pl.concat_str("span_id", pl.lit("/"), name, pl.lit("/"), identifier),
            "rater": pl.col("user_id"),
            "rater_kind": pl.coalesce(kind, told.field("rater_kind")),
            "event_time": pl.col("created_at"),
            "updated_time": pl.col("updated_at"),
            "model_id": pl.col(model),
            "conversation_id": id_of(session),
            "message_id": pl.col("span_id"),
            "comment": text_of(explanation),
        },
        left_out=told.field("left_out"),
        where=pl.all_horizontal(
            told.field("is_known"),
            is_said("span_id"),
            pl.col("annotator_kind").is_in(list(_RATERS)),
            *map(is_id, ("user_id", model, session)),
            # A key with null says that there is a message, and in a column it is no key.
            told.field("left_out").is_not_null() | (pl.col(_MESSAGE_KEYS) == 2 * (asked + answered)),
        ),
        needs=("span_id", "annotator_kind", "name"),
        unread=frozenset({"id", "metadata", "source", "trace_id"}),
        never=("result.",),
        nulls=tuple(map(_attribute, _READ[:2])),
        attributes={"span.attributes": _READ[4:], "result": _RESULT},
        joined=Joined(into="span", never=("attributes.",), counted={_KEYS_BELOW: b"_messages."}),
    )
    return (shape,)


PHOENIX: Final = scored_format(
    "phoenix",
    _parse,
    kind="events",
    summary="Annotations of Arize Phoenix joined with the spans that they are about.",
    fields="span_id, name, annotator_kind, result.label or result.score, and the joined span; optional identifier, "
    "user_id, created_at, updated_at, result.explanation",
    keys=frozenset(_KEYS),
    user_keys=frozenset({"user_id"}),
    join=Join(what="spans", key="span_id", other="context.span_id", into="span"),
    plain=_plain,
)
