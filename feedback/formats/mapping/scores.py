"""What the readers of scores share: a score as tools give it, what it is about, and the drafts that a map makes of it.

score ─► is its name in the map? ─ no ─► left out, counted
                  │ yes
                  ├─ labels, numbers ─► event            withdrawn: the event is retracted
                  ├─ outcomes ────────► pair             withdrawn: the pair says nothing
                  └─ corrections ─────► pair of the answer that the rater wrote and the one it corrects
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from feedback.formats.drafts import Draft, EventDraft, Format, IgnoredDraft, Join, PairDraft, Time
from feedback.formats.mapping.score_map import NO_SCORES, ScoreMap, ScoreRule, read_score_map
from feedback.formats.parts.fields import reject, shown
from feedback.formats.parts.trace_texts import decoded, read_exchange, read_turns
from feedback.formats.plain import PlainRecords
from schemas.messages import Message
from schemas.reasons import RejectReason

__all__ = ["Score", "Subject", "known_word", "need_joined", "pair_of", "score_drafts", "scored_format"]

_LABEL_RULE: Final = (
    "as the map's table [scores.NAME] says for each name; names without a table are left out and counted, values that "
    "a table does not name are rejected."
)
"""How all formats with named scores read labels."""


class Score(msgspec.Struct, frozen=True, kw_only=True):
    """One judgement, as a tool gives it.

    Args:
        name: the name that users gave to what is judged.
        values: what the tool gives as its value, the most telling first.
        rater_kind: who judges, where the tool says so.
        correction: the answer that the rater wrote instead.
        is_withdrawn: whether it holds no more.
    """

    name: str
    values: tuple[Any, ...]
    record_id: str | None = None
    rater: str | None = None
    rater_kind: str | None = None
    event_time: Time | None = None
    updated_time: Time | None = None
    comment: str | None = None
    flags: tuple[str, ...] = ()
    correction: Any = None
    is_withdrawn: bool = False

    @property
    def raw_value(self) -> Any:
        """The first value that is there."""
        for value in self.values:
            if value is not None:
                return value
        return None


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """What a score is about. Several scores may share one: their texts are read once, and they share the turns too.

    Args:
        data: where mapped paths begin.
        asked: what was asked, where the tool has a place for it.
        answered: what was answered, likewise.
        fields: what both are called, for rejections.
        read: the prompt and the answer that were read, by the name of the score.
    """

    data: Any
    asked: Any = None
    answered: Any = None
    fields: tuple[str, str] = ("input", "output")
    model_id: str | None = None
    conversation_id: str | None = None
    message_id: str | None = None
    read: dict[str, tuple[list[Message], list[Message]]] = msgspec.field(default_factory=dict)

    def exchange(self, rule: ScoreRule) -> tuple[list[Message], list[Message]]:
        """The prompt and the answer.

        Raises:
            RecordRejectedError: one is absent, or is neither text nor messages.
        """
        found = self.read.get(rule.name)
        if found is None:
            found = self.read[rule.name] = self._exchange(rule)
        return found

    def prompt(self, rule: ScoreRule) -> list[Message]:
        """The prompt alone.

        Raises:
            RecordRejectedError: it is absent, or is neither text nor messages.
        """
        return self._with_system(rule, read_turns(rule.find("prompt", self.data), "prompt", "user", is_mapped=True))

    def _exchange(self, rule: ScoreRule) -> tuple[list[Message], list[Message]]:
        has_prompt, has_completion = "prompt" in rule.paths, "completion" in rule.paths
        asked = rule.find("prompt", self.data) if has_prompt else self.asked
        answered = rule.find("completion", self.data) if has_completion else self.answered
        fields = "prompt" if has_prompt else self.fields[0], "completion" if has_completion else self.fields[1]
        prompt, completion = read_exchange(asked, answered, fields, mapped=(has_prompt, has_completion))
        return self._with_system(rule, prompt), completion

    def _with_system(self, rule: ScoreRule, prompt: list[Message]) -> list[Message]:
        text = rule.find("system", self.data) if "system" in rule.paths else None
        if text is None or (isinstance(text, str) and not text.strip()):
            return prompt
        return [*read_turns(text, "system", "system", is_mapped=True), *prompt]


_Parse = Callable[[dict[str, Any], ScoreMap], Iterator[Draft]]
"""What reads a record by a map."""
_Plain = Callable[[ScoreMap], tuple[PlainRecords, ...]]


def scored_format(
    name: str,
    parse: _Parse,
    *,
    kind: Literal["events", "pairs", "both"],
    summary: str,
    fields: str,
    keys: frozenset[str] | None,
    user_keys: frozenset[str] = frozenset(),
    join: Join | None = None,
    needs: Mapping[str, Sequence[str]] | None = None,
    can: Sequence[str] = ("labels",),
    plain: _Plain | None = None,
) -> Format:
    """A format whose scores a map explains.

    Args:
        name: what it is called.
        parse: what reads a record; without a map it is given one that asks for nothing, so that it leaves out what is
            in the format and rejects what is not.
        kind: whether its scores are of an answer, of two, or can be both.
        summary: what it is, one sentence.
        fields: the fields that a record needs and may have.
        keys: all top-level keys that are read; None where any may be.
        user_keys: keys whose value says who somebody is, see `Format`.
        join: what its records need from another file.
        needs: see `read_score_map`.
        can: see `read_score_map`.
        plain: the shapes of plain records under a map, if there are any.
    """
    made = Format(
        name=name,
        kind=kind,
        summary=summary,
        label_rule=_LABEL_RULE,
        fields=f"{fields}; a map that says what the scores mean, with --map",
        keys=keys,
        parse=partial(_parse, parse=parse, known=NO_SCORES),
        join=join,
        user_keys=user_keys,
    )
    return replace(made, with_map=partial(_with_map, made=made, parse=parse, needs=needs or {}, can=can, plain=plain))


def score_drafts(score: Score, known: ScoreMap, find_subject: Callable[[], Subject]) -> Iterator[Draft]:
    """What the map makes of a score.

    Args:
        score: the score.
        known: the map.
        find_subject: gives what the score is about, or rejects; not asked for scores that are left out.

    Raises:
        RecordRejectedError: the value is not in the map, or the texts cannot be found.
    """
    rule = known.rules.get(score.name)
    if rule is None:
        left_out = f"scores {shown(score.name)}, which the map does not name"
        is_text = score.raw_value is None and score.correction is not None
        yield IgnoredDraft(what=left_out, score=score.name, value=score.raw_value, is_correction=is_text)
        return
    is_correction = rule.table.corrections and score.correction not in (None, "", {})
    if rule.table.outcomes:
        yield _choice(score, rule, find_subject())
        return
    if rule.gives_labels and not (is_correction and score.raw_value is None and "null" not in rule.table.labels):
        yield _event(score, rule, find_subject())
    elif not is_correction:
        yield IgnoredDraft(what=f"scores {shown(score.name)} without a correction")
    if is_correction:
        yield _corrected(score, rule, find_subject())


def pair_of(score: Score, rule: ScoreRule, subject: Subject, **told: Any) -> PairDraft:
    """A pair with what the score says of its rater and time, and the subject of its conversation.

    A changed mind is saved later, so it is the later time.
    """
    return PairDraft(
        **{
            "raw_value": score.raw_value,
            "record_id": score.record_id,
            "rater": score.rater,
            "rater_kind": score.rater_kind or rule.table.rater_kind,
            "event_time": score.updated_time if score.updated_time is not None else score.event_time,
            "conversation_id": subject.conversation_id,
            "flags": score.flags,
            **told,
        }
    )


def known_word(value: Any, field: str, known: Collection[str]) -> str:
    """`value`, which is one of the words that a tool has for something.

    Raises:
        RecordRejectedError: it is none of them.
    """
    if not isinstance(value, str) or value not in known:
        reject(RejectReason.RULE_VIOLATION, f"field {field!r} is {shown(value)}; expected one of {', '.join(known)}")
    return value


def need_joined(value: Any, field: str, what: str) -> dict[str, Any]:
    """What another file holds of a record.

    Args:
        value: what was joined.
        field: the key under which it lies.
        what: what the other file holds, in the plural.

    Raises:
        RecordRejectedError: it is absent, or no object.
    """
    if value is None:
        reject(
            RejectReason.MISSING_FIELD,
            f"field {field!r} is absent or null: the texts are in the export of the {what}; --join FILE names it",
        )
    found = decoded(value)
    if not isinstance(found, dict):
        reject(RejectReason.WRONG_TYPE, f"field {field!r} is {shown(value)}; expected an object")
    return found


def _with_map(
    path: Path,
    *,
    made: Format,
    parse: _Parse,
    needs: Mapping[str, Sequence[str]],
    can: Sequence[str],
    plain: _Plain | None,
) -> Format:
    known = read_score_map(path, needs=needs, can=can)
    return replace(
        made,
        parse=partial(_parse, parse=parse, known=known),
        join=known.joined(made.join),
        plain=() if plain is None else plain(known),
    )


def _parse(record: dict[str, Any], *, parse: _Parse, known: ScoreMap) -> Iterator[Draft]:
    return parse(record, known)


def _event(score: Score, rule: ScoreRule, subject: Subject) -> EventDraft:
    prompt, completion = subject.exchange(rule)
    label = None if score.is_withdrawn else rule.label(score.values)
    return EventDraft(
        prompt=prompt,
        completion=completion,
        signal=rule.signal,
        raw_value=score.raw_value,
        label=label,
        op="retract" if score.is_withdrawn else "create",
        record_id=score.record_id,
        rater=score.rater,
        rater_kind=score.rater_kind or rule.table.rater_kind,
        event_time=score.event_time,
        updated_time=score.updated_time,
        model_id=subject.model_id,
        conversation_id=subject.conversation_id,
        message_id=subject.message_id,
        strength=rule.number(score.values),
        comment=score.comment,
        flags=score.flags,
    )


def _choice(score: Score, rule: ScoreRule, subject: Subject) -> PairDraft:
    sides = [
        read_turns(rule.find(side, subject.data), side, "assistant", is_mapped=True)
        for side in ("response_a", "response_b")
    ]
    outcome = "abstain" if score.is_withdrawn else rule.outcome(score.values)
    turns = {"prompt": subject.prompt(rule), "response_a": sides[0], "response_b": sides[1]}
    return pair_of(score, rule, subject, outcome=outcome, **turns)


def _corrected(score: Score, rule: ScoreRule, subject: Subject) -> PairDraft:
    prompt, completion = subject.exchange(rule)
    return pair_of(
        score,
        rule,
        subject,
        prompt=prompt,
        response_a=read_turns(score.correction, "correction", "assistant", is_mapped=True),
        response_b=completion,
        outcome="abstain" if score.is_withdrawn else "a",
        raw_value="correction",
        record_id=None if score.record_id is None else f"{score.record_id}/correction",
        model_b=subject.model_id,
        flags=("correction", *score.flags),
    )
