"""Stable ids, keys and digests: the same on every machine, engine and version.

All are XXH3: ids of 128 bits, written as 32 hex digits, and keys of 64 bits, the first half of such an id. Parts are
length-prefixed, so no two lists of parts collide by concatenation. Engines' own hashes (`polars.hash`) change between
versions and are never used. XXH3 keeps chance apart, not an enemy: what must stand up to one is a sha256 or an HMAC.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

import numpy as np
import polars as pl
import polars_hash as plh
from numpy.typing import NDArray
from xxhash import xxh3_64_intdigest, xxh3_128, xxh3_128_hexdigest, xxh3_128_intdigest

from schemas.messages import Message

__all__ = [
    "Keys",
    "answer_id",
    "exact_text",
    "hex_key",
    "ids_of_texts",
    "ids_of_turns",
    "keys_of_ids",
    "keys_of_texts",
    "messages_hash",
    "mix64",
    "order_hash",
    "row_keys",
    "sha256_of",
    "side_ids",
    "stable_id",
    "stage_digest",
    "wide_keys",
]

Keys = NDArray[np.uint64]
"""Keys of 64 bits, one for each row. [N] uint64."""

_SLICE: Final = 500_000
_TEXT: Final = "text"
_LOW_HALF: Final = 2**64 - 1
_GOLDEN: Final = np.uint64(0x9E3779B97F4A7C15)
_FIRST: Final = np.uint64(0xBF58476D1CE4E5B9)
_SECOND: Final = np.uint64(0x94D049BB133111EB)


def stable_id(*parts: str) -> str:
    """Id of a list of texts, 32 hex digits.

    >>> stable_id("a", "bc") == stable_id("ab", "c")
    False
    """
    encoded = [part.encode("utf-8") for part in parts]
    return xxh3_128_hexdigest(b"".join(b"%d:%b" % (len(part), part) for part in encoded))


def ids_of_texts(*parts: str | pl.Expr) -> pl.Expr:
    """`stable_id` of many lists of texts.

    >>> row = pl.DataFrame({"part": ["bc"]})
    >>> row.select(ids_of_texts("a", pl.col("part"))).item() == stable_id("a", "bc")
    True

    Args:
        parts: a text that is the same in all lists, or the text of each, without nulls.
    """
    framed: list[pl.Expr] = []
    for part in parts:
        if isinstance(part, str):
            framed.append(pl.lit(f"{len(part.encode('utf-8'))}:{part}"))
        else:
            framed += [part.str.len_bytes().cast(pl.String), pl.lit(":"), part]
    return _hex_digests(pl.concat_str(framed), seed=0)


def hex_key(identifier: str) -> int:
    """The key of an id: its first 16 hex digits as a number.

    >>> hex_key("000000000000000a" + 16 * "f")
    10
    """
    return int(identifier[:16], 16)


def row_keys(identifiers: pl.Series) -> pl.Series:
    """`hex_key` of each id.

    Args:
        identifiers: ids of 32 hex digits. [N] string.
    """
    return identifiers.to_frame(_TEXT).select(keys_of_ids(pl.col(_TEXT))).to_series().rename(identifiers.name)


def keys_of_ids(identifiers: pl.Expr) -> pl.Expr:
    """`row_keys` as an expression, under the name of its column."""
    return identifiers.str.head(16).str.to_integer(base=16, dtype=pl.UInt64)


def side_ids(identifiers: pl.Series, side: str) -> pl.Series:
    """An id for one side of each of several things, made from its id: 32 hex digits.

    >>> side_ids(pl.Series(["0" * 32]), "a").item() != side_ids(pl.Series(["0" * 32]), "b").item()
    True

    Args:
        identifiers: ids of 32 hex digits. [N] string.
        side: which side.
    """
    halves = [identifiers.str.slice(place, 16).str.to_integer(base=16, dtype=pl.UInt64) for place in (0, 16)]
    mixed = [mix64(half.to_numpy(), "side", side, place) for place, half in enumerate(halves)]
    digits = np.stack(mixed, axis=1).astype(">u8").tobytes().hex()
    return pl.Series(identifiers.name, [digits[at : at + 32] for at in range(0, len(digits), 32)], pl.String)


def messages_hash(messages: Sequence[Message]) -> str:
    r"""Identity of a list of turns: NFC, newlines as LF, trailing white space of each turn cut.

    >>> windows, unix = ({"role": "user", "content": text} for text in ("a\r\nb ", "a\nb"))
    >>> messages_hash([windows]) == messages_hash([unix])
    True
    """
    digest = 0
    for message in messages:
        role, text = message["role"], exact_text(message["content"]).encode("utf-8")
        digest = xxh3_128_intdigest(text, seed=_role_seed(role, digest) if digest else _first_seed(role))
    return f"{digest:032x}"


def ids_of_turns(role: str, texts: pl.Expr) -> pl.Expr:
    """`messages_hash` of lists of one turn each, under the name of the column.

    Args:
        role: the role of every turn.
        texts: their exact texts, see `exact_text`: text, or binary in UTF-8.
    """
    return _hex_digests(texts, _role_seed(role, 0))


def keys_of_texts(texts: pl.Expr) -> pl.Expr:
    """A key for each text, under the name of its column; null for none."""
    return plh.NonCryptographicHashingNameSpace(texts).xxh3_64()


def wide_keys(texts: Iterable[str] | pl.Series) -> NDArray[np.uint64]:
    """A key of 128 bits for each text, as two halves. [N, 2] uint64.

    >>> "%016x%016x" % tuple(wide_keys(["a", "b"])[1]) == xxh3_128_hexdigest(b"b")
    True
    """
    column = texts if isinstance(texts, pl.Series) else pl.Series(list(texts), dtype=pl.String)
    digests = column.to_frame(_TEXT).select(_digests(pl.col(_TEXT), seed=0)).to_series()
    halves = digests.rechunk().to_arrow(compat_level=pl.CompatLevel.oldest()).buffers()[2]
    keys = np.frombuffer(halves or b"", dtype=">u8")[: 2 * len(column)]
    return keys.astype(np.uint64).reshape(-1, 2)


def sha256_of(records: pl.Expr) -> pl.Expr:
    """The sha256 of each record's bytes, hex digits, under the name of its column."""
    return plh.CryptographicHashingNameSpace(records).sha2_256()


