"""Whether enough new pairs have come in, where the objective trains on pairs: votes alone may give none.

    pairs of the curated history ─► those to train on with a new judgement behind them ─┬─► enough: the run goes on
                                                                                        └─► too few: it waits (75)

How many there are is known only when all is curated. A run that has to wait leaves the file `waits.json`, so that the
same call says so at once, and its dataset is removed. It decides nothing: the watermark stays, and what it has seen is
counted again with what comes in later, under another id.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import polars as pl

from cli.workflows.retrain.config import RetrainConfig
from cli.workflows.retrain.old_runs import clear_run
from cli.workflows.retrain.plan import RunPlan
from feedback.mix import is_new_pair
from feedback.stage import counted
from feedback.store import Store
from feedback.store.durable import write_durably
from schemas.errors import EmptySplitError, NothingToDoError
from schemas.manifest import PREFERENCE_FOLDER, Manifest

__all__ = ["new_events", "refuse_waiting", "wait_for_pairs"]

_WAITS: Final = "waits.json"


def refuse_waiting(plan: RunPlan, config: RetrainConfig) -> None:
    """Refuse a run that was found to have too few new pairs.

    Args:
        plan: the run.
        config: the config.

    Raises:
        NothingToDoError: it was.
    """
    path = plan.folder / _WAITS
    if path.is_file():
        clear_run(plan.folder)
        raise _too_few(plan, config, json.loads(path.read_text("utf-8"))["new_pairs"])


def wait_for_pairs(plan: RunPlan, config: RetrainConfig, store: Store) -> None:
    """Pass if the run has as many new pairs to train on as the gates want, or trains on no pairs.

    Args:
        plan: the run, whose dataset of the whole history is there.
        config: the config.
        store: the store.

    Raises:
        NothingToDoError: there are fewer; the dataset is removed.
        EmptySplitError: somebody is forgotten, so the champion must be replaced, and there is no pair at all.
    """
    if plan.kind != "preference":
        return
    behind = _judgements_to_train_on(plan.dataset)
    if plan.is_forgotten:
        if behind.is_empty():
            raise EmptySplitError(
                "there are no pairs to train on, and the champion knows somebody who is forgotten",
                where=plan.dataset,
                todo="Take comparisons in, or name an objective of labelled answers",
            )
        return
    new = int(is_new_pair(behind, new_events(store, plan.since, plan.version)).sum())
    if new < _wanted(plan, config):
        write_durably(plan.folder / _WAITS, json.dumps({"new_pairs": new}).encode() + b"\n", point="retrain.waits")
        clear_run(plan.folder)
        raise _too_few(plan, config, new)


def new_events(store: Store, since: int, until: int) -> pl.Series:
    """Ids of the events and pairs that came after one version of a store and up to another. [N] text.

    Args:
        store: the store.
        since: the one version.
        until: the other version.
    """
    events = store.events_since(since, until).select("event_id").collect()["event_id"]
    pairs = store.pairs_since(since, until).select("pair_id").collect()["pair_id"]
    return pl.concat([events, pairs.rename("event_id")])


def _judgements_to_train_on(dataset: Path) -> pl.Series:
    """Ids of the judgements behind each pair of the train split. [N] lists of text."""
    found = [pl.Series("source_event_ids", [], dtype=pl.List(pl.String))]
    if Manifest.read(dataset).has_pairs:
        place = dataset / PREFERENCE_FOLDER
        shards = [shard.path for shard in Manifest.read(place).shards if shard.split == "train"]
        found += [
            pl.read_parquet(place / path, columns=["source_event_ids"], glob=False).to_series() for path in shards
        ]
    return pl.concat(found)


def _wanted(plan: RunPlan, config: RetrainConfig) -> int:
    return config.gates.min_first if plan.makes_frozen else config.gates.min_new


def _too_few(plan: RunPlan, config: RetrainConfig, new: int) -> NothingToDoError:
    return NothingToDoError(
        f"only {counted(new, 'new pair')} to train on since version {plan.since}",
        where=config.store,
        expected=f"at least {_wanted(plan, config):,}",
        todo="Take feedback in with: thumbline ingest. What is there already counts again",
    )
