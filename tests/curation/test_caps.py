"""The stage `caps`: how much may rest on one rater, one cluster of prompts or one day."""

from __future__ import annotations

import pickle
from fractions import Fraction

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from feedback.caps import apply_caps, cap_influence, caps_columns, caps_narrow, caps_notes, caps_plan
from feedback.config import CapsConfig, RebalanceConfig, SplitConfig
from feedback.rater_share import cap_share
from feedback.rebalance import rebalance
from feedback.split import split
from feedback.stage import merge_reports
from schemas.errors import ConfigError
from tests.feedback_tables import candidate, key, reasons, table

QUICK = settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
DAY = 24 * 60


def thumbs(rater: str | None, up: int = 0, down: int = 0, **more: object) -> list[dict]:
    """Rows that rest on one rater, each of another prompt."""
    return [
        candidate(f"{rater} {label} {n}", label=label, rater_key=rater, text_id=f"{rater} {label} {n}", **more)
        for label, count in ((True, up), (False, down))
        for n in range(count)
    ]


def crowd(raters: int, up: int = 6, down: int = 4) -> list[dict]:
    return [row for number in range(raters) for row in thumbs(f"user {number}", up, down)]


def share(kept: pl.DataFrame, rater: str, label: bool | None = None) -> Fraction:
    """The share of the rows, or of those of a label, that came from a rater."""
    rows = kept if label is None else kept.filter(label=label)
    return Fraction(int((rows["rater_key"] == key("rater", rater)).sum()), rows.height)


def test_one_loud_rater_among_many_is_held_to_the_cap_by_default() -> None:
    """60 raters gave 360 up and 240 down. 40 of 400 up and 26 of 266 down are a tenth, and one more is above it."""
    result = cap_influence(table(*crowd(60), *thumbs("loud", 700, 300)), CapsConfig())
    assert share(result.kept, "loud", label=True) == Fraction(40, 400)
    assert share(result.kept, "loud", label=False) == Fraction(26, 266)
    assert result.report.dropped == {"rater_cap": 934}
    first, second = result.report.notes
    assert first == (
        "660 desirable rows of one rater left out: the most active gave 700 of 1,060 (66.0%) and keeps 40 of 400 "
        "(10.0%, at most 10.0%)."
    )
    assert second.startswith("274 undesirable rows of one rater left out: the most active gave 300 of 540 (55.6%)")


def test_the_rows_of_a_rater_at_the_cap_are_marked() -> None:
    kept = cap_influence(table(*crowd(60), *thumbs("loud", 100)), CapsConfig()).kept
    marked = kept.filter(pl.col("capped_rater").is_not_null())
    assert (marked["capped_rater"] == key("rater", "loud")).all()
    assert marked.height == 40


def test_a_rater_near_the_cap_is_marked_too() -> None:
    """21 of 381 are more than half of a tenth, 15 of 375 are not."""
    for rows, marked in ((21, 21), (15, 0)):
        kept = cap_influence(table(*crowd(60), *thumbs("keen", rows)), CapsConfig()).kept
        assert kept["capped_rater"].count() == marked


@pytest.mark.parametrize("mode", ["downsample", "both"])
def test_rebalance_does_not_lift_a_share_above_the_cap(mode: str) -> None:
    """One rater gave up only, 5,000 times; rebalance then leaves out many of the rows of that label."""
    rows = table(*crowd(200, up=5, down=1), *thumbs("loud", 5_000))
    capped = cap_influence(rows, CapsConfig()).kept.with_columns(split=pl.lit("train"))
    curated = rebalance(capped, RebalanceConfig(mode=mode)).kept
    assert curated.filter("label").height < capped.filter("label").height
    assert Fraction(9, 100) < share(curated, "loud", label=True) <= Fraction(1, 10)
    assert share(curated, "loud") <= Fraction(1, 10)


def test_a_brigade_of_the_rarer_label_stays_at_the_cap_when_the_other_is_left_out() -> None:
    """10,000 thumbs down of one among 200 raters: a tenth of the thumbs down, whatever becomes of the others."""
    rows = table(*crowd(200, up=8, down=1), *thumbs("loud", 0, 10_000))
    capped = cap_influence(rows, CapsConfig()).kept.with_columns(split=pl.lit("train"))
    curated = rebalance(capped, RebalanceConfig()).kept
    assert curated.height < capped.height
    assert share(curated, "loud", label=False) == Fraction(22, 222)
    assert share(curated, "loud") <= Fraction(1, 10)


