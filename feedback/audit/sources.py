"""An audit of whatever is named: raw files of a known format, or a curated dataset."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import polars as pl

from feedback.audit.candidates import audit_candidates
from feedback.audit.config import AuditConfig
from feedback.audit.report import AuditReport
from feedback.audit.texts import read_features, with_provenance
from feedback.config import IngestConfig, Ranking, SourceConfig
from feedback.curated import read_curated, text_of_curated
from feedback.engine import read_rows
from feedback.pipeline import read_candidates
from feedback.records.places import input_name
from feedback.stage import CANDIDATE_TYPES
from schemas.errors import InputError, UsageError
from schemas.manifest import MANIFEST_NAME, Manifest
from schemas.progress import Progress, silent
from schemas.redaction import without_passwords

__all__ = ["audit", "audit_dataset", "audit_files"]

_FROM_STAGES = ("prompt_chars", "cluster_id", "rater_key", "rater_kind", "model_id", "event_ts", "votes")
"""What a dataset's shards do not hold and its stage folder does."""


def audit(
    inputs: Sequence[str | Path],
    *,
    source_format: str | None = None,
    map_path: Path | None = None,
    ranking: Ranking = "extremes",
    join: str | None = None,
    sql: str | None = None,
    config: AuditConfig | None = None,
    progress: Progress = silent,
) -> AuditReport:
    """The audit of one curated dataset, or of raw files of one format.

    Args:
        inputs: the folder of a dataset, or raw files, globs, folders and URLs.
        source_format: the format of raw files.
        map_path: the TOML map, for the format `mapped`.
        ranking: which ranked answers become pairs, for formats that rank.
        join: a file, a glob or a folder with what the records lack, for formats that join another file.
        sql: the query, where the inputs are databases.
        config: the thresholds; null takes the defaults.
        progress: told about every stage.

    Raises:
        UsageError: raw files without a format.
        InputError: a file is missing or not in its format.
        CorruptionError: a dataset is not what its manifest says.
    """
    if len(inputs) == 1 and (Path(inputs[0]) / MANIFEST_NAME).is_file():
        return audit_dataset(Path(inputs[0]), config)
    if source_format is None:
        raise UsageError(
            "the input is not a finished dataset and no format is given",
            where=", ".join(str(item) for item in inputs),
            todo="Name the format of the raw files with --from, see `thumbline formats`",
        )
    mapped = None if map_path is None else str(map_path)
    sources = [
        SourceConfig(path=str(item), format=source_format, map=mapped, ranking=ranking, join=join, sql=sql)
        for item in inputs
    ]
    return audit_files(sources, config, progress=progress)


def audit_dataset(folder: Path, config: AuditConfig | None = None) -> AuditReport:
    """The audit of a curated dataset: its shards, and the history in its manifest.

    Raters, models and times are not in the shards; they are read from the stage folder where the dataset has one.

    Args:
        folder: the dataset's folder.
        config: the thresholds; null takes the defaults and the range of R that the dataset was made for.

    Raises:
        InputNotFoundError: the folder has no manifest.
        CorruptionError: the shards are not what the manifest says.
        InputError: the dataset holds pairs.
    """
    manifest = Manifest.read(folder)
    manifest.verify(folder)
    if manifest.dataset_type != "unpaired_preference":
        raise InputError(
            "the audit reads unpaired datasets",
            where=folder,
            received=manifest.dataset_type,
            expected="unpaired_preference",
            todo="Audit the raw pairs instead",
        )
    if config is None and manifest.ratio is not None:
        config = AuditConfig(low=manifest.ratio.low, high=manifest.ratio.high)
    config = config or AuditConfig()
    texts = read_features([text_of_curated(folder, manifest)], phone_regions=config.phone_regions)
    return audit_candidates(
        _with_history(read_curated(folder, manifest), folder),
        reports=manifest.stages,
        texts=with_provenance(texts, folder),
        config=config,
        name=folder.resolve().name,
        kind="dataset",
        source=shlex.quote(str(folder)),
    )


def audit_files(
    sources: Sequence[SourceConfig], config: AuditConfig | None = None, *, progress: Progress = silent
) -> AuditReport:
    """The audit of raw files as they are, before any curation.

    Args:
        sources: the raw files and their formats.
        config: the thresholds; null takes the defaults.
        progress: told about every stage.

    Raises:
        InputError: a file is missing or not in its format.
    """
    config = config or AuditConfig()
    raw = read_candidates(
        sources,
        ingest_config=IngestConfig(max_rejected_share=1.0),
        look=partial(read_features, phone_regions=config.phone_regions),
        progress=progress,
    )
    typed = _as_typed(sources)
    return audit_candidates(
        raw.frame,
        asked=raw.pairs,
        reports=raw.reports,
        texts=raw.looked,
        config=config,
        name=", ".join(dict.fromkeys(input_name(source.path) for source in sources)),
        kind="feedback",
        source=typed,
        raw=typed,
    )


def _with_history(frame: pl.DataFrame, folder: Path) -> pl.DataFrame:
    """`frame` with raters, models and times where the last stage's table is there and is of these very rows."""
    tables = sorted(folder.glob("stages/rebalance/kept-*.*"))
    if not tables:
        return frame
    known = pl.concat([read_rows(table, ["row_id", *_FROM_STAGES]) for table in tables])
    if any(known.schema[name] != CANDIDATE_TYPES[name] for name in _FROM_STAGES):
        return frame  # a dataset of an earlier version
    if not frame.join(known, on="row_id", how="anti").is_empty() or known["row_id"].is_duplicated().any():
        return frame
    joined = frame.drop(_FROM_STAGES).join(known, on="row_id", how="left")
    return joined.select(pl.col(name).cast(kind) for name, kind in CANDIDATE_TYPES.items())


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
