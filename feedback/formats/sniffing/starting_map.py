"""A map to begin with, from the first records of a file that is in none of the formats.

Paths are proposed by their names. What a label means is never proposed: every value that was seen stands there with
`"?"`, which the loader of maps refuses until a person has decided. The map shows no text of the records.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from feedback.formats.mapping.paths import Steps, path_text
from feedback.formats.mapping.undecided import UNDECIDED
from feedback.formats.parts.turns import OPENAI_ROLES
from feedback.formats.sniffing.map_text import comment_text, head_lines, kinds_text, listed_paths, toml_text
from feedback.formats.sniffing.seen_paths import MOST_VALUES, SeenPath, seen_paths

__all__ = ["starting_map"]

_NAMES: Final[Mapping[str, str]] = {
    "conversation_messages": "messages conversation conversations chat history turns dialogue thread transcript",
    "prompt": "prompt question query instruction request usermessage userinput userprompt ask input human",
    "completion": "completion response answer output reply assistantmessage assistantresponse botresponse modeloutput "
    "modelresponse generation generated botmessage prediction assistant",
    "chosen": "chosen",
    "rejected": "rejected",
    "response_a": "responsea answera completiona outputa response0 answer0 response1 answer1",
    "response_b": "responseb answerb completionb outputb response1 answer1 response2 answer2",
    "outcome": "outcome winner preference preferred choice selected verdict betterid vote",
    "label": "label rating vote thumb thumbs feedback liked isliked like reaction sentiment score ispositive isgood "
    "judgement judgment verdict grade stars value helpful flag",
    "id": "feedbackid ratingid voteid recordid id uuid",
    "user": "userid user raterid rater annotatorid annotator username uid",
    "time": "ratedat votedat feedbackat createdat created timestamp time datetime date at ts",
    "updated": "updatedat updated modifiedat modified lastupdated",
    "model": "model modelid modelname llm engine deployment",
    "conversation": "conversationid chatid sessionid threadid session",
    "message": "messageid responseid turnid runid traceid",
    "comment": "comment comments note notes explanation rationale feedbacktext reasontext",
    "reasons": "reasons tags reason categories",
    "lang": "lang language locale",
}
"""Names that fields go by, the likelier first, in small letters without signs between words."""

_WANTED_TEXT: Final = ("prompt", "completion", "chosen", "rejected", "response_a", "response_b")
_SCALARS: Final = ("id", "user", "time", "updated", "model", "conversation", "message", "comment", "lang")
_OF_BOTH: Final = {"id", "user", "time", "conversation"}
_OF_EVENTS: Final = {"updated", "model", "message", "comment", "reasons", "lang"}
_UNITS: Final = (("s", 1), ("ms", 1e3), ("us", 1e6), ("ns", 1e9))
_YEARS: Final = tuple(datetime(year, 1, 1, tzinfo=UTC).timestamp() for year in (1990, 2100))
_ITEM: Final = "item"
_ABSENT: Final = "null"


@dataclass(slots=True)
class _Draft:
    """A map while it is made.

    Args:
        kind: `events` or `pairs`.
        fields: what was found for each field; several where nobody can tell which it is.
        each: the list whose items are the judged things.
        judged: the field that says what the judgement is.
    """

    kind: str
    fields: dict[str, list[SeenPath]]
    each: Steps | None = None

    @property
    def judged(self) -> SeenPath | None:
        """Where the judgement stands, if it is sure."""
        found = self.fields.get("outcome" if self.kind == "pairs" else "label", [])
        return found[0] if len(found) == 1 else None


def starting_map(records: Sequence[dict[str, Any]], file: str) -> str:
    """The text of a TOML map for records like these.

    Args:
        records: the first records of the file.
        file: its name.
    """
    seen = seen_paths(records)
    draft = _draft(seen)
    lines = [
        *head_lines("A starting map", file, len(records)),
        "# The paths are proposed by their names: check them too.",
        "# docs/mapped.md explains every table.",
        "",
        f'kind = "{draft.kind}"',
        *_each(draft),
        *_fields(draft),
        *_meanings(draft, len(records)),
        *_options(draft),
        *_roles(draft, seen),
        *listed_paths(seen, len(records)),
    ]
    return "\n".join(lines) + "\n"


def _draft(seen: Sequence[SeenPath]) -> _Draft:
    fields = {name: found for name in _NAMES if (found := _find(name, seen))}
    wanted, taken = _way(fields)
    kind = "events" if "label" in wanted else "pairs"
    names = wanted | (taken & set(fields))
    draft = _Draft(kind, {name: fields.get(name, []) for name in _NAMES if name in names})
    draft.each = None if draft.judged is None else draft.judged.list_steps
    return draft


def _way(fields: Mapping[str, list[SeenPath]]) -> tuple[set[str], set[str]]:
    """What a map of these fields needs, and what it may have beside that."""
    if {"chosen", "rejected"} <= set(fields):
        return {"prompt", "chosen", "rejected"}, _OF_BOTH
    if {"response_a", "response_b"} <= set(fields):
        return {"prompt", "response_a", "response_b", "outcome"}, _OF_BOTH
    if "conversation_messages" in fields and not {"prompt", "completion"} <= set(fields):
        return {"conversation_messages", "label"}, _OF_BOTH | _OF_EVENTS
    return {"prompt", "completion", "label"}, _OF_BOTH | _OF_EVENTS


def _find(field: str, seen: Sequence[SeenPath]) -> list[SeenPath]:
    """The paths that a field may be at: those of the likeliest name, and of these the outermost."""
    names = _NAMES[field].split()
    fitting = [one for one in seen if _plain(one.name) in names and _can_be(field, one)]
    if not fitting:
        return []
    best = min((len(one.steps), names.index(_plain(one.name))) for one in fitting)
    return [one for one in fitting if (len(one.steps), names.index(_plain(one.name))) == best]


def _can_be(field: str, one: SeenPath) -> bool:
    if field == "conversation_messages":
        return one.is_messages and one.steps[-1] != 0
    if field in _WANTED_TEXT:
        return one.is_messages or (one.is_scalar and "text" in one.kinds)
    if field == "reasons":
        return not {"object", "number", "boolean"} & set(one.kinds)
    if field in ("label", "outcome"):
        return one.is_scalar and (one.values is not None or one.numbers is not None)
    return field in _SCALARS and one.is_scalar


def _plain(name: str) -> str:
    return "".join(sign for sign in name.lower() if sign.isalnum())


def _each(draft: _Draft) -> Iterator[str]:
    judged = draft.judged
    if draft.each is None or judged is None:
        return
    yield ""
    yield "[[each]]  # every item of this list that has a judgement gives one draft; paths to it begin with item"
    yield f"list = {toml_text(path_text(draft.each))}"
    yield f"only = {toml_text(_within(judged, draft))}"


def _within(one: SeenPath, draft: _Draft) -> str:
    """The path of a field, from the item of the list where it lies in it."""
    each = draft.each
    if each is None or one.steps[: len(each) + 1] != (*each, 0):
        return one.text
    return path_text((_ITEM, *one.steps[len(each) + 1 :]))


def _fields(draft: _Draft) -> Iterator[str]:
    yield ""
    yield "[fields]"
    is_turn = draft.each is not None and any(
        one.steps == draft.each for one in draft.fields.get("conversation_messages", [])
    )
    for name, found in draft.fields.items():
        if name == "conversation_messages" and is_turn:
            yield f'prompt = "{_ITEM}_before"  # the messages before the judged one'
            yield f'completion = "{_ITEM}"'
        elif len(found) == 1:
            yield f"{name} = {toml_text(_within(found[0], draft))}  # {kinds_text(found[0])}"
        else:
            listed = ", ".join(comment_text(_within(one, draft)) for one in found)
            hint = f"one of {listed}" if found else "its path; nothing has such a name"
            yield f"{name} = {toml_text(UNDECIDED)}  # {hint}"


def _meanings(draft: _Draft, records: int) -> Iterator[str]:
    if draft.kind == "pairs" and "outcome" not in draft.fields:
        return
    judged = draft.judged
    words = '"a", "b", "tie", "both_bad" or "abstain"' if draft.kind == "pairs" else '"up", "down" or "none"'
    is_scale = judged is not None and judged.values is None and draft.kind == "events"
    yield ""
    if is_scale and judged is not None and judged.numbers is not None:
        low, high = judged.numbers
        yield f"[thresholds]  # more than {MOST_VALUES} different numbers, from {low:g} to {high:g}"
        yield f"up_from = {toml_text(UNDECIDED)}"
        yield f"down_to = {toml_text(UNDECIDED)}  # what lies between gives no label"
        return
    yield f"[{'outcomes' if draft.kind == 'pairs' else 'labels'}]  # what each value means: {words}"
    if judged is None or judged.values is None:
        yield f'"value" = {toml_text(UNDECIDED)}  # a line for every value'
        return
    for value, count in sorted(judged.values.items()):
        if value != _ABSENT:
            yield f"{toml_text(value)} = {toml_text(UNDECIDED)}  # in {count:,}"
    absent = judged.values.get(_ABSENT, 0) + max(records - judged.values.total(), 0)
    if draft.each is None and absent:
        yield f"{_ABSENT} = {toml_text(UNDECIDED)}  # absent or null in {absent:,}"


def _options(draft: _Draft) -> Iterator[str]:
    options: dict[str, Any] = {}
    units = {_unit(one) for name in ("time", "updated") for one in draft.fields.get(name, [])} - {None, "s"}
    if len(units) == 1:
        options["time_unit"] = units.pop()
    keys = {one.role_keys for found in draft.fields.values() for one in found if one.role_keys is not None}
    if len(keys) == 1:
        role, text = next(iter(keys))
        options |= {} if role == "role" else {"role_key": role}
        options |= {} if text == "content" else {"content_key": text}
    in_text = [
        name
        for name in _WANTED_TEXT
        if any(one.in_text and one.is_messages and "text" in one.kinds for one in draft.fields.get(name, []))
    ]
    if in_text:
        options["json"] = in_text
    if options:
        yield ""
        yield "[options]"
        yield from (f"{name} = {json.dumps(value, ensure_ascii=False)}" for name, value in options.items())


def _unit(one: SeenPath) -> str | None:
    """The unit of numbers that are times: the only one in which all lie between 1990 and 2100."""
    if one.numbers is None:
        return None
    low, high = one.numbers
    return next((name for name, scale in _UNITS if _YEARS[0] <= low / scale <= high / scale <= _YEARS[1]), None)


def _roles(draft: _Draft, seen: Sequence[SeenPath]) -> Iterator[str]:
    unknown: Counter[str] = Counter()
    for found in draft.fields.values():
        for one in found:
            if one.role_keys is not None:
                steps = (*one.steps, one.role_keys[0]), (*one.steps, 0, one.role_keys[0])
                for inner in seen:
                    if inner.steps in steps and inner.values is not None:
                        unknown.update(
                            {role: count for role, count in inner.values.items() if role not in OPENAI_ROLES}
                        )
    if unknown:
        yield ""
        yield '[roles]  # who speaks: "system", "user", "assistant" or "tool"'
        yield from (
            f"{toml_text(role)} = {toml_text(UNDECIDED)}  # {count:,} messages"
            for role, count in sorted(unknown.items())
        )
