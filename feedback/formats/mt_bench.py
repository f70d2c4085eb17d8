"""Format `mt_bench`: answers to the questions of MT-bench, compared by people or by a model.

    votes    question_id, model_a, model_b, winner, judge, conversation_a, conversation_b, turn
    judge    question_id, model_1, model_2, g1_winner, g2_winner, g1_user_prompt, turn, judge

A vote is on one turn, and its conversations hold both; later turns than `turn` are cut off. A judge is asked twice,
with the answers in both orders: it prefers an answer if it says so in both, and everything else is a tie, with the flag
`inconsistent` where the two verdicts differ. `error` is a verdict that could not be read, and rejected. A judge's file
holds no answers but in the text that the judge was shown, from which they are cut by the marks of the judge's prompts;
where an answer holds such a mark itself the record is rejected, since where it ends cannot be seen.

`judge` is who voted: `expert_...` and `author_...` are people, anything with `gpt` in it, or a list of model and
prompt, is a model. A question's id is no record's id. Fields were read in lm-sys/FastChat (fastchat/llm_judge:
common.py and the prompts of its judges) and in the card of lmsys/mt_bench_human_judgments.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, Final

import polars as pl

from feedback.formats.arena import read_winner
from feedback.formats.drafts import Format, PairDraft
from feedback.formats.parts.cells import list_cell
from feedback.formats.parts.field_columns import is_id, is_said, json_of, text_of
from feedback.formats.parts.fields import need, optional_id, optional_text, optional_time, reject, shown
from feedback.formats.parts.turn_columns import take_turns
from feedback.formats.parts.turns import read_messages, split_shared_prompt
from feedback.formats.plain import ID, MESSAGE_LIST, TEXT, TIME, WHOLE, PlainRecords, Turns
from schemas.messages import Message
from schemas.reasons import RejectReason

__all__ = ["MT_BENCH"]

_WINNERS: Final = {"model_a": "a", "model_b": "b", "tie": "tie", "tie (inconsistent)": "tie"}
_MOST_TURNS: Final = 1000
"""Turns of a plain record; whoever judges more is read one by one."""
_VERDICTS: Final = {"model_1": "a", "model_2": "b", "tie": "tie"}


def _parse(record: dict[str, Any]) -> Iterator[PairDraft]:
    is_judge = record.get("g1_winner") is not None or record.get("g2_winner") is not None
    yield _judged(record) if is_judge else _voted(record)


def _voted(record: dict[str, Any]) -> PairDraft:
    turn = _turn(record)
    outcome = read_winner(record, _WINNERS)
    conversations = [
        _cut(read_messages(list_cell(record, f"conversation_{side}"), f"conversation_{side}"), turn, side)
        for side in "ab"
    ]
    rater, kind = _rater(need(record, "judge"))
    is_torn = record["winner"] == "tie (inconsistent)"
    return _pair(record, conversations, outcome, record["winner"], ("model_a", "model_b"), rater, kind, is_torn)


def _judged(record: dict[str, Any]) -> PairDraft:
    turn = _turn(record)
    verdicts = [_verdict(record, name) for name in ("g1_winner", "g2_winner")]
    outcome = verdicts[0] if verdicts[0] == verdicts[1] else "tie"
    raw_value = [record["g1_winner"], record["g2_winner"]]
    rater, _ = _rater(record.get("judge"))
    conversations = _shown_to_judge(record, turn)
    is_torn = verdicts[0] != verdicts[1]
    return _pair(record, conversations, outcome, raw_value, ("model_1", "model_2"), rater, "llm_judge", is_torn)


def _pair(
    record: dict[str, Any],
    conversations: Sequence[list[Message]],
    outcome: str,
    raw_value: Any,
    models: tuple[str, str],
    rater: str | None,
    rater_kind: str,
    is_torn: bool,
) -> PairDraft:
    prompt, response_a, response_b = split_shared_prompt(*conversations)
    return PairDraft(
        prompt=prompt,
        response_a=response_a,
        response_b=response_b,
        outcome=outcome,
        raw_value=raw_value,
        rater=rater,
        rater_kind=rater_kind,
        event_time=optional_time(record, "tstamp"),
        model_a=optional_text(record, models[0]),
        model_b=optional_text(record, models[1]),
        flags=("inconsistent",) if is_torn else (),
    )


def _turn(record: dict[str, Any]) -> int:
    need(record, "question_id")
    optional_id(record, "question_id")
    turn = need(record, "turn")
    if type(turn) is not int or turn < 1:
        reject(RejectReason.WRONG_TYPE, f"field 'turn' is {shown(turn)}; expected a whole number from 1")
    return turn


def _cut(messages: list[Message], turn: int, side: str) -> list[Message]:
    """The conversation up to the answer of `turn`, the one that was judged."""
    answers = [place for place, message in enumerate(messages) if message["role"] == "assistant"]
    if len(answers) < turn:
        detail = f"field 'conversation_{side}' has {len(answers)} answers, and turn {turn} was judged"
        reject(RejectReason.BROKEN_THREAD, detail)
    return messages[: answers[turn - 1] + 1]


def _verdict(record: dict[str, Any], field: str) -> str:
    verdict = need(record, field)
    if verdict == "error":
        reject(RejectReason.NO_JUDGEMENT, f"field {field!r} is 'error': the judge's verdict could not be read")
    if not isinstance(verdict, str) or verdict not in _VERDICTS:
        expected = ", ".join(_VERDICTS)
        reject(RejectReason.UNKNOWN_LABEL, f"field {field!r} is {shown(verdict)}; expected one of {expected} or error")
    return _VERDICTS[verdict]


def _rater(judge: Any) -> tuple[str | None, str]:
    if isinstance(judge, list) and judge and all(isinstance(part, str) for part in judge):
        return "/".join(judge), "llm_judge"
    if judge is not None and not isinstance(judge, str):
        reject(RejectReason.WRONG_TYPE, f"field 'judge' is {shown(judge)}; expected a name, or a model and its prompt")
    name = optional_id({"judge": judge}, "judge")
    if name is None:
        return None, "unknown"
    if name.startswith(("expert", "author")):
        return name, "annotator"
    return name, "llm_judge" if "gpt" in name.lower() else "unknown"


_ONE_TURN: Final = (
    "[User Question]\n",
    "\n\n[The Start of Assistant A's Answer]\n",
    "\n[The End of Assistant A's Answer]\n\n[The Start of Assistant B's Answer]\n",
    "\n[The End of Assistant B's Answer]",
)
_ONE_TURN_REFERENCE: Final = "\n\n[The Start of Reference Answer]\n"
_TWO_TURNS: Final = tuple(
    mark
    for name in "AB"
    for mark in (
        f"<|The Start of Assistant {name}'s Conversation with User|>\n\n### User:\n",
        f"\n\n### Assistant {name}:\n",
        "\n\n### User:\n",
        f"\n\n### Assistant {name}:\n",
        f"\n\n<|The End of Assistant {name}'s Conversation with User|>",
    )
)
_MARKS: Final = (
    "[The Start of ",
    "[The End of ",
    "<|The Start of ",
    "<|The End of ",
    "\n\n### User:\n",
    "\n\n### Assistant",
)


def _shown_to_judge(record: dict[str, Any], turn: int) -> list[list[Message]]:
    """The two conversations in the text that the judge was shown when the first model's answer came first."""
    text = need(record, "g1_user_prompt")
    if not isinstance(text, str):
        reject(RejectReason.WRONG_TYPE, f"field 'g1_user_prompt' is {shown(text)}; expected text")
    if turn == 1:
        question, answer_a, answer_b = _between(text, _ONE_TURN)
        question = question.partition(_ONE_TURN_REFERENCE)[0]
        pieces = [question, answer_a, question, answer_b]
    else:
        first, second = _TWO_TURNS[:5], _TWO_TURNS[5:]
        start = text.find(second[0])
        pieces = [*_between(text[: max(start, 0)], first), *_between(text[max(start, 0) :], second)]
    if any(mark in piece for piece in pieces for mark in _MARKS):
        reject(RejectReason.WRONG_TYPE, "field 'g1_user_prompt' holds marks of the judge's prompt within an answer")
    half = len(pieces) // 2
    return [
        [{"role": ("user", "assistant")[place % 2], "content": said} for place, said in enumerate(side)]
        for side in (pieces[:half], pieces[half:])
    ]


