"""Rows to train on, from the tables of a dataset: labelled answers, and pairs. Labels are never guessed.

Prompts and completions are texts or lists of turns, also both in one column. A row without an id gets one of its
content.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from align.data.json_columns import own_records
from align.data.turns import as_turns
from schemas.errors import InputError
from schemas.messages import Message

__all__ = ["LabelledRow", "PreferenceRow", "labelled_rows", "preference_rows"]


@dataclass(frozen=True, slots=True)
class LabelledRow:
    """A prompt, one completion, and whether it is desirable.

    Args:
        row_id: names the row in plans, metrics and errors.
        prompt: turns up to the rated answer.
        completion: the rated answer; its last turn is the assistant's.
        label: True where desirable.
        weight: factor of the row's loss, at least 0.
        group_id: rows of one group count as having the same prompt.
        tools: JSON list of the tools that the assistant had, or none.
    """

    row_id: str
    prompt: list[Message]
    completion: list[Message]
    label: bool
    weight: float
    group_id: str
    tools: str | None


@dataclass(frozen=True, slots=True)
class PreferenceRow:
    """A prompt with two completions, of which one was preferred.

    Args:
        row_id: names the pair in plans, metrics and errors.
        prompt: turns up to the answers.
        chosen: the preferred answer; its last turn is the assistant's.
        rejected: the other one, likewise.
        weight: factor of the pair's loss, at least 0.
        group_id: pairs of one group count as having the same prompt.
        tools: JSON list of the tools that the assistant had, or none.
    """

    row_id: str
    prompt: list[Message]
    chosen: list[Message]
    rejected: list[Message]
    weight: float
    group_id: str
    tools: str | None


def labelled_rows(table: pa.Table, *, where: str) -> list[LabelledRow]:
    """The rows of a table with `prompt`, `completion` and `label`.

    Args:
        table: the columns; `row_id`, `weight`, `group_id` and `tools` may be there too.
        where: what the table is, for errors.

    Raises:
        InputError: a row is not one.
    """
    seen: Counter[str] = Counter()
    records = enumerate(own_records(table, where=where))
    return [_labelled(record, seen, f"{where}, row {place}") for place, record in records]


def preference_rows(table: pa.Table, *, where: str) -> list[PreferenceRow]:
    """The rows of a table with `prompt`, `chosen` and `rejected`.

    Args:
        table: the columns; `row_id`, `weight`, `group_id` and `tools` may be there too.
        where: what the table is, for errors.

    Raises:
        InputError: a row is not one, or both of its answers are the same.
    """
    seen: Counter[str] = Counter()
    records = enumerate(own_records(table, where=where))
    return [_preference(record, seen, f"{where}, row {place}") for place, record in records]


def _labelled(record: Mapping[str, Any], seen: Counter[str], where: str) -> LabelledRow:
    prompt = _prompt(record, where)
    completion = _answer(record, "completion", where)
    if record["label"] is None:
        raise InputError("label is null", where=where, expected="true or false", todo="Leave such rows out")
    return LabelledRow(
        row_id=_row_id(record, [prompt, completion, record["label"]], seen),
        prompt=prompt,
        completion=completion,
        label=record["label"],
        weight=_weight(record, where),
        group_id=str(record.get("group_id") or _digest(prompt)),
        tools=_tools(record, where),
    )


def _preference(record: Mapping[str, Any], seen: Counter[str], where: str) -> PreferenceRow:
    prompt = _prompt(record, where)
    chosen, rejected = _answer(record, "chosen", where), _answer(record, "rejected", where)
    if chosen == rejected:
        raise InputError("chosen and rejected are the same", where=where, todo="Leave such pairs out")
    return PreferenceRow(
        row_id=_row_id(record, [prompt, chosen, rejected], seen),
        prompt=prompt,
        chosen=chosen,
        rejected=rejected,
        weight=_weight(record, where),
        group_id=str(record.get("group_id") or _digest(prompt)),
        tools=_tools(record, where),
    )


def _prompt(record: Mapping[str, Any], where: str) -> list[Message]:
    prompt = as_turns(record["prompt"], "user", where=f"{where}, column 'prompt'")
    if prompt[-1]["role"] not in ("user", "tool"):
        raise InputError("the prompt does not end with user or tool", where=where, received=prompt[-1]["role"])
    return prompt


def _answer(record: Mapping[str, Any], column: str, where: str) -> list[Message]:
    answer = as_turns(record[column], "assistant", where=f"{where}, column {column!r}")
    roles = [turn["role"] for turn in answer]
    if roles[-1] != "assistant" or not {"assistant", "tool"}.issuperset(roles):
        raise InputError(
            f"the {column} is not the assistant's",
            where=where,
            received=roles,
            expected="turns of assistant and tool, the last one of the assistant",
        )
    return answer


def _weight(record: Mapping[str, Any], where: str) -> float:
    weight = record.get("weight")
    weight = 1.0 if weight is None else weight
    if not isinstance(weight, int | float) or not math.isfinite(weight) or weight < 0:
        raise InputError("weight is not a number", where=where, received=weight, expected="a finite number, at least 0")
    return float(weight)


def _tools(record: Mapping[str, Any], where: str) -> str | None:
    given = record.get("tools") or None
    try:
        tools = json.loads(given) if isinstance(given, str) else given
    except (ValueError, RecursionError):
        tools = given
    if tools is None:
        return None
    if not isinstance(tools, list) or not all(isinstance(tool, dict) for tool in tools):
        raise InputError(
            "the tools are not a JSON list of objects",
            where=f"{where}, column 'tools'",
            received=given,
            expected='a list such as [{"type": "function", "function": {"name": ...}}], or null',
            todo="Correct the row, or leave it out",
        )
    return given if isinstance(given, str) else json.dumps(tools, ensure_ascii=False)


def _row_id(record: Mapping[str, Any], content: object, seen: Counter[str]) -> str:
    """The row's own id, or one of its content; rows with one id are numbered, so that each is known by its own."""
    own = record.get("row_id")
    base = _digest(content) if own is None or own == "" else str(own)
    row_id = base
    while row_id in seen:  # also where a row's own id looks like a number of ours
        seen[base] += 1
        row_id = f"{base}#{seen[base]}"
    seen[row_id] += 1
    return row_id


def _digest(value: object) -> str:
    return hashlib.blake2b(json.dumps(value, ensure_ascii=True).encode(), digest_size=16).hexdigest()
