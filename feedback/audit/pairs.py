"""Preference pairs behind the rows: whether the longer answer wins, and whether preferences run in a circle.

A row holds no pair. A pair is known by its two votes, up for the answer chosen and down for the one rejected, under one
event id; where one of its answers was dropped or merged away, the pair is not seen here.
"""

from __future__ import annotations

from typing import Final

import polars as pl

from feedback.audit.config import AuditConfig
from feedback.audit.counted import counted_share
from feedback.audit.report import Metric
from feedback.audit.severity import warn_if, warn_outside
from feedback.audit.statistics import wilson_interval
from feedback.audit.wording import agree, count, none_of, percent, plural
from feedback.conflicts.cycles import find_cycles

__all__ = ["measure_cycles", "measure_pair_lengths", "pairs_behind"]

_OF_PAIR: Final = ("event_id", "rater_key", "source", "event_ts", "group_id")
_OF_SIDE: Final = ("cluster_id", "completion_chars", "model_id")


def pairs_behind(frame: pl.DataFrame) -> pl.DataFrame:
    """One row for each pair whose two answers are both there.

    Args:
        frame: rows of `schemas.datasets.CANDIDATE`.

    Returns:
        event_id, rater_key, source, event_ts and group_id, and of either answer `chosen_...` and `rejected_...`:
        cluster_id, completion_chars and model_id.
    """
    if not bool((frame["origin"] == "pair").any()):
        frame = frame.clear()
    names = ("source", "group_id", *_OF_SIDE)
    votes = frame.select(*names, "votes").explode("votes", empty_as_null=False)
    votes = votes.with_columns(pl.col("votes").struct.field("event_id", "rater_key", "event_ts", "label")).drop("votes")
    chosen = votes.filter("label").select(*_OF_PAIR, *(pl.col(name).alias(f"chosen_{name}") for name in _OF_SIDE))
    rejected = votes.filter(~pl.col("label")).select(
        "event_id", *(pl.col(name).alias(f"rejected_{name}") for name in _OF_SIDE)
    )
    pairs = chosen.join(rejected, on="event_id", how="inner")
    return pairs.unique("event_id", keep="first", maintain_order=True)


def measure_pair_lengths(pairs: pl.DataFrame, config: AuditConfig) -> list[Metric]:
    """The metric `chosen_longer`: P(the chosen answer is longer than the rejected one), without equal lengths.

    Args:
        pairs: see `pairs_behind`.
        config: the thresholds.
    """
    longer = pairs.select(pl.col("chosen_completion_chars") - pl.col("rejected_completion_chars")).to_series()
    won, n = int((longer > 0).sum()), int((longer != 0).sum())
    if not n:
        return []
    value, interval = won / n, wilson_interval(won, n)
    wanted = (config.length_low, config.length_high)
    is_right = wanted[0] <= value <= wanted[1]
    learnt = "longer" if value > 0.5 else "shorter"
    meaning = (
        "length says little about the preference."
        if is_right
        else f"a model can lower its loss by writing {learnt} answers instead of better ones."
    )
    return [
        Metric(
            name="chosen_longer",
            title="Length bias of pairs",
            value=value,
            kind="share",
            n=n,
            severity=warn_outside(value, wanted, interval, n, config),
            sentence=f"The chosen answer is the longer one in {percent(value, *wanted)} of {plural(n, 'pair')} of "
            f"different length ({count(won)}; {count(pairs.height - n)} {agree(pairs.height - n, 'are')} equally "
            f"long): {meaning}",
            low=interval[0],
            high=interval[1],
            threshold=f"between {percent(config.length_low)} and {percent(config.length_high)}",
            details={"longer": won, "equal": pairs.height - n},
        )
    ]


def measure_cycles(pairs: pl.DataFrame, config: AuditConfig) -> list[Metric]:
    """The metric `preference_cycles`: prompts whose preferences run in a circle, see `feedback.conflicts.cycles`.

    Only prompts of which three answers or more were compared can have one, so the share is of these.

    Args:
        pairs: see `pairs_behind`.
        config: the thresholds.
    """
    named = pairs.select(
        "event_id",
        "rater_key",
        prompt="group_id",
        winner="chosen_cluster_id",
        loser="rejected_cluster_id",
    ).filter(pl.col("winner") != pl.col("loser"))
    n = _prompts_with_three(named)
    if not n:
        return []
    cycles = find_cycles(named)
    table = cycles.table
    prompts, reversals = table["prompt"].n_unique(), int(table["reversals"].sum())
    share = prompts / n
    return [
        counted_share(
            name="preference_cycles",
            title="Preferences in a circle",
            cases=prompts,
            n=n,
            severity=warn_if(share > config.max_cycles, n, config),
            sentence=_cycles_sentence(prompts, n, reversals, table, config),
            threshold=f"at most {percent(config.max_cycles)} of prompts with three answers",
            details={
                "prompts": prompts,
                "cycles": table.height,
                "judgements": int(table["judgements"].sum()),
                "reversals": reversals,
                "approximate": table.height - int(table["is_exact"].sum()),
                "opposed": cycles.opposed,
                "pairs": named.height,
            },
        )
    ]


def _prompts_with_three(named: pl.DataFrame) -> int:
    answers = pl.concat([named.select("prompt", answer=side) for side in ("winner", "loser")])
    return answers.group_by("prompt").agg(pl.col("answer").n_unique()).filter(pl.col("answer") > 2).height


def _cycles_sentence(prompts: int, n: int, reversals: int, table: pl.DataFrame, config: AuditConfig) -> str:
    scope = "of which three answers or more were compared"
    if not prompts:
        return f"{none_of(n, 'prompt')} {scope} has preferences that run in a circle."
    most = "at most " if not table["is_exact"].all() else ""
    return (
        f"{percent(prompts / n, config.max_cycles)} of {plural(n, 'prompt')} {scope} ({count(prompts)}) "
        f"{agree(n, 'have')} preferences that run in a circle (a before b, b before c, c before a): no order agrees "
        f"with all. {most.capitalize()}{plural(reversals, 'judgement')} of "
        f"{count(int(table['judgements'].sum()))} on them would have to be turned round to leave an order."
    )
