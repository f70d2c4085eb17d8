"""A store on the disk, or in a bucket (see `places`): its folder, made or opened.

store.json        format and id; written last, so where it is the store is whole
rater.key         key for user ids, readable by its owner only
table/            the Delta table, see `tables` and `log`
raw/, landings/   raw files as they came, see `landing`
datasets/, runs/  what was made of it, see `registry`
forgotten/        receipts, see `forget`
damaged/          what the doctor set aside
staging/          what is being made
"""

from __future__ import annotations

import hmac
import json
import os
import re
import secrets
import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from feedback.ingest.rater_key import ENVIRONMENT_VARIABLE, load_rater_key
from feedback.records.store_mark import STORE_FILE, is_store
from feedback.store.durable import private_folder, write_durably
from feedback.store.landing import Landings
from feedback.store.locks import store_lock
from feedback.store.log import Log
from feedback.store.partial_names import PARTIAL
from feedback.store.places import is_remote, opened_place, pull, top_level
from schemas.errors import CorruptionError, InputNotFoundError, OutputExistsError, ThumblineError, UsageError

__all__ = ["OpenedStore", "open_store"]

_FORMAT: Final = 2
"""2: pairs have a conversation."""
_KEY_FILE: Final = "rater.key"
_TABLE: Final = "table"
_LOG: Final = "_delta_log"
_OURS: Final = re.compile(
    r"lock|holders|table|rater\.key|(rater\.key|store\.json)\.[0-9]+(-[0-9a-f]+)?\.partial|link-[0-9]+(-2)?"
)
"""What may lie in a folder whose making was broken off."""
_DECODED: Final = re.compile(r"%[0-9A-Fa-f]{2}|\\")


@dataclass(frozen=True, slots=True)
class OpenedStore:
    """The parts of a store.

    Args:
        folder: its folder.
        id: 32 hex digits, made with it.
        key: its key for user ids.
        log: its commits.
        landings: its raw files.
    """

    folder: Path
    id: str
    key: bytes
    log: Log
    landings: Landings

    @property
    def table(self) -> Path:
        """The folder of its table."""
        return self.log.folder


def open_store(path: str | Path, *, create: bool) -> OpenedStore:
    """The store in a folder.

    Args:
        path: the folder, or `s3://BUCKET/PREFIX`.
        create: make one where there is none.

    Raises:
        InputNotFoundError: there is none and none is to be made.
        OutputExistsError: the folder holds other files.
        UsageError: the place is another kind of URL, or a path that Delta Lake would take for another one.
        CorruptionError: its own files are damaged.
        ThumblineError: they may not be read by who asks.
    """
    folder = opened_place(path)
    _refuse_ambiguous(folder)
    if not is_store(folder):
        if not create:
            raise InputNotFoundError(
                f"no store here: there is no {STORE_FILE}",
                where=folder,
                todo="Make one with: thumbline ingest IN... --from FORMAT --store DIR",
            )
        _create(folder)
    try:
        told = json.loads((folder / STORE_FILE).read_text("utf-8"))
        store_id, form = str(told["id"]), told["format"]
        key = (folder / _KEY_FILE).read_bytes().strip()
        is_own_key = told["key_check"] == _key_check(key)
    except PermissionError as error:
        raise ThumblineError(
            f"a file of the store cannot be read ({error.strerror})",
            where=error.filename,
            todo="Run the command as the user who owns the store: nobody else may read it",
        ) from error
    except (OSError, ValueError, KeyError) as error:
        raise CorruptionError(f"the store's own files cannot be read ({error})", where=folder) from error
    if not is_own_key:
        raise CorruptionError(
            "the key for user ids is not the one that the store was made with",
            where=folder / _KEY_FILE,
            todo="Restore the file; with another key, raters would have other hashes",
        )
    if form != _FORMAT:
        raise UsageError(
            "the store was written by another version of thumbline",
            where=folder / STORE_FILE,
            received=form,
            expected=f"format {_FORMAT}",
        )
    return OpenedStore(folder, store_id, key, Log(folder / _TABLE), Landings(folder))


def _refuse_ambiguous(folder: Path) -> None:
    """Refuse a path that Delta Lake decodes as it does a URL's: it would read and write another folder."""
    found = _DECODED.search(str(folder.absolute()))
    if found is not None:
        raise UsageError(
            f"a store cannot lie under a path with {found[0]!r}, which Delta Lake reads as another path",
            where=folder,
            expected="a path without backslashes, and without a percent sign before two digits of a hexadecimal number",
            todo="Rename the folder, or give another one to --store",
        )


def _create(folder: Path) -> None:
    inside = top_level(folder)
    if STORE_FILE in inside:
        pull(folder)  # somebody else has made it since we looked
        return
    is_ours = (folder.is_dir() or not folder.exists()) and all(map(_OURS.fullmatch, inside))
    # Asked in this order: a store that somebody makes meanwhile has rows too.
    if not is_ours or (_has_rows(folder) and not is_store(folder)):
        raise OutputExistsError(
            "the folder holds files that are no store", where=folder, expected="an empty folder, or none"
        )
    private_folder(folder).chmod(0o700)
    pull(folder)
    with store_lock(folder, "making the store", exclusive=True):
        if is_store(folder):
            return
        for path in (*folder.glob(f"*{PARTIAL}"), *folder.glob("link-*")):
            path.unlink()
        _refuse_without_links(folder)
        if not (folder / _KEY_FILE).is_file():
            # Where the key of this machine is given by hand, it is meant for all that is done here.
            key = load_rater_key() if os.environ.get(ENVIRONMENT_VARIABLE) else secrets.token_hex(32).encode()
            write_durably(folder / _KEY_FILE, key + b"\n", point="key")
        if not is_remote(folder):
            # What a crash left of a table that never was one: nothing can be in it yet.
            shutil.rmtree(folder / _TABLE, ignore_errors=True)
        Log(private_folder(folder / _TABLE)).create()
        key = (folder / _KEY_FILE).read_bytes().strip()
        told = {"format": _FORMAT, "id": uuid.uuid4().hex, "key_check": _key_check(key)}
        write_durably(folder / STORE_FILE, json.dumps(told, indent=2).encode() + b"\n", point="create")


def _has_rows(folder: Path) -> bool:
    """Whether a table lies there that was begun by somebody else: ours has nothing but its log before it is a store."""
    table = folder / _TABLE
    return table.exists() and (not table.is_dir() or any(path.name != _LOG for path in table.iterdir()))


def _key_check(key: bytes) -> str:
    """Tells whether a key is the right one, and nothing else of it."""
    return hmac.digest(key, b"key-check", "sha256").hex()[:16]


def _refuse_without_links(folder: Path) -> None:
    """Delta makes a version its own by a hard link; a mount without them would let two writers make the same one."""
    first, second = folder / f"link-{os.getpid()}", folder / f"link-{os.getpid()}-2"
    try:
        first.touch(0o600)
        second.hardlink_to(first)
    except OSError as error:
        raise UsageError(
            f"the file system has no hard links ({error.strerror}), so a store there could lose rows",
            where=folder,
            todo="Put the store on a local disk",
        ) from error
    finally:
        first.unlink(missing_ok=True)
        second.unlink(missing_ok=True)
