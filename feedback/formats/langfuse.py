"""Format `langfuse`: scores of Langfuse, each joined with the trace or the observation that it is about.

    score ── traceId ──► trace {input, output, observations: [{id, input, output}]}      --join traces.jsonl
    trace {input, output, scores: [score, ...]}                                          as one GET of a trace gives it

A score with an `observationId` is about that observation. It is looked for in the trace; where observations are a file
of their own, `[join] key = "observationId"` in the map joins those instead. The export to blob storage has the same
fields in snake case, and there `key = "trace_id"` is needed. Scores of sessions and of dataset runs are of no answer
and are left out. A BOOLEAN is 1 or 0 in older versions of the API and true or false in newer ones; a map may say
either. `EVAL` is a machine, and an `ANNOTATION` is somebody's in Langfuse; who is behind `API` the map has to say.
Where it says `end_user`, the rater is the user of the trace. A CORRECTION holds the answer that should have been
given. The latest `updatedAt` of an id is what holds.

Source: fern/apis/server/definition/{commons,scores,scores-v3}.yml and getScoresForBlobStorageExport of
langfuse/langfuse.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from feedback.formats.drafts import Draft, IgnoredDraft, Join
from feedback.formats.mapping.score_map import ScoreMap
from feedback.formats.mapping.scores import Score, Subject, known_word, need_joined, score_drafts, scored_format
from feedback.formats.parts.fields import need, optional_id, optional_text, optional_time, reject, shown
from schemas.reasons import RejectReason

__all__ = ["LANGFUSE"]

_SNAKE: Final = re.compile(r"_([a-z])")
_CAMEL: Final = re.compile(r"[A-Z]")
_RATERS: Final = {"ANNOTATION": "annotator", "EVAL": "llm_judge", "API": None}
_TRUTHS: Final = {
    "True": True,
    "true": True,
    "1": True,
    "1.0": True,
    "False": False,
    "false": False,
    "0": False,
    "0.0": False,
}
_TYPES: Final = ("NUMERIC", "BOOLEAN", "CATEGORICAL", "TEXT", "CORRECTION")
_TRACE: Final = ("id", "timestamp", "name", "input", "output", "sessionId", "userId", "model", "observations", "scores")
_SCORE: Final = (
    *("traceId", "observationId", "datasetRunId", "source", "dataType", "value", "stringValue", "comment"),
    *("authorUserId", "createdAt", "updatedAt", "trace"),
)
_UNUSED: Final = (
    *("projectId", "environment", "metadata", "configId", "queueId", "release", "version", "tags", "public"),
    *("htmlPath", "latency", "totalCost", "bookmarked", "executionTraceId", "longStringValue"),
)
_READ: Final = frozenset({*_TRACE, *_SCORE})
_JOIN: Final = Join(
    what="traces",
    key="traceId",
    other="id",
    into="trace",
    holds=("input", "output", "observations"),  # a score of the API comes with {userId, tags, environment} of its trace
    whole=("scores",),
)


def _parse(record: dict[str, Any], known: ScoreMap) -> Iterator[Draft]:
    record = _camel(record)
    if "scores" not in record:
        yield from _score(record, None if _JOIN.is_lacking(record) else record["trace"], known)
        return
    scores = need(record, "scores")
    if not isinstance(scores, list):
        reject(RejectReason.WRONG_TYPE, f"field 'scores' is {shown(scores)}; expected a list of scores")
    need(record, "id")
    if not any(key in record for key in ("input", "output", "observations")):
        reject(RejectReason.MISSING_FIELD, "fields 'input' and 'output' are absent: the record is no trace")
    for place, score in enumerate(scores):
        if not isinstance(score, dict):
            detail = f"field 'scores[{place}]' is {shown(score)}, an id; export the scores, and --join the traces"
            reject(RejectReason.WRONG_TYPE, detail)
        yield from _score(_camel(score), record, known)
    if not scores:
        yield IgnoredDraft(what="traces without a score")


def _camel(record: dict[str, Any]) -> dict[str, Any]:
    """`record` with its keys as the API writes them; the export to blob storage has the columns of the database."""
    if "_" not in "".join(record):
        return record
    named = ((_SNAKE.sub(lambda match: match[1].upper(), key), key, value) for key, value in record.items())
    # Asked for by their keys, so that whoever watches the record sees which fields are read.
    return {name: record.get(key) if name in _READ else value for name, key, value in named}


def _snake(key: str) -> str:
    return _CAMEL.sub(lambda match: f"_{match[0].lower()}", key)


def _score(score: dict[str, Any], trace: Any, known: ScoreMap) -> Iterator[Draft]:
    name = need(score, "name")
    source = known_word(need(score, "source"), "source", _RATERS)
    kind = known_word(need(score, "dataType"), "dataType", _TYPES)
    if trace is None and not score.get("traceId") and not score.get("observationId"):
        if not any(score.get(key) for key in ("sessionId", "datasetRunId")):
            reject(RejectReason.MISSING_FIELD, "fields 'traceId' and 'sessionId' are absent or null")
        yield IgnoredDraft(what="scores of sessions or dataset runs")
        return
    subject = _Found(score, trace)
    made = Score(
        name=str(name),
        values=_values(score, kind),
        record_id=optional_id(score, "id"),
        rater=optional_id(score, "authorUserId") or _end_user(str(name), source, trace, known),
        rater_kind=_RATERS[source],
        event_time=optional_time(score, "timestamp") or optional_time(score, "createdAt"),
        updated_time=optional_time(score, "updatedAt"),
        comment=optional_text(score, "comment"),
        correction=_correction(score) if kind == "CORRECTION" else None,
    )
    yield from score_drafts(made, known, subject.find)


def _values(score: dict[str, Any], kind: str) -> tuple[Any, ...]:
    """The value of a score; of a category its name alone, as its number is 0 where nobody gave it one."""
    value, text = score.get("value"), score.get("stringValue")
    if kind == "NUMERIC":
        return (value,)
    if kind == "BOOLEAN":
        truth = _truth(value, text)
        return (value,) if truth is None else (truth, int(truth), str(truth))
    return (None,) if kind == "CORRECTION" else (value if text is None else text,)


def _truth(value: Any, text: Any) -> bool | None:
    if value is None:
        return _TRUTHS.get(text) if isinstance(text, str) else None
    if isinstance(value, int | float):
        return value == 1 if value in (0, 1) else None
    # A CSV file gives the number as text.
    return _TRUTHS.get(value) if isinstance(value, str) else None


def _correction(score: dict[str, Any]) -> Any:
    values = (score.get(key) for key in ("longStringValue", "stringValue", "value"))
    return next((value for value in values if isinstance(value, str)), None)


def _end_user(name: str, source: str, trace: Any, known: ScoreMap) -> str | None:
    rule = known.rules.get(name)
    if source != "API" or rule is None or rule.table.rater_kind != "end_user" or not isinstance(trace, dict):
        return None
    return optional_id(_camel(trace), "userId")


class _Found:
    """What a score is about, looked for only if somebody asks."""

    def __init__(self, score: dict[str, Any], trace: Any) -> None:
        self._score = score
        self._trace = trace

    def find(self) -> Subject:
        """The observation that the score names, else the trace."""
        trace = _camel(need_joined(self._trace, "trace", "traces"))
        judged = self._observation(trace)
        return Subject(
            data=judged,
            asked=judged.get("input"),
            answered=judged.get("output"),
            model_id=optional_id(judged, "model") or optional_id(judged, "providedModelName"),
            conversation_id=optional_id(trace, "sessionId"),
            message_id=optional_id(judged, "id"),
        )

    def _observation(self, trace: dict[str, Any]) -> dict[str, Any]:
        wanted = self._score.get("observationId")
        if wanted is None or trace.get("id") == wanted:
            return trace
        held = trace.get("observations")
        for one in held if isinstance(held, list) else ():
            if isinstance(one, dict) and one.get("id") == wanted:
                return _camel(one)
        detail = f"the score is of observation {shown(wanted)}, which the trace does not hold; join the observations"
        return reject(RejectReason.MISSING_FIELD, f'{detail} with [join] key = "observationId" in the map')


LANGFUSE: Final = scored_format(
    "langfuse",
    _parse,
    kind="both",
    summary="Scores of Langfuse joined with their traces, or traces with the scores in them.",
    fields="name, source, dataType, value or stringValue, traceId and the joined trace; or scores, id, input, output; "
    "optional observationId, comment, authorUserId, timestamp, updatedAt",
    keys=frozenset({*_TRACE, *_SCORE, *_UNUSED, *map(_snake, (*_TRACE, *_SCORE, *_UNUSED))}),
    user_keys=frozenset({"authorUserId", "author_user_id", "userId", "user_id"}),
    join=_JOIN,
    can=("labels", "corrections"),
)
