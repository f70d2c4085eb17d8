"""The commits of the store, in Delta Lake's log: what is in a version, and how the next one is made.

    files, flushed ─► commit (an application transaction of ours, digests in its properties) ─► fsync ─► acknowledged

deltalake never flushes, so the commit and its folder are flushed here. Of two writers that make the same version the
second one is refused, looks again at what is there, and tries anew; in a bucket too (`places.claimed`).
"""

from __future__ import annotations

import json
import operator
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, SupportsIndex

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, PostCommitHookProperties, Schema, Transaction
from deltalake.exceptions import CommitFailedError, DeltaError
from deltalake.transaction import AddAction, RemoveAction

from feedback.store.durable import flush_file, flush_folder, private_folder
from feedback.store.faults import faultpoint
from feedback.store.places import claimed, pull_commits, written
from feedback.store.tables import KIND, TABLE_SCHEMA, VERSION
from schemas.error_text import first_line
from schemas.errors import CorruptionError, InputNotFoundError, ThumblineError, UsageError

__all__ = [
    "LAST_CHECKPOINT",
    "LOG_FOLDER",
    "CommitConflictError",
    "DataFile",
    "Log",
    "commit_name",
    "named_files",
    "read_commit",
    "version_number",
]

LOG_FOLDER: Final = "_delta_log"
"""Where Delta keeps the commits, in the table's folder."""
LAST_CHECKPOINT: Final = "_last_checkpoint"
"""Says which checkpoint is the last one; no more than a hint."""

_APP: Final = "thumbline"
_OURS: Final = "thumbline"
_CHECKPOINT_EVERY: Final = 20
_PROPERTIES: Final = {
    "delta.dataSkippingStatsColumns": "store_version,event_ts",
    "delta.enableExpiredLogCleanup": "false",  # the version of a dataset must stay readable
    "delta.enableDeletionVectors": "false",  # a row that is deleted must be gone
    "delta.logRetentionDuration": "interval 36500 days",
    "delta.deletedFileRetentionDuration": "interval 36500 days",
}


class CommitConflictError(Exception):
    """Another writer made this version first."""


@dataclass(frozen=True, slots=True)
class DataFile:
    """A Parquet file of the store, named by its sha256.

    Args:
        kind: kind of its rows.
        path: its path below the table's folder.
        rows: rows in it.
        bytes: its size.
        statistics: what Delta's log says of it.
    """

    kind: str
    path: str
    rows: int
    bytes: int
    statistics: Mapping[str, Any] = field(repr=False, compare=False)

    @property
    def first_version(self) -> int:
        """The least version that brought a row of it."""
        return int(self.statistics["minValues"][VERSION])

    @property
    def last_version(self) -> int:
        """The greatest version that brought a row of it."""
        return int(self.statistics["maxValues"][VERSION])

    @property
    def sha256(self) -> str:
        """sha256 of its bytes, 64 hex digits."""
        return Path(self.path).stem


def commit_name(version: int) -> str:
    """The name of the file of a commit in the log's folder.

    >>> commit_name(3)
    '00000000000000000003.json'
    """
    return f"{version:020}.json"


def version_number(version: int) -> int:
    """A version of the store as a number.

    Raises:
        UsageError: it is no whole number, as True is none.
    """
    if isinstance(version, bool) or not isinstance(version, SupportsIndex):
        raise UsageError("a version is a whole number", where="version", received=version)
    return operator.index(version)


