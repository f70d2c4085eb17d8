"""Which rows `rebalance` leaves out: spread over strata, nested, the same in partitions, with their weights."""

from __future__ import annotations

import hashlib
import io
import itertools
import pickle
from collections import Counter
from datetime import UTC, datetime
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feedback.config import RebalanceConfig
from feedback.hashing import order_hash
from feedback.rebalance import (
    apply_rebalance,
    base_weights,
    merge_rebalance,
    narrow_columns,
    ratio_of_report,
    rebalance,
    rebalance_plan,
)
from feedback.stage import StageResult
from schemas.errors import ConfigError, RatioUnreachableError, ShapeError
from tests.feedback_tables import candidate, key, table

STRATA = ("source", "model", "week", "cluster")
WEEKS = (
    None,
    datetime(2025, 1, 5, 23, 59, tzinfo=UTC),
    datetime(2025, 1, 6, tzinfo=UTC),
    datetime(2025, 3, 1, tzinfo=UTC),
)


@st.composite
def frames(draw: st.DrawFn, *, weights: bool = False) -> pl.DataFrame:
    """Candidates with few sources, models, weeks, prompts and raters, both labels and both splits."""
    rows = []
    for number in range(draw(st.integers(8, 60))):
        prompt = f"p{draw(st.integers(0, 9))}"
        rows.append(
            candidate(
                prompt,
                f"c{number}",
                label=number % 2 == 0 if number < 4 else draw(st.sampled_from([True, True, True, False])),
                source=draw(st.sampled_from(["a", "b", "c"])),
                model_id=draw(st.sampled_from([None, "m", "n"])),
                event_ts=draw(st.sampled_from(WEEKS)),
                capped_rater=draw(st.sampled_from([None, None, None, 7, 8])),
                weight=draw(st.sampled_from([1.0, 0.5, 0.123456789])) if weights else 1.0,
                split="train" if number < 4 else draw(st.sampled_from(["train", "train", "test"])),
            )
        )
    return table(*rows).sort("row_key")


def many(up: int, down: int, **more: Any) -> list[dict[str, Any]]:
    rows = [candidate(f"u{n}{more}", "yes", split="train", **more) for n in range(up)]
    return rows + [candidate(f"d{n}{more}", "no", label=False, split="train", **more) for n in range(down)]


def run(rows: list[dict[str, Any]] | pl.DataFrame, *, seed: int = 0, **config: Any) -> StageResult:
    frame = rows if isinstance(rows, pl.DataFrame) else table(*rows)
    return rebalance(frame, RebalanceConfig(**config), seed=seed)


def ids(result: StageResult) -> set[str]:
    return set(result.kept["row_id"])


def strata_of(frame: pl.DataFrame, strata: tuple[str, ...]) -> list[tuple[Any, ...]]:
    """The slow way: the label and the stratum of each row of the train split."""
    named = []
    for row in frame.filter(split="train").iter_rows(named=True):
        week = row["event_ts"] and row["event_ts"].isocalendar()[:2]
        values = {"source": row["source"], "model": row["model_id"], "week": week, "cluster": row["group_id"]}
        free = tuple(values[name] for name in strata)
        named.append((row["label"], row["capped_rater"], *(free if row["capped_rater"] is None else ())))
    return named


