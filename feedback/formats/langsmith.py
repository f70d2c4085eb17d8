"""Format `langsmith`: feedback of LangSmith, each joined with the run that it is about.

    feedback {key, score, value, correction, feedback_source} ── run_id ──► run {inputs, outputs}    --join runs.jsonl

`value` is the word that was chosen and `score` its number; a map may name either. Feedback of type `model` or
`auto_eval` is a machine's, of type `app` somebody's in LangSmith; who is behind `api` the map has to say. Feedback
with a `feedback_group_id` is of one run in a group that was compared: each run gets its label, marked with the flag
`comparison`, and as the runs of a group share their prompt, `thumbline convert` pairs the preferred with the other. A
`correction` is what the run should have said: with `corrections = true` it is preferred to what it said. Feedback that
failed, or that is of a session alone, is left out. The latest `modified_at` of an id is what holds.

`@traceable` writes a result that is no object as `{"output": result}`; outputs with that key alone are read as it.

Source: `schemas.Feedback`, `schemas.FeedbackSourceBase` and `run_helpers` of langchain-ai/langsmith-sdk (Python), and
`SourceType` of its OpenAPI client.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any, Final

from feedback.formats.drafts import Draft, IgnoredDraft, Join
from feedback.formats.mapping.score_map import ScoreMap
from feedback.formats.mapping.scores import Score, Subject, known_word, need_joined, score_drafts, scored_format
from feedback.formats.parts.fields import (
    id_text,
    need,
    optional_bool,
    optional_id,
    optional_text,
    optional_time,
    reject,
    shown,
)
from schemas.reasons import RejectReason

__all__ = ["LANGSMITH"]

_RATERS: Final = {"app": "annotator", "api": None, "model": "llm_judge", "auto_eval": "llm_judge"}
_THREADS: Final = ("session_id", "thread_id", "conversation_id")
_USED: Final = (
    *("id", "key", "run_id", "trace_id", "session_id", "score", "value", "comment", "correction", "feedback_source"),
    *("feedback_group_id", "created_at", "modified_at", "error", "run"),
)
_UNUSED: Final = ("comparative_experiment_id", "extra", "feedback_config", "start_time", "is_root")


def _parse(record: dict[str, Any], known: ScoreMap) -> Iterator[Draft]:
    key = need(record, "key")
    if not any(name in record for name in ("score", "value", "correction")):
        reject(RejectReason.MISSING_FIELD, "fields 'score', 'value' and 'correction' are absent")
    if optional_bool(record, "error"):
        yield IgnoredDraft(what="feedback that failed")
        return
    if record.get("run_id") is None and record.get("run") is None:
        need(record, "session_id")
        yield IgnoredDraft(what="feedback of sessions")
        return
    kind, rater = _source(record)
    score = Score(
        name=str(key),
        values=(record.get("value"), record.get("score")),
        record_id=optional_id(record, "id"),
        rater=rater,
        rater_kind=kind,
        event_time=optional_time(record, "created_at"),
        updated_time=optional_time(record, "modified_at"),
        comment=optional_text(record, "comment"),
        flags=("comparison",) if record.get("feedback_group_id") is not None else (),
        correction=_result(record.get("correction")),
    )
    yield from score_drafts(score, known, partial(_run, record))


def _source(record: dict[str, Any]) -> tuple[str | None, str | None]:
    source = record.get("feedback_source")
    if source is None:
        return None, None
    if not isinstance(source, dict):
        reject(RejectReason.WRONG_TYPE, f"field 'feedback_source' is {shown(source)}; expected an object")
    kind = source.get("type")
    told = None if kind is None else _RATERS[known_word(kind, "feedback_source.type", _RATERS)]
    return told, optional_id(source, "user_id")


def _run(record: dict[str, Any]) -> Subject:
    run = need_joined(record.get("run"), "run", "runs")
    if run.get("error") and not run.get("outputs"):
        reject(RejectReason.EMPTY_COMPLETION, "the run ended with an error and has no outputs")
    return Subject(
        data=run,
        asked=run.get("inputs"),
        answered=_result(run.get("outputs")),
        fields=("run.inputs", "run.outputs"),
        model_id=_model(run),
        conversation_id=_thread(run) or optional_id(run, "trace_id"),
        message_id=optional_id(run, "id"),
    )


def _result(outputs: Any) -> Any:
    """What a function gave, where the SDK put it under a key of its own."""
    return outputs["output"] if isinstance(outputs, dict) and list(outputs) == ["output"] else outputs


def _thread(run: dict[str, Any]) -> str | None:
    """The thread of a run: the API names it, and an app writes it into the metadata, under one of three names."""
    metadata = _metadata(run)
    named = (id_text(metadata.get(key)) for key in _THREADS)
    return optional_id(run, "thread_id") or next((name for name in named if name is not None), None)


def _model(run: dict[str, Any]) -> str | None:
    return optional_id(_metadata(run), "ls_model_name")


def _metadata(run: dict[str, Any]) -> dict[str, Any]:
    extra = run.get("extra")
    metadata = extra.get("metadata") if isinstance(extra, dict) else None
    return metadata if isinstance(metadata, dict) else {}


LANGSMITH: Final = scored_format(
    "langsmith",
    _parse,
    kind="both",
    summary="Feedback of LangSmith joined with the runs that it is about.",
    fields="key, score or value or correction, run_id and the joined run; optional id, comment, feedback_source, "
    "feedback_group_id, created_at, modified_at",
    keys=frozenset({*_USED, *_UNUSED}),
    user_keys=frozenset({"user_id", "user_name"}),
    join=Join(what="runs", key="run_id", other="id", into="run"),
    can=("labels", "corrections"),
)
