"""Tables of candidates drawn by chance, sound or with one planted fault, to see what the audit makes of them.

A draw has thumbs of raters whose tastes differ, with second opinions that mostly agree, and apart from them pairs whose
answers have an order that judges mostly follow. A fault changes one of the two where it says so and leaves the rest.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from feedback.hashing import keys_of_texts, stable_id
from feedback.stage import CANDIDATE_TYPES

__all__ = ["FAULTS", "PARTS", "Draw", "Fault", "Part", "draw_sound"]

Part = Literal["thumbs", "pairs"]
PARTS: Final[tuple[Part, ...]] = ("thumbs", "pairs")

_START: Final = dt.datetime(2026, 1, 5, tzinfo=dt.UTC)
_THUMBS: Final = 600
_SECOND_OPINIONS: Final = 60
_RATERS: Final = 80
_MODELS: Final = 4
_WEEKS: Final = 8
_TRIOS: Final = 40
_TASTE: Final = (10.8, 9.2)
_UP: Final = 0.535
"""Share of up votes of a sound draw: R = 1.15."""
_AGREES: Final = 0.85
_FOLLOWS: Final = 0.98
_TESTED: Final = 0.1


@dataclass
class Draw:
    """One table under construction.

    Args:
        chance: the seeded source of everything.
        thumbs: rater, prompt, answer, label, model, day and chars of each vote.
        pairs: rater, prompt, winner, loser, first and the lengths of both answers, of each pair.
        leaks: rows of the test split that are moved to a prompt of the training split.
    """

    chance: np.random.Generator
    thumbs: pl.DataFrame
    pairs: pl.DataFrame
    leaks: int = 0

    def candidates(self, part: Part) -> pl.DataFrame:
        """The rows of the thumbs or of the pairs as `schemas.datasets.CANDIDATE`, one prompt in ten held out."""
        return _as_candidates(self._thumb_rows() if part == "thumbs" else self._pair_rows(), self.leaks)

    def asked(self) -> pl.DataFrame:
        """What only the pairs know, see `feedback.audit.presented.PAIR_COLUMNS`."""
        return self.pairs.with_row_index("text_id").select(
            pl.col("text_id").cast(pl.String),
            source=pl.lit("pairs"),
            prompt_key=_key("prompt", pl.col("prompt")),
            response_a_key=_key("answer", pl.col("winner")),
            response_b_key=_key("answer", pl.col("loser")),
            outcome=pl.lit("a"),
            presented_first=pl.when("winner_first").then(pl.lit("a")).otherwise(pl.lit("b")),
            score_a=pl.lit(None, dtype=pl.Float64),
            score_b=pl.lit(None, dtype=pl.Float64),
        )

    def _thumb_rows(self) -> pl.DataFrame:
        return self.thumbs.with_row_index("event").with_columns(
            pl.format("t{}", "event").alias("event"), origin=pl.lit("thumb")
        )

    def _pair_rows(self) -> pl.DataFrame:
        pairs = self.pairs.with_row_index("event").with_columns(pl.format("p{}", "event").alias("event"))
        fixed = (pl.lit("m0").alias("model"), pl.lit(0).alias("day"), pl.lit("pair").alias("origin"))
        sides = [
            pairs.select(
                *("event", "rater", "prompt", *fixed),
                answer=side,
                label=pl.lit(value=side == "winner"),
                chars=f"{side}_chars",
            )
            for side in ("winner", "loser")
        ]
        return pl.concat(sides)


@dataclass(frozen=True)
class Fault:
    """A fault and the gate that should see it.

    Args:
        name: what is planted.
        part: what it is planted in.
        gate: name of the metric that should warn or fail.
        plant: changes a sound draw.
        how: what it changes, in a few words.
    """

    name: str
    part: Part
    gate: str
    plant: Callable[[Draw], None]
    how: str


def draw_sound(seed: int) -> Draw:
    """A draw without a fault."""
    chance = np.random.default_rng(seed)
    busy = chance.dirichlet(np.full(_RATERS, 1.0))
    busy = np.minimum(busy, 0.06) / np.minimum(busy, 0.06).sum()
    taste = chance.beta(*_TASTE, _RATERS)
    rater = chance.choice(_RATERS, _THUMBS, p=busy)
    thumbs = pl.DataFrame(
        {
            "rater": [f"r{one}" for one in rater],
            "prompt": [f"q{one}" for one in chance.integers(0, _THUMBS // 2, _THUMBS)],
            "answer": [f"a{one}" for one in range(_THUMBS)],
            "label": _balanced(chance, chance.random(_THUMBS) < taste[rater]),
            "model": [f"m{one}" for one in chance.integers(0, _MODELS, _THUMBS)],
            "day": chance.integers(0, 7 * _WEEKS, _THUMBS),
            "chars": chance.lognormal(5.5, 0.8, _THUMBS).astype(int),
        }
    )
    return Draw(chance, pl.concat([thumbs, _second_opinions(chance, thumbs)]), _trios(chance))


def _balanced(chance: np.random.Generator, label: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The labels with as many turned as the wanted share of up needs."""
    more = round(_UP * len(label)) - int(label.sum())
    turned = chance.choice(np.flatnonzero(label != (more > 0)), abs(more), replace=False)
    return label ^ np.isin(np.arange(len(label)), turned)


