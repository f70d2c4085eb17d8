"""An audit of whatever is named: raw files of a known format, a store or a dataset, alone or against another one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from feedback.audit.compare import Side, compare, side_of
from feedback.audit.config import AuditSettings
from feedback.audit.report import AuditReport
from feedback.audit.subjects import RawReading, Subject, read_subject, subject_of_dataset, subject_of_files
from feedback.audit.texts import with_language
from feedback.config import Ranking, SourceConfig
from schemas.errors import FormatMismatchError
from schemas.paths import AnyPath
from schemas.progress import Progress, silent

__all__ = ["audit", "audit_against", "audit_dataset", "audit_files"]


def audit(
    inputs: AnyPath | Iterable[AnyPath],
    *,
    source_format: str | None = None,
    map_path: AnyPath | None = None,
    ranking: Ranking = "extremes",
    join: str | None = None,
    sql: str | None = None,
    version: int | None = None,
    config: AuditSettings = None,
    with_examples: bool = False,
    progress: Progress = silent,
) -> AuditReport:
    """The audit of one curated dataset, of a store, or of raw files of one format.

    Args:
        inputs: the folder of a dataset or of a store, or raw files, globs, folders and URLs, one or several.
        source_format: the format of raw files.
        map_path: the TOML map, for the format `mapped`.
        ranking: which ranked answers become pairs, for formats that rank.
        join: a file, a glob or a folder with what the records lack, for formats that join another file.
        sql: the query, where the inputs are databases.
        version: which version of a store; null takes the latest.
        config: the thresholds, or some of them by name; the others are the dataset's own, or the defaults.
        with_examples: read a few texts of users for the page, redacted and shortened.
        progress: told about every stage.

    Raises:
        UsageError: no input or a blank one, raw files without a format, or a version of what is no store.
        InputError: a file is missing or not in its format.
        CorruptionError: a dataset is not what its manifest says.
    """
    given = RawReading(source_format, None if map_path is None else str(map_path), ranking, join, sql, version)
    return read_subject(inputs, given, config, with_examples=with_examples, progress=progress).report()


def audit_against(
    inputs: AnyPath | Iterable[AnyPath],
    against: AnyPath,
    *,
    source_format: str | None = None,
    map_path: AnyPath | None = None,
    ranking: Ranking = "extremes",
    join: str | None = None,
    sql: str | None = None,
    version: int | None = None,
    config: AuditSettings = None,
    with_examples: bool = False,
    progress: Progress = silent,
) -> tuple[AuditReport, AuditReport]:
    """The audit of the inputs with what changed against another input, and the audit of that one.

    Args:
        inputs: as in `audit`.
        against: what they are compared with: the folder of a dataset, or raw files of the same format.
        source_format: the format of whatever is raw.
        map_path: as in `audit`, and so on.
        ranking: likewise.
        join: likewise.
        sql: likewise.
        version: which version of a store `inputs` names; what they are compared with is taken as it is now.
        config: the thresholds, or some of them by name; the others are the dataset's own, or the defaults.
        with_examples: read a few texts of users for the page, redacted and shortened.
        progress: told about every stage.

    Raises:
        UsageError: no input or a blank one, raw files without a format, or a version of what is no store.
        InputError: a file is missing or not in its format.
        CorruptionError: a dataset is not what its manifest says.
    """
    given = RawReading(source_format, None if map_path is None else str(map_path), ranking, join, sql, version)
    other = _other_subject(against, replace(given, version=None), config, progress)
    subject = read_subject(inputs, given, config, with_examples=with_examples, progress=progress)
    report, before = subject.report(), other.report()
    if before.name == report.name:
        before = replace(before, name=f"{before.name} (--against)")
    now, then = _side(subject, report), _side(other, before)
    return compare(report, now, before, then, subject.config), before


def audit_dataset(folder: AnyPath, config: AuditSettings = None, *, with_examples: bool = False) -> AuditReport:
    """The audit of a curated dataset: its shards, and the history in its manifest.

    Raters, models and times are not in the shards; they are read from the stage folder where the dataset has one.

    Args:
        folder: the dataset's folder.
        config: the thresholds, or some of them by name; the others are the defaults, and R is wanted in the range that
            the dataset was made for.
        with_examples: read a few texts of users for the page, redacted and shortened.

    Raises:
        InputNotFoundError: the folder has no manifest.
        CorruptionError: the shards are not what the manifest says.
        InputError: the dataset holds pairs.
    """
    return subject_of_dataset(folder, config, with_examples=with_examples).report()


def audit_files(
    sources: Sequence[SourceConfig],
    config: AuditSettings = None,
    *,
    with_examples: bool = False,
    progress: Progress = silent,
) -> AuditReport:
    """The audit of raw files as they are, before any curation.

    Args:
        sources: the raw files and their formats.
        config: the thresholds, or some of them by name; the others are the dataset's own, or the defaults.
        with_examples: read a few texts of users for the page, redacted and shortened.
        progress: told about every stage.

    Raises:
        InputError: a file is missing or not in its format.
    """
    return subject_of_files(sources, config, with_examples=with_examples, progress=progress).report()


def _other_subject(against: AnyPath, given: RawReading, config: AuditSettings, progress: Progress) -> Subject:
    """What is compared with; raw files of another format must be curated first, as there is one --from."""
    todo = (
        "What --against names is read with --from too, where it is raw; for another format, curate it first and name "
        "the folder of the dataset"
    )
    try:
        return read_subject([against], given, config, progress=progress, todo=todo)
    except FormatMismatchError as error:
        raise FormatMismatchError(
            error.what, where=error.where, received=error.received, expected=error.expected, todo=todo
        ) from error


def _side(subject: Subject, report: AuditReport) -> Side:
    return side_of(with_language(subject.frame, subject.texts), name=report.name, kind=subject.kind)
