"""Format `oasst_tree`: Open Assistant's message trees, one a record, in which people ranked the answers to a prompt.

    prompt ─┬─ answer, rank 0 ─── prompt ─┬─ answer, rank 0        rank 0 is the best; answers without a rank are in
            ├─ answer, rank 1             └─ answer, rank 1        no pair, and those of one rank not against each
            └─ answer, no rank                                     other

The setting `ranking` says which answers to a prompt become pairs. Under `extremes` the best stands against the worst,
so that no answer gets both labels. Under `neighbours` each stands against the next, so that all but the first and the
last win once and lose once. Under `off` ranks are not read, and every thumb is an event: `+1` up, `-1` down, of persons
who are not named. Ranks and thumbs of one answer come from different people and often disagree, so they are never
mixed; who wants both names the file twice, as two sources.

A message that was deleted or judged to be spam is left out with all that follows it. `synthetic` says who wrote an
answer, not who ranked it: it becomes a flag. The users that a tree names are authors, not raters, and are not read. A
tree in which nothing was judged is rejected as that; most trees of a file that holds unfinished ones are such. Rows of
single messages, as the hub shows of OpenAssistant/oasst1, are not read: its files *.trees.jsonl.gz hold the trees.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any, Final

from feedback.formats.drafts import Draft, EventDraft, Format, PairDraft
from feedback.formats.parts.fields import (
    need,
    need_id,
    optional_bool,
    optional_id,
    optional_number,
    optional_text,
    reject,
    shown,
)
from feedback.formats.parts.ranked import RANKED_PAIRS, levels_of, pairs_of_levels
from feedback.formats.parts.turns import read_messages
from schemas.messages import Message
from schemas.reasons import RejectReason

__all__ = ["OASST_TREE"]

_ROLES: Final = {"prompter": "user", "assistant": "assistant"}
_THUMBS: Final = {"+1": True, "-1": False}
_ALONE: Final = (
    "field 'prompt' is absent or null: the record is one message, not a tree; of datasets such as OpenAssistant/oasst1 "
    "name a file *.trees.jsonl.gz, which holds the same messages as trees"
)
_MOST_THUMBS: Final = 10_000
"""Thumbs of one kind on one answer; each becomes a row, so a count without bounds could fill any memory."""


@dataclass(frozen=True, slots=True)
class _Turn:
    """A message of a tree that may be read.

    Args:
        node: the message as it came.
        where: its place in the record.
        thread: the messages from the root down to it, and it.
    """

    node: dict[str, Any]
    where: str
    thread: list[Message]

    @property
    def role(self) -> str:
        """Who says it."""
        return self.thread[-1]["role"]


@dataclass(frozen=True, slots=True)
class _Question:
    """A message of the prompter with the answers to it.

    Args:
        tree_id: the source's id of the tree.
        prompt: the messages from the root down to it, and it.
        answers: the assistant's replies that may be read.
    """

    tree_id: str | None
    prompt: list[Message]
    answers: list[_Turn]


def _parse(record: dict[str, Any], *, judge: Callable[[_Question], Iterator[Draft]], nothing: str) -> Iterator[Draft]:
    is_judged = False
    for question in _questions(record):
        for draft in judge(question):
            is_judged = True
            yield draft
    if not is_judged:
        reject(RejectReason.NO_JUDGEMENT, nothing)


def _questions(record: dict[str, Any]) -> Iterator[_Question]:
    """Every message of the prompter, parents before their replies and these in the order of the record."""
    need(record, "message_tree_id")
    if record.get("prompt") is None and record.get("message_id") is not None:
        reject(RejectReason.MISSING_FIELD, _ALONE)
    root = _turn(need(record, "prompt"), "prompt", None)
    waiting = [] if root is None else [root]
    while waiting:
        turn = waiting.pop()
        replies = _replies(turn)
        waiting += reversed(replies)
        if turn.role == "user":
            answers = [reply for reply in replies if reply.role == "assistant"]
            yield _Question(optional_id(record, "message_tree_id"), turn.thread, answers)


def _replies(turn: _Turn) -> list[_Turn]:
    replies = turn.node.get("replies")
    if replies is not None and not isinstance(replies, list):
        reject(RejectReason.WRONG_TYPE, f"{turn.where}.replies is {shown(replies)}; expected a list of messages")
    read = (_turn(node, f"{turn.where}.replies[{place}]", turn) for place, node in enumerate(replies or ()))
    return [reply for reply in read if reply is not None]


def _turn(node: Any, where: str, parent: _Turn | None) -> _Turn | None:
    """The message `node`, unless it was taken out."""
    if not isinstance(node, dict):
        reject(RejectReason.WRONG_TYPE, f"{where} is {shown(node)}; expected a message")
    # A review that is not there yet condemns nothing.
    if optional_bool(node, "deleted") or optional_bool(node, "review_result") is False:
        return None
    _refuse_stranger(node, where, parent)
    (message,) = read_messages([node], where, roles=_ROLES, content_key="text")
    if message["role"] == "assistant" and (parent is None or parent.role == "assistant"):
        before = "begins the tree" if parent is None else "answers the assistant"
        reject(RejectReason.BAD_ROLES, f"{where} is said by the assistant and {before}")
    return _Turn(node, where, [*(parent.thread if parent else ()), message])


def _refuse_stranger(node: dict[str, Any], where: str, parent: _Turn | None) -> None:
    named = optional_id(node, "parent_id")
    if named is not None and named != (None if parent is None else optional_id(parent.node, "message_id")):
        reject(RejectReason.BROKEN_THREAD, f"{where} names another parent than the message that it replies to")


def _pairs(question: _Question, *, ranking: str) -> Iterator[PairDraft]:
    ranks = ((optional_number(answer.node, "rank"), answer) for answer in question.answers)
    levels = levels_of((rank, answer) for rank, answer in ranks if rank is not None)
    for better, worse in pairs_of_levels(levels, ranking):
        yield _pair(question, better, worse)


def _pair(question: _Question, better: _Turn, worse: _Turn) -> PairDraft:
    ranks = better.node["rank"], worse.node["rank"]
    return PairDraft(
        prompt=question.prompt,
        response_a=better.thread[-1:],
        response_b=worse.thread[-1:],
        outcome="a",
        raw_value=list(ranks),
        # Not the prompt's id alone: another ranking of it gives other pairs.
        record_id=f"{_id(better)}>{_id(worse)}",
        rater_kind="annotator",
        margin=float(ranks[1] - ranks[0]),
        model_a=optional_text(better.node, "model_name"),
        model_b=optional_text(worse.node, "model_name"),
        conversation_id=question.tree_id,
        flags=_flags(better, worse),
    )


def _thumbs(question: _Question) -> Iterator[EventDraft]:
    for answer in question.answers:
        for emoji, count in _counts(answer):
            for number in range(count):
                yield EventDraft(
                    prompt=question.prompt,
                    completion=answer.thread[-1:],
                    signal="thumb",
                    raw_value=emoji,
                    label=_THUMBS[emoji],
                    record_id=f"{_id(answer)}:{emoji}:{number}",
                    rater_kind="annotator",
                    model_id=optional_text(answer.node, "model_name"),
                    conversation_id=question.tree_id,
                    message_id=_id(answer),
                    lang=optional_text(answer.node, "lang"),
                    flags=_flags(answer),
                )


def _counts(answer: _Turn) -> Iterator[tuple[str, int]]:
    emojis = answer.node.get("emojis")
    if emojis is None:
        return
    if not isinstance(emojis, dict):
        reject(RejectReason.WRONG_TYPE, f"{answer.where}.emojis is {shown(emojis)}; expected an object with counts")
    for emoji in _THUMBS:
        count = emojis.get(emoji, 0)
        if type(count) is not int or not 0 <= count <= _MOST_THUMBS:
            expected = f"a whole number from 0 to {_MOST_THUMBS:,}"
            reject(RejectReason.WRONG_TYPE, f"{answer.where}.emojis[{emoji!r}] is {shown(count)}; expected {expected}")
        yield emoji, count


def _id(turn: _Turn) -> str:
    return need_id(turn.node, "message_id")


def _flags(*answers: _Turn) -> tuple[str, ...]:
    return ("synthetic",) if any(optional_bool(answer.node, "synthetic") for answer in answers) else ()


_PAIRED: Final = {
    ranking: partial(
        _parse,
        judge=partial(_pairs, ranking=ranking),
        nothing="no prompt of the tree has two answers of different rank",
    )
    for ranking in RANKED_PAIRS
}

OASST_TREE: Final = Format(
    name="oasst_tree",
    kind="both",
    summary="Open Assistant's message trees, with the answers to each prompt ranked; one tree a record.",
    label_rule="rank 0 is best: the best answer to a prompt is preferred to the worst (--ranking neighbours: each to "
    "the next in rank); with --ranking off ranks are not read, and each emoji +1 is up and each -1 down.",
    fields="message_tree_id, prompt (a message); a message has message_id, role (prompter or assistant), text and "
    "replies; optional rank, emojis, parent_id, deleted, review_result, synthetic, model_name, lang",
    keys=frozenset({"message_tree_id", "tree_state", "prompt", "origin"}),
    parse=_PAIRED["extremes"],
    rankings=MappingProxyType(
        {**_PAIRED, "off": partial(_parse, judge=_thumbs, nothing="no answer of the tree has a thumb")}
    ),
)