def exact_text(text: str) -> str:
    r"""A text as its exact identity sees it: NFC, newlines as LF, trailing white space cut.

    >>> exact_text("a\r\nb \n")
    'a\nb'
    """
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    if not text.isascii():
        text = unicodedata.normalize("NFC", text)
    return text.rstrip()


def mix64(values: Keys, *salt: str | int) -> Keys:
    """Keys scrambled under a salt: an order, or a place in [0, 2^64), that depends on keys and salt only.

    Args:
        values: keys. [N] uint64.
        salt: what tells this order from others, for example a stage's name and the seed.

    Returns:
        [N] uint64; different keys stay different.

    Source: the finalizer of SplitMix64 (Steele, Lea, Flood 2014).
    """
    seed = np.uint64(xxh3_64_intdigest("\x1f".join(str(part) for part in salt).encode()))
    with np.errstate(over="ignore"):
        mixed = (values ^ seed) + _GOLDEN
        mixed = (mixed ^ (mixed >> np.uint64(30))) * _FIRST
        mixed = (mixed ^ (mixed >> np.uint64(27))) * _SECOND
        return mixed ^ (mixed >> np.uint64(31))


def order_hash(keys: pl.Series, *salt: str | int) -> pl.Series:
    """`mix64` of a column of keys without nulls.

    >>> order_hash(pl.Series("row_key", [1, 2], pl.UInt64), "split", 0).n_unique()
    2
    """
    return pl.Series(keys.name, mix64(keys.to_numpy(), *salt), pl.UInt64)


