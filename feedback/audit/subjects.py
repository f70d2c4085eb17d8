"""What is audited, read from disk: candidates, what is known of their texts, and their history.

raw files ──ingest, convert──┐
dataset ──shards, stages─────┴─► Subject ──► report
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import polars as pl

from feedback.audit.candidates import audit_candidates
from feedback.audit.config import AuditConfig, AuditSettings, settled
from feedback.audit.examples import Examples, read_examples
from feedback.audit.report import AuditReport
from feedback.audit.texts import look_at_texts, with_provenance
from feedback.config import IngestConfig, Ranking, SourceConfig
from feedback.dataset.history import with_history
from feedback.dataset.rows import read_curated, text_of_curated
from feedback.pipeline import read_candidates
from feedback.records.places import input_name
from feedback.records.store_mark import is_store
from schemas.errors import InputError, UsageError
from schemas.manifest import MANIFEST_NAME, Manifest
from schemas.paths import AnyPath, path_of, path_texts
from schemas.progress import Progress, silent
from schemas.redaction import without_passwords
from schemas.report import StageReport

__all__ = ["RawReading", "Subject", "raw_sources", "read_subject", "subject_of_dataset", "subject_of_files"]


@dataclass(frozen=True, slots=True)
class Subject:
    """What is audited, as `feedback.audit.audit_candidates` takes it.

    Args:
        frame: rows of `schemas.datasets.CANDIDATE`.
        asked: what rows do not hold of the pairs behind them; null where it is not known.
        reports: reports of the stages that the rows went through.
        texts: rows of `feedback.audit.texts.FEATURES`; null where texts were not read.
        config: the thresholds.
        name: what the report calls it.
        kind: `feedback` or `dataset`.
        source: what stands for it in `rebalance`; null where `rebalance` does not read it.
        raw: what stands for the raw files in other commands.
        examples: a few texts of users for the page; null where none were asked for.
    """

    frame: pl.DataFrame
    asked: pl.DataFrame | None
    reports: Sequence[StageReport]
    texts: pl.DataFrame | None
    config: AuditConfig
    name: str
    kind: str
    source: str | None
    raw: str
    examples: Examples | None = None

    def report(self) -> AuditReport:
        """The audit."""
        report = audit_candidates(
            self.frame,
            asked=self.asked,
            reports=self.reports,
            texts=self.texts,
            config=self.config,
            name=self.name,
            kind=self.kind,
            source=self.source,
            raw=self.raw,
        )
        return replace(report, examples=self.examples)


@dataclass(frozen=True, slots=True)
class RawReading:
    """How raw files are read.

    Args:
        format: their format; null where none was given.
        map: the TOML map, for the format `mapped`.
        ranking: which ranked answers become pairs, for formats that rank.
        join: a file, a glob or a folder with what the records lack, for formats that join another file.
        sql: the query, where the inputs are databases.
        version: which version of a store; null takes the latest.
    """

    format: str | None = None
    map: str | None = None
    ranking: Ranking = "extremes"
    join: str | None = None
    sql: str | None = None
    version: int | None = None


def read_subject(
    inputs: AnyPath | Iterable[AnyPath],
    given: RawReading,
    config: AuditSettings = None,
    *,
    with_examples: bool = False,
    progress: Progress = silent,
    todo: str = "",
) -> Subject:
    """The one dataset or store, or the raw files, that the inputs name.

    Args:
        inputs: the folder of a dataset or of a store, or raw files, globs, folders and URLs, one or several.
        given: how raw files are read.
        config: the thresholds, or some of them by name; the others are the dataset's own, or the defaults.
        with_examples: read a few texts of users for the page.
        progress: told about every stage.
        todo: what an error advises where there is no format.

    Raises:
        UsageError: no input or a blank one, raw files without a format, or a version of what is no store.
        InputError: a file is missing or not in its format.
        CorruptionError: a store is damaged, or a dataset is not what its manifest says.
    """
    inputs = path_texts(inputs)
    is_dataset = len(inputs) == 1 and (Path(inputs[0]) / MANIFEST_NAME).is_file()
    if len(inputs) == 1 and not is_dataset and is_store(inputs[0]):
        from feedback.audit.store_subject import subject_of_store  # loads deltalake

        return subject_of_store(inputs[0], given.version, config, with_examples=with_examples, progress=progress)
    if given.version is not None:
        raise UsageError("only a store has versions", where=", ".join(map(str, inputs)), received=given.version)
    if is_dataset:
        return subject_of_dataset(Path(inputs[0]), config, with_examples=with_examples)
    sources = raw_sources(inputs, given, todo=todo)
    return subject_of_files(sources, config, with_examples=with_examples, progress=progress)


def raw_sources(inputs: AnyPath | Iterable[AnyPath], given: RawReading, *, todo: str = "") -> list[SourceConfig]:
    """The raw files as `feedback.config` names them.

    Args:
        inputs: files, globs, folders and URLs, one or several.
        given: how they are read.
        todo: what an error advises where there is no format.

    Raises:
        UsageError: there is no format, no input or a blank one.
    """
    inputs = path_texts(inputs)
    if given.format is None:
        from feedback.formats.sniffing.unnamed import unnamed_format  # it loads every format

        raise unnamed_format(inputs, todo=todo)
    return [
        SourceConfig(
            path=item,
            format=given.format,
            map=given.map,
            ranking=given.ranking,
            join=given.join,
            sql=given.sql,
        )
        for item in inputs
    ]


def subject_of_dataset(folder: AnyPath, config: AuditSettings = None, *, with_examples: bool = False) -> Subject:
    """A curated dataset, see `feedback.audit.sources.audit_dataset`."""
    folder = path_of(folder, name="folder")
    manifest = Manifest.read(folder)
    manifest.verify(folder)
    if manifest.dataset_type != "unpaired_preference":
        raise InputError(
            "the audit reads unpaired datasets",
            where=folder,
            received=manifest.dataset_type,
            expected="unpaired_preference",
            todo=f"Audit the dataset that they lie in, {shlex.quote(str(folder.parent))}, or the raw pairs",
        )
    config = settled(config, manifest.ratio)
    tables = [text_of_curated(folder, manifest)]
    frame, _ = with_history(read_curated(folder, manifest), folder)
    texts = look_at_texts(frame, tables, config)
    return Subject(
        frame,
        None,
        manifest.stages,
        with_provenance(texts, frame, folder),
        config,
        name=folder.resolve().name,
        kind="dataset",
        source=shlex.quote(str(folder)),
        raw="RAW --from FORMAT",
        examples=read_examples(frame, tables, config) if with_examples else None,
    )


def subject_of_files(
    sources: Sequence[SourceConfig],
    config: AuditSettings = None,
    *,
    with_examples: bool = False,
    progress: Progress = silent,
) -> Subject:
    """Raw files of one format or several, see `feedback.audit.sources.audit_files`."""
    config = settled(config)
    read = read_candidates(
        sources,
        ingest_config=IngestConfig(max_rejected_share=1.0),
        look=partial(look_at_texts, config=config),
        show=partial(read_examples, config=config) if with_examples else None,
        progress=progress,
    )
    typed = _as_typed(sources)
    return Subject(
        read.frame,
        read.pairs,
        read.reports,
        read.looked,
        config,
        name=", ".join(dict.fromkeys(input_name(source.path) for source in sources)),
        kind="feedback",
        source=typed,
        raw=typed,
        examples=read.shown,
    )


def _as_typed(sources: Sequence[SourceConfig]) -> str:
    """The sources as they stand in a command, or a placeholder where one command cannot name them."""
    formats = {(source.format, source.map, source.ranking, source.join, source.sql) for source in sources}
    if len(formats) != 1:
        return "RAW --from FORMAT"
    format_name, mapped, ranking, join, sql = formats.pop()
    paths = " ".join(shlex.quote(without_passwords(source.path)) for source in sources)
    options = [f"--map {shlex.quote(mapped)}"] if mapped else []
    options += [f"--join {shlex.quote(join)}"] if join else []
    options += [f"--ranking {ranking}"] if ranking != "extremes" else []
    options += [f"--sql {shlex.quote(sql)}"] if sql else []
    return " ".join([paths, f"--from {format_name}", *options])
