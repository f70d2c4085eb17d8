"""The feedback store: what was taken in once is there, whole, in every version that held it.

store = Store.open("store", create=True)
store.ingest([SourceConfig(path="votes.jsonl", format="thumbs")])
store.events().filter(pl.col("label")).collect()
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import polars as pl

from feedback.config import SourceConfig
from feedback.dataset.folders import is_unfinished
from feedback.engine import Engine
from feedback.ingest import ValidatedFiles
from feedback.ingest.left_out import left_out_notes
from feedback.ingest.stage import refuse_no_share
from feedback.stage import counted
from feedback.store.asked import report_folders, subject_named
from feedback.store.doctor import DoctorReport, examine
from feedback.store.durable import told_errors
from feedback.store.forget import forget_subject
from feedback.store.locks import store_lock
from feedback.store.log import CommitConflictError, DataFile, version_number
from feedback.store.mending import mend, needs_mending
from feedback.store.opened import OpenedStore, open_store
from feedback.store.parquet import checked
from feedback.store.places import is_there, pull, shown
from feedback.store.receipts import Receipt
from feedback.store.registry import DatasetRecord, Registry, RunRecord
from feedback.store.source_rows import read_source_rows
from feedback.store.summary import IngestSummary
from feedback.store.tables import EVENT, PAIR, QUARANTINED
from feedback.store.take_in import take_in
from feedback.store.upkeep import Vacuumed, optimize_store, vacuum_store
from feedback.store.views import Revisions, latest_revisions, rows_of_kind, since
from schemas.errors import InputNotFoundError, LockedError, UnknownChoiceError, UsageError
from schemas.manifest import SourceFile
from schemas.paths import AnyPath, path_of
from schemas.progress import Progress, silent

__all__ = ["Store"]

_CANNOT_WRITE = "the store cannot be written"
_MOST_ATTEMPTS = 20
"""Writers on other machines that may come first, one after the other."""


class Store:
    """A store of feedback in a folder or a bucket; `Store.open` gives one.

    Args:
        opened: its parts.
    """

    def __init__(self, opened: OpenedStore) -> None:
        self.opened = opened
        self._registry = Registry(opened.folder)
        self._begun: dict[Path, int] = {}

    @classmethod
    def open(cls, path: str | Path, *, create: bool = False, is_mended: bool = True) -> Store:
        """The store in the folder `path`.

        A last commit that a crash has torn is set aside, and its rows are taken in again from the raw copies.

        Args:
            path: the folder, or `s3://BUCKET/PREFIX`; `folder` is then a working copy of this process.
            create: make a store where there is none.
            is_mended: whether a torn last commit is mended; the doctor does it too, and says so.

        Raises:
            InputNotFoundError: there is none and none is to be made.
            OutputExistsError: the folder holds other files.
            CorruptionError: a commit before the last one is damaged.
            LockedError: its last commit must be mended, and somebody works on it.
        """
        with told_errors("the store cannot be opened", path):
            opened = open_store(path, create=create)
            if is_mended and needs_mending(opened):
                with store_lock(opened.folder, "mending a torn commit", exclusive=True):
                    mend(opened)
            return cls(opened)

    @property
    def folder(self) -> Path:
        """Its folder."""
        return self.opened.folder

    @property
    def id(self) -> str:
        """32 hex digits, made with it."""
        return self.opened.id

    @property
    def rater_key(self) -> bytes:
        """Its key for the hashes of user ids."""
        return self.opened.key

    @property
    def version(self) -> int:
        """The latest version: 0 where nothing was ever taken in, and one more with every commit."""
        return self.opened.log.version()

    def ingest(
        self,
        sources: Sequence[SourceConfig],
        *,
        max_rejected_share: float = 0.2,
        engine: Engine | None = None,
        progress: Progress = silent,
    ) -> IngestSummary:
        """Take raw files in, each row once: when the call returns, the rows are on the disk.

        Args:
            sources: where raw feedback lies and what it looks like.
            max_rejected_share: largest share of records that may go to quarantine, in [0, 1].
            engine: who reads the files; None takes all cores of this machine.
            progress: told about the bytes read.

        Raises:
            UsageError: a share that is none.
            TooManyRejectedError: more records went to quarantine than allowed; nothing was kept.
            InputError: a file is missing or not in its format.
            LockedError: somebody works on the store who must be alone.
            CorruptionError: a file of the store is damaged.
            ThumblineError: it cannot be written.
        """
        refuse_no_share(max_rejected_share)
        with told_errors(_CANNOT_WRITE, self.folder), self.locked("ingest", exclusive=False):
            landings = [landing for source in sources for landing in self.opened.landings.land(source)]
            summary = take_in(
                self.opened, landings, max_rejected_share=max_rejected_share, engine=engine, progress=progress
            )
        return replace(summary, notes=(*left_out_notes(sources), *summary.notes))

    def doctor(self) -> DoctorReport:
        """Find what is wrong with the store, heal what can be healed, and say what cannot.

        Raises:
            LockedError: somebody else works on it.
            CorruptionError: a commit before the last one cannot be read.
        """
        with told_errors(_CANNOT_WRITE, self.folder), self.locked("doctor", exclusive=True):
            report = examine(self.opened)
        return replace(report, findings=tuple(replace(one, where=shown(one.where)) for one in report.findings))

    def forget(
        self,
        *,
        rater: str | int | None = None,
        conversation: str | int | None = None,
        reports: AnyPath | Sequence[AnyPath] = (),
    ) -> Receipt:
        """Forget a rater or a conversation, in the store and in the datasets and runs that were made of it.

        Args:
            rater: id of a rater, as the source has it: a text or a whole number.
            conversation: id of a conversation, likewise.
            reports: a folder of more reports, or several; those that quote them are removed.

        Returns:
            What was erased, and which datasets and models must be made anew.

        Raises:
            UsageError: neither or both are given, or what is given is no id or no folder.
            InputNotFoundError: a folder of reports is not there; nothing was erased.
            LockedError: somebody else works on the store, or a run writes a dataset that saw them.
            CorruptionError: a file of the store or of a dataset is damaged.
        """
        kind, name = subject_named(rater, conversation)
        folders = report_folders(reports)
        with told_errors(_CANNOT_WRITE, self.folder), self.locked("forget", exclusive=True):
            for _ in range(_MOST_ATTEMPTS):
                try:
                    return forget_subject(self.opened, kind, name, folders)
                except CommitConflictError:  # on another machine, which no lock keeps away; their rows may be new
                    pull(self.folder)
            raise CommitConflictError

    def optimize(self) -> int:
        """Put the rows of small files together, in a version with the same rows; how many files became fewer.

        Raises:
            LockedError: somebody else works on the store.
            CorruptionError: a file is damaged.
        """
        with told_errors(_CANNOT_WRITE, self.folder), self.locked("optimize", exclusive=True):
            return optimize_store(self.opened)

    def vacuum(self, retention_hours: float = 168) -> Vacuumed:
        """Delete files that neither the latest version nor that of a dataset needs; others cannot be read any more.

        Args:
            retention_hours: files that were replaced less long ago stay, for who reads them still; at least 0.

        Raises:
            UsageError: the hours are below 0.
            LockedError: somebody else works on the store.
        """
        if not retention_hours >= 0:  # not a number neither
            raise UsageError("files cannot stay for less than no time", received=retention_hours, expected="0 or more")
        with told_errors(_CANNOT_WRITE, self.folder), self.locked("vacuum", exclusive=True):
            return vacuum_store(self.opened, retention_hours)

    def events(self, version: int | None = None, *, revisions: Revisions = "latest") -> pl.LazyFrame:
        """Feedback events: the columns of `schemas.events.FEEDBACK_EVENT`, and `store_version`, which brought the row.

        Args:
            version: of which version; null takes the latest.
            revisions: the `latest` one of each record, without retracted ones, or `all`.

        Raises:
            UnknownChoiceError: other revisions.
            InputNotFoundError: there is no such version, or its files were cleared up.
            CorruptionError: a file is damaged; it is named.
        """
        return self._rows(EVENT, version, revisions)

    def pairs(self, version: int | None = None, *, revisions: Revisions = "latest") -> pl.LazyFrame:
        """Preference pairs: the columns of `schemas.pairs.PREFERENCE_PAIR`, and `store_version`; see `events`."""
        return self._rows(PAIR, version, revisions)

    def quarantine(self, version: int | None = None) -> pl.LazyFrame:
        """Records that were not accepted: the columns of `schemas.quarantine.QUARANTINE`, and `store_version`."""
        return self._rows(QUARANTINED, version, "all")

    def events_since(self, version: int, until: int | None = None) -> pl.LazyFrame:
        """Every revision of an event that came after `version`, up to `until` (null: up to now)."""
        return since(self._rows(EVENT, until, "all"), version, until)

    def pairs_since(self, version: int, until: int | None = None) -> pl.LazyFrame:
        """Every revision of a pair that came after `version`, up to `until` (null: up to now)."""
        return since(self._rows(PAIR, until, "all"), version, until)

    def source_files(self, version: int | None = None) -> tuple[SourceFile, ...]:
        """The raw files that a version was made of, in the order in which they were taken in."""
        log = self.opened.log
        return tuple(one.file for one in read_source_rows(log.files(version), log.folder))

    def validated(self, version: int | None = None) -> ValidatedFiles:
        """The files of a version, every revision, for who reads them as the stage `ingest` gives its tables.

        Args:
            version: which; null takes the latest.

        Raises:
            InputNotFoundError: there is no such version, or its files were cleared up.
            CorruptionError: a file is damaged; it is named.
        """
        log = self.opened.log
        files = self._files(version)
        paths = {
            kind: tuple(checked([file for file in files if file.kind == kind], log.folder))
            for kind in (EVENT, PAIR, QUARANTINED)
        }
        taken = read_source_rows(files, log.folder)
        number = self.version if version is None else version
        return ValidatedFiles(
            events=paths[EVENT],
            pairs=paths[PAIR],
            quarantine=paths[QUARANTINED],
            sources=tuple(one.file for one in taken),
            config={"store": {"id": self.id, "version": number}},
            notes=(
                f"Version {number} of the store, made of {counted(len(taken), 'raw file')}; each row is in it once.",
            ),
        )

    def history(self) -> list[dict[str, Any]]:
        """What each version is: `version`, `operation`, `time_ms`, and what the operation says of itself."""
        return self.opened.log.history()

    @contextmanager
    def locked(self, operation: str, *, exclusive: bool) -> Iterator[None]:
        """Hold the store's lock while the block runs.

        Args:
            operation: what is done, which others are told.
            exclusive: whether nobody else may hold it.

        Raises:
            LockedError: somebody else holds it; the message names who.
        """
        with store_lock(self.folder, operation, exclusive=exclusive):
            pull(self.folder)
            try:
                yield
            except CommitConflictError as error:
                latest = self.history()[-1]
                raise LockedError(
                    f"another process works on the store: it made version {latest['version']} ({latest['operation']})",
                    where=shown(self.folder),
                    todo="Nothing was changed. Run the same command again",
                ) from error

    def begin_dataset(self, folder: AnyPath, version: int) -> None:
        """Record that a dataset of a version is being made; `register_dataset` follows when it is there.

        Args:
            folder: the dataset's folder.
            version: the version.
        """
        folder = path_of(folder, name="folder")
        self._begun[folder.resolve()] = self.version
        self._registry.begin_dataset(folder, version_number(version))

    def withdraw_dataset(self, folder: AnyPath) -> None:
        """Take `begin_dataset` back where nothing of the dataset is there: no version is kept for it any more.

        Args:
            folder: the dataset's folder.
        """
        folder = path_of(folder, name="folder")
        if self._begun.pop(folder.resolve(), None) is not None and not is_unfinished(folder):
            self._registry.forget_begun(folder)

    def register_dataset(self, folder: AnyPath, digest: str, version: int) -> DatasetRecord:
        """Record that a dataset was made of a version; `curate_store` does.

        Args:
            folder: the dataset's folder.
            digest: its digest.
            version: the version.

        Raises:
            LockedError: somebody was forgotten while it was made, which no lock prevents in a bucket; it was removed.
        """
        folder = path_of(folder, name="folder")
        begun = self._begun.pop(folder.resolve(), None)
        if begun is not None and any(one["operation"] == "forget" for one in self.history()[begun + 1 :]):
            shutil.rmtree(folder)
            self._registry.forget_begun(folder)  # else it keeps the version from being cleared up
            raise LockedError(
                "somebody was forgotten while the dataset was made, so it was removed",
                where=folder,
                todo="Run the same command again",
            )
        return self._registry.add_dataset(folder, digest, version_number(version))

    def register_run(self, folder: AnyPath, dataset_digest: str) -> RunRecord:
        """Record that a model is trained on a dataset; best before the training begins.

        Args:
            folder: the run's folder.
            dataset_digest: digest of the dataset.
        """
        return self._registry.add_run(path_of(folder, name="folder"), dataset_digest)

    def datasets(self) -> tuple[DatasetRecord, ...]:
        """Every dataset that was made of it, the oldest version first."""
        return self._registry.datasets()

    def runs(self) -> tuple[RunRecord, ...]:
        """Every run on one of those, by its folder."""
        return self._registry.runs()

    def _rows(self, kind: str, version: int | None, revisions: Revisions) -> pl.LazyFrame:
        if revisions not in get_args(Revisions):
            raise UnknownChoiceError("choice of revisions", revisions, get_args(Revisions))
        rows = rows_of_kind(kind, self._files(version), self.opened.table)
        return latest_revisions(rows, kind) if revisions == "latest" else rows

    def _files(self, version: int | None) -> list[DataFile]:
        """The files of a version; that one of an older version is gone is no damage, but the end of that version."""
        files = self.opened.log.files(version)
        if version is not None and version < self.version:
            for file in files:
                if not is_there(self.opened.table / file.path):
                    raise InputNotFoundError(
                        "the version cannot be read any more: it was cleared up, or somebody in it was forgotten",
                        where=shown(self.folder),
                        received=version,
                        todo="Name a later version",
                    )
        return files
