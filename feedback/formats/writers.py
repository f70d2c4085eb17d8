"""The way back: rows of events and of pairs as records of a format.

A writer takes a row as `feedback.transcode` reads it from the ingested tables: for an event its columns, for a pair
`prompt`, `chosen`, `rejected` and its further columns with `_chosen` and `_rejected` for the two sides. It claims the
prompt, the answers, the label, and the columns that it names: those are read from its records as they were. The others
are lost, and rows that its `refuses` tells of are left out.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import pyarrow as pa

from schemas.messages import MESSAGES

__all__ = ["WRITERS", "Writer"]

Row = Mapping[str, Any]

_TEXT: Final = pa.string()
_SHAREGPT_ROLES: Final = {"system": "system", "user": "human", "assistant": "gpt", "tool": "observation"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Writer:
    """How rows of one kind are written in one format.

    Args:
        format: the format's name.
        kind: the rows that it takes.
        columns: columns of the row that the records hold; what lies in others is lost.
        record: the record of a row, without absent fields; None where the format cannot hold the row.
        refuses: which rows it cannot hold, one sentence; empty where it holds all.
        schema: the records as a Parquet table; None where the format is JSONL only.
        takes_unlabelled: whether events without a label, and retractions, can be written.
    """

    format: str
    kind: Literal["events", "pairs"]
    columns: frozenset[str]
    record: Callable[[Row], dict[str, Any] | None]
    schema: pa.Schema | None
    takes_unlabelled: bool = False
    refuses: str = ""


def _without_nulls(**values: Any) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


def _trl_labelled(row: Row) -> dict[str, Any]:
    return _without_nulls(
        prompt=row["prompt"], completion=row["completion"], label=row["label"], tools=row.get("tools")
    )


def _trl_pair(row: Row) -> dict[str, Any]:
    return _without_nulls(
        prompt=row["prompt"],
        chosen=row["chosen"],
        rejected=row["rejected"],
        tools=row.get("tools"),
        score_chosen=row.get("score_chosen"),
        score_rejected=row.get("score_rejected"),
        margin=row.get("margin"),
    )


def _thumb(row: Row) -> dict[str, Any]:
    is_retraction = row.get("op") == "retract"
    words = {True: "up", False: "down", None: "none"}
    is_id_made_up = row["source_record_id"].startswith("sha256:")
    return _without_nulls(
        id=None if is_id_made_up else row["source_record_id"],
        op=None if is_id_made_up or row["op"] == "create" else row["op"],
        user=row.get("rater_key"),
        time=_time(row.get("event_ts"), row),
        updated=_time(row.get("updated_ts"), row),
        model=row.get("model_id"),
        conversation=row.get("conversation_id"),
        message=row.get("message_id"),
        prompt=row["prompt"],
        completion=row["completion"],
        label=None if is_retraction else words[row["label"]],
        strength=row.get("strength"),
        reasons=row.get("reason_codes") or None,
        comment=row.get("comment"),
        lang=row.get("lang"),
        consent=row.get("consent"),
        tools=row.get("tools"),
    )


def _openai_pair(row: Row) -> dict[str, Any] | None:
    tools = row.get("tools")
    if any(turn["role"] not in ("assistant", "tool") for turn in (*row["chosen"], *row["rejected"])):
        return None
    return {
        "input": _without_nulls(messages=row["prompt"], tools=None if tools is None else json.loads(tools)),
        "preferred_output": row["chosen"],
        "non_preferred_output": row["rejected"],
    }


def _llamafactory_labelled(row: Row) -> dict[str, Any] | None:
    # The last message alone is the answer there, so an answer of several turns would become another one.
    if len(row["completion"]) != 1 or not _takes_turns(row["prompt"]):
        return None
    return _without_nulls(messages=[*row["prompt"], *row["completion"]], label=row["label"], tools=row.get("tools"))


def _llamafactory_pair(row: Row) -> dict[str, Any] | None:
    if len(row["chosen"]) != 1 or len(row["rejected"]) != 1 or not _takes_turns(row["prompt"]):
        return None
    return _without_nulls(
        conversations=[_sharegpt(message) for message in row["prompt"]],
        chosen=_sharegpt(row["chosen"][0]),
        rejected=_sharegpt(row["rejected"][0]),
        tools=row.get("tools"),
    )


def _takes_turns(prompt: Sequence[Mapping[str, str]]) -> bool:
    """Whether the user, or a tool, and the assistant speak in turn, behind one system turn at most.

    LLaMA-Factory turns any other conversation into one without words, and goes on.
    """
    turns = prompt[1:] if prompt and prompt[0]["role"] == "system" else prompt
    spoken = (message["role"] for message in turns)
    return len(turns) % 2 == 1 and all(
        role in (("assistant",) if place % 2 else ("user", "tool")) for place, role in enumerate(spoken)
    )


def _axolotl_labelled(row: Row) -> dict[str, Any] | None:
    prompt, completion = row["prompt"], row["completion"]
    system = prompt[0]["content"] if prompt and prompt[0]["role"] == "system" else None
    asked = prompt if system is None else prompt[1:]
    if [turn["role"] for turn in asked] != ["user"] or len(completion) != 1:
        return None
    return _without_nulls(
        system=system, prompt=asked[0]["content"], completion=completion[0]["content"], label=row["label"]
    )


def _axolotl_pair(row: Row) -> dict[str, Any] | None:
    if len(row["chosen"]) != 1 or len(row["rejected"]) != 1:
        return None
    return {"messages": row["prompt"], "chosen": row["chosen"][0], "rejected": row["rejected"][0]}


def _sharegpt(message: Mapping[str, str]) -> dict[str, str]:
    return {"from": _SHAREGPT_ROLES[message["role"]], "value": message["content"]}


def _time(value: Any, row: Row) -> str | None:
    if value is None:
        return None
    naive = row.get("ts_quality") == "naive"
    return str((value.replace(tzinfo=None) if naive else value).isoformat())


def _schema(**columns: pa.DataType) -> pa.Schema:
    return pa.schema(list(columns.items()))


_TURN: Final = pa.struct([("from", _TEXT), ("value", _TEXT)])
_ONE_TURN: Final = "an answer is one turn there"
_IN_TURN: Final = f"{_ONE_TURN}, and the user and the assistant speak in turn, behind one system turn at most"
_THUMB_TEXTS: Final = ("id", "op", "user", "time", "updated", "model", "conversation", "message")
_THUMB_COLUMNS: Final = frozenset(
    {
        *("source_record_id", "op", "rater_key", "event_ts", "updated_ts", "model_id", "conversation_id"),
        *("message_id", "strength", "reason_codes", "comment", "lang", "consent", "tools"),
    }
)

_ALL: Final = (
    Writer(
        format="trl",
        kind="events",
        columns=frozenset({"tools"}),
        record=_trl_labelled,
        schema=_schema(prompt=MESSAGES, completion=MESSAGES, label=pa.bool_(), tools=_TEXT),
    ),
    Writer(
        format="trl",
        kind="pairs",
        columns=frozenset({"tools", "score_chosen", "score_rejected", "margin"}),
        record=_trl_pair,
        schema=_schema(
            prompt=MESSAGES,
            chosen=MESSAGES,
            rejected=MESSAGES,
            tools=_TEXT,
            score_chosen=pa.float64(),
            score_rejected=pa.float64(),
            margin=pa.float64(),
        ),
    ),
    Writer(
        format="thumbs",
        kind="events",
        columns=_THUMB_COLUMNS,
        record=_thumb,
        schema=_schema(
            **dict.fromkeys(_THUMB_TEXTS, _TEXT),
            prompt=MESSAGES,
            completion=MESSAGES,
            label=_TEXT,
            strength=pa.float64(),
            reasons=pa.list_(_TEXT),
            comment=_TEXT,
            lang=_TEXT,
            consent=pa.bool_(),
            tools=_TEXT,
        ),
        takes_unlabelled=True,
    ),
    Writer(
        format="openai",
        kind="pairs",
        columns=frozenset({"tools"}),
        record=_openai_pair,
        schema=None,
        refuses="an output has turns of the assistant and of tools only",
    ),
    Writer(
        format="llamafactory",
        kind="events",
        columns=frozenset({"tools"}),
        record=_llamafactory_labelled,
        schema=_schema(messages=MESSAGES, label=pa.bool_(), tools=_TEXT),
        refuses=_IN_TURN,
    ),
    Writer(
        format="llamafactory",
        kind="pairs",
        columns=frozenset({"tools"}),
        record=_llamafactory_pair,
        schema=_schema(conversations=pa.list_(_TURN), chosen=_TURN, rejected=_TURN, tools=_TEXT),
        refuses=_IN_TURN,
    ),
    Writer(
        format="axolotl",
        kind="events",
        columns=frozenset(),
        record=_axolotl_labelled,
        schema=_schema(system=_TEXT, prompt=_TEXT, completion=_TEXT, label=pa.bool_()),
        refuses="its loaders for KTO take one question, a system text before it, and one turn as the answer",
    ),
    Writer(
        format="axolotl",
        kind="pairs",
        columns=frozenset(),
        record=_axolotl_pair,
        schema=_schema(messages=MESSAGES, chosen=MESSAGES.value_type, rejected=MESSAGES.value_type),
        refuses=_ONE_TURN,
    ),
)

WRITERS: Final[Mapping[tuple[str, str], Writer]] = {(one.format, one.kind): one for one in _ALL}
"""Every writer by format and kind."""