def _second_opinions(chance: np.random.Generator, thumbs: pl.DataFrame) -> pl.DataFrame:
    """Votes of others on answers that have one already, most of them alike."""
    again = thumbs[chance.choice(thumbs.height, _SECOND_OPINIONS, replace=False)]
    agrees = pl.Series(chance.random(_SECOND_OPINIONS) < _AGREES)
    others = [f"s{one}" for one in range(_SECOND_OPINIONS)]
    return again.with_columns(rater=pl.Series(others), label=again["label"] == agrees)


def _trios(chance: np.random.Generator) -> pl.DataFrame:
    """Three answers to each prompt, compared two by two; the judge mostly follows the order of the answers."""
    rows = []
    for prompt in range(_TRIOS):
        chars = chance.lognormal(5.5, 0.8, 3).astype(int).tolist()
        for better, worse in ((0, 1), (1, 2), (0, 2)):
            winner, loser = (better, worse) if chance.random() < _FOLLOWS else (worse, better)
            rows.append(_pair_row(chance, prompt, winner, loser, chars))
    return pl.DataFrame(rows)


def _pair_row(chance: np.random.Generator, prompt: int, winner: int, loser: int, chars: list[int]) -> dict[str, object]:
    return {
        "rater": f"j{chance.integers(20)}",
        "prompt": f"trio{prompt}",
        "winner": f"trio{prompt}-{winner}",
        "loser": f"trio{prompt}-{loser}",
        "winner_chars": chars[winner],
        "loser_chars": chars[loser],
        "winner_first": bool(chance.random() < 0.5),
    }


def _brigade(draw: Draw) -> None:
    """Twelve accounts vote down twenty answers of one model each, all on one day."""
    target = draw.thumbs.filter(pl.col("model") == "m1")
    votes = [
        target[draw.chance.choice(target.height, 20, replace=False)].with_columns(rater=pl.lit(f"brigade{account}"))
        for account in range(12)
    ]
    draw.thumbs = pl.concat(
        [draw.thumbs, *(each.with_columns(label=pl.lit(False), day=pl.lit(30, pl.Int64)) for each in votes)]
    )


def _long_is_up(draw: Draw) -> None:
    """Answers that are up are 1.6 times as long."""
    draw.thumbs = draw.thumbs.with_columns(chars=(pl.col("chars") * pl.when("label").then(1.6).otherwise(1)).cast(int))


def _long_wins(draw: Draw) -> None:
    """In four pairs of ten the longer answer is made the winner."""
    chosen = pl.Series(draw.chance.random(draw.pairs.height) < 0.4)
    longest = pl.max_horizontal("winner_chars", "loser_chars")
    shortest = pl.min_horizontal("winner_chars", "loser_chars")
    draw.pairs = draw.pairs.with_columns(
        winner_chars=pl.when(chosen).then(longest).otherwise("winner_chars"),
        loser_chars=pl.when(chosen).then(shortest).otherwise("loser_chars"),
    )


