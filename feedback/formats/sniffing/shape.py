"""A record as it can be shown to a person: its keys, short values, and of the rest only what kind it is.

What people wrote and who they are is not shown: text with white space or of some length is counted, and fields that
name a person hold only their kind.
"""

from __future__ import annotations

import re
from typing import Any, Final

__all__ = ["is_personal", "kind_of", "shape_of"]

_MOST_KEYS: Final = 12
_MOST_DEPTH: Final = 3
_MOST_CHARS: Final = 16
_KEY_CHARS: Final = 40
_WORD: Final = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
_PERSONAL: Final = frozenset(
    {
        *("user", "username", "uid", "email", "mail", "ip", "author", "annotator", "rater", "reviewer", "phone"),
        *("address", "person", "account", "login", "owner", "creator", "avatar", "picture", "birthday", "password"),
        *(
            "first",
            "last",
            "nickname",
            "surname",
            "secret",
            "token",
            "cookie",
            "session",
            "customer",
            "employee",
            "member",
            "host",
            "device",
        ),
    }
)
_NAMING: Final = frozenset({"id", "key", "name", "hash", "uuid", "agent"})
"""Last words of keys that say who by the word before: `author_name` names a person, `model_name` does not."""
_ADDRESS: Final = re.compile(r"\S+@\S+|\d{1,3}(\.\d{1,3}){3}|([0-9a-fA-F]{0,4}:){3,}")


def shape_of(value: Any) -> Any:
    """JSON values that show a record without what is private in it.

    >>> shape_of({"rating": "up", "text": "some words", "userId": 7})
    {'rating': 'up', 'text': 'text of 10 characters', 'userId': 'number, not shown'}
    """
    return _shape(value, is_private=False, depth=0)


def kind_of(value: Any) -> str:
    """What a value is, in one word.

    >>> [kind_of(value) for value in ("a", 1, True, None, [], {})]
    ['text', 'number', 'boolean', 'null', 'list', 'object']
    """
    names = {str: "text", bool: "boolean", type(None): "null", list: "list"}
    return "object" if isinstance(value, dict) else names.get(type(value), "number")


def is_personal(key: str, value: object = None) -> bool:
    """Whether a field tells who somebody is, by its name, or by a value that is an address.

    >>> is_personal("user_id"), is_personal("userRating"), is_personal("from", "a@b.org")
    (True, False, True)
    """
    words = [word.lower() for word in _WORD.findall(key)]
    if len(words) > 1 and words[-1] in _NAMING:
        words.pop()
    is_who = words == ["name"] or (bool(words) and words[-1] in _PERSONAL)
    return is_who or (isinstance(value, str) and _ADDRESS.search(value) is not None)


def _shape(value: Any, *, is_private: bool, depth: int) -> Any:
    if isinstance(value, dict | list) and (depth == _MOST_DEPTH or not value):
        return kind_of(value) if value else value
    if isinstance(value, dict):
        shape = {
            str(key)[:_KEY_CHARS]: _shape(item, is_private=is_private or is_personal(str(key), item), depth=depth + 1)
            for key, item in list(value.items())[:_MOST_KEYS]
        }
        return {**shape, "...": f"{len(value) - _MOST_KEYS} more"} if len(value) > _MOST_KEYS else shape
    if isinstance(value, list):
        first = _shape(value[0], is_private=is_private, depth=depth + 1)
        return [first] if len(value) == 1 else [first, f"{len(value) - 1} more"]
    if value is None or isinstance(value, bool):
        return value
    if is_private:
        return f"{kind_of(value)}, not shown"
    if isinstance(value, str):
        is_short = len(value) <= _MOST_CHARS and not any(sign.isspace() for sign in value)
        return value if is_short else f"text of {len(value):,} characters"
    return value if isinstance(value, int | float) else str(value)
