"""A feedback store as what is audited: every revision in a version of it, as raw files of the same rows would be."""

from __future__ import annotations

import shlex
from functools import partial
from pathlib import Path

from feedback.audit.config import AuditSettings, settled
from feedback.audit.examples import read_examples
from feedback.audit.subjects import Subject
from feedback.audit.texts import look_at_texts
from feedback.config import IngestConfig, SourceConfig
from feedback.ingest import ingest_validated
from feedback.pipeline import read_candidates
from feedback.store import Store
from schemas.progress import Progress, silent

__all__ = ["subject_of_store"]


def subject_of_store(
    folder: str | Path,
    version: int | None,
    config: AuditSettings = None,
    *,
    with_examples: bool = False,
    progress: Progress = silent,
) -> Subject:
    """A version of a store, before any curation.

    Args:
        folder: the store's folder, or its URL.
        version: the version; null takes the latest.
        config: the thresholds, or some of them by name; the others are the defaults.
        with_examples: read a few texts of users for the page.
        progress: told about every stage.

    Raises:
        InputNotFoundError: there is no such version.
        CorruptionError: a file of the store is damaged.
        LockedError: somebody works on the store who must be alone.
    """
    config = settled(config)
    store = Store.open(folder)
    with store.locked("audit", exclusive=False):
        number = store.version if version is None else version
        read = read_candidates(
            [SourceConfig(path="store", format="store")],
            ingest_config=IngestConfig(max_rejected_share=1.0),
            look=partial(look_at_texts, config=config),
            show=partial(read_examples, config=config) if with_examples else None,
            read=partial(ingest_validated, store.validated(number)),
            progress=progress,
        )
    typed = f"--store {shlex.quote(str(folder))}" + ("" if version is None else f" --version {version}")
    return Subject(
        read.frame,
        read.pairs,
        read.reports,
        read.looked,
        config,
        name=f"{_name(folder)} (version {number})",
        kind="feedback",
        source=None,
        raw=typed,
        examples=read.shown,
    )


def _name(folder: str | Path) -> str:
    return str(folder).rstrip("/").rpartition("/")[2] if "://" in str(folder) else Path(folder).resolve().name