def _circles(draw: Draw) -> None:
    """One prompt in four has a circle of three."""
    rows = [
        _pair_row(draw.chance, prompt, winner, loser, [100, 200, 300])
        for prompt in range(_TRIOS // 4)
        for winner, loser in ((0, 1), (1, 2), (2, 0))
    ]
    others = draw.pairs.filter(~pl.col("prompt").is_in([f"trio{prompt}" for prompt in range(_TRIOS // 4)]))
    draw.pairs = pl.concat([others, pl.DataFrame(rows)])


def _first_wins(draw: Draw) -> None:
    """The winner was shown first in 70% of pairs."""
    draw.pairs = draw.pairs.with_columns(winner_first=pl.Series(draw.chance.random(draw.pairs.height) < 0.7))


def _leak(draw: Draw) -> None:
    """One row of the test split has a prompt of the training split."""
    draw.leaks = 1


def _bad_week(draw: Draw) -> None:
    """In one week of eight, three up votes of four become down."""
    turned = pl.Series(draw.chance.random(draw.thumbs.height) < 0.75) & (draw.thumbs["day"] // 7 == 5)
    draw.thumbs = draw.thumbs.with_columns(label=draw.thumbs["label"] & ~turned)


def _disputes(draw: Draw) -> None:
    """One answer in twelve gets the other label by another rater."""
    disputed = draw.thumbs[draw.chance.choice(_THUMBS, _THUMBS // 12, replace=False)]
    draw.thumbs = pl.concat(
        [draw.thumbs, disputed.with_columns(rater=pl.format("d{}", "answer"), label=~pl.col("label"))]
    )


def _favourite(draw: Draw) -> None:
    """Of one model in four, four down votes of five become up."""
    turned = pl.Series(draw.chance.random(draw.thumbs.height) < 0.8) & (draw.thumbs["model"] == "m0")
    draw.thumbs = draw.thumbs.with_columns(label=draw.thumbs["label"] | turned)


def _always_down(draw: Draw) -> None:
    """One rater votes down thirty answers of thirty."""
    mine = draw.thumbs[draw.chance.choice(_THUMBS, 30, replace=False)]
    mine = mine.with_columns(rater=pl.lit("strict"), label=pl.lit(False), answer=pl.format("own-{}", "answer"))
    draw.thumbs = pl.concat([draw.thumbs, mine])


def _only_praise(draw: Draw) -> None:
    """Half of the down votes become up."""
    turned = pl.Series(draw.chance.random(draw.thumbs.height) < 0.5)
    draw.thumbs = draw.thumbs.with_columns(label=draw.thumbs["label"] | turned)


def _marked(draw: Draw) -> None:
    """Answers that are up are 1.6 times as long, and half of the down votes of two models of four become up."""
    is_theirs = draw.thumbs["model"].is_in(["m0", "m1"])
    turned = pl.Series(draw.chance.random(draw.thumbs.height) < 0.5) & is_theirs
    label = draw.thumbs["label"] | turned
    draw.thumbs = draw.thumbs.with_columns(
        label, chars=(pl.col("chars") * pl.when(label).then(1.6).otherwise(1)).cast(int)
    )


def _fault(name: str, part: Part, gate: str, plant: Callable[[Draw], None]) -> Fault:
    return Fault(name, part, gate, plant, (plant.__doc__ or "").rstrip("."))


FAULTS: Final = (
    _fault("brigade", "thumbs", "extreme_raters", _brigade),
    _fault("extreme rater", "thumbs", "extreme_raters", _always_down),
    _fault("length-biased label", "thumbs", "length_auc", _long_is_up),
    _fault("length-biased pairs", "pairs", "chosen_longer", _long_wins),
    _fault("cycles", "pairs", "preference_cycles", _circles),
    _fault("position bias", "pairs", "first_shown_wins", _first_wins),
    _fault("leak", "thumbs", "leakage", _leak),
    _fault("drift", "thumbs", "label_drift", _bad_week),
    _fault("contradictions", "thumbs", "contradictions", _disputes),
    _fault("model confound", "thumbs", "model_confound", _favourite),
    _fault("label from metadata", "thumbs", "shortcut_auc", _marked),
    _fault("imbalance", "thumbs", "label_ratio", _only_praise),
)
"""Every fault that is planted, with the gate that should see it."""


def _key(kind: str, name: pl.Expr) -> pl.Expr:
    return keys_of_texts(pl.concat_str(pl.lit(f"{kind}:"), name))


def _as_candidates(rows: pl.DataFrame, leaks: int) -> pl.DataFrame:
    prompt, answer = _key("prompt", pl.col("prompt")), _key("answer", pl.col("answer"))
    made = rows.with_row_index("row").with_columns(
        row_id=pl.col("row").map_elements(lambda row: stable_id("row", str(row)), return_dtype=pl.String),
        row_key=_key("row", pl.col("row").cast(pl.String)),
        group_id=prompt,
        cluster_id=answer,
        rater_key=_key("rater", pl.col("rater")),
        event_ts=pl.lit(_START) + pl.duration(days=pl.col("day")),
        split=pl.when(prompt % 10 < round(10 * _TESTED)).then(pl.lit("test")).otherwise(pl.lit("train")),
        **dict.fromkeys(("prompt_hash", "prompt_key"), prompt),
        **dict.fromkeys(("completion_hash", "completion_key"), answer),
    )
    if leaks:
        train = made.filter(pl.col("split") == "train")["group_id"][0]
        moved = (pl.col("split") == "test") & ((pl.col("split") == "test").cum_sum() <= leaks)
        made = made.with_columns(group_id=pl.when(moved).then(pl.lit(train, pl.UInt64)).otherwise("group_id"))
    vote = pl.struct(pl.col("event").alias("event_id"), "rater_key", "event_ts", "label")
    full = made.with_columns(
        text_id="event",
        text_side=pl.lit("completion"),
        source=pl.lit("bench"),
        weight=pl.lit(1.0),
        rater_kind=pl.lit("end_user"),
        model_id="model",
        prompt_chars=pl.lit(100),
        completion_chars="chars",
        votes=pl.concat_list(vote),
        other_event_ids=pl.lit(None),
        capped_rater=pl.lit(None),
    )
    return full.select(pl.col(name).cast(kind) for name, kind in CANDIDATE_TYPES.items())