@given(frame=frames(), strata=st.sets(st.sampled_from(STRATA)), high=st.sampled_from([1.0, 1.2, 4 / 3, 2.0]))
@settings(deadline=None, max_examples=30)
def test_every_stratum_loses_the_same_share_and_the_sum_is_exact(
    frame: pl.DataFrame, strata: set[str], high: float
) -> None:
    names = tuple(sorted(strata))
    plan = rebalance_plan(frame, RebalanceConfig(high=high, strata=names))
    result = run(frame, high=high, strata=names)
    rows, kept = Counter(strata_of(frame, names)), Counter(strata_of(result.kept, names))
    for label, total, count in ((True, 0, plan.after.desirable), (False, 0, plan.after.undesirable)):
        sizes = {one: size for one, size in rows.items() if one[0] is label}
        total = sum(sizes.values())
        assert sum(kept[one] for one in sizes) == count
        capped = sum(size for one, size in sizes.items() if one[1] is not None)
        floors = sum(size * count // total for one, size in sizes.items() if one[1] is not None)
        if count - floors > total - capped:
            continue  # fewer rows to leave out than capped raters
        free = {one: size for one, size in sizes.items() if one[1] is None}
        rest = count - sum(kept[one] for one in sizes if one[1] is not None)
        for one, size in sizes.items():
            if one[1] is not None:
                assert kept[one] <= size * count // total
        for one, size in free.items():
            assert size * rest // (total - capped) <= kept[one] <= -(-size * rest // (total - capped))


@given(frame=frames(), strata=st.sets(st.sampled_from(STRATA)), seed=st.integers(0, 9))
@settings(deadline=None, max_examples=30)
def test_a_larger_range_only_adds_rows(frame: pl.DataFrame, strata: set[str], seed: int) -> None:
    highs = [1.0, 1.1, 4 / 3, 2.0, 10.0]
    results = []
    for high in highs:
        try:
            results.append(ids(run(frame, low=high, high=high, strata=tuple(sorted(strata)), seed=seed)))
        except RatioUnreachableError:
            continue
    ups = set(frame.filter(pl.col("label"))["row_id"])
    assert all(small & ups <= large & ups for small, large in itertools.pairwise(results))
    assert all(small - ups >= large - ups for small, large in itertools.pairwise(results))


@given(frame=frames(weights=True), strata=st.sets(st.sampled_from(STRATA)), data=st.data())
@settings(deadline=None, max_examples=30)
def test_partitions_in_any_order_keep_the_rows_of_the_whole(
    frame: pl.DataFrame, strata: set[str], data: st.DataObject
) -> None:
    config = RebalanceConfig(mode="both", strata=tuple(sorted(strata)), keep_desirable_share=0.7)
    whole = rebalance(frame, config, seed=3)
    place = pl.Series(data.draw(st.lists(st.integers(0, 3), min_size=frame.height, max_size=frame.height)))
    parts = [part for part in (frame.filter(place == number) for number in range(4)) if part.height]
    narrow = pl.concat([part.select(narrow_columns(config)) for part in reversed(parts)])
    plan = pickle.loads(pickle.dumps(rebalance_plan(narrow, config, seed=3)))
    results = [apply_rebalance(part, plan) for part in parts]
    assert pl.concat([one.kept for one in results]).sort("row_key").equals(whole.kept)
    assert pl.concat([one.dropped for one in results]).sort("row_key").equals(whole.dropped)
    report = merge_rebalance([one.report for one in results], plan)
    assert (report.notes, report.figures) == (whole.report.notes, whole.report.figures)
    assert (report.dropped, report.labels_kept) == (whole.report.dropped, whole.report.labels_kept)


@given(frame=frames(weights=True), mode=st.sampled_from(["downsample", "reweight", "both"]))
@settings(deadline=None, max_examples=30)
def test_the_weights_of_the_rows_kept_are_in_range_or_the_range_is_refused(frame: pl.DataFrame, mode: str) -> None:
    try:
        result = run(frame, mode=mode)
    except RatioUnreachableError:
        assert mode == "downsample"
        return
    train = result.kept.filter(split="train")
    up, down = (float(train.filter(label=one)["weight"].sum()) for one in (True, False))
    assert 1 - 1e-9 <= up / down <= (4 / 3) * (1 + 1e-9)
    assert ratio_of_report(dict(result.report.figures)).value == pytest.approx(up / down, rel=1e-9)


def test_a_week_begins_on_monday_and_no_time_is_a_week_of_its_own() -> None:
    rows = [row for when in WEEKS for row in many(40, 1, event_ts=when)]
    result = run(rows, high=10.0, strata=("week",))
    shown = [(one["week"], one["kept"]) for one in result.report.figures["strata"]["largest"] if one["rows"] == 40]
    assert sorted(shown, key=str) == [("2024-12-30", 10), ("2025-01-06", 10), ("2025-02-24", 10), (None, 10)]


def test_ranks_of_small_strata_do_not_fall_together() -> None:
    """400 prompts of one row and one of 400: half of each stays, though no prompt alone can lose half."""
    rows = [row for n in range(400) for row in many(1, 0, group_id=n)] + many(400, 400, group_id=9999)
    kept = run(rows, high=1.0, strata=("cluster",)).kept.filter(pl.col("label"))
    assert kept.filter(pl.col("group_id") == 9999).height == 200


def test_rows_of_a_capped_rater_are_rounded_down() -> None:
    """He has 30 of 1,030 up rows; of the 133 that stay, 30 * 133 / 1030 = 3.87 are his share: he keeps 3."""
    result = run(many(30, 0, capped_rater=5) + many(1000, 100))
    his = result.kept.filter(pl.col("label") & (pl.col("capped_rater") == 5))
    assert (his.height, result.report.labels_kept.desirable) == (3, 133)
    assert "Rows of 1 rater near the cap of influence are left out by themselves" in result.report.notes[-1]
    assert "5" not in str([one.get("capped_rater") for one in result.report.figures["strata"]["largest"]])


def test_a_capped_rater_pays_for_rows_that_fell_into_the_test_split() -> None:
    """He has 20 of 100 up rows to train on and 10 of 20 held out: 30 of 120. 60 + 20 stay; 20 are his, 10 trained."""
    rows = many(20, 0, capped_rater=5) + many(80, 45)
    held_out = [row | {"split": "test"} for row in many(10, 0, capped_rater=5, source="t") + many(10, 9, source="t")]
    his = run(rows + held_out).kept.filter(pl.col("capped_rater") == 5)
    assert his.group_by("split").len().sort("split")["len"].to_list() == [10, 10]


def test_a_stratum_that_no_row_tells_is_named() -> None:
    notes = run(many(90, 10), strata=("source", "model", "week")).report.notes
    assert "No row tells its model and week, so nothing is spread over it." in notes


def test_a_prompt_gives_one_row_if_asked_and_the_other_split_all_of_its_rows() -> None:
    rows = [
        candidate(f"p{n}", f"c{m}", label=m < 2, split="test" if n < 5 else "train")
        for n in range(200)
        for m in range(3)
    ]
    result = run(rows, one_per_prompt=True)
    train = result.kept.filter(split="train")
    assert train["prompt_key"].n_unique() == train.height
    assert result.kept.filter(split="test").height == 15
    reasons = result.dropped.group_by("drop_reason").len().sort("drop_reason")
    assert reasons["drop_reason"].to_list() == ["downsampled", "one_per_prompt"]
    assert reasons["len"].to_list()[1] == 390
    assert "390 rows of the train split left out so that each prompt has one" in result.report.notes[1]
    up = result.report.figures["start"]["desirable"]
    assert 100 < up < 160  # a hash decides, so two in three


def test_a_smaller_share_of_desirable_rows_is_a_part_of_a_larger_one_and_weights_do_the_rest() -> None:
    """1,000 up and 50 down: a tenth of them is 100, and 100 / 50 = 2 is brought to 4/3 by a weight of 1.5."""
    rows = many(600, 30, source="a") + many(400, 20, source="b")
    kept = [run(rows, mode="reweight", keep_desirable_share=share) for share in (0.1, 0.25, 0.9, 1.0)]
    assert all(ids(small) < ids(large) for small, large in itertools.pairwise(kept))
    tenth = kept[0]
    assert tenth.report.dropped == {"desirable_share": 900}
    assert tenth.kept.filter(pl.col("label"))["source"].value_counts().sort("source")["count"].to_list() == [60, 40]
    assert tenth.kept.filter(~pl.col("label"))["weight"].unique().to_list() == [1.5]
    both = run(rows, keep_desirable_share=0.1)
    assert both.report.dropped == {"desirable_share": 900, "downsampled": 34}


def test_soft_weights_count_and_are_multiplied_by_lambda() -> None:
    """300 up that weigh 0.5 are 150; against 90 down, R = 5/3, and 120 / 0.5 = 240 up make it 4/3."""
    rows = many(300, 0, weight=0.5) + many(0, 90)
    result = run(rows)
    assert (result.report.labels_kept.desirable, set(result.kept["weight"])) == (240, {0.5, 1.0})
    weighted = run(rows, mode="reweight", desirable_weight=2.0)
    assert weighted.report.figures["after"]["undesirable_weight"] == 2.5
    assert weighted.kept.group_by("label").agg(pl.col("weight").max()).sort("label")["weight"].to_list() == [2.5, 1.0]
    assert "multiplied by 2 for desirable" in weighted.report.notes[-1]
    ratio = ratio_of_report(dict(weighted.report.figures))
    assert (ratio.desirable_weight, ratio.value) == (1.0, pytest.approx(4 / 3))


def test_a_dataset_that_is_rebalanced_again_has_one_lambda_in_its_weights() -> None:
    rows = many(300, 0, weight=0.3) + many(0, 40) + [candidate("t", "c", weight=0.3, split="test")]
    first = run(rows, mode="reweight")
    own = base_weights(first.kept, [first.report])
    assert own.equals(table(*rows).sort("row_key"))
    assert base_weights(own, []).equals(own)
    again = rebalance(own, RebalanceConfig(mode="reweight"))
    assert again.kept.equals(first.kept)


def test_the_seed_and_the_ids_decide_and_the_order_of_rows_does_not() -> None:
    rows = many(90, 10, source="a") + many(70, 10, source="b")
    frame = table(*rows)
    results = [run(frame.sample(fraction=1.0, shuffle=True, seed=number)) for number in range(3)]
    digests = set()
    for result in results:
        stream = io.BytesIO()
        result.kept.write_parquet(stream)
        digests.add(hashlib.sha256(stream.getvalue()).hexdigest())
    assert len(digests) == 1
    assert ids(results[0]) != ids(run(frame, seed=1))


def test_rows_of_one_key_at_the_line_are_told_apart_by_their_ids() -> None:
    """Three rows of one key, of which two stay; without ids all three are left out."""
    rows = many(3, 2)
    shared = f"{key('same'):016x}"
    for number, row in enumerate(rows[:3]):
        row.update(row_key=key("same"), row_id=f"{shared}{number:016x}")
    frame = table(*rows)
    result = run(frame, high=1.0)
    assert sorted(result.kept.filter(pl.col("label"))["row_id"]) == [f"{shared}{number:016x}" for number in (0, 1)]
    config = RebalanceConfig(high=1.0)
    plan = rebalance_plan(frame.select(narrow_columns(config)), config)
    assert plan.lines["kept"].to_list() == [0, 2]
    assert apply_rebalance(frame, plan).report.labels_kept.desirable == 0


def test_the_order_is_the_hash_of_the_key() -> None:
    """One stratum, no ties: the rows kept are those of the smallest hashes."""
    frame = table(*many(50, 10))
    ups = frame.filter(pl.col("label"))
    order = order_hash(ups["row_key"], "rebalance", 4)
    expected = set(ups["row_id"].gather(order.arg_sort()[:13]))
    assert {one for one in ids(run(frame, seed=4)) if one in set(ups["row_id"])} == expected


def test_a_large_stratum_is_cut_where_a_full_sort_would_cut_it() -> None:
    """20,000 rows, of which only those near the line are sorted."""
    keys = pl.int_range(20_000, eager=True).cast(pl.UInt64) * 2**40
    frame = pl.concat([table(*many(1, 0))] * 20_000).with_columns(row_key=keys, row_id=keys.cast(pl.String))
    frame = pl.concat([frame, table(*many(0, 300))])
    plan = rebalance_plan(frame, RebalanceConfig())
    assert plan.lines["kept_order"][0] == order_hash(keys, "rebalance", 0).sort()[399]


def test_a_row_without_a_split_is_trained_on() -> None:
    result = run([candidate(f"p{n}", label=n % 5 > 0) for n in range(50)])
    assert (result.report.labels_kept.desirable, result.report.labels_kept.undesirable) == (13, 10)


def test_a_partition_of_other_rows_is_refused() -> None:
    plan = rebalance_plan(table(*many(9, 3)), RebalanceConfig())
    with pytest.raises(ShapeError, match="the stratum of 9 rows is not in the plan"):
        apply_rebalance(table(*many(9, 3, source="other")), plan)


def test_a_stratum_is_named_once() -> None:
    with pytest.raises(ConfigError, match="a stratum is named twice"):
        RebalanceConfig(strata=("week", "week"))
