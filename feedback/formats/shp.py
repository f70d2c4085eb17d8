"""Format `shp`: the Stanford Human Preferences, two answers to one Reddit post and which got the better score.

    history ─┬─ human_ref_A, score_A        labels 1: A is preferred, 0: B
             └─ human_ref_B, score_B        score_ratio: the greater score over the smaller one, 1 or more

The margin is `score_ratio`, since that is what the authors advise to filter by: `convert.min_margin = 2` keeps what
they call reliable. One post gives many pairs of the same few answers, so `convert.max_pairs_per_prompt` is advised
too. Many readers' votes are in one record, so no rater is known; the times in it are those of the answers, not of the
votes, and are not read. Fields are those of stanfordnlp/SHP, read in code that builds and loads it; SHP-2 has the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import polars as pl

from feedback.formats.drafts import Format, PairDraft
from feedback.formats.parts.field_columns import id_of, is_id, number_of
from feedback.formats.parts.fields import need, optional_id, optional_number, reject, shown
from feedback.formats.parts.ranked import preferred
from feedback.formats.parts.turns import read_text
from feedback.formats.plain import ID, NUMBER, WHOLE, PlainRecords, Turns
from schemas.reasons import RejectReason

__all__ = ["SHP"]

_OUTCOMES: Final = {"1": "a", "0": "b"}
_IDS: Final = ("post_id", "c_root_id_A", "c_root_id_B")


def _parse(record: dict[str, Any]) -> Iterator[PairDraft]:
    label = need(record, "labels")
    outcome = _outcome(label)
    scores = optional_number(record, "score_A"), optional_number(record, "score_B")
    if scores[0] is not None and scores[1] is not None and preferred(scores[0], scores[1]) != outcome:
        detail = f"field 'labels' prefers {outcome.upper()}, and the scores are {scores[0]:g} and {scores[1]:g}"
        reject(RejectReason.RULE_VIOLATION, detail)
    ids = [optional_id(record, name) for name in _IDS]
    yield PairDraft(
        prompt=[read_text(record, "history", "user")],
        response_a=[read_text(record, "human_ref_A", "assistant")],
        response_b=[read_text(record, "human_ref_B", "assistant")],
        outcome=outcome,
        raw_value=label,
        record_id=":".join(map(str, ids)) if None not in ids else None,
        rater_kind="end_user",
        margin=optional_number(record, "score_ratio"),
        score_a=scores[0],
        score_b=scores[1],
    )


def _outcome(label: Any) -> str:
    # A table of text has "1"; a boolean is none of the two, though Python counts it as one.
    text = str(label) if isinstance(label, int | str) else ""
    if text not in _OUTCOMES:
        reject(RejectReason.UNKNOWN_LABEL, f"field 'labels' is {shown(label)}; expected 1 or 0")
    return _OUTCOMES[text]


_UNREAD: Final = frozenset(
    {"domain", "upvote_ratio", "seconds_difference", *(f"created_at_utc_{side}" for side in "AB")}
)
_PLAIN: Final = PlainRecords(
    kind="pairs",
    turns={
        "prompt": Turns("history", "user"),
        "response_a": Turns("human_ref_A", "assistant"),
        "response_b": Turns("human_ref_B", "assistant"),
    },
    types={
        "labels": WHOLE,
        **dict.fromkeys(("score_ratio", "score_A", "score_B"), NUMBER),
        **dict.fromkeys(_IDS, ID),
    },
    fields={
        "outcome": pl.when(pl.col("labels") == 1).then(pl.lit("a")).otherwise(pl.lit("b")),
        "raw_value": pl.col("labels").cast(pl.String),
        "record_id": pl.concat_str([id_of(name) for name in _IDS], separator=":"),
        "rater_kind": pl.lit("end_user"),
        "margin": number_of("score_ratio"),
        "score_a": number_of("score_A"),
        "score_b": number_of("score_B"),
    },
    where=pl.all_horizontal(
        pl.col("labels").is_in([0, 1]),
        (pl.col("score_ratio") >= 0).fill_null(value=True),
        (pl.col("labels") == 1)
        .eq(pl.col("score_A") > pl.col("score_B"))
        .and_(pl.col("score_A") != pl.col("score_B"))
        .fill_null(value=True),
        *map(is_id, _IDS),
    ),
    unread=_UNREAD,
)

SHP: Final = Format(
    name="shp",
    kind="pairs",
    summary="Stanford Human Preferences (SHP, SHP-2): two answers to a Reddit post, with their scores.",
    label_rule="labels 1 prefers human_ref_A and 0 human_ref_B; score_ratio is the margin, 2 or more is advised.",
    fields="history, human_ref_A, human_ref_B, labels; optional score_A, score_B, score_ratio, post_id, c_root_id_A, "
    "c_root_id_B",
    keys=frozenset(
        {
            *("post_id", "history", "labels", "score_ratio", *_UNREAD),
            *(f"{name}_{side}" for name in ("c_root_id", "score", "human_ref") for side in "AB"),
        }
    ),
    parse=_parse,
    plain=(_PLAIN,),
)
