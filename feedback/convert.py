"""Stage `convert`: feedback events and preference pairs become labelled rows, keys only.

An event gives one row. A pair with a winner gives a desirable and an undesirable row, two bad answers give two
undesirable rows, and a tie gives none. Rows come in partitions; what revisions of a record need to know of other
partitions is found before, by `find_revisions`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import polars as pl

from feedback.config import ConvertConfig
from feedback.engine import read_rows
from feedback.hashing import answer_id, order_hash, row_keys, side_ids
from feedback.revision_order import read_revisions
from feedback.stage import CANDIDATE_TYPES, StageResult, counted, finish_stage
from schemas.reasons import DropReason
from schemas.report import LabelCounts
from schemas.settings import settings_to_dict

__all__ = ["Keys", "convert", "convert_notes", "find_revisions"]

_SCORE_SIGNALS: Final = ("rating", "score")
_ANSWER: Final = ("prompt_key", "completion_key")
_VOTES: Final = CANDIDATE_TYPES["votes"]


@dataclass(frozen=True, slots=True)
class Keys:
    """What `convert` reads of one partition, see `feedback.ingest.keys`.

    Args:
        events: keys of events, or no row.
        pairs: keys of pairs, or no row.
        revisions: what `find_revisions` found, or no row.
        groups: `prompt_key`, `group_id` of prompts that have near-duplicates, or no row.
        clusters: `prompt_key`, `completion_key`, `cluster_id` of answers that have near-duplicates, or no row.
    """

    events: pl.DataFrame = field(default_factory=pl.DataFrame)
    pairs: pl.DataFrame = field(default_factory=pl.DataFrame)
    revisions: pl.DataFrame = field(default_factory=pl.DataFrame)
    groups: pl.DataFrame = field(default_factory=pl.DataFrame)
    clusters: pl.DataFrame = field(default_factory=pl.DataFrame)


def convert(keys: Keys, config: ConvertConfig, *, digest_in: str = "") -> StageResult:
    """Labelled rows of all events and pairs.

    Args:
        keys: of one partition, or of everything.
        config: thresholds and caps for pairs.
        digest_in: digest of the stage `ingest`.
    """
    parts: list[pl.DataFrame] = []
    figures = {"events": keys.events.height, "pairs": keys.pairs.height}
    if keys.events.height:
        parts.append(_rows_of_events(keys.events, keys.revisions))
    if keys.pairs.height:
        pairs = _judged_pairs(keys.pairs, keys.revisions, config)
        parts.append(_rows_of_pairs(pairs, config))
        figures |= _pair_figures(pairs)
    rows = keys.events.height + keys.pairs.height
    table = pl.concat(parts) if parts else pl.DataFrame(schema=_WITH_REASON)
    table = _with_clusters(table, keys)
    is_kept = pl.col("drop_reason").is_null()
    figures["unordered_records"] = _unordered(keys)
    return finish_stage(
        "convert",
        table.filter(is_kept).drop("drop_reason"),
        table.filter(~is_kept),
        rows_in=rows,
        rows_created=table.height - rows,
        labels_in=_labels_in(keys),
        config=settings_to_dict(config),
        digest_in=digest_in,
        notes=convert_notes(figures),
        figures=figures,
    )


def convert_notes(figures: Mapping[str, Any]) -> list[str]:
    """What the stage did, from its figures."""
    notes = []
    if figures.get("won_pairs"):
        notes.append(f"A desirable and an undesirable row from each of {counted(figures['won_pairs'], 'pair')} won.")
    if figures.get("bad_pairs"):
        bad = counted(figures["bad_pairs"], "pair")
        notes.append(f"Two undesirable rows from each of {bad} with two bad answers.")
    if figures.get("unordered_records"):
        records = counted(figures["unordered_records"], "record id")
        notes.append(
            f"{records} with different contents and no time that says which is the latest: the one with the latest "
            "known time, else with the greatest id, was kept. If they are different records, give their sources "
            "different names."
        )
    return notes


def find_revisions(files: Sequence[Path]) -> pl.DataFrame:
    """Records with several revisions: `record_key`, `latest_id`, and `is_order_known` from times and what was done.

    Args:
        files: files of keys of events or pairs, all of one kind.
    """
    if not files:
        return pl.DataFrame()
    records = pl.concat([read_rows(path, ["record_key"]) for path in files]).to_series()
    ascending = records.sort()
    several = ascending.filter(ascending == ascending.shift()).unique()
    if several.is_empty():
        return pl.DataFrame()
    chosen = [read_revisions(path).filter(pl.col("record_key").is_in(several.implode())) for path in files]
    newest = pl.col("event_ts").eq_missing(pl.col("event_ts").max())
    last = newest & (pl.col("op_rank") == pl.col("op_rank").filter(newest).max())
    is_timed = pl.col("event_ts").is_not_null()
    # A file that is read twice gives every record twice; that is no revision.
    return (
        pl.concat(chosen)
        .unique()
        .filter(pl.col("record_key").is_duplicated())
        .group_by("record_key")
        .agg(
            latest_id=pl.col("text_id").sort_by("event_ts", "op_rank", "text_id").last(),
            is_order_known=(last.sum() == 1) & (is_timed.all() | ~is_timed.any()),
        )
        .sort("record_key")
    )


_WITH_REASON: Final = pl.Schema([*CANDIDATE_TYPES.items(), ("drop_reason", pl.String())])


def _labels_in(keys: Keys) -> LabelCounts:
    if not keys.events.height:
        return LabelCounts(unlabelled=keys.pairs.height)
    label = keys.events["label"]
    up = int(label.sum() or 0)
    down = keys.events.height - label.null_count() - up
    return LabelCounts(up, down, label.null_count() + keys.pairs.height)


def _rows_of_events(keys: pl.DataFrame, revisions: pl.DataFrame) -> pl.DataFrame:
    reason = (
        pl.when(pl.col("text_id") != pl.col("latest_id"))
        .then(pl.lit(DropReason.SUPERSEDED_REVISION.value))
        .when(pl.col("op") == "retract")
        .then(pl.lit(DropReason.RETRACTED.value))
        .when(pl.col("label").is_null())
        .then(pl.lit(DropReason.NEUTRAL.value))
    )
    origin = pl.when(pl.col("signal").is_in(_SCORE_SIGNALS)).then(pl.lit("score")).otherwise(pl.lit("thumb"))
    rows = _with_latest(keys, revisions).with_columns(
        row_id="text_id", text_side=pl.lit("completion"), origin=origin, drop_reason=reason
    )
    return _as_candidates(rows)


def _judged_pairs(keys: pl.DataFrame, revisions: pl.DataFrame, config: ConvertConfig) -> pl.DataFrame:
    """The pairs with the reason why one gives no rows."""
    pairs = _with_latest(keys, revisions).with_columns(drop_reason=_why_no_pair(config))
    return pairs if config.max_pairs_per_prompt is None else _cap_pairs(pairs, config.max_pairs_per_prompt)


def _pair_figures(pairs: pl.DataFrame) -> dict[str, int]:
    used = pairs.filter(pl.col("drop_reason").is_null())
    bad = used.filter(pl.col("outcome") == "both_bad").height
    return {"won_pairs": used.height - bad, "bad_pairs": bad}


def _rows_of_pairs(pairs: pl.DataFrame, config: ConvertConfig) -> pl.DataFrame:
    is_left_out = pl.col("drop_reason").is_not_null()
    used, left_out = pairs.filter(~is_left_out), pairs.filter(is_left_out)
    sides = [_side(used, side).with_columns(drop_reason=_why_no_answer(config)) for side in ("a", "b")]
    # A pair that is left out is one row: nothing was made of it.
    whole = _side(left_out, "a").with_columns(label=pl.lit(None, dtype=pl.Boolean))
    return _as_candidates(pl.concat([*sides, whole], how="diagonal").with_columns(origin=pl.lit("pair")))


def _with_latest(keys: pl.DataFrame, revisions: pl.DataFrame) -> pl.DataFrame:
    """`keys` with `latest_id`, null where a record has one revision."""
    if not revisions.height:
        return keys.with_columns(latest_id=pl.lit(None, dtype=pl.String))
    return keys.join(revisions.select("record_key", "latest_id"), on="record_key", how="left")


def _unordered(keys: Keys) -> int:
    """Records of unknown order, each counted once: where its latest revision is."""
    if not keys.revisions.height:
        return 0
    unordered = keys.revisions.filter(~pl.col("is_order_known"))
    ids = pl.concat([part["text_id"] for part in (keys.events, keys.pairs) if part.height])
    return unordered.filter(pl.col("latest_id").is_in(ids.implode())).height


def _why_no_pair(config: ConvertConfig) -> pl.Expr:
    is_won = pl.col("outcome").is_in(["a", "b"])
    below = pl.lit(False) if config.min_margin is None else is_won & (pl.col("margin") < config.min_margin)
    return (
        pl.when(pl.col("text_id") != pl.col("latest_id"))
        .then(pl.lit(DropReason.SUPERSEDED_REVISION.value))
        .when(pl.col("outcome").is_in(["tie", "abstain"]))
        .then(pl.lit(DropReason.TIE.value))
        .when(below)
        .then(pl.lit(DropReason.BELOW_MARGIN.value))
    )


def _cap_pairs(pairs: pl.DataFrame, cap: int) -> pl.DataFrame:
    order = order_hash(row_keys(pairs["text_id"]), "convert").alias("order")
    ranked = pairs.with_columns(order).with_columns(
        order=pl.when(pl.col("drop_reason").is_null()).then("order"),
    )
    # Dense, so that one pair read twice takes one place; dedup removes the copy.
    place = pl.col("order").rank("dense").over("prompt_key")
    reason = pl.when(place > cap).then(pl.lit(DropReason.PAIR_CAP.value)).otherwise("drop_reason")
    return ranked.with_columns(drop_reason=reason).drop("order")


def _why_no_answer(config: ConvertConfig) -> pl.Expr:
    low = pl.lit(False) if config.min_chosen_score is None else pl.col("score") < config.min_chosen_score
    high = pl.lit(False) if config.max_rejected_score is None else pl.col("score") > config.max_rejected_score
    is_out = pl.when(pl.col("label")).then(low).otherwise(high)
    return pl.when(is_out).then(pl.lit(DropReason.SCORE_THRESHOLD.value))


def _side(pairs: pl.DataFrame, side: str) -> pl.DataFrame:
    return pairs.with_columns(
        side_ids(pairs["text_id"], side).alias("row_id"),
        text_side=pl.lit(side),
        label=pl.col("outcome") == side,
        score=pl.col(f"score_{side}"),
        model_id=pl.col(f"model_{side}"),
        completion_hash=pl.col(f"response_{side}_hash"),
        completion_key=pl.col(f"response_{side}_key"),
        completion_chars=pl.col(f"response_{side}_chars"),
    )


def _as_candidates(rows: pl.DataFrame) -> pl.DataFrame:
    keys = row_keys(rows["row_id"])
    # Sorted while rows are narrow: the later columns come in order for nothing.
    rows = rows.with_columns(keys.alias("row_key"))[keys.arg_sort()]
    vote = pl.struct(pl.col("text_id").alias("event_id"), "rater_key", "event_ts", "label")
    made = rows.with_columns(
        group_id=pl.col("prompt_key"),
        cluster_id=pl.lit(0, dtype=pl.UInt64),
        weight=pl.lit(1.0),
        votes=pl.when(pl.col("label").is_not_null()).then(pl.concat_list(vote)).otherwise(pl.lit([], dtype=_VOTES)),
        other_event_ids=pl.lit(None, dtype=pl.List(pl.String)),
        capped_rater=pl.lit(None, dtype=pl.UInt64),
        split=pl.lit(None, dtype=pl.String),
    )
    return made.select(*(pl.col(name).cast(kind) for name, kind in CANDIDATE_TYPES.items()), "drop_reason")


def _with_clusters(table: pl.DataFrame, keys: Keys) -> pl.DataFrame:
    """`table` with the clusters that its prompts and answers are in; alone, an answer is its own."""
    own = answer_id(table["prompt_key"].to_numpy(), table["completion_key"].to_numpy())
    table = table.with_columns(pl.Series("cluster_id", own, pl.UInt64))
    if keys.groups.height:
        joined = table.join(keys.groups, on="prompt_key", how="left", suffix="_near", maintain_order="left")
        table = joined.with_columns(group_id=pl.coalesce("group_id_near", "group_id")).drop("group_id_near")
    if keys.clusters.height:
        joined = table.join(keys.clusters, on=_ANSWER, how="left", suffix="_near", maintain_order="left")
        table = joined.with_columns(cluster_id=pl.coalesce("cluster_id_near", "cluster_id")).drop("cluster_id_near")
    return table
