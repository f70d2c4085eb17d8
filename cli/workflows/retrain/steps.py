"""The long parts of a run, each of which is not done again where its result is there.

audit ─► dataset (the whole history) ─► frozen set, once ─► what is trained on, rows or pairs ─► training ─► contest
"""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq

from align.artifacts.card import RunCard
from align.champion.contest import contest
from align.champion.safety import read_safety_list
from align.data.parts import part_for
from align.data.rows import LabelledRow, labelled_rows
from align.trainer import train
from cli.workflows.retrain.config import RetrainConfig, curate_config
from cli.workflows.retrain.gates import as_of_a_night
from cli.workflows.retrain.plan import RunPlan
from cli.workflows.retrain.waits import few_rows_wait, new_events, wait_for_pairs
from feedback.audit import AuditReport, render_html
from feedback.audit.new_feedback import audit_new_feedback
from feedback.config import CurateConfig
from feedback.dataset.frozen import freeze
from feedback.pipeline import curate_store, mix_dataset, mix_pairs_of_dataset
from feedback.store import Store
from feedback.store.durable import write_durably
from feedback.store.faults import faultpoint
from schemas.errors import EmptySplitError, ThumblineError
from schemas.manifest import Manifest
from schemas.progress import Progress

__all__ = ["audit_step", "contest_step", "dataset_step", "frozen_rows", "train_step"]


def audit_step(plan: RunPlan, config: RetrainConfig, store: Store, progress: Progress) -> AuditReport:
    """The audit of the new feedback, as `audit.json` and as a page; neither holds text of users or tells raters."""
    path = plan.folder / "audit.json"
    if not path.is_file():
        report = audit_new_feedback(
            store, plan.since, plan.version, exclude=config.exclude_versions, config=config.audit, progress=progress
        )
        report = as_of_a_night(_without_raters(report), has_older=plan.since > 0)
        write_durably(plan.folder / "audit.html", render_html(report).encode(), point="retrain.audit")
        write_durably(path, report.to_json().encode(), point="retrain.audit")
    # Always as it was written, so that a run that was broken off decides by the same numbers.
    return AuditReport.from_json(path.read_text("utf-8"))


def dataset_step(plan: RunPlan, config: RetrainConfig, store: Store, progress: Progress) -> Path:
    """The dataset that is trained on; the whole history is curated, and the frozen set made where there is none.

    Raises:
        NothingToDoError: what is new is too little to train on.
        DataGateError: the feedback cannot be trained on.
    """
    frozen = None if plan.makes_frozen else plan.frozen
    settings = curate_config(config, frozen=frozen)
    faultpoint("retrain.curate.before", plan.dataset)
    curate_store(
        store,
        settings,
        plan.dataset,
        version=plan.version,
        exclude=config.exclude_versions,
        overwrite=True,  # what lies in the run's own folder is this run's, of a store that was cleaned since maybe
        progress=progress,
    )
    faultpoint("retrain.curate.after", plan.dataset)
    wait_for_pairs(plan, config, store)
    if plan.makes_frozen:
        store.begin_dataset(plan.frozen, plan.version)
        set_apart = freeze(plan.dataset, plan.frozen)
        store.register_dataset(plan.frozen, set_apart.digest, plan.version)
        faultpoint("retrain.freeze.after", plan.frozen)
    _refuse_spent(plan.frozen)
    share = _older_share(plan, config)
    if share >= 1:
        return plan.dataset
    store.begin_dataset(plan.mixed, plan.version)
    try:
        with few_rows_wait(plan, config, store, plan.mixed):
            mixed = _mix(plan, settings, new_events(store, plan.trained_until, plan.version), share, progress)
    except ThumblineError:
        store.withdraw_dataset(plan.mixed)
        raise
    store.register_dataset(plan.mixed, mixed.digest, plan.version)
    faultpoint("retrain.mix.after", plan.mixed)
    return plan.mixed


def train_step(plan: RunPlan, config: RetrainConfig, store: Store, dataset: Path, progress: Progress) -> RunCard:
    """The challenger, trained or trained on; the store knows of the run before it reads a row.

    Raises:
        NothingToDoError: what is new is too little to train on.
        DataGateError: it cannot be trained on.
    """
    store.register_run(plan.training, Manifest.read(part_for(dataset, plan.kind)).digest)
    faultpoint("retrain.train.before", plan.training)
    with few_rows_wait(plan, config, store, dataset):
        card = train(config.train, dataset=dataset, model=plan.start, out=plan.training, progress=progress)
    faultpoint("retrain.train.after", plan.training)
    return card


def contest_step(plan: RunPlan, config: RetrainConfig, folder: Path, progress: Progress) -> dict[str, Any]:
    """Champion against challenger, as `contest.json` has it; where there is no champion, the base model is measured.

    Args:
        plan: the run.
        config: the config.
        folder: the registry's folder.
        progress: told of every row and answer.
    """
    path = plan.folder / "contest.json"
    if not path.is_file():
        champion = config.model if plan.champion is None else str(folder / plan.champion.folder)
        found = contest(
            champion,
            plan.training / "model",
            base=config.model,
            rows=frozen_rows(plan.frozen),
            safety=() if config.contest.probes.safety is None else read_safety_list(plan.safety),
            config=config.contest,
            training=config.train,
            progress=progress,
        )
        text = json.dumps(found.to_dict(), indent=2, sort_keys=True, allow_nan=False) + "\n"
        write_durably(path, text.encode(), point="retrain.contest")
    known: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return known


def frozen_rows(folder: Path) -> list[LabelledRow]:
    """The rows of the frozen evaluation set.

    Raises:
        CorruptionError: a shard is not what the manifest says.
    """
    manifest = Manifest.read(folder)
    manifest.verify(folder)
    rows: list[LabelledRow] = []
    for shard in manifest.shards:
        rows += labelled_rows(pq.ParquetFile(folder / shard.path).read(), where=str(folder))
    return rows


def _refuse_spent(frozen: Path) -> None:
    """Refuse a frozen set on which no models can be compared, before one is trained."""
    shards = Manifest.read(frozen).shards
    if not all(sum(getattr(shard, label) for shard in shards) for label in ("desirable", "undesirable")):
        raise EmptySplitError(
            "the frozen evaluation set has no rows of both labels any more",
            where=frozen,
            todo="Begin anew in another folder, where the next run freezes a new set",
        )


def _without_raters(report: AuditReport) -> AuditReport:
    """The report without what tells one rater from another, so that nothing must be taken out of it when one leaves."""
    metrics = tuple(metric for metric in report.metrics if metric.name != "rater_shift")
    tables = tuple(table for table in report.tables if table.name not in ("raters", "extreme_raters"))
    return replace(report, metrics=metrics, tables=tables)


def _older_share(plan: RunPlan, config: RetrainConfig) -> float:
    share = config.mix.older_share
    if plan.trained_until == 0:
        return 1.0  # nothing is older than a model that has seen nothing
    return 0.5 if share is None else share


def _mix(plan: RunPlan, settings: CurateConfig, new: pl.Series, share: float, progress: Progress) -> Manifest:
    """Write what is new and a share of what is older, of the rows or of the pairs; the manifest of that."""
    as_it_is = replace(settings.export, redact=False)  # the texts of the whole dataset are redacted already
    mix = mix_pairs_of_dataset if plan.kind == "preference" else partial(mix_dataset, config=settings.rebalance)
    return mix(
        plan.dataset,
        plan.mixed,
        new,
        older_share=share,
        export_config=as_it_is,
        seed=settings.seed,
        progress=progress,
    ).manifest
