"""Keyed hashes in place of user ids.

The key stays on this machine: in the environment variable THUMBLINE_RATER_KEY, or in a file of the user's data folder
that only the user can read. With another key the same user has another hash, so a dataset that is given away says
nothing about who voted, and losing the key makes that final.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import uuid
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from platformdirs import user_data_dir

from schemas.errors import ConfigError

if TYPE_CHECKING:
    import polars as pl

__all__ = ["ENVIRONMENT_VARIABLE", "load_rater_key", "rater_key", "rater_keys"]

ENVIRONMENT_VARIABLE: Final = "THUMBLINE_RATER_KEY"

_FILE: Final = "rater.key"
_LEAST_BYTES: Final = 16
_DIGITS: Final = 32
_BLOCK_BYTES, _INNER, _OUTER = 64, 0x36, 0x5C
"""Of HMAC with sha256."""
_NAME: Final = "name"


def load_rater_key() -> bytes:
    """The key of this machine, made on first use.

    Raises:
        ConfigError: the key is too short, or its file cannot be read or written.
    """
    given = os.environ.get(ENVIRONMENT_VARIABLE)
    if given is not None:
        return _checked(given.strip().encode(), f"environment variable {ENVIRONMENT_VARIABLE}")
    path = Path(user_data_dir("thumbline")) / _FILE
    try:
        if not path.exists():
            _create(path)
        return _checked(path.read_bytes().strip(), path)
    except OSError as error:
        raise ConfigError(
            f"the key for user ids cannot be read or written ({error.strerror})",
            where=path,
            todo=f"Make the file accessible, or set {ENVIRONMENT_VARIABLE}",
        ) from error


@lru_cache(maxsize=1 << 16)
def rater_key(raw: str, key: bytes) -> str:
    """The keyed hash of a user id, 32 hex digits.

    >>> rater_key("u1", b"a" * 16) == rater_key("u1", b"b" * 16)
    False

    Args:
        raw: the user id as the source has it.
        key: what `load_rater_key` gave.
    """
    return hmac.digest(key, raw.encode("utf-8"), "sha256").hex()[:_DIGITS]


def rater_keys(names: pl.Series, key: bytes) -> pl.Series:
    """`rater_key` of each user id; null where there is none. [N] string.

    Args:
        names: user ids. [N] string.
        key: what `load_rater_key` gave.
    """
    import polars as pl  # commands that only need the key start without it

    from feedback.hashing import sha256_of

    distinct = names.unique().drop_nulls()
    inner, outer = (pl.lit(bytes(sign ^ mask for sign in _block(key))) for mask in (_INNER, _OUTER))
    # HMAC as RFC 2104 defines it, of all ids at once: one by one each of them holds Python's lock.
    once = sha256_of(inner + pl.col(_NAME).cast(pl.Binary)).str.decode("hex")
    keyed = distinct.to_frame(_NAME).select(sha256_of(outer + once).str.head(_DIGITS)).to_series()
    return names.replace_strict(distinct, keyed, default=None, return_dtype=pl.String)


def _block(key: bytes) -> bytes:
    """A key as long as what sha256 takes at once."""
    short = key if len(key) <= _BLOCK_BYTES else hashlib.sha256(key).digest()
    return short.ljust(_BLOCK_BYTES, b"\0")


def _checked(key: bytes, where: object) -> bytes:
    if len(key) < _LEAST_BYTES:
        raise ConfigError(
            "the key for user ids is too short",
            where=where,
            expected=f"at least {_LEAST_BYTES} characters that nobody can guess",
            todo="Set a longer one; hashes made with the old one will not match",
        )
    return key


def _create(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    partial = path.with_name(f"{path.name}.{os.getpid()}-{uuid.uuid4().hex[:8]}.partial")  # two threads may come too
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(secrets.token_hex(32) + "\n")
        file.flush()
        os.fsync(file.fileno())  # an empty key after a power cut would part all later hashes from the earlier ones
    try:
        # A link, not a rename: of two processes that start together, the first one's key stays.
        os.link(partial, path)
    except FileExistsError:
        pass
    finally:
        partial.unlink()