def answer_id(prompt_keys: Keys, completion_keys: Keys) -> Keys:
    """One key for each answer: prompt and completion together.

    Args:
        prompt_keys: keys of the prompts. [N] uint64.
        completion_keys: keys of the completions. [N] uint64.
    """
    return mix64(mix64(prompt_keys, "prompt") ^ completion_keys, "answer")


def stage_digest(
    digest_in: str,
    stage: str,
    config: Mapping[str, Any],
    frame: pl.DataFrame,
    columns: Sequence[str],
    more: Iterable[pl.Series] = (),
) -> str:
    """Digest of a stage's outcome: its input's digest, its name, its config and the rows it kept, 32 hex digits.

    Args:
        digest_in: digest of the input, empty for the first stage.
        stage: the stage's name.
        config: the stage's config, JSON values only.
        frame: the rows kept, in the stage's fixed order.
        columns: columns that make up a row's outcome (ids and decisions, no text); lists hold texts.
        more: further columns, of any length.
    """
    digest = xxh3_128()
    for part in (digest_in, stage, json.dumps(config, sort_keys=True, ensure_ascii=False)):
        digest.update(part.encode("utf-8") + b"\x1e")
    for column in (*(frame[name] for name in columns), *more):
        digest.update(column.name.encode("utf-8") + b"\x1e")
        for piece in _column_bytes(column):
            digest.update(piece)
    return digest.hexdigest()


def _column_bytes(column: pl.Series) -> Iterable[bytes | memoryview]:
    """The values of a column as bytes that depend on nothing else: nulls, lengths, then content."""
    yield _null_bits(column)
    if isinstance(column.dtype, pl.List):
        yield column.list.len().fill_null(0).cast(pl.UInt32).to_numpy().data
        yield from _column_bytes(column.explode(empty_as_null=False).drop_nulls())
    elif column.dtype == pl.String:
        texts = column.fill_null("") if column.null_count() else column
        parts = [part.to_series() for part in texts.to_frame().iter_slices(_SLICE)]
        arrays = [part.rechunk().to_arrow(compat_level=pl.CompatLevel.oldest()) for part in parts]
        offsets = [np.frombuffer(one.buffers()[1], np.int64)[one.offset : one.offset + len(one) + 1] for one in arrays]
        yield np.concatenate([np.empty(0, np.uint32), *(np.diff(one).astype(np.uint32) for one in offsets)]).data
        for array, places in zip(arrays, offsets, strict=True):
            yield memoryview(array.buffers()[2] or b"")[places[0] : places[-1]]
    else:
        values = column.to_physical()
        if values.null_count():
            values = values.fill_null(False if values.dtype == pl.Boolean else 0)
        yield values.to_numpy().data


def _null_bits(column: pl.Series) -> bytes:
    """A bit for each value, set where there is none; whole bytes."""
    if not column.null_count():
        return bytes(-(-column.len() // 8))
    return np.packbits(column.is_null().to_numpy()).tobytes()


def _hex_digests(texts: pl.Expr, seed: int) -> pl.Expr:
    return _digests(texts, seed).bin.encode("hex")


def _digests(texts: pl.Expr, seed: int) -> pl.Expr:
    return plh.NonCryptographicHashingNameSpace(texts).xxh3_128(seed=seed, return_binary=True, byte_order="big")


@lru_cache(maxsize=64)
def _first_seed(role: str) -> int:
    """The seed of the first turn, of which there are few: roles come from formats and their maps."""
    return _role_seed(role, 0)


def _role_seed(role: str, digest: int) -> int:
    """The turns before and who speaks now, as the seed of the next turn's hash."""
    return xxh3_64_intdigest(role.encode("utf-8"), seed=digest & _LOW_HALF)
