"""Format `label_studio`: annotated tasks of Label Studio, in its exports JSON and JSON-MIN.

    JSON      {id, data: {...}, annotations: [{id, completed_by, result: [{from_name, type, value}], was_cancelled}]}
    JSON-MIN  {id, ...data, from_name: value, annotator, annotation_id, created_at, updated_at}    one per annotation

Where prompt and answers lie in the task's data is for the map to say, and so is what `left` and `right` of a pairwise
choice mean; the name of a score is the name of its control tag (`from_name`). Ratings, numbers and choices are values
too, and the text of a text area is a correction. Each annotation of a task is a judgement of its own. A skipped one
withdraws what it said before: `pairwise` knows no tie. Model predictions are not read. Persons are known by their
number alone; names and e-mail addresses are dropped, but JSON-MIN has nothing else where the export was made by one
who sees them.

Source: src/label_studio_sdk/converter/{converter,utils}.py of HumanSignal/label-studio-sdk, and labelstud.io/tags.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from feedback.formats.drafts import Draft, IgnoredDraft
from feedback.formats.mapping.score_map import ScoreMap
from feedback.formats.mapping.scores import Score, Subject, score_drafts, scored_format
from feedback.formats.parts.fields import need, optional_bool, optional_id, optional_time, reject, shown
from schemas.reasons import RejectReason

__all__ = ["LABEL_STUDIO"]

_VALUES: Final = ("selected", "rating", "number", "choices", "taxonomy")


def _parse(record: dict[str, Any], known: ScoreMap) -> Iterator[Draft]:
    if "annotations" not in record:
        need(record, "annotation_id")
        yield from _small(record, known)
        return
    annotations = _objects(need(record, "annotations"), "annotations")
    data = need(record, "data")
    if not isinstance(data, dict):
        reject(RejectReason.WRONG_TYPE, f"field 'data' is {shown(data)}; expected an object")
    subject: Subject | None = None
    for annotation in annotations:
        results = _objects(annotation.get("result") or [], "annotations.result")
        named = [one for one in results if one.get("from_name") is not None]
        if named and subject is None:
            subject = _subject(data, record)
        if subject is not None:
            yield from _results(named, annotation, subject, known)
    if subject is None:
        yield IgnoredDraft(what="tasks without an annotation")


def _objects(value: Any, field: str) -> list[dict[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        reject(RejectReason.WRONG_TYPE, f"field {field!r} is {shown(value)}; expected a list of objects")
    return value


def _subject(data: dict[str, Any], record: dict[str, Any]) -> Subject:
    return Subject(data=data, fields=("prompt", "completion"), conversation_id=optional_id(record, "id"))


def _results(
    results: list[dict[str, Any]], annotation: dict[str, Any], subject: Subject, known: ScoreMap
) -> Iterator[Draft]:
    """The drafts of an annotation, of the results that have the name of a control tag."""
    if not results:
        return
    is_skipped = bool(optional_bool(annotation, "was_cancelled") or optional_bool(annotation, "skipped"))
    annotation_id = optional_id(annotation, "id")
    person = annotation.get("completed_by")
    rater = optional_id({"id": person.get("id") if isinstance(person, dict) else person}, "id")
    for result in results:
        name, value = str(result["from_name"]), result.get("value")
        score = _score(name, value, annotation, annotation_id, rater, is_skipped=is_skipped)
        yield from score_drafts(score, known, lambda: subject)


def _small(record: dict[str, Any], known: ScoreMap) -> Iterator[Draft]:
    """The drafts of one annotation in JSON-MIN, where control tags stand beside the data."""
    names = [name for name in known.rules if record.get(name) is not None]
    if not names:
        yield IgnoredDraft(what="annotations without a score that the map names")
        return
    annotation_id, rater = optional_id(record, "annotation_id"), optional_id(record, "annotator")
    subject = _subject(record, record)
    for name in names:
        value = record[name]
        while isinstance(value, list) and len(value) == 1:
            value = value[0]
        score = _score(name, value, record, annotation_id, rater, is_skipped=False)
        yield from score_drafts(score, known, lambda: subject)


def _score(
    name: str, value: Any, dated: dict[str, Any], annotation_id: str | None, rater: str | None, *, is_skipped: bool
) -> Score:
    text = value.get("text") if isinstance(value, dict) else value
    return Score(
        name=name,
        values=(_value(value),),
        record_id=None if annotation_id is None else f"{annotation_id}/{name}",
        rater=rater,
        rater_kind="annotator",
        event_time=optional_time(dated, "created_at"),
        updated_time=optional_time(dated, "updated_at"),
        correction="\n".join(text) if isinstance(text, list) and all(isinstance(one, str) for one in text) else text,
        is_withdrawn=is_skipped,
    )


def _value(value: Any) -> Any:
    """What was chosen; one of several choices is never picked."""
    if isinstance(value, dict):
        value = next((value[key] for key in _VALUES if value.get(key) is not None), None)
    while isinstance(value, list) and len(value) == 1:
        value = value[0]
    return value


LABEL_STUDIO: Final = scored_format(
    "label_studio",
    _parse,
    kind="both",
    summary="Annotated tasks of Label Studio (JSON, JSON-MIN): pairwise choices, ratings, choices and texts.",
    fields="data, annotations (id, result with from_name and value); or annotation_id and the names of control tags; "
    "optional id, completed_by, was_cancelled, created_at, updated_at",
    keys=None,
    user_keys=frozenset({"completed_by", "annotator", "first_name", "last_name", "username"}),
    needs={
        "labels": ("prompt", "completion"),
        "outcomes": ("prompt", "response_a", "response_b"),
        "corrections": ("prompt", "completion"),
    },
    can=("labels", "outcomes", "corrections"),
)
