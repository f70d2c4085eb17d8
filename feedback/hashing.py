"""Stable ids, text keys and table digests: the same on every machine, engine and version.

All are BLAKE2b of 16 bytes, written as 32 hex digits. Parts are length-prefixed, so no two lists of parts collide by
concatenation. Engines' own hashes (`polars.hash`) change between versions and are never used.
"""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import polars as pl

from schemas.messages import Message

__all__ = ["messages_hash", "messages_key", "stable_id", "stage_digest"]

_SIZE: Final = 16


def stable_id(*parts: str) -> str:
    """Id of a list of texts, 32 hex digits.

    >>> stable_id("a", "bc") == stable_id("ab", "c")
    False
    """
    digest = hashlib.blake2b(digest_size=_SIZE)
    for part in parts:
        data = part.encode("utf-8")
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.hexdigest()


def messages_hash(messages: Sequence[Message]) -> str:
    r"""Identity of a list of turns: NFC, newlines as LF, trailing white space of each turn cut.

    >>> windows, unix = ({"role": "user", "content": text} for text in ("a\r\nb ", "a\nb"))
    >>> messages_hash([windows]) == messages_hash([unix])
    True
    """
    return stable_id(*_role_and_text(messages, _exact))


def messages_key(messages: Sequence[Message]) -> str:
    """Identity of a list of turns after normalisation: NFKC, case folded, runs of white space as one space.

    >>> loud, plain = ({"role": "user", "content": text} for text in ("Hi  THERE", "hi there"))
    >>> messages_key([loud]) == messages_key([plain])
    True
    """
    return stable_id(*_role_and_text(messages, _normalized))


def stage_digest(
    digest_in: str, stage: str, config: Mapping[str, Any], frame: pl.DataFrame, columns: Sequence[str]
) -> str:
    """Digest of a stage's outcome: its input's digest, its name, its config and the rows it kept.

    Args:
        digest_in: digest of the input, empty for the first stage.
        stage: the stage's name.
        config: the stage's config, JSON values only.
        frame: the rows kept, in the stage's fixed order.
        columns: columns that make up a row's outcome (ids and decisions, no text).
    """
    rows = frame.select(
        pl.concat_str([pl.col(name).cast(pl.String).fill_null("") for name in columns], separator="\x1f")
    )
    digest = hashlib.blake2b(digest_size=_SIZE)
    for part in (digest_in, stage, json.dumps(config, sort_keys=True, ensure_ascii=False)):
        digest.update(part.encode("utf-8") + b"\x1e")
    for batch in rows.iter_slices(100_000):
        digest.update("\n".join(batch.to_series().to_list()).encode("utf-8") + b"\n")
    return digest.hexdigest()


def _role_and_text(messages: Sequence[Message], normalize: Any) -> Iterable[str]:
    for message in messages:
        yield message["role"]
        yield normalize(message["content"])


def _exact(text: str) -> str:
    return unicodedata.normalize("NFC", text.replace("\r\n", "\n").replace("\r", "\n")).rstrip()


def _normalized(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold()).split())
