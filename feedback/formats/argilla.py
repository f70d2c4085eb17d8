"""Format `argilla`: records of Argilla 2 with the responses of its users, nested or flattened.

    to_json      {id, fields: {...}, responses: {question: [{value, user_id}]}, suggestions, metadata}
    to_datasets  {id, ...fields, question.responses: [...], question.responses.users: [...], question.responses.status}

The name of a score is the name of its question, and the fields with prompt and answers are for the map to say. A
rating or a label becomes a label or an outcome; a ranking, whose map names the field of every answer (`answers`), sets
the best against the worst, and answers of one rank never against each other; a text is a correction. A discarded
response is withdrawn, a draft is left out, and only the flattened form tells them. Suggestions are a model's and are
not read.

Source: argilla/src/argilla/records/{_resource.py,_io/_generic.py} of argilla-io/argilla.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any, Final

import polars as pl
import pyarrow as pa

from feedback.formats.drafts import Draft, IgnoredDraft
from feedback.formats.mapping.score_columns import SCORE, score_fields, told_scores
from feedback.formats.mapping.score_map import ScoreMap, ScoreRule
from feedback.formats.mapping.scores import Score, Subject, known_word, pair_of, score_drafts, scored_format
from feedback.formats.parts.field_columns import id_of, is_id
from feedback.formats.parts.fields import need, optional_id, optional_number, reject, shown
from feedback.formats.parts.message_columns import may_be_json
from feedback.formats.parts.trace_texts import read_turns
from feedback.formats.plain import BOOLEAN, FLOAT, ID, ITEM, TEXT, Items, PlainRecords, Turns, path_of
from schemas.reasons import RejectReason

__all__ = ["ARGILLA"]

_RESPONSES: Final = ".responses"
_WITHOUT: Final = "records without a response"
_STATUSES: Final = ("submitted", "discarded", "draft")


def _parse(record: dict[str, Any], known: ScoreMap) -> Iterator[Draft]:
    data = record.get("fields") if "responses" in record else record
    if "responses" in record and not isinstance(data, dict):
        need(record, "fields")
        reject(RejectReason.WRONG_TYPE, f"field 'fields' is {shown(data)}; expected an object")
    subject: Subject | None = None
    for question, response in _responses(record):
        if subject is None:
            subject = Subject(data=data, fields=("prompt", "completion"), conversation_id=optional_id(record, "id"))
        yield from _drafts(question, response, subject, known)
    if subject is None:
        yield IgnoredDraft(what=_WITHOUT)


def _responses(record: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every response and its question."""
    if "responses" in record:
        held = record["responses"] or {}
        if not isinstance(held, dict):
            reject(RejectReason.WRONG_TYPE, f"field 'responses' is {shown(held)}; expected an object of lists")
        for question, responses in held.items():
            if not isinstance(responses, list | None) or not all(isinstance(one, dict) for one in responses or ()):
                detail = f"field 'responses.{question}' is {shown(responses)}; expected a list of responses"
                reject(RejectReason.WRONG_TYPE, detail)
            yield from ((question, one) for one in responses or ())
        return
    questions = [key.removesuffix(_RESPONSES) for key in record if key.endswith(_RESPONSES)]
    if not questions:
        reject(RejectReason.MISSING_FIELD, "field 'responses' is absent, and so is any 'QUESTION.responses'")
    for question in questions:
        yield from ((question, one) for one in _flat(record, question))


def _flat(record: dict[str, Any], question: str) -> Iterator[dict[str, Any]]:
    start = f"{question}{_RESPONSES}"
    values, users, statuses = (record.get(f"{start}{end}") for end in ("", ".users", ".status"))
    if values is None:
        return
    for key, column in ((start, values), (f"{start}.users", users), (f"{start}.status", statuses)):
        if column is not None and (not isinstance(column, list) or len(column) != len(values)):
            reject(RejectReason.WRONG_TYPE, f"field {key!r} is {shown(column)}; expected a list, one for each response")
    for place, value in enumerate(values):
        yield {
            "value": value,
            "user_id": None if users is None else users[place],
            "status": None if statuses is None else statuses[place],
        }


def _drafts(question: str, response: dict[str, Any], subject: Subject, known: ScoreMap) -> Iterator[Draft]:
    status = response.get("status")
    if status is not None:
        known_word(status, "status", _STATUSES)
    value, user = response.get("value"), optional_id(response, "user_id")
    # The SDK writes the id of a user that it does not know as text.
    user = None if user == "None" else user
    if status == "draft" or (value is None and status == "discarded"):
        yield IgnoredDraft(what="responses that are drafts or discarded without a value")
        return
    record_id = subject.conversation_id
    score = Score(
        name=question,
        values=(_only(value),),
        record_id=None if record_id is None else f"{record_id}/{question}/{user or ''}",
        rater=user,
        rater_kind="annotator",
        correction=value if isinstance(value, str) else None,
        is_withdrawn=status == "discarded",
    )
    rule = known.rules.get(question)
    if rule is not None and rule.answers:
        yield from _ranked(value, score, rule, subject)
    else:
        yield from score_drafts(score, known, lambda: subject)


