"""Control tokens under spellings that no text has, in texts and in a copy of a tokenizer.

What is written in a conversation keeps its spelling and is broken by a mark, so that no control token is seen in it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any, Final

from tokenizers import Tokenizer

from schemas.errors import ModelError

__all__ = ["BREAK", "NAME", "START", "break_texts", "name_of", "pattern_of", "rename_tokens"]

# private-use characters: no text of meaning has them, and they are removed from contents
NAME: Final = "\U0010f8f0"
"""Before and behind the number in a token's private name."""

BREAK: Final = "\U0010f8f1"
"""Inside what only spells a control token."""

START: Final = "\U0010f8f2"
"""Free to mark a place in a text."""

_MARKS: Final = re.compile(f"[{NAME}{BREAK}{START}]")


def name_of(token_id: int) -> str:
    """The private name of a token."""
    return f"{NAME}{token_id}{NAME}"


def pattern_of(texts: Iterable[str]) -> re.Pattern[str]:
    """A pattern that finds any of the texts, the longest first; of none it finds nothing."""
    longest_first = sorted(texts, key=lambda text: (-len(text), text))
    return re.compile("|".join(map(re.escape, longest_first)) or "(?!)")


def break_texts(value: Any, tokens: re.Pattern[str]) -> Any:
    """A JSON value whose texts, keys too, spell no control token any more, and hold no mark of ours.

    Args:
        value: texts, lists and objects of them, and other values.
        tokens: of `pattern_of`.
    """
    if isinstance(value, str):
        return _break(value, tokens)
    if isinstance(value, dict):
        return {break_texts(key, tokens): break_texts(item, tokens) for key, item in value.items()}
    return [break_texts(item, tokens) for item in value] if isinstance(value, list) else value


def rename_tokens(backend: Tokenizer, control_ids: dict[str, int]) -> Tokenizer:
    """A copy of the tokenizer in which every control token has its private name, and nothing else differs.

    Args:
        backend: of a fast tokenizer.
        control_ids: the control tokens' ids by their texts.

    Raises:
        ModelError: they cannot be renamed.
    """
    values = json.loads(backend.to_str())
    names = {text: name_of(token_id) for text, token_id in control_ids.items()}
    values["truncation"] = values["padding"] = values["post_processor"] = None
    for token in values["added_tokens"]:
        token["content"] = names.get(token["content"], token["content"])
    vocab = values["model"]["vocab"]
    if isinstance(vocab, dict):
        values["model"]["vocab"] = {names.get(text, text): number for text, number in vocab.items()}
    else:
        values["model"]["vocab"] = [[names.get(text, text), score] for text, score in vocab]
    unknown = values["model"].get("unk_token")
    if unknown is not None:
        values["model"]["unk_token"] = names.get(unknown, unknown)
    copy = Tokenizer.from_str(json.dumps(values))
    wrong = [text for text, token_id in control_ids.items() if copy.token_to_id(name_of(token_id)) != token_id]
    if wrong or copy.get_vocab_size() != backend.get_vocab_size():
        raise ModelError("the tokenizer's control tokens cannot be renamed", received=wrong[:5])
    return copy


def _break(text: str, tokens: re.Pattern[str]) -> str:
    """Put a mark inside every control token that the text spells, also where two overlap."""
    return re.sub(f"(?s)(?={tokens.pattern}).", f"\\g<0>{BREAK}", _MARKS.sub("", text))
