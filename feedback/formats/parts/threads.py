"""Threads of chats that branch: the way from a rated message up to the first one, and where its prompt ends.

question ─┬─ answer ─── question ─── answer      a thread is one way from the root; what branches off,
          └─ another answer                      and what came later, is not in it
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from itertools import pairwise
from typing import Any

from feedback.formats.parts.fields import reject, shown
from schemas.messages import Message
from schemas.reasons import RejectReason

__all__ = ["read_thread", "split_rated", "split_rated_message"]


def read_thread(
    nodes: Mapping[str, Any], rated: Any, *, parent: str, where: str, roots: Collection[str] = ()
) -> list[dict[str, Any]]:
    """The rated node and its ancestors, oldest first.

    Args:
        nodes: every node of the chat by its id.
        rated: id of the rated one.
        parent: key of a node that holds the id of its parent.
        where: what holds the nodes, for rejections.
        roots: ids that mean that there is no parent, besides none at all.

    Raises:
        RecordRejectedError: a node is not there, or is its own ancestor.
    """
    thread: list[dict[str, Any]] = []
    seen: set[str] = set()
    place = rated
    while place is not None and not (isinstance(place, str) and place in roots):
        node = nodes.get(place) if isinstance(place, str) else None
        if not isinstance(node, dict):
            what = "rated message" if not thread else "parent of a message"
            reject(RejectReason.BROKEN_THREAD, f"the {what}, {shown(place)}, is not in {where}")
        if place in seen:
            reject(RejectReason.BROKEN_THREAD, f"message {shown(place)} is its own ancestor")
        seen.add(place)
        thread.append(node)
        place = node.get(parent)
    return thread[::-1]


def split_rated(turns: list[Message]) -> tuple[list[Message], list[Message]]:
    """A thread as its prompt and the rated answer: all that the assistant said since others spoke last.

    >>> prompt, answer = split_rated([{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}])
    >>> prompt[0]["content"], answer[0]["content"]
    ('q', 'a')

    Raises:
        RecordRejectedError: the last turn is not the assistant's.
    """
    end = len(turns)
    while end and turns[end - 1]["role"] == "assistant":
        end -= 1
    if end == len(turns):
        who = turns[-1]["role"] if turns else "nobody"
        reject(RejectReason.BAD_ROLES, f"the rated message is said by {who}, not by assistant")
    return turns[:end], turns[end:]


def split_rated_message(turns: list[Message]) -> tuple[list[Message], list[Message]]:
    """A list of turns in which answers to one prompt may follow each other: the last one, and the prompt of all.

    Where a chat was written down without its branches, a new answer to the same prompt stands behind the old one.

    Raises:
        RecordRejectedError: the last turn is not the assistant's, or answers to one prompt stand before it, so that it
            cannot be told which of them the chat went on from.
    """
    prompt, answers = split_rated(turns)
    for before, after in pairwise(prompt):
        if before["role"] == after["role"] == "assistant":
            detail = (
                "several answers to one prompt stand before the rated message, and nothing says which one it follows"
            )
            reject(RejectReason.BROKEN_THREAD, detail)
    return prompt, answers[-1:]