@pytest.mark.parametrize(("up", "down"), [(1_000, 0), (0, 1_000), (500, 500)])
def test_the_curated_set_holds_the_cap_with_its_test_split(up: int, down: int) -> None:
    """Through split and rebalance, for one loud rater among 200 who is for all, against all, or both."""
    capped = cap_influence(table(*crowd(200, up=4, down=1), *thumbs("loud", up, down)), CapsConfig()).kept
    for seed in range(3):
        held = split(capped, SplitConfig(test_fraction=0.2), seed=seed).kept
        curated = rebalance(held, RebalanceConfig(), seed=seed).kept
        shares = [share(curated, "loud", label) for label in (True, False)]
        assert max(shares) <= Fraction(1, 10)
        assert max(shares) > Fraction(8, 100)
        assert share(curated, "loud") <= Fraction(1, 10)


def test_a_team_keeps_its_rows() -> None:
    """A third each is no brigade, nor is a founder who did most of the work."""
    equal = [*thumbs("a", 30), *thumbs("b", 30), *thumbs("c", 30)]
    founder = [*thumbs("a", 200, 60), *thumbs("b", 5, 5), *thumbs("c", 5)]
    for rows in (equal, founder):
        result = cap_influence(table(*rows), CapsConfig())
        assert result.kept.height == len(rows)
        assert result.kept["capped_rater"].null_count() == len(rows)
    (note,) = result.report.notes
    assert note == (
        "One rater is behind 95.2% of the rows of a label and is not held to 10.0%: 3 known raters, fewer than 50, are "
        "a team."
    )


def test_rows_of_unknown_raters_are_not_capped() -> None:
    result = cap_influence(table(*thumbs(None, 300, 100), *crowd(3)), CapsConfig(share_from_raters=1))
    assert not result.report.dropped


def test_no_rater_is_held_below_twice_an_equal_share_of_a_label() -> None:
    """Only 5 raters gave a thumb down, so each may be behind 2/5: of 4 others, 2 times 2/3 of theirs."""
    rows = table(*crowd(60, down=0), *(row for name in "abcd" for row in thumbs(name, 1, 3)), *thumbs("loud", 0, 90))
    result = cap_influence(rows, CapsConfig())
    assert share(result.kept, "loud", label=False) == Fraction(8, 20)
    assert result.report.notes[0] == (
        "Only 5 known raters gave undesirable rows, so that each may be behind 40.0% of them instead of 10.0%."
    )


def test_a_row_with_votes_of_several_rests_on_nobody() -> None:
    rows = thumbs("loud", 200)
    for row in rows[:80]:
        row["votes"] = [*row["votes"], {**row["votes"][0], "event_id": "other", "rater_key": key("rater", "bob")}]
    for row in rows[80:90]:
        row["votes"] = [*row["votes"], {**row["votes"][0], "event_id": "other", "rater_key": None}]
    for row in rows[90:100]:
        row["votes"] = [*row["votes"], {**row["votes"][0], "event_id": "again"}]
    narrow = caps_narrow(table(*rows), CapsConfig())
    assert narrow["rater"].null_count() == 90
    assert narrow["rater"].drop_nulls().unique().to_list() == [key("rater", "loud")]


def test_judges_that_are_machines_are_exempt() -> None:
    rows = [*crowd(60), *thumbs("judge", 500, rater_kind="llm_judge")]
    assert not cap_influence(table(*rows), CapsConfig()).report.dropped
    assert cap_influence(table(*rows), CapsConfig(exempt_kinds=())).report.dropped == {"rater_cap": 460}


def test_a_share_of_null_caps_nobody() -> None:
    rows = table(*crowd(60), *thumbs("loud", 500))
    result = cap_influence(rows, CapsConfig(max_rater_share=None))
    assert (result.kept.height, result.report.notes) == (rows.height, ())


