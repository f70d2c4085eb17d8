"""Stage `pairs`: two answers to one prompt, the one that is up before the one that is down.

    rows with a label and a split ──┬─► comparisons whose answers are both there, each with its own label ──┬─► pairs
    comparisons, as they came in ───┘   other answers of one prompt: the first up with the first down ... ──┘

Labels come first: a pair is made only of answers that duplicates, contradictions and caps have left, the chosen one up
and the rejected one down, so a comparison that the majority overruled makes none. Its texts are those of a comparison,
or of the two rows: nobody's prompt is put before an answer to another one. The rows of a group of prompts are in one
partition and on one side of the split, and so are its pairs. Only keys are read here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import polars as pl

from feedback.config import PairsConfig
from feedback.hashing import ids_of_texts, row_keys, stage_digest
from feedback.pairs.notes import pair_notes
from feedback.sole_rater import sole_raters
from feedback.stage import StageResult
from schemas.datasets import PAIR_CANDIDATE, SPLITS
from schemas.reasons import DropReason
from schemas.report import LabelCounts, StageReport
from schemas.settings import settings_to_dict

__all__ = ["make_pairs"]

_TYPES: Final = pl.Schema(PAIR_CANDIDATE)
_WHO_TYPE: Final = pl.List(pl.Struct({"event_id": pl.String(), "rater_key": pl.UInt64()}))
_DECISIONS: Final = ("row_key", "weight", "group_id", "split")
_SIDES: Final = {"chosen": pl.col("label"), "rejected": ~pl.col("label")}
_PLACES: Final = [f"{side}_place" for side in _SIDES]
_REASONS: Final = {
    "broken": DropReason.BROKEN_PAIR,
    "copies": DropReason.DUPLICATE_RECORD,
    "repeated": DropReason.REPEATED_PAIR,
}
"""Why a comparison became no pair, by the name of the figure that counts it."""

_EXACT: Final = ("prompt_hash", "completion_hash")
_SAME: Final = {
    "off": ("text_id", "text_side"),
    "exact": _EXACT,
    "normalized": ("prompt_key", "completion_key"),
    "near": ("cluster_id",),
}
"""What answers of one label agree in that `dedup` has merged, by its setting `match`."""

_OF_ANSWER: Final = ("weight", "votes", "other_event_ids", "split")
_OF_SIDE: Final = (
    *("row_id", "text_id", "text_side", "source", "origin", "group_id", "prompt_chars", "completion_chars"),
    *_OF_ANSWER,
)
_OF_ROW: Final = (*_OF_SIDE, *_EXACT, "row_key", "prompt_key", "completion_key", "cluster_id", "label")


def make_pairs(
    rows: pl.DataFrame, comparisons: pl.DataFrame, config: PairsConfig, *, match: str, digest_in: str = ""
) -> StageResult:
    """Pairs of the answers in one partition.

    Args:
        rows: rows of `schemas.datasets.CANDIDATE` with their split; all rows of a prompt.
        comparisons: `comparisons_of` what the same partition began with.
        config: which pairs are made.
        match: the setting of `dedup` that says which answers are one row.
        digest_in: digest of the stage before.

    Returns:
        Pairs as `schemas.datasets.PAIR_CANDIDATE`. Rows in are comparisons, rows created are pairs of answers that
        nobody compared. The figures: `compared`, `siblings`, `broken`, `copies`, `repeated`; `answers` and
        `paired_answers`, how many rows there are and how many of them are in a pair; the pairs in `train` and `test`.
    """
    narrow = rows.select(_OF_ROW).with_row_index("place")
    copies = comparisons.filter(pl.col("copy") > 0)
    found = _with_rows(comparisons.filter(pl.col("copy") == 0), narrow, _SAME[match])
    broken, whole = found.filter(_is_broken()), found.filter(~_is_broken())
    # That which looks most like the rows stands for all, so that a pair shows the texts that the rows show.
    whole = whole.sort("unlike", "text_id")
    is_first = whole.select(is_first=pl.struct(_PLACES).is_first_distinct()).to_series()
    used, repeated = whole.filter(is_first), whole.filter(~is_first)
    compared = _compared(used, whole, narrow)
    in_pair = pl.concat([used[name] for name in _PLACES])
    alone = narrow.filter(~pl.col("place").is_in(in_pair.implode()))
    siblings = _siblings(alone) if config.mode == "all" else compared.clear()
    kept = pl.concat([compared, siblings]).sort("row_key", "row_id")
    figures = {
        "compared": compared.height,
        "siblings": siblings.height,
        "copies": copies.height,
        "repeated": repeated.height,
        "broken": broken.height,
        "answers": rows.height,
        "paired_answers": rows.height - alone.height + 2 * siblings.height,
        **{split: kept.filter(pl.col("split") == split).height for split in SPLITS},
    }
    left_out = dict(zip(_REASONS.values(), (broken, copies, repeated), strict=True))
    dropped = _left_out(left_out)
    return StageResult(kept, dropped, _report(comparisons.height, kept, config, digest_in, figures))


def _with_rows(comparisons: pl.DataFrame, rows: pl.DataFrame, same: tuple[str, ...]) -> pl.DataFrame:
    """Comparisons with the place of the row that each answer is in by now, and how many of both look otherwise there.

    Args:
        comparisons: see `comparisons_of`.
        rows: the rows with their place.
        same: columns in which an answer agrees with its row.
    """
    found = comparisons
    for side, label in _SIDES.items():
        keys = {name: name if name in comparisons.columns else f"{side}_{name}" for name in same}
        answers = rows.filter(label).select(
            *(pl.col(name).alias(key) for name, key in keys.items()),
            pl.col("place").alias(f"{side}_place"),
            *(pl.col(name).alias(f"row_{name}") for name in _EXACT),
        )
        unlike = pl.any_horizontal(
            pl.col("row_prompt_hash") != pl.col("prompt_hash"),
            pl.col("row_completion_hash") != pl.col(f"{side}_completion_hash"),
        )
        found = found.join(answers, on=list(keys.values()), how="left").with_columns(unlike.alias(f"{side}_unlike"))
        found = found.drop(f"row_{name}" for name in _EXACT)
    return found.with_columns(unlike=pl.sum_horizontal("chosen_unlike", "rejected_unlike"))


def _is_broken() -> pl.Expr:
    is_lost = pl.any_horizontal(pl.col(name).is_null() for name in _PLACES)
    return is_lost | pl.col("chosen_is_left_out") | pl.col("rejected_is_left_out")


def _compared(used: pl.DataFrame, whole: pl.DataFrame, rows: pl.DataFrame) -> pl.DataFrame:
    """A pair of each comparison that is used, which all comparisons of the same two rows stand behind."""
    own = whole.group_by(_PLACES).agg(own=pl.struct(pl.col("text_id").alias("event_id"), "rater_key"))
    pairs = used.join(own, on=_PLACES, how="left", maintain_order="left")
    for side in _SIDES:
        answers = rows.select(pl.col(name).alias(f"{side}_{name}") for name in ("place", *_OF_ANSWER))
        pairs = pairs.join(answers, on=f"{side}_place", how="left", maintain_order="left")
    text_ids = {f"{side}_text_id": pl.col("text_id") for side in _SIDES}
    return _finished(pairs.with_columns(row_id="text_id", origin=pl.lit("pair"), **text_ids))


def _siblings(rows: pl.DataFrame) -> pl.DataFrame:
    """Pairs within a prompt: the first answer up by id with the first one down, and so on, each answer once.

    An answer that has both labels, itself or through a near-duplicate, takes no part.
    """
    has_both = pl.col("label").n_unique().over("prompt_key") == 2
    shared = rows.filter(pl.col("prompt_key").is_duplicated()).filter(has_both)
    clear = shared.filter(pl.col("label").n_unique().over("cluster_id") == 1).sort("row_key", "row_id")
    ranked = clear.with_columns(rank=pl.int_range(pl.len()).over("prompt_key", "label"))
    chosen, rejected = (
        ranked.filter(label).select("prompt_key", "rank", *(pl.col(name).alias(f"{side}_{name}") for name in _OF_SIDE))
        for side, label in _SIDES.items()
    )
    pairs = chosen.join(rejected, on=["prompt_key", "rank"], maintain_order="left")
    of_chosen = {name: pl.col(f"chosen_{name}") for name in ("source", "origin", "group_id", "prompt_chars")}
    ids = ids_of_texts(pl.col("chosen_row_id"), pl.col("rejected_row_id"))
    return _finished(pairs.with_columns(ids.alias("row_id"), **of_chosen, own=pl.lit([], dtype=_WHO_TYPE)))


def _finished(pairs: pl.DataFrame) -> pl.DataFrame:
    """Pairs as `schemas.datasets.PAIR_CANDIDATE`, from the columns of both answers and `own`, who compared them."""
    judged = pairs.select(votes=pl.concat_list(*(_who(pl.col(f"{side}_votes")) for side in _SIDES), "own"))["votes"]
    others = [pl.col(f"{side}_other_event_ids").fill_null(pl.lit([], dtype=pl.List(pl.String))) for side in _SIDES]
    votes = judged.list.eval(pl.element().struct.field("event_id"))
    ids = pl.concat_list(votes, *others, *(f"{side}_text_id" for side in _SIDES))
    made = pairs.with_columns(
        row_keys(pairs["row_id"]).alias("row_key"),
        sole_raters(judged).alias("rater_key"),
        weight=pl.min_horizontal("chosen_weight", "rejected_weight"),
        split="chosen_split",
        chosen_chars="chosen_completion_chars",
        rejected_chars="rejected_completion_chars",
        source_event_ids=ids.list.unique().list.sort(),
    )
    return made.select(pl.col(name).cast(kind) for name, kind in _TYPES.items())


def _who(votes: pl.Expr) -> pl.Expr:
    return votes.list.eval(pl.struct(pl.element().struct.field("event_id", "rater_key"))).cast(_WHO_TYPE)


def _left_out(comparisons: Mapping[DropReason, pl.DataFrame]) -> pl.DataFrame:
    """Comparisons that became no pair, in the columns of pairs, with their reason."""
    listed = [
        some.select(
            row_id="text_id",
            row_key=row_keys(some["text_id"]),
            **{f"{side}_text_id": pl.col("text_id") for side in _SIDES},
            **{f"{side}_text_side": pl.col(f"{side}_text_side") for side in _SIDES},
            **{f"{side}_chars": pl.col(f"{side}_completion_chars") for side in _SIDES},
            **{name: pl.col(name) for name in ("source", "prompt_key", "group_id", "rater_key", "prompt_chars")},
            origin=pl.lit("pair"),
            weight=pl.lit(1.0),
            source_event_ids=pl.concat_list("text_id"),
            split=pl.lit(None),
            drop_reason=pl.lit(reason.value),
        )
        for reason, some in comparisons.items()
    ]
    types = {**_TYPES, "drop_reason": pl.String()}
    return pl.concat(some.select(pl.col(name).cast(kind) for name, kind in types.items()) for some in listed).sort(
        "row_key", "row_id"
    )


def _report(
    comparisons: int, kept: pl.DataFrame, config: PairsConfig, digest_in: str, figures: Mapping[str, int]
) -> StageReport:
    described: dict[str, Any] = settings_to_dict(config)
    ids = kept.select(pl.col("source_event_ids").list.len().alias("votes")).to_series(), kept["row_id"]
    return StageReport(
        stage="pairs",
        rows_in=comparisons,
        rows_created=figures["siblings"],
        rows_kept=kept.height,
        dropped={reason.value: figures[name] for name, reason in _REASONS.items() if figures[name]},
        labels_in=LabelCounts(unlabelled=comparisons),
        labels_kept=LabelCounts(unlabelled=kept.height),
        digest_in=digest_in,
        digest_out=stage_digest(digest_in, "pairs", described, kept, _DECISIONS, ids),
        config=described,
        notes=tuple(pair_notes(figures)),
        figures=figures,
    )
