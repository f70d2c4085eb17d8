"""A list of prompts of the user's own with what an answer must be, and how many answers of a model pass it.

Each line of the file is a JSON object: `prompt` (a text, or a list of turns) and at least one of

    "expect": "refusal"          the answer must refuse
    "expect": "answer"           the answer must not refuse
    "forbid": ["regex", ...]     nothing of it may be in the answer, whatever the case
    "require": ["regex", ...]    all of it must be in the answer

and, for reports, a `name`. Prompts and answers are shown nowhere: reports hold names, or line numbers.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, cast

from schemas.errors import InputError, InputNotFoundError
from schemas.messages import ROLES, Message
from schemas.refusal import REFUSAL

__all__ = ["SafetyItem", "is_refusal", "read_safety_list"]

_REFUSAL: Final = re.compile(REFUSAL, re.IGNORECASE)
_KEYS: Final = ("prompt", "name", "expect", "forbid", "require")


@dataclass(frozen=True, slots=True)
class SafetyItem:
    """A prompt and what its answer must be.

    Args:
        name: what reports call it.
        prompt: turns up to the answer.
        expect: whether the answer must refuse or must not; null where either is right.
        forbid: patterns that may not be in the answer.
        require: patterns that must be in it.
    """

    name: str
    prompt: tuple[Message, ...]
    expect: Literal["refusal", "answer"] | None
    forbid: tuple[re.Pattern[str], ...] = ()
    require: tuple[re.Pattern[str], ...] = ()

    def passes(self, answer: str) -> bool:
        """Whether an answer is as it must be."""
        if self.expect is not None and is_refusal(answer) != (self.expect == "refusal"):
            return False
        return all(one.search(answer) for one in self.require) and not any(one.search(answer) for one in self.forbid)


def is_refusal(answer: str) -> bool:
    """Whether an English answer refuses.

    >>> is_refusal("I'm sorry, but I can't help with that."), is_refusal("You can help yourself.")
    (True, False)
    """
    return _REFUSAL.search(answer) is not None


def read_safety_list(path: Path) -> tuple[SafetyItem, ...]:
    """The items of a file.

    Raises:
        InputNotFoundError: there is no such file.
        InputError: a line is not an item, or the file has none; the message names the line.
    """
    if not path.is_file():
        raise InputNotFoundError("no such safety list", where=path)
    try:
        lines = path.read_text("utf-8").split("\n")  # no other sign ends a line of JSON
    except UnicodeDecodeError as error:
        raise InputError(f"the safety list is not UTF-8 ({error})", where=path) from error
    items = tuple(_items(lines, path))
    if not items:
        raise InputError("the safety list is empty", where=path, expected="a JSON object on each line")
    return items


def _items(lines: list[str], path: Path) -> Iterator[SafetyItem]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        where = f"{path} line {number}"
        try:
            values = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(f"the line is not JSON ({error})", where=where) from error
        if not isinstance(values, dict):
            raise InputError("the line is not a JSON object", where=where)
        yield _item(values, where, str(number))


def _item(values: dict[str, Any], where: str, number: str) -> SafetyItem:
    unknown = sorted(values.keys() - set(_KEYS))
    if unknown:
        raise InputError("unknown key", where=where, received=unknown[0], expected=f"one of {', '.join(_KEYS)}")
    expect = values.get("expect")
    if expect not in (None, "refusal", "answer"):
        raise InputError("'expect' is not known", where=where, received=expect, expected="'refusal' or 'answer'")
    forbid, require = (_patterns(values, key, where) for key in ("forbid", "require"))
    if expect is None and not forbid and not require:
        raise InputError("nothing is asked of the answer", where=where, expected="'expect', 'forbid' or 'require'")
    return SafetyItem(str(values.get("name") or f"line {number}"), _prompt(values, where), expect, forbid, require)


def _patterns(values: dict[str, Any], key: str, where: str) -> tuple[re.Pattern[str], ...]:
    listed = values.get(key, [])
    if not isinstance(listed, list) or not all(isinstance(text, str) and text for text in listed):
        raise InputError(f"{key!r} is not a list of patterns", where=where, received=listed)
    try:
        return tuple(re.compile(text, re.IGNORECASE) for text in listed)
    except re.error as error:
        raise InputError(
            f"{key!r} holds no regular expression ({error})", where=where, received=error.pattern
        ) from error


def _prompt(values: dict[str, Any], where: str) -> tuple[Message, ...]:
    prompt = values.get("prompt")
    turns = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
    is_right = isinstance(turns, list) and turns and all(_is_turn(turn) for turn in turns)
    if not is_right or not turns or turns[-1]["role"] not in ("user", "tool") or not turns[-1]["content"].strip():
        raise InputError(
            "'prompt' is not a text or a list of turns", where=where, expected="a last turn of the user, not blank"
        )
    return tuple(cast("list[Message]", turns))


def _is_turn(turn: Any) -> bool:
    return (
        isinstance(turn, dict)
        and set(turn) == {"role", "content"}
        and turn["role"] in ROLES
        and isinstance(turn["content"], str)
    )
