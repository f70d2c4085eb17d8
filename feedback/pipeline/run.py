"""Runs of the pipeline: what goes in, where it enters, and the folder that comes out.

`curate` goes all the way, `read_candidates` stops after `convert`, and `rebalance_dataset` enters at `rebalance` where
it is given a finished dataset. A dataset is built beside its place and appears there whole, with its manifest.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import polars as pl

from feedback.config import ConvertConfig, CurateConfig, ExportConfig, IngestConfig, RebalanceConfig, SourceConfig
from feedback.dataset.folders import built_folder, finish_dataset
from feedback.dataset.outputs import Claim, claimed_output, is_made_of
from feedback.dataset.redacted import refuse_late_redaction
from feedback.dataset.rows import text_of_curated
from feedback.engine import Engine, LocalEngine, StagedEngine, open_engine, read_rows
from feedback.export import ExportResult, TextTable, export
from feedback.pipeline.anew import balanced_anew, read_unbalanced
from feedback.pipeline.order import Read, Stages
from feedback.pipeline.preference import copy_preference, export_preference
from feedback.rebalance import ratio_of_report
from feedback.run_config import default_config, is_same_input, load_curate_config, plan_key, resolved_config
from feedback.stage import sort_rows, write_stage
from schemas import __version__
from schemas.errors import UsageError
from schemas.manifest import MANIFEST_NAME, Manifest, SourceFile
from schemas.paths import AnyPath, output_place, path_of, path_texts
from schemas.progress import Progress, silent
from schemas.report import StageReport

__all__ = [
    "CurateResult",
    "RawCandidates",
    "build_dataset",
    "curate",
    "default_config",
    "load_curate_config",
    "manifest_of",
    "read_candidates",
    "rebalance_dataset",
]


@dataclass(frozen=True, slots=True)
class CurateResult:
    """A finished dataset: its folder, its manifest, and whether it was there already."""

    folder: Path
    manifest: Manifest
    was_done: bool = False


@dataclass(frozen=True, slots=True)
class RawCandidates:
    """Raw files as labelled rows, before any curation.

    Args:
        frame: rows of `schemas.datasets.CANDIDATE`.
        dropped: rows that `convert` left out, with `drop_reason`.
        pairs: keys of all pairs, also of those that gave no rows, see `feedback.ingest.keys.pair_keys`; empty and
            without columns where there is none.
        reports: the reports of `ingest` and `convert`.
        rejected: quarantined records by `RejectReason`.
        sources: the raw files.
        looked: what `look` made of their texts; null where nothing looked.
        shown: what `show` made of rows and texts; null where nothing did.
    """

    frame: pl.DataFrame
    dropped: pl.DataFrame
    pairs: pl.DataFrame
    reports: tuple[StageReport, ...]
    rejected: dict[str, int]
    sources: tuple[SourceFile, ...]
    looked: pl.DataFrame | None = None
    shown: Any = None


def curate(
    config: CurateConfig,
    out: AnyPath,
    *,
    overwrite: bool = False,
    engine: Engine | None = None,
    progress: Progress = silent,
) -> CurateResult:
    """The curated dataset of `config` in the folder `out`.

    What an interrupted run left in `OUT.partial` is taken up again where its stages are complete.

    Args:
        config: sources and settings.
        out: the dataset's folder. Where it already holds this very dataset, nothing is done.
        overwrite: replace another dataset that is there.
        engine: who runs the stages; None opens the one of `config`. The dataset is the same on any.
        progress: told about every stage.

    Raises:
        OutputExistsError: `out` holds something else.
        LockedError: another run makes a dataset there.
        DataGateError: too many bad records, one label only, an empty split, or a ratio that cannot be reached.
        InputError: a source is missing or not in its format.
    """
    out = path_of(out, name="out")
    described = resolved_config(config)
    with claimed_output(out, partial(_is_of, config=config, described=described), overwrite=overwrite) as claim:
        if claim.found is not None:
            return CurateResult(out, claim.found, was_done=True)
        manifest = build_dataset(config, claim, described, plan_key(config), engine=engine, progress=progress)
    return CurateResult(out, manifest)


def build_dataset(
    config: CurateConfig,
    claim: Claim,
    described: dict[str, Any],
    key: str,
    *,
    read: Read | None = None,
    engine: Engine | None = None,
    progress: Progress = silent,
) -> Manifest:
    """Run all stages and put what they made in the place that was claimed; the manifest of the dataset.

    Args:
        config: sources and settings.
        claim: where the dataset comes to lie.
        described: what the manifest says of the config.
        key: what an interrupted run is known by.
        read: makes the tables that all begins with; null reads the sources of `config`.
        engine: who runs the stages; None opens the one of `config`.
        progress: told about every stage.

    Raises:
        DataGateError: too many bad records, one label only, an empty split, or a ratio that cannot be reached.
    """
    with built_folder(claim.place, overwrite=claim.overwrite) as folder:
        chosen = engine or open_engine(config.engine.name, config.engine.ray_address, workers=config.engine.workers)
        stages = Stages(config, StagedEngine(chosen, folder / "staging", key), progress, read=read)
        stages.through_all()
        exported = export(
            stages.parts,
            stages.texts(),
            folder,
            config.export,
            seed=config.seed,
            digest_in=stages.reports[-1].digest_out,
            progress=progress,
        )
        if stages.pairs is not None and stages.pairs.rows_kept:
            export_preference(
                stages.pair_parts,
                stages.texts(),
                folder,
                config.export,
                stages.reports_of_pairs(),
                sources=stages.raw.source_files,
                described=described,
                seed=config.seed,
                progress=progress,
            )
        manifest = manifest_of(exported, stages.reports, stages.raw.source_files, described)
        manifest = replace(manifest, pairs=stages.pairs)
        stages.settle(folder / "stages")
        finish_dataset(folder, manifest)
    return manifest


def rebalance_dataset(
    inputs: AnyPath | Iterable[AnyPath],
    out: AnyPath,
    config: RebalanceConfig,
    *,
    format: str | None = None,  # noqa: A002 - the option of the command line has this name
    map: AnyPath | None = None,  # noqa: A002 - the same
    ranking: Literal["extremes", "neighbours", "off"] = "extremes",
    join: str | None = None,
    sql: str | None = None,
    seed: int = 0,
    export_config: ExportConfig | None = None,
    overwrite: bool = False,
    progress: Progress = silent,
) -> CurateResult:
    """A dataset whose train split has its R in the range, from one dataset or from raw files.

    Raw files are read and converted; nothing is merged, decided between raters or held out. Of a dataset, the splits
    stay as they are, and so do its pairs and its `rater_key`; rows that it left out earlier do not come back, and
    `weight` is set anew. No rater is behind a larger share of a label than its caps allow, as far as its folder
    `stages` tells the raters.

    Args:
        inputs: the folder of one dataset, or raw files, one or several.
        out: the new dataset's folder.
        config: the range, the weights and the mode.
        format: the format of raw files.
        map: the TOML map of the format `mapped`.
        ranking: which ranked answers become pairs, for formats that rank.
        join: a file, a glob or a folder with what the records lack, for formats that join another file.
        sql: the query, where the inputs are databases.
        seed: decides which rows are left out.
        export_config: the shape on disk.
        overwrite: replace another dataset that is there.
        progress: told about every stage.

    Raises:
        UsageError: no input or a blank one, raw files without a format, or a dataset that would replace itself
            or is to be redacted only now.
        OutputExistsError: `out` holds something else.
        LockedError: another run makes a dataset there.
        DataGateError: the ratio cannot be reached, or rows of one label only.
    """
    export_config = export_config or ExportConfig()
    inputs, out = path_texts(inputs), path_of(out, name="out")
    if len(inputs) == 1 and (Path(inputs[0]) / MANIFEST_NAME).is_file():
        return _rebalance_curated(Path(inputs[0]), out, config, export_config, seed, overwrite, progress)
    if format is None:
        from feedback.formats.sniffing.unnamed import unnamed_format  # it loads every format

        raise unnamed_format(inputs)
    mapped = None if map is None else str(path_of(map, name="map"))
    sources = tuple(
        SourceConfig(path=item, format=format, map=mapped, ranking=ranking, join=join, sql=sql) for item in inputs
    )
    plain = CurateConfig(sources=sources, seed=seed, rebalance=config, export=export_config)
    only = replace(
        plain,
        dedup=replace(plain.dedup, match="off"),
        conflicts=replace(plain.conflicts, policy="off"),
        caps=replace(plain.caps, max_rater_share=1.0),
        split=replace(plain.split, test_fraction=0.0),
        pairs=replace(plain.pairs, mode="off"),
    )
    return curate(only, out, overwrite=overwrite, progress=progress)


def read_candidates(
    sources: Sequence[SourceConfig],
    *,
    ingest_config: IngestConfig | None = None,
    convert_config: ConvertConfig | None = None,
    look: Callable[[pl.DataFrame, Sequence[TextTable]], pl.DataFrame] | None = None,
    show: Callable[[pl.DataFrame, Sequence[TextTable]], Any] | None = None,
    read: Read | None = None,
    progress: Progress = silent,
) -> RawCandidates:
    """Raw files as labelled rows, near-duplicates marked as `curate` marks them; nothing is left on disk.

    Args:
        sources: the raw files; at least one, which stands for the rows where `read` makes them.
        ingest_config: how many bad records are allowed.
        convert_config: thresholds and caps for pairs.
        look: makes a table of the rows and their texts while these are there; null reads none.
        show: makes anything of the rows and their texts, for example reads a few of them; null reads none.
        read: makes the tables that all begins with; null reads the sources.
        progress: told about every stage.

    Raises:
        TooManyRejectedError: more bad records than allowed.
        InputError: a source is missing or not in its format.
    """
    config = CurateConfig(
        sources=tuple(sources), ingest=ingest_config or IngestConfig(), convert=convert_config or ConvertConfig()
    )
    with tempfile.TemporaryDirectory(prefix="thumbline-") as folder:
        stages = Stages(config, StagedEngine(LocalEngine(), Path(folder), ""), progress, read=read)
        stages.to_rows()
        kept = sort_rows(pl.concat([read_rows(path) for path in stages.parts]))
        dropped = sort_rows(pl.concat([pl.read_parquet(path, glob=False) for path in stages.dropped("convert")]))
        raw = stages.raw
        pairs = pl.concat([read_rows(path) for path in raw.pair_keys]) if raw.pair_keys else pl.DataFrame()
        looked = None if look is None else look(kept, stages.texts())
        shown = None if show is None else show(kept, stages.texts())
    return RawCandidates(
        kept, dropped, pairs, tuple(stages.reports), dict(raw.rejected), raw.source_files, looked, shown
    )


def _is_of(known: Manifest, config: CurateConfig, described: dict[str, Any]) -> bool:
    return known.config == described and is_same_input(config.sources, known.sources)


def _rebalance_curated(
    parent_folder: Path,
    out: Path,
    config: RebalanceConfig,
    export_config: ExportConfig,
    seed: int,
    overwrite: bool,
    progress: Progress,
) -> CurateResult:
    parent = Manifest.read(parent_folder)
    parent.verify(parent_folder)
    if output_place(out) == parent_folder.resolve():
        raise UsageError("a dataset cannot replace itself", where=out, todo="Name another output folder")
    refuse_late_redaction(parent_folder, parent, export_config)
    export_config = replace(export_config, raters=export_config.raters or _names_raters(parent))
    changed = resolved_config(
        CurateConfig(sources=(SourceConfig(path="-", format="-"),), seed=seed, rebalance=config, export=export_config)
    )
    described = {**parent.config, **{key: changed[key] for key in ("seed", "rebalance", "export")}}
    with claimed_output(out, partial(is_made_of, parent=parent, config=described), overwrite=overwrite) as claim:
        if claim.found is not None:
            return CurateResult(out, claim.found, was_done=True)
        with built_folder(claim.place, overwrite=claim.overwrite) as folder:
            rows, has_history = read_unbalanced(parent_folder, parent)
            balanced = balanced_anew(
                rows, parent, config, is_part=False, has_history=has_history, seed=seed, digest_in=parent.digest
            )
            write_stage(balanced, folder / "stages" / "rebalance")
            exported = export(
                balanced.kept,
                [text_of_curated(parent_folder, parent)],
                folder,
                export_config,
                seed=seed,
                digest_in=balanced.report.digest_out,
                progress=progress,
            )
            manifest = manifest_of(exported, [*parent.stages, balanced.report], parent.sources, described)
            copied = copy_preference(parent_folder, parent, folder)
            manifest = replace(manifest, parent_digest=parent.digest, pairs=copied)
            finish_dataset(folder, manifest)
    return CurateResult(out, manifest)


def _names_raters(parent: Manifest) -> bool:
    """Whether a dataset has the column `rater_key`, as its config says."""
    return bool(parent.config.get("export", {}).get("raters", False))


def manifest_of(
    exported: ExportResult, reports: Iterable[StageReport], sources: tuple[SourceFile, ...], config: dict[str, Any]
) -> Manifest:
    """The manifest of what was exported.

    Args:
        exported: the shards, and the report of the export.
        reports: those of the stages before it, `rebalance` last.
        sources: the raw files.
        config: what it says of the config.
    """
    stages = (*reports, exported.report)
    return Manifest(
        digest=exported.report.digest_out,
        dataset_type="unpaired_preference",
        thumbline_version=__version__,
        sources=sources,
        stages=stages,
        shards=exported.shards,
        ratio=ratio_of_report(dict(stages[-2].figures)),
        config=config,
    )