class Log:
    """The log of the table in a folder.

    Args:
        folder: the table's folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log_folder = folder / LOG_FOLDER

    def create(self) -> None:
        """Make an empty table, version 0, where there is none."""
        private_folder(self.log_folder)
        faultpoint("create.commit.before")
        DeltaTable.create(
            str(self.folder),
            schema=Schema.from_arrow(TABLE_SCHEMA),
            partition_by=[KIND],
            mode="ignore",
            configuration=dict(_PROPERTIES),
            post_commithook_properties=_NO_HOOKS,
        )
        self._flush(0)
        if not claimed(self.log_folder / commit_name(0)):
            pull_commits(self.log_folder, commit_name)
        faultpoint("create.commit.after")

    def version(self) -> int:
        """The latest version."""
        return self._table().version()

    def files(self, version: int | None = None) -> list[DataFile]:
        """The files of a version, by their paths.

        Args:
            version: which; null takes the latest.

        Raises:
            InputNotFoundError: there is no such version.
            UsageError: it is no whole number.
        """
        actions = pa.table(self._table(version).get_add_actions(flatten=True)).to_pylist()
        found = [
            DataFile(one[f"partition.{KIND}"], one["path"], one["num_records"], one["size_bytes"], _bounds(one))
            for one in actions
        ]
        return sorted(found, key=lambda file: file.path)

    def commit(
        self,
        version: int,
        added: Sequence[DataFile],
        removed: Sequence[DataFile] = (),
        *,
        operation: str,
        about: Mapping[str, Any],
        changes_data: bool = True,
    ) -> None:
        """Make `version`, on the disk when the call returns.

        Args:
            version: one more than the latest one that the caller has looked at.
            added: files that are new in it, on the disk already.
            removed: files that are not in it any more.
            operation: what made it.
            about: what the commit says of itself; no text of users, JSON values only.
            changes_data: whether other rows are in it than before.

        Raises:
            CommitConflictError: another writer made it first.
            ThumblineError: the commit cannot be written.
        """
        table = self._table()
        if table.version() != version - 1:
            raise CommitConflictError
        told = {"operation": operation, "digests": {one.path: one.sha256 for one in added}, **about}
        faultpoint("commit.before")
        try:
            table.create_write_transaction(
                [*_removals(removed, changes_data), *_additions(added, changes_data)],
                "append",
                TABLE_SCHEMA,
                partition_by=[KIND],
                commit_properties=CommitProperties(
                    custom_metadata={_OURS: json.dumps(told, sort_keys=True)},
                    max_commit_retries=0,
                    app_transactions=[Transaction(_APP, version)],
                ),
                post_commithook_properties=_NO_HOOKS,
            )
        except (DeltaError, CommitFailedError, OSError) as error:
            if self.version() >= version:
                raise CommitConflictError from error
            raise ThumblineError(
                f"the store cannot be written ({first_line(error)})",
                where=self.log_folder / commit_name(version),
                todo="Nothing that was acknowledged is lost. Mend the cause and run the same command again",
            ) from error
        faultpoint("commit.after", self.log_folder / commit_name(version), unflushed=True)
        self._flush(version)
        if not claimed(self.log_folder / commit_name(version)):
            raise CommitConflictError
        faultpoint("commit.done", self.log_folder / commit_name(version))
        if version % _CHECKPOINT_EVERY == 0:
            self._checkpoint()

    def commits(self) -> list[Path]:
        """The files of all commits, the first one first.

        Raises:
            CorruptionError: one is missing.
        """
        pull_commits(self.log_folder, commit_name)
        paths = sorted(self.log_folder.glob("*.json"))
        for version, path in enumerate(paths):
            if path.name != commit_name(version):
                raise CorruptionError("a commit of the store is missing", where=self.log_folder / commit_name(version))
        return paths

    def history(self) -> list[dict[str, Any]]:
        """What each commit says of itself, the first one first: `version`, `operation`, `time_ms` and others."""
        told = []
        for path in self.commits():
            info: dict[str, Any] = next((one["commitInfo"] for one in read_commit(path) if "commitInfo" in one), {})
            about = json.loads(info[_OURS]) if _OURS in info else {"operation": "create"}
            told.append({"version": int(path.stem), "time_ms": info.get("timestamp"), **about})
        return told

    def _table(self, version: int | None = None) -> DeltaTable:
        if version is None:
            pull_commits(self.log_folder, commit_name)
        number = None if version is None else version_number(version)
        try:
            return DeltaTable(str(self.folder), version=number)
        except (DeltaError, OSError, OverflowError) as error:
            if number is not None and not (self.log_folder / commit_name(number)).is_file():
                raise InputNotFoundError(
                    "the store has no such version", where=self.folder.parent, received=version
                ) from error
            raise CorruptionError(
                f"the log of the store cannot be read ({first_line(error)})",
                where=self.log_folder,
                todo=f"Run: thumbline doctor --store {self.folder.parent}",
            ) from error

    def _flush(self, version: int) -> None:
        flush_file(self.log_folder / commit_name(version))
        flush_folder(self.log_folder)
        flush_folder(self.folder)

    def _checkpoint(self) -> None:
        """Sum up all commits in one file, so that the log is read quickly; it can be made again from the commits."""
        faultpoint("checkpoint.before")
        self._table().create_checkpoint()
        for path in (*self.log_folder.glob("*.checkpoint*.parquet"), self.log_folder / LAST_CHECKPOINT):
            if path.is_file():
                flush_file(path)
                written(path)
        flush_folder(self.log_folder)
        faultpoint("checkpoint.after")


_NO_HOOKS: Final = PostCommitHookProperties(create_checkpoint=False, cleanup_expired_logs=False)


def read_commit(path: Path) -> list[dict[str, Any]]:
    """The actions of a commit.

    Raises:
        CorruptionError: the file is empty or is not what Delta writes.
    """
    try:
        actions = [json.loads(line) for line in path.read_bytes().splitlines()]
        if actions and all(isinstance(one, dict) for one in actions):
            return actions
        why = "it holds nothing"
    except ValueError as error:
        why = str(error)
    raise CorruptionError(f"a commit of the store cannot be read ({why})", where=path)


def named_files(log: Log) -> frozenset[str]:
    """The paths of the files that any commit put in."""
    actions = (action for path in log.commits() for action in read_commit(path))
    return frozenset(action["add"]["path"] for action in actions if "add" in action)


def _bounds(action: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    return {f"{which}Values": {VERSION: action[f"{which}.{VERSION}"]} for which in ("min", "max")}


def _additions(files: Iterable[DataFile], changes_data: bool) -> list[AddAction]:
    now = int(time.time() * 1000)
    return [
        AddAction(
            path=one.path,
            size=one.bytes,
            partition_values={KIND: one.kind},
            modification_time=now,
            data_change=changes_data,
            stats=json.dumps(one.statistics),
        )
        for one in files
    ]


def _removals(files: Iterable[DataFile], changes_data: bool) -> list[RemoveAction]:
    now = int(time.time() * 1000)
    return [
        RemoveAction(one.path, changes_data, now, size=one.bytes, partition_values={KIND: one.kind}) for one in files
    ]