def _only(value: Any) -> Any:
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def _ranked(value: Any, score: Score, rule: ScoreRule, subject: Subject) -> Iterator[Draft]:
    if isinstance(value, list) and value and all(isinstance(one, str) for one in value):
        detail = f"the ranking {rule.name!r} is a list of names, in which answers of one rank cannot be told"
        reject(
            RejectReason.UNKNOWN_LABEL, f"{detail}; expected objects with value and rank, as to_json and the API give"
        )
    levels: dict[float, list[str]] = {}
    for place, one in enumerate(value if isinstance(value, list) else ()):
        name = one.get("value") if isinstance(one, dict) else None
        if not isinstance(name, str) or name not in rule.answers:
            detail = f"answer {place} of the ranking {rule.name!r} is {shown(name)}; the map knows "
            reject(RejectReason.UNKNOWN_LABEL, f"{detail}{', '.join(sorted(rule.answers))}")
        rank = optional_number(one, "rank")
        if rank is not None:
            levels.setdefault(rank, []).append(name)
    if len(levels) < 2:
        yield IgnoredDraft(what=f"rankings {shown(rule.name)} in which no answer is better than another")
        return
    best, worst = min(levels), max(levels)
    prompt = subject.prompt(rule)
    for better, worse in product(levels[best], levels[worst]):
        answers = [
            read_turns(rule.find_answer(name, subject.data), name, "assistant", is_mapped=True)
            for name in (better, worse)
        ]
        yield pair_of(
            score,
            rule,
            subject,
            prompt=prompt,
            response_a=answers[0],
            response_b=answers[1],
            outcome="abstain" if score.is_withdrawn else "a",
            raw_value=value,
            margin=worst - best,
            record_id=None if score.record_id is None else f"{score.record_id}/{better}>{worse}",
        )


def _plain(known: ScoreMap) -> tuple[PlainRecords, ...]:
    """Records with the responses to one question in them, as `to_json` writes them; a shape for each question."""
    shapes = (_plain_question(rule, known) for rule in known.rules.values())
    return tuple(shape for shape in shapes if shape is not None)


def _plain_question(rule: ScoreRule, known: ScoreMap) -> PlainRecords | None:
    texts = [_text_path(rule, what) for what in ("prompt", "completion")]
    responses = path_of("responses", rule.name)
    if responses is None or set(rule.paths) != {"prompt", "completion"} or None in texts:
        return None
    prompt, completion = (text for text in texts if text is not None)
    value, user = f"{ITEM}.value", f"{ITEM}.user_id"
    rater = pl.when(pl.col(user).cast(pl.String) != "None").then(id_of(user))
    parts = pl.concat_str(id_of("id"), pl.lit(f"/{rule.name}/"), rater.fill_null(""))
    return PlainRecords(
        kind="events",
        turns={"prompt": Turns(prompt, "user"), "completion": Turns(completion, "assistant")},
        types={prompt: TEXT, completion: TEXT, "id": ID, user: ID, value: (*ID, *FLOAT, *BOOLEAN)},
        columns={"fields": ("fields", _are_there), "responses": ("responses", _are_there)},
        parts={SCORE: told_scores(known, pl.lit(rule.name), (value,), lambda _: True)},
        fields={
            **score_fields(),
            "record_id": parts,
            "rater": rater,
            "rater_kind": pl.lit("annotator"),
            "conversation_id": id_of("id"),
        },
        where=pl.all_horizontal(
            pl.col(SCORE).struct.field("is_known"),
            is_id("id"),
            is_id(user),
            ~may_be_json(pl.col(prompt)),
            ~may_be_json(pl.col(completion)),
        ),
        needs=(value,),
        nulls=(f"{ITEM}.status",),
        items=Items(
            path=responses,
            around=("responses",),
            without=_WITHOUT,
            where=pl.col("fields") & pl.col("responses"),
        ),
    )


def _text_path(rule: ScoreRule, what: str) -> str | None:
    """The path of a text among the fields of a record, None where it leads through a list."""
    steps = rule.paths.get(what, ())
    keys = [step for step in steps if isinstance(step, str)]
    return path_of("fields", *keys) if len(keys) == len(steps) else None


def _are_there(objects: pa.Array) -> pl.Series:
    return pl.Series(objects.is_valid())


ARGILLA: Final = scored_format(
    "argilla",
    _parse,
    kind="both",
    summary="Records of Argilla 2 with the responses of its users: ratings, labels, rankings and texts.",
    fields="fields, responses (question: value, user_id); or the fields and QUESTION.responses side by side; optional "
    "id, QUESTION.responses.users, QUESTION.responses.status",
    keys=None,
    user_keys=frozenset({"user_id"}),
    needs={
        "labels": ("prompt", "completion"),
        "outcomes": ("prompt", "response_a", "response_b"),
        "answers": ("prompt",),
        "corrections": ("prompt", "completion"),
    },
    can=("labels", "outcomes", "answers", "corrections"),
    plain=_plain,
)
