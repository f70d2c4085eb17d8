"""Whether what is new is enough to train on: a night may bring votes and no pairs, or hardly a vote at all.

    rows or pairs of the curated history ─► those to train on with a new ─┬─► enough: the run goes on
                                            judgement behind them         └─► too few: it waits (75)

How many there are is known only when all is curated. A run that has to wait leaves the file `waits.json`, so that the
same call says so at once, and its dataset is removed. It decides nothing: the watermark stays, and what it has seen is
counted again with what comes in later, under another id.

Of pairs `gates.min_new` are enough. Of rows as many as make a dataset, with the older ones beside them: one vote has
one label, and votes that were taken back leave none. Where many votes make none, something is wrong, and the run stops:
votes are counted as the audit judged them, since curation may have left all of them out.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import polars as pl

from align.data.parts import part_for
from cli.workflows.retrain.config import RetrainConfig
from cli.workflows.retrain.old_runs import clear_run
from cli.workflows.retrain.plan import RunPlan
from feedback.audit import AuditReport
from feedback.mix import is_new_pair
from feedback.stage import counted
from feedback.store import Store
from feedback.store.durable import write_durably
from schemas.errors import DataGateError, EmptySplitError, NothingToDoError
from schemas.manifest import Manifest

__all__ = ["few_rows_wait", "new_events", "refuse_waiting", "wait_for_pairs"]

_WAITS: Final = "waits.json"


def refuse_waiting(plan: RunPlan, config: RetrainConfig) -> None:
    """Refuse a run that was found to have too few new rows or pairs.

    Args:
        plan: the run.
        config: the config.

    Raises:
        NothingToDoError: it was.
    """
    path = plan.folder / _WAITS
    if path.is_file():
        clear_run(plan.folder)
        known = json.loads(path.read_text("utf-8"))
        if "new_pairs" in known:
            raise _too_few(plan, config, known["new_pairs"])
        raise _too_few_rows(plan, config, known["new_rows"], known.get("left_out", {}))


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
    behind = _judgements_to_train_on(plan)
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
        _note(plan, new_pairs=new)
        raise _too_few(plan, config, new)


@contextmanager
def few_rows_wait(plan: RunPlan, config: RetrainConfig, store: Store, dataset: Path) -> Iterator[None]:
    """A context in which new rows and older ones beside them are trained on; where it fails for few, the run waits.

    Args:
        plan: the run, whose dataset of the whole history is there.
        config: the config.
        store: the store.
        dataset: what the block makes or trains on. The whole history waits for nothing.

    Raises:
        NothingToDoError: the block cannot use the rows, and both the new ones and the new votes that the audit judged
            are fewer than `audit.min_rows`; what was made is removed.
        EmptySplitError: the votes are as many, and curation has left most of them out.
    """
    try:
        yield
    except DataGateError as error:
        if plan.kind == "preference" or dataset != plan.mixed:
            raise
        events = new_events(store, plan.trained_until, plan.version)
        new, judged = int(is_new_pair(_judgements_to_train_on(plan), events).sum()), _judged(plan)
        if new >= config.audit.min_rows:
            raise
        left_out = _left_out(plan, events)
        if judged >= config.audit.min_rows:
            raise _too_many_left_out(plan, judged, new, left_out) from error
        _note(plan, new_rows=new, left_out=left_out)
        raise _too_few_rows(plan, config, new, left_out) from error


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


def _note(plan: RunPlan, **known: int | Mapping[str, int]) -> None:
    """Write down that the run waits, and remove what it has made."""
    write_durably(plan.folder / _WAITS, json.dumps(known).encode() + b"\n", point="retrain.waits")
    clear_run(plan.folder)


def _judged(plan: RunPlan) -> int:
    """How many labelled answers the audit of the new feedback judged; 0 where nothing came in, so that there is none.

    Votes that were taken back are not among them.
    """
    path = plan.folder / "audit.json"
    labels = AuditReport.from_json(path.read_text("utf-8")).metric("labels") if path.is_file() else None
    return 0 if labels is None else labels.n


def _left_out(plan: RunPlan, events: pl.Series) -> dict[str, int]:
    """How many of the new judgements are not trained on, by why: `held_out`, or what curation dropped them for."""
    held_out = _judgements(plan, "test").explode().drop_nulls().unique()
    gone = events.filter(~events.is_in(_judgements_to_train_on(plan).explode().implode()))
    is_held_out = gone.is_in(held_out.implode())
    found = Counter({"held_out": int(is_held_out.sum())})
    gone = gone.filter(~is_held_out)
    for path in sorted(plan.dataset.glob("stages/*/dropped-*.parquet")):
        dropped = pl.read_parquet(path, columns=["row_id", "drop_reason"], glob=False)
        found.update(dropped.filter(pl.col("row_id").is_in(gone.implode()))["drop_reason"])
    return {why: count for why, count in sorted(found.items()) if count}


def _judgements_to_train_on(plan: RunPlan) -> pl.Series:
    """Ids of the judgements behind each row or pair of the train split of the history. [N] lists of text."""
    return _judgements(plan, "train")


def _judgements(plan: RunPlan, split: str) -> pl.Series:
    found = [pl.Series("source_event_ids", [], dtype=pl.List(pl.String))]
    if plan.kind == "unpaired_preference" or Manifest.read(plan.dataset).has_pairs:
        place = part_for(plan.dataset, plan.kind)
        shards = [shard.path for shard in Manifest.read(place).shards if shard.split == split]
        found += [
            pl.read_parquet(place / path, columns=["source_event_ids"], glob=False).to_series() for path in shards
        ]
    return pl.concat(found)


def _wanted(plan: RunPlan, config: RetrainConfig) -> int:
    return config.gates.min_first if plan.makes_frozen else config.gates.min_new


def _too_few(plan: RunPlan, config: RetrainConfig, new: int) -> NothingToDoError:
    found = f"only {counted(new, 'new pair')} to train on since version {plan.since}"
    return _waiting(config, found, expected=f"at least {_wanted(plan, config):,}")


def _too_few_rows(plan: RunPlan, config: RetrainConfig, new: int, left_out: Mapping[str, int]) -> NothingToDoError:
    found = f"only {counted(new, 'new row')} to train on since version {plan.trained_until}, and no dataset comes of it"
    return _waiting(config, found + _said(left_out), expected="rows of both labels, with the older ones beside them")


def _waiting(config: RetrainConfig, found: str, *, expected: str) -> NothingToDoError:
    todo = "Take feedback in with: thumbline ingest. What is there already counts again"
    return NothingToDoError(found, where=config.store, expected=expected, todo=todo)


def _too_many_left_out(plan: RunPlan, judged: int, new: int, left_out: Mapping[str, int]) -> EmptySplitError:
    return EmptySplitError(
        f"of {counted(judged, 'labelled answer')} that came in since version {plan.since} only "
        f"{counted(new, 'new row')} can be trained on, and no dataset comes of it{_said(left_out)}",
        where=plan.dataset,
        expected="rows of both labels, with the older ones beside them",
    )


def _said(left_out: Mapping[str, int]) -> str:
    """In brackets, what was not trained on and why, the commonest first; nothing where nothing is known of it."""
    reasons = sorted(left_out.items(), key=lambda item: (-item[1], item[0]))
    return f" (left out: {', '.join(f'{count:,} {why}' for why, count in reasons)})" if reasons else ""
