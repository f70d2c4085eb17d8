"""A dataset for a model that goes on: what is new in another dataset, and a share of what is older.

    dataset of the whole history ─► mix ─► rebalance ─► export
    the pairs in it              ─► mix ──────────────► export

Splits stay as they are. The ratio of labels is brought into its range anew, as the mix has another one, and the cap on
the share of one rater that the dataset was made with holds in the mix too. What is made of labelled answers holds no
pairs and the reverse: a training run reads one of them.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import polars as pl

from feedback.config import ExportConfig, RebalanceConfig
from feedback.dataset.folders import built_folder, finish_dataset
from feedback.dataset.outputs import claimed_output, is_made_of
from feedback.dataset.pairs import read_curated_pairs, text_of_curated_pairs
from feedback.dataset.redacted import refuse_late_redaction
from feedback.dataset.rows import text_of_curated
from feedback.export import PAIRS, export
from feedback.mix import mix, mix_pairs
from feedback.pipeline.anew import balanced_anew, read_unbalanced
from feedback.pipeline.run import CurateResult, manifest_of
from feedback.stage import write_stage
from schemas.manifest import PREFERENCE_FOLDER, Manifest
from schemas.paths import AnyPath, path_of
from schemas.progress import Progress, silent
from schemas.settings import settings_to_dict

__all__ = ["mix_dataset", "mix_pairs_of_dataset"]


def mix_dataset(
    parent_folder: AnyPath,
    out: AnyPath,
    new_events: pl.Series,
    *,
    older_share: float,
    config: RebalanceConfig,
    export_config: ExportConfig | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> CurateResult:
    """The rows of a dataset that rest on new judgements, and a share of the others.

    Args:
        parent_folder: the dataset of the whole history.
        out: the new dataset's folder. Where it already holds this very dataset, nothing is done.
        new_events: ids of the events and pairs that are new. [N] text.
        older_share: share of the train split that older rows make, in [0, 1).
        config: the range of R, the weights and the mode.
        export_config: the shape on disk.
        seed: decides which rows stay.
        progress: told about the export.

    Raises:
        OutputExistsError: `out` holds something else.
        LockedError: another run makes a dataset there.
        RatioUnreachableError, OneLabelError: what is left cannot be balanced.
        CorruptionError: the dataset's shards are not what its manifest says.
        UsageError: texts are to be redacted that were not when the dataset was made.
    """
    parent_folder, out = path_of(parent_folder, name="parent_folder"), path_of(out, name="out")
    parent = Manifest.read(parent_folder)
    parent.verify(parent_folder)
    refuse_late_redaction(parent_folder, parent, export_config or ExportConfig())
    rows, has_history = read_unbalanced(parent_folder, parent)
    mixed = mix(rows, new_events, older_share, seed=seed, digest_in=parent.digest)
    described = {**parent.config, "mix": mixed.report.config, "rebalance": settings_to_dict(config), "seed": seed}
    with claimed_output(out, partial(is_made_of, parent=parent, config=described)) as claim:
        if claim.found is not None:
            return CurateResult(out, claim.found, was_done=True)
        with built_folder(claim.place, overwrite=claim.overwrite) as folder:
            balanced = balanced_anew(
                mixed.kept,
                parent,
                config,
                is_part=True,
                has_history=has_history,
                seed=seed,
                digest_in=mixed.report.digest_out,
            )
            for result in (mixed, balanced):
                write_stage(result, folder / "stages" / result.report.stage)
            exported = export(
                balanced.kept,
                [text_of_curated(parent_folder, parent)],
                folder,
                export_config or ExportConfig(),
                seed=seed,
                digest_in=balanced.report.digest_out,
                progress=progress,
            )
            reports = [*parent.stages, mixed.report, balanced.report]
            manifest = replace(manifest_of(exported, reports, parent.sources, described), parent_digest=parent.digest)
            finish_dataset(folder, manifest)
    return CurateResult(out, manifest)


def mix_pairs_of_dataset(
    parent_folder: AnyPath,
    out: AnyPath,
    new_events: pl.Series,
    *,
    older_share: float,
    export_config: ExportConfig | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> CurateResult:
    """The pairs of a dataset that rest on new judgements, and a share of the others, as a dataset of pairs.

    Args:
        parent_folder: the dataset of the whole history, which has pairs.
        out: the new dataset's folder. Where it already holds this very dataset, nothing is done.
        new_events: ids of the events and pairs that are new. [N] text.
        older_share: share of the train split that older pairs make, in [0, 1).
        export_config: the shape on disk.
        seed: decides which pairs stay.
        progress: told about the export.

    Raises:
        OutputExistsError: `out` holds something else.
        LockedError: another run makes a dataset there.
        InputNotFoundError: the dataset has no pairs.
        CorruptionError: its shards are not what its manifest says.
        UsageError: texts are to be redacted that were not when the dataset was made.
    """
    place, out = path_of(parent_folder, name="parent_folder") / PREFERENCE_FOLDER, path_of(out, name="out")
    parent = Manifest.read(place)
    parent.verify(place)
    refuse_late_redaction(place, parent, export_config or ExportConfig())
    pairs = read_curated_pairs(place, parent)
    mixed = mix_pairs(pairs, new_events, older_share, seed=seed, digest_in=parent.digest)
    described = {**parent.config, "mix": mixed.report.config, "seed": seed}
    with claimed_output(out, partial(is_made_of, parent=parent, config=described)) as claim:
        if claim.found is not None:
            return CurateResult(out, claim.found, was_done=True)
        with built_folder(claim.place, overwrite=claim.overwrite) as folder:
            write_stage(mixed, folder / "stages" / mixed.report.stage)
            exported = export(
                mixed.kept,
                [text_of_curated_pairs(place, parent)],
                folder,
                export_config or ExportConfig(),
                layout=PAIRS,
                seed=seed,
                digest_in=mixed.report.digest_out,
                progress=progress,
            )
            manifest = replace(
                parent,
                digest=exported.report.digest_out,
                stages=(*parent.stages, mixed.report, exported.report),
                shards=exported.shards,
                config=described,
                parent_digest=parent.digest,
            )
            finish_dataset(folder, manifest)
    return CurateResult(out, manifest)
