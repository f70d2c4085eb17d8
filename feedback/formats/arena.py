"""Format `arena`: votes of Chatbot Arena between two models, in the shapes that they were published in.

    battles   model_a, model_b, winner, conversation_a, conversation_b     the 33k, 100k and 140k sets
    Kaggle    prompt, response_a, response_b, winner_model_a, winner_model_b, winner_tie     cells are lists in strings
    Kaggle    prompt, response_a, response_b, winner     cells are text

Whole conversations were compared. The prompt is what both share, up to where the models' answers part; an answer is the
rest of its conversation, of which the last turn is the one that was voted on. `both bad` gives two undesirable answers
and a tie none; the Kaggle set with three columns merged the two, so its ties are only that. The 140k set has a record
for each vote of a session, and keeps what was said before the models were changed in `full_conversation`, which is not
read; its later votes have the flag `later_vote`.

Answers that are null in a Kaggle list, and halves of surrogate pairs in it, are rejected. `judge` (or `judge_hash`) is
who voted. Fields were read in the cards of lmarena-ai/arena-human-preference-100k and -140k, in lm-sys/FastChat
(clean_battle_data.py), and for lmsys/chatbot_arena_conversations and the Kaggle competitions in code that loads them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any, Final

import polars as pl

from feedback.formats.drafts import Format, PairDraft
from feedback.formats.parts.cell_columns import answered_turns, text_lists
from feedback.formats.parts.cells import list_cell
from feedback.formats.parts.field_columns import id_of, is_id, is_said, json_list, json_of, text_of
from feedback.formats.parts.fields import (
    need,
    optional_id,
    optional_number,
    optional_text,
    optional_time,
    reject,
    shown,
)
from feedback.formats.parts.turn_columns import shared_prompt
from feedback.formats.parts.turns import read_messages, read_text, split_shared_prompt
from feedback.formats.plain import ID, MESSAGE_LIST, NUMBER, TEXT, TIME, WHOLE, PlainRecords, Turns
from schemas.messages import Message
from schemas.reasons import RejectReason

__all__ = ["ARENA", "read_winner"]

_WINNERS: Final = {
    "model_a": "a",
    "model_b": "b",
    "tie": "tie",
    "tie (bothbad)": "both_bad",
    "both_bad": "both_bad",
}
_FLAGS: Final = ("winner_model_a", "winner_model_b", "winner_tie")
_OUTCOMES: Final = ("a", "b", "tie")


def read_winner(record: Mapping[str, Any], winners: Mapping[str, str] = _WINNERS) -> str:
    """The outcome that the field `winner` names.

    Raises:
        RecordRejectedError: it is absent, or none of the known ones.
    """
    winner = need(record, "winner")
    if not isinstance(winner, str) or winner not in winners:
        reject(RejectReason.UNKNOWN_LABEL, f"field 'winner' is {shown(winner)}; expected one of {', '.join(winners)}")
    return winners[winner]


def _parse(record: dict[str, Any]) -> Iterator[PairDraft]:
    if record.get("conversation_a") is not None or record.get("conversation_b") is not None:
        conversations = [
            read_messages(list_cell(record, f"conversation_{side}"), f"conversation_{side}") for side in "ab"
        ]
        outcome, raw_value = read_winner(record), record["winner"]
    elif any(record.get(name) is not None for name in _FLAGS):
        asked = list_cell(record, "prompt")
        conversations = [_from_lists(record, asked, f"response_{side}") for side in "ab"]
        outcome, raw_value = _flagged(record)
    else:
        prompt = read_text(record, "prompt", "user")
        conversations = [[prompt, read_text(record, f"response_{side}", "assistant")] for side in "ab"]
        outcome, raw_value = read_winner(record), record["winner"]
    prompt_turns, response_a, response_b = split_shared_prompt(*conversations)
    yield PairDraft(
        prompt=prompt_turns,
        response_a=response_a,
        response_b=response_b,
        outcome=outcome,
        raw_value=raw_value,
        record_id=_record_id(record),
        rater=optional_id(record, "judge") or optional_id(record, "judge_hash"),
        rater_kind="end_user",
        event_time=optional_time(record, "tstamp") or optional_time(record, "timestamp"),
        model_a=optional_text(record, "model_a"),
        model_b=optional_text(record, "model_b"),
        flags=("later_vote",) if (optional_number(record, "evaluation_order") or 1) > 1 else (),
    )


def _record_id(record: Mapping[str, Any]) -> str | None:
    """The id of the vote; a question that is numbered is one of a list that many vote on, as in MT-bench."""
    is_vote = isinstance(record.get("question_id"), str)
    return optional_id(record, "question_id" if is_vote else "id")


def _from_lists(record: dict[str, Any], asked: list[Any], field: str) -> list[Message]:
    """A conversation from the list of what was asked and the list of what was answered."""
    answered = list_cell(record, field)
    if len(asked) != len(answered):
        detail = f"field 'prompt' has {len(asked)} turns and field {field!r} {len(answered)}"
        reject(RejectReason.RULE_VIOLATION, detail)
    turns = chain.from_iterable(zip(_texts(asked, "prompt", "user"), _texts(answered, field, "assistant"), strict=True))
    return list(turns)


def _texts(values: list[Any], field: str, role: str) -> Iterator[Message]:
    for place, value in enumerate(values):
        if value is None and role == "assistant":
            reject(RejectReason.EMPTY_COMPLETION, f"{field}[{place}] is null: no answer came")
        if not isinstance(value, str):
            reject(RejectReason.WRONG_TYPE, f"{field}[{place}] is {shown(value)}; expected text")
        yield {"role": role, "content": value}


def _flagged(record: Mapping[str, Any]) -> tuple[str, list[Any]]:
    """The outcome of three columns, of which exactly one is 1; a table of text has `1` and `0` in them."""
    flags = [need(record, name) for name in _FLAGS]
    numbers = [str(flag) if isinstance(flag, int | str) else shown(flag) for flag in flags]
    if sorted(numbers) != ["0", "0", "1"]:
        listed = ", ".join(f"{name} {shown(flag)}" for name, flag in zip(_FLAGS, flags, strict=True))
        reject(RejectReason.UNKNOWN_LABEL, f"the winner is not one of three ({listed}); expected a single 1")
    return _OUTCOMES[numbers.index("1")], flags


_CELLS: Final = ("prompt", "response_a", "response_b")
_UNREAD: Final = frozenset({"turn", "anony", "language", "evaluation_session_id"})


def _plain(time: str, judge: str) -> PlainRecords:
    """Battles with an id of the vote, under the names that one of the sets has for time and rater."""
    a, b = "conversation_a", "conversation_b"
    turns, part_last = shared_prompt(a, b, pl.col(a), pl.col(b))
    is_later = (pl.col("evaluation_order") > 1).fill_null(value=False)
    return PlainRecords(
        kind="pairs",
        turns=turns,
        types={
            **dict.fromkeys((a, b), MESSAGE_LIST),
            **dict.fromkeys(("question_id", "winner", "model_a", "model_b"), TEXT),
            judge: ID,
            time: TIME,
            "evaluation_order": NUMBER,
        },
        fields={
            "outcome": pl.col("winner").replace_strict(_WINNERS, default=None, return_dtype=pl.String),
            "raw_value": json_of("winner", {name: json.dumps(name) for name in _WINNERS}),
            "record_id": pl.col("question_id"),
            "rater": id_of(judge),
            "rater_kind": pl.lit("end_user"),
            "event_time": pl.col(time),
            "model_a": text_of("model_a"),
            "model_b": text_of("model_b"),
            "flags": pl.when(is_later).then(pl.lit(["later_vote"])).otherwise(pl.lit([], pl.List(pl.String))),
        },
        where=pl.all_horizontal(
            part_last, pl.col("winner").is_in(list(_WINNERS)), is_said("question_id"), is_id(judge)
        ),
        needs=("question_id", time, judge),
        unread=_UNREAD,
    )


def _plain_lists() -> PlainRecords:
    """Kaggle's lists in strings, of conversations that part at their first answer."""
    asked, *answered = (f"{name} list" for name in _CELLS)
    lengths = [pl.col(name).list.len() for name in (asked, *answered)]
    first_a, first_b = (pl.col(name).list.first() for name in answered)
    flags = [pl.col(name) for name in _FLAGS]
    is_first, is_second = flags[0] == 1, flags[1] == 1
    return PlainRecords(
        kind="pairs",
        turns={
            "prompt": Turns("prompt", "user", made=pl.col(asked).list.first()),
            "response_a": Turns("response_a", made=answered_turns(asked, answered[0])),
            "response_b": Turns("response_b", made=answered_turns(asked, answered[1])),
        },
        types={
            **dict.fromkeys((*_CELLS, "model_a", "model_b"), TEXT),
            "id": ID,
            **dict.fromkeys(_FLAGS, WHOLE),
        },
        parts={f"{name} list": text_lists(name) for name in _CELLS},
        fields={
            "outcome": pl.when(is_first).then(pl.lit("a")).when(is_second).then(pl.lit("b")).otherwise(pl.lit("tie")),
            "raw_value": json_list(*_FLAGS),
            "record_id": id_of("id"),
            "rater_kind": pl.lit("end_user"),
            "model_a": text_of("model_a"),
            "model_b": text_of("model_b"),
        },
        where=pl.all_horizontal(
            *(length == lengths[0] for length in lengths),
            first_a != first_b,
            *(flag.is_between(0, 1) for flag in flags),
            pl.sum_horizontal(flags) == 1,
            is_id("id"),
        ),
        needs=_FLAGS,
        unread=_UNREAD,
    )


ARENA: Final = Format(
    name="arena",
    kind="pairs",
    summary="Votes of Chatbot Arena between two models: conversations, or the shapes of the Kaggle competitions.",
    label_rule="winner model_a or model_b is preferred, 'tie' gives no label, 'tie (bothbad)' and 'both_bad' two "
    "undesirable answers; of winner_model_a, winner_model_b and winner_tie exactly one is 1.",
    fields="winner, conversation_a, conversation_b, or prompt, response_a, response_b (lists in strings), "
    "winner_model_a, winner_model_b, winner_tie; optional question_id or id, model_a, model_b, judge, tstamp",
    keys=frozenset(
        {
            *("question_id", "id", "model_a", "model_b", "winner", "judge", "judge_hash", "conversation_a"),
            *("conversation_b", "tstamp", "timestamp", "evaluation_order", "prompt", "response_a", "response_b"),
            *(*_FLAGS, *_UNREAD),
        }
    ),
    parse=_parse,
    plain=(
        *(_plain(time, judge) for time in ("tstamp", "timestamp") for judge in ("judge", "judge_hash")),
        _plain_lists(),
    ),
)