def test_a_rater_gives_a_day_only_so_many_rows() -> None:
    """5 on one day and 2 on the next; rows without a time have no day."""
    rows = thumbs("ann", 5, minutes=10) + thumbs("ann", 0, 2, minutes=DAY) + thumbs("bob", 3, minutes=10)
    rows += thumbs("cyd", 9)
    result = cap_influence(table(*rows), CapsConfig(max_rows_per_rater_day=3))
    assert result.report.dropped == {"rater_day_cap": 2}
    assert result.report.notes[0] == "2 rows left out: 1 rater gave more than 3 on a day."


def test_a_cluster_of_prompts_gives_only_so_many_rows() -> None:
    rows = [candidate("p", str(n), text_id=f"p{n}") for n in range(6)] + [candidate("q")]
    result = cap_influence(table(*rows), CapsConfig(max_rows_per_group=4))
    assert set(reasons(result.dropped).values()) == {"group_cap"}
    assert result.report.figures == {"left_out": {"group_cap": 2}, "groups_over": 1}
    assert result.report.notes == ("2 rows left out: 1 cluster of near-duplicate prompts gave more than 4.",)


def test_a_day_gives_only_so_many_rows() -> None:
    rows = crowd(2)
    for row in rows[:12]:
        row["event_ts"] = candidate(minutes=5)["event_ts"]
    result = cap_influence(table(*rows), CapsConfig(max_rows_per_day=10))
    assert result.report.dropped == {"day_cap": 2}
    assert result.report.notes == ("2 rows left out: 1 day gave more than 10.",)


def test_an_answer_needs_its_number_of_different_raters() -> None:
    """Two ups of one rater are one; votes for the other label do not confirm; unknown raters count each."""
    vote = candidate(rater_key="ann")["votes"][0]
    ann, bob, down = vote | {"event_id": "2"}, vote | {"rater_key": 5}, vote | {"rater_key": 6, "label": False}
    unknown = [vote | {"rater_key": None, "event_id": str(n)} for n in range(2)]
    lists = {"same": [vote, ann], "other label": [vote, down], "two": [vote, bob], "unknown": unknown, "one": [vote]}
    rows = [candidate(name, text_id=name, votes=votes) for name, votes in lists.items()]
    result = cap_influence(table(*rows), CapsConfig(min_raters=2))
    assert set(result.kept["text_id"]) == {"two", "unknown"}
    assert result.report.dropped == {"unconfirmed": 3}
    assert result.report.notes[0] == "3 rows left out: fewer than 2 different raters gave them their label."


def test_each_row_goes_under_the_first_cap_that_is_full() -> None:
    """Rows left out by the one cap take no place under the next."""
    rows = [candidate("p", f"ann {n}", rater_key="ann", minutes=n, text_id=f"ann {n}") for n in range(5)]
    rows += [candidate("p", f"bob {n}", rater_key="bob", minutes=n, text_id=f"bob {n}") for n in range(2)]
    result = cap_influence(table(*rows), CapsConfig(max_rows_per_rater_day=2, max_rows_per_group=4, max_rows_per_day=3))
    assert result.report.dropped == {"rater_day_cap": 3, "day_cap": 1}


def test_the_caps_say_nothing_where_nothing_is_over() -> None:
    rows = table(*crowd(60))
    result = cap_influence(rows, CapsConfig())
    assert result.kept.equals(rows.sort("row_key"))
    assert (result.report.notes, result.report.dropped) == ((), {})


def test_no_rows_are_within_every_cap() -> None:
    assert cap_influence(table(), CapsConfig(share_from_raters=1)).kept.is_empty()


@pytest.mark.parametrize("value", [0.0, 1.5])
def test_a_share_outside_0_to_1_is_refused(value: float) -> None:
    with pytest.raises((ConfigError, ValueError), match="max_rater_share"):
        CapsConfig(max_rater_share=value)


@given(
    counts=st.lists(st.integers(1, 400), max_size=40),
    others=st.integers(0, 60),
    wanted=st.sampled_from([0.05, 0.1, 0.25, 1 / 3, 0.5, 1.0]),
)
@QUICK
def test_the_cap_is_met_and_one_row_more_would_break_it(counts, others, wanted) -> None:
    """Beside trying every k, with whole numbers; everybody keeps at least two rows or all."""
    cap = cap_share(np.array(counts, np.int64), others, wanted)
    rows_left = sum(min(count, cap.most) for count in counts) + others
    assert cap.rows_left == rows_left
    assert cap.most <= cap.share * rows_left
    assert cap.most >= min(2, max(counts, default=0))
    holding = [
        k for k in range(max(counts, default=0) + 1) if k <= cap.share * (sum(min(c, k) for c in counts) + others)
    ]
    assert cap.most == max(holding)