def _between(text: str, marks: Sequence[str]) -> list[str]:
    """What stands between each mark and the next."""
    _, found, rest = text.partition(marks[0])
    pieces: list[str] = []
    for mark in marks[1:]:
        piece, found_next, rest = rest.partition(mark)
        found = found and found_next
        pieces.append(piece)
    if not found:
        detail = "field 'g1_user_prompt' is not written as the prompts of FastChat's judges are"
        reject(RejectReason.WRONG_TYPE, detail)
    return pieces


def _plain_votes() -> PlainRecords:
    """Votes on conversations of questions and answers in turn that part at their first answer."""
    a, b = (pl.col(f"conversation_{side}") for side in "ab")
    winner, judge, turn = pl.col("winner"), pl.col("judge"), pl.col("turn")
    is_torn = winner == "tie (inconsistent)"
    is_person, is_model = judge.str.contains("^(expert|author)"), judge.str.contains("(?i)gpt")
    return PlainRecords(
        kind="pairs",
        turns={
            "prompt": Turns("conversation_a", made=a.list.head(1)),
            "response_a": Turns("conversation_a", starts="assistant", made=a.list.slice(1, 2 * turn - 1)),
            "response_b": Turns("conversation_b", starts="assistant", made=b.list.slice(1, 2 * turn - 1)),
        },
        types={
            **dict.fromkeys(("conversation_a", "conversation_b"), MESSAGE_LIST),
            **dict.fromkeys(("winner", "judge", "model_a", "model_b"), TEXT),
            "question_id": ID,
            "turn": WHOLE,
            "tstamp": TIME,
        },
        fields={
            "outcome": winner.replace_strict(_WINNERS, default=None, return_dtype=pl.String),
            "raw_value": json_of("winner", {name: json.dumps(name) for name in _WINNERS}),
            "rater": judge,
            "rater_kind": pl.when(is_person)
            .then(pl.lit("annotator"))
            .when(is_model)
            .then(pl.lit("llm_judge"))
            .otherwise(pl.lit("unknown")),
            "event_time": pl.col("tstamp"),
            "model_a": text_of("model_a"),
            "model_b": text_of("model_b"),
            "flags": pl.when(is_torn).then(pl.lit(["inconsistent"])).otherwise(pl.lit([], pl.List(pl.String))),
        },
        where=pl.all_horizontal(
            *(take_turns(side) & (side.list.len() >= 2 * turn) for side in (a, b)),
            a.list.first() == b.list.first(),
            a.list.get(1, null_on_oob=True) != b.list.get(1, null_on_oob=True),
            winner.is_in(list(_WINNERS)),
            turn.is_between(1, _MOST_TURNS),
            is_said("judge"),
            pl.col("question_id").is_not_null(),
            is_id("question_id"),
        ),
        needs=("question_id", "turn", "winner", "judge"),
    )


MT_BENCH: Final = Format(
    name="mt_bench",
    kind="pairs",
    summary="MT-bench: votes of people on one turn of two models, or verdicts of a judge in both orders.",
    label_rule="winner model_a or model_b is preferred; a judge's model_1 or model_2 is preferred if g1_winner and "
    "g2_winner agree, and it is a tie if they do not; 'error' is rejected.",
    fields="question_id, turn, and winner, judge, conversation_a, conversation_b, or g1_winner, g2_winner, "
    "g1_user_prompt; optional model_a, model_b, model_1, model_2, tstamp",
    keys=frozenset(
        {
            *("question_id", "model_a", "model_b", "winner", "judge", "conversation_a", "conversation_b", "turn"),
            *("model_1", "model_2", "g1_winner", "g2_winner", "g1_user_prompt", "g1_judgment", "g2_user_prompt"),
            *("g2_judgment", "tstamp"),
        }
    ),
    parse=_parse,
    plain=(_plain_votes(),),
)
