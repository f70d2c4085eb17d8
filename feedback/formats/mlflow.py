"""Format `mlflow`: assessments of MLflow, each joined with its trace, or traces with the assessments in them.

    assessment ── trace_id ──► trace {info, data}                  --join traces.jsonl
    trace {info: {trace_id, assessments: [...]}, data: {spans}}    as `Trace.to_json` writes it
    row {trace_id, request, response, spans, assessments}          as `search_traces` gives it

Times are milliseconds in `create_time_ms` and ISO 8601 in `create_time`. Expectations, assessments that failed and
values that are no judgement of an answer are left out. The text is the request and the response, or else the inputs and
outputs of the root span; previews are cut off and never read. An assessment with a `span_id` is about that span. One
that another overrides is no longer `valid`: it is retracted. `LLM_JUDGE` (formerly `AI_JUDGE`) and `CODE` are machines;
what kind of person `HUMAN` is the map has to say. Traces of the older layout join with
`[join] other = "info.request_id"`, rows of `search_traces` with `other = "trace_id"`.

Source: entities/{assessment,assessment_source,trace,trace_data,span}.py and tracing/constant.py of mlflow/mlflow.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator
from functools import partial
from typing import Any, Final

from feedback.formats.drafts import Draft, IgnoredDraft, Join, Time
from feedback.formats.mapping.score_map import ScoreMap
from feedback.formats.mapping.scores import Score, Subject, known_word, need_joined, score_drafts, scored_format
from feedback.formats.parts.fields import need, optional_id, optional_text, optional_time, reject, shown
from schemas.reasons import RejectReason

__all__ = ["MLFLOW"]

_RATERS: Final = {
    "HUMAN": None,
    "LLM_JUDGE": "llm_judge",
    "AI_JUDGE": "llm_judge",
    "CODE": "code",
    "SOURCE_TYPE_UNSPECIFIED": None,
}
_INPUTS: Final = "mlflow.spanInputs"
_OUTPUTS: Final = "mlflow.spanOutputs"
_USED: Final = (
    *("assessment_id", "assessment_name", "name", "trace_id", "span_id", "source", "create_time", "create_time_ms"),
    *("last_update_time", "last_update_time_ms", "feedback", "expectation", "rationale", "error", "valid", "trace"),
    *("info", "data", "assessments", "request", "response", "spans"),
)
_UNUSED: Final = (
    *("metadata", "overrides", "run_id", "tags", "state", "client_request_id", "request_time", "execution_duration"),
    *("trace_metadata", "trace_location", "issue"),
)


def _parse(record: dict[str, Any], known: ScoreMap) -> Iterator[Draft]:
    info = record.get("info")
    held = info.get("assessments") if isinstance(info, dict) else record.get("assessments")
    is_trace = isinstance(info, dict) or "assessments" in record
    if not is_trace:
        yield from _assessment(record, record.get("trace"), known)
        return
    if held is not None and not isinstance(held, list):
        reject(RejectReason.WRONG_TYPE, f"field 'assessments' is {shown(held)}; expected a list of assessments")
    for place, one in enumerate(held or ()):
        if not isinstance(one, dict):
            reject(RejectReason.WRONG_TYPE, f"field 'assessments[{place}]' is {shown(one)}; expected an assessment")
        yield from _assessment(one, record, known)
    if not held:
        if not any(key in record for key in ("data", "request", "spans")):
            reject(RejectReason.MISSING_FIELD, "field 'data' is absent: the record is no trace")
        yield IgnoredDraft(what="traces without an assessment")


def _assessment(one: dict[str, Any], trace: Any, known: ScoreMap) -> Iterator[Draft]:
    name = one.get("assessment_name")
    name = need(one, "name") if name is None else name
    if one.get("expectation") is not None:
        yield IgnoredDraft(what="expectations")
        return
    feedback = need(one, "feedback") if one.get("error") is None else one.get("feedback") or {}
    if not isinstance(feedback, dict):
        reject(RejectReason.WRONG_TYPE, f"field 'feedback' is {shown(feedback)}; expected an object")
    if one.get("error") or feedback.get("error"):
        yield IgnoredDraft(what="assessments that failed")
        return
    kind, rater = _source(one)
    score = Score(
        name=str(name),
        values=(feedback.get("value"),),
        record_id=optional_id(one, "assessment_id"),
        rater=rater,
        rater_kind=kind,
        event_time=_time(one, "create_time"),
        updated_time=_time(one, "last_update_time"),
        comment=optional_text(one, "rationale"),
        is_withdrawn=one.get("valid") is False,
    )
    yield from score_drafts(score, known, partial(_subject, one, trace))


def _source(one: dict[str, Any]) -> tuple[str | None, str | None]:
    source = need(one, "source")
    if not isinstance(source, dict):
        reject(RejectReason.WRONG_TYPE, f"field 'source' is {shown(source)}; expected an object")
    kind = source.get("source_type")
    kind = known_word(kind.upper() if isinstance(kind, str) else kind, "source.source_type", _RATERS)
    rater = optional_id(source, "source_id")
    # "default" stands for nobody in particular, so it is no rater.
    return _RATERS[kind], None if rater == "default" else rater


def _time(one: dict[str, Any], key: str) -> Time | None:
    number = one.get(f"{key}_ms")
    if isinstance(number, int | float) and not isinstance(number, bool):
        return number / 1000
    value = optional_time(one, key)
    return value / 1000 if isinstance(value, int | float) and not isinstance(value, bool) else value


def _subject(one: dict[str, Any], trace: Any) -> Subject:
    trace = need_joined(trace, "trace", "traces")
    spans = _spans(trace)
    wanted = one.get("span_id")
    if wanted is not None:
        span = next((span for span in spans if wanted in _span_ids(span)), None)
        if span is None:
            reject(RejectReason.BROKEN_THREAD, f"the span of the assessment, {shown(wanted)}, is not in the trace")
        asked, answered = _texts(span)
        return _told(trace, span, asked, answered, str(wanted))
    held = trace.get("data")
    data = held if isinstance(held, dict) else {}
    asked, answered = (_json(trace.get(key, data.get(key))) for key in ("request", "response"))
    root = next((span for span in spans if _parent(span) is None), None)
    if root is not None and (asked is None or answered is None):
        asked, answered = (
            mine if mine is not None else its for mine, its in zip((asked, answered), _texts(root), strict=True)
        )
    return _told(trace, trace, asked, answered, None)


def _told(trace: dict[str, Any], data: dict[str, Any], asked: Any, answered: Any, span_id: str | None) -> Subject:
    info = trace["info"] if isinstance(trace.get("info"), dict) else trace
    trace_id = optional_id(info, "trace_id") or optional_id(info, "request_id")
    metadata = info.get("trace_metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    return Subject(
        data={**data, "request": asked, "response": answered},
        asked=asked,
        answered=answered,
        fields=("request", "response"),
        conversation_id=optional_id(metadata, "mlflow.trace.session"),
        message_id=span_id or trace_id,
    )


def _spans(trace: dict[str, Any]) -> list[dict[str, Any]]:
    data = trace.get("data")
    spans = data.get("spans") if isinstance(data, dict) else trace.get("spans")
    return [span for span in spans if isinstance(span, dict)] if isinstance(spans, list) else []


def _span_ids(span: dict[str, Any]) -> tuple[Any, ...]:
    """The id of a span, and what it says in hexadecimal digits where it is written in base 64."""
    context = span.get("context")
    written = context.get("span_id") if isinstance(context, dict) else span.get("span_id")
    if not isinstance(written, str):
        return ()
    try:
        return written, base64.b64decode(written, validate=True).hex()
    except (binascii.Error, ValueError):
        return (written,)


def _parent(span: dict[str, Any]) -> Any:
    return span.get("parent_id") or span.get("parent_span_id") or None


def _texts(span: dict[str, Any]) -> tuple[Any, Any]:
    attributes = span.get("attributes")
    known = attributes if isinstance(attributes, dict) else {}
    return (
        _json(known.get(_INPUTS, span.get("inputs"))),
        _json(known.get(_OUTPUTS, span.get("outputs"))),
    )


def _json(value: Any) -> Any:
    """MLflow writes every request, response and attribute as JSON, text in quotes too."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


MLFLOW: Final = scored_format(
    "mlflow",
    _parse,
    kind="events",
    summary="Assessments of MLflow joined with their traces, or traces with the assessments in them.",
    fields="name (or assessment_name), feedback.value, source.source_type, trace_id and the joined trace; or "
    "info.assessments and data; optional assessment_id, span_id, rationale, create_time, last_update_time, valid",
    keys=frozenset({*_USED, *_UNUSED}),
    user_keys=frozenset({"source_id", "mlflow.trace.user"}),
    join=Join(what="traces", key="trace_id", other="info.trace_id", into="trace", whole=("info", "assessments")),
)