GIVEN = st.lists(
    st.builds(
        candidate,
        prompt=st.sampled_from("pqrst"),
        completion=st.integers(0, 60).map(str),
        label=st.booleans(),
        rater_key=st.sampled_from([None, *"aaaaabcde"]),
        minutes=st.sampled_from([None, 1, DAY, 2 * DAY]),
        text_id=st.integers(0, 500).map("e{}".format),
    ),
    max_size=60,
).map(lambda rows: list({row["row_id"]: row for row in rows}.values()))
CONFIGS = st.builds(
    CapsConfig,
    max_rater_share=st.sampled_from([None, 0.2, 0.5]),
    share_from_raters=st.sampled_from([1, 5]),
    max_rows_per_rater_day=st.sampled_from([None, 3]),
    max_rows_per_group=st.sampled_from([None, 5]),
    max_rows_per_day=st.sampled_from([None, 8]),
    min_raters=st.sampled_from([1, 1, 2]),
)


@given(rows=GIVEN, config=CONFIGS, seed=st.integers(0, 3), order=st.randoms(use_true_random=False))
@QUICK
def test_nothing_vanishes_whatever_the_order_and_twice_is_once(rows, config, seed, order) -> None:
    frame = table(*rows).sort("row_key", "row_id")
    result = cap_influence(frame, config, seed=seed)
    assert sorted([*result.kept["row_id"], *result.dropped["row_id"]]) == frame["row_id"].sort().to_list()
    shuffled = frame.sample(fraction=1.0, shuffle=True, seed=order.randrange(2**31))
    again = cap_influence(shuffled, config, seed=seed)
    assert again.kept.equals(result.kept)
    assert again.dropped.equals(result.dropped)
    assert again.report == result.report
    twice = cap_influence(result.kept, config, seed=seed)
    assert twice.kept.equals(result.kept)
    assert not twice.report.dropped


@given(rows=GIVEN, config=CONFIGS)
@QUICK
def test_partitions_give_the_rows_counts_and_notes_of_the_whole(rows, config) -> None:
    """The plan is sent as bytes; rows of one group are in one partition."""
    frame = table(*rows).sort("row_key", "row_id")
    whole = cap_influence(frame, config, seed=1)
    parts = [part for _, part in frame.group_by(pl.col("group_id") % 2, maintain_order=True)] or [frame]
    narrow = pl.concat([caps_narrow(part.select(caps_columns(config)), config) for part in parts])
    plan = pickle.loads(pickle.dumps(caps_plan(narrow, config, seed=1)))
    results = [apply_caps(part, plan) for part in parts]
    assert pl.concat([result.kept for result in results]).sort("row_key", "row_id").equals(whole.kept)
    merged = merge_reports([result.report for result in results])
    assert (merged.dropped, merged.figures) == (whole.report.dropped, whole.report.figures)
    assert tuple(caps_notes(merged.figures, plan)) == whole.report.notes


@given(rows=GIVEN, smaller=st.integers(1, 4), more=st.integers(0, 4), seed=st.integers(0, 3))
@QUICK
def test_a_higher_cap_only_adds_rows(rows, smaller, more, seed) -> None:
    frame = table(*rows)
    for name in ("max_rows_per_rater_day", "max_rows_per_group", "max_rows_per_day"):
        kept = [
            set(cap_influence(frame, CapsConfig(max_rater_share=None, **{name: cap}), seed=seed).kept["row_id"])
            for cap in (smaller, smaller + more)
        ]
        assert kept[0] <= kept[1]


@given(rows=GIVEN, wanted=st.sampled_from([(0.1, 0.2), (0.2, 0.5), (0.5, 1.0)]), seed=st.integers(0, 3))
@QUICK
def test_a_higher_share_only_adds_rows(rows, wanted, seed) -> None:
    frame = table(*rows)
    kept = [
        set(cap_influence(frame, CapsConfig(max_rater_share=value, share_from_raters=1), seed=seed).kept["row_id"])
        for value in wanted
    ]
    assert kept[0] <= kept[1]
