"""Contradictions by why, near-duplicates with both labels, and agreement: by hand on a few rows."""

import krippendorff
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feedback.audit.agreement import measure_agreement
from tests.audit_rows import audited, found, many, pair, row

# --- contradictions -----------------------------------------------------------------------------------------------


def test_parts_of_contradictions_are_shares_of_all_answers() -> None:
    """Four answers: one rater flips on one, two disagree on another, two are undisputed."""
    rows = [
        row(0, True, prompt="p", answer="flip", rater="x", day=1),
        row(1, False, prompt="p", answer="flip", rater="x", day=2),
        row(2, True, prompt="p", answer="dispute", rater="x"),
        row(3, False, prompt="p", answer="dispute", rater="y"),
        row(4, True),
        row(5, True),
    ]
    report = audited(rows)
    changed, disputed = found(report, "changed_minds"), found(report, "rater_disputes")
    assert (changed.value, changed.n, changed.severity) == (0.25, 4, "info")
    assert (disputed.value, disputed.n, disputed.severity) == (0.25, 4, "info")
    assert report.metric("pair_contradictions") is None


def test_votes_behind_a_row_tell_who_contradicts_whom() -> None:
    """The rows name x only, who is up at last; one of the votes behind the down row is y's, so raters disagree."""
    votes = [
        {"event_id": str(place), "rater_key": rater, "event_ts": None, "label": False}
        for place, rater in enumerate((2**40, 2**41))
    ]
    rows = [
        row(0, True, prompt="p", answer="a", rater_key=2**40, day=2),
        row(1, False, prompt="p", answer="a", rater_key=2**40, day=1, votes=votes),
    ]
    assert found(audited(rows), "rater_disputes").value == 1


def test_middle_of_a_ranking_is_no_change_of_mind() -> None:
    """One rater: a before b, b before c. b won one pair and lost another."""
    rows = [*pair(0, "a", "b", prompt="p", rater="x"), *pair(1, "b", "c", prompt="p", rater="x")]
    report = audited(rows)
    assert found(report, "contradictions").details["between_pairs"] == 1
    assert found(report, "changed_minds").value == 0
    assert found(report, "pair_contradictions").value == pytest.approx(1 / 3)
    assert "1 because they won one pair and lost another" in found(report, "contradictions").sentence


def test_near_duplicates_with_both_labels_warn() -> None:
    """40 answers and 2 that are nearly the same as another one, with the other label: 2 of 40 clusters, above 2%."""
    near = [row(40 + place, False, cluster_id=many(1, 0)[0]["cluster_id"] if place == 0 else 7) for place in range(2)]
    rows = [*many(39, 0), row(39, True, cluster_id=7), *near]
    metric = found(audited(rows), "near_contradictions")
    assert (metric.value, metric.n, metric.severity) == (2 / 40, 40, "warn")
    assert metric.details == {"clusters": 2, "contradicted": 2, "torn": 0}


def test_same_text_with_both_labels_is_a_contradiction_and_not_a_near_one() -> None:
    rows = [
        *many(30, 0),
        row(30, False, prompt="0", answer="0"),
        row(31, True, cluster_id=7),
        row(32, True, cluster_id=7),
    ]
    report = audited(rows)
    assert found(report, "contradictions").details["contradicted"] == 1
    metric = found(report, "near_contradictions")
    assert (metric.value, metric.severity) == (0, "ok")


def test_cluster_that_is_torn_within_one_wording_is_told_apart_and_never_denied() -> None:
    """Cluster 7 has a wording with both labels, and so has 8; 9 has one label."""
    torn = [
        row(3 * cluster + place, place > 0, prompt="p", answer=f"{cluster} {place // 2}", cluster_id=cluster)
        for cluster in (7, 8)
        for place in range(3)
    ]
    alone = found(audited([*many(30, 0), *torn]), "near_contradictions")
    assert (alone.value, alone.severity, alone.details["torn"]) == (0, "ok", 2)
    assert alone.sentence == (
        "All 2 clusters of near-duplicate answers hold a wording that has both labels by itself, which is among the "
        "contradictions."
    )
    beside = found(audited([*torn[:3], *(row(90 + n, True, cluster_id=9) for n in range(2))]), "near_contradictions")
    assert beside.sentence == (
        "No cluster (of 1) of near-duplicate answers has both labels. 1 further cluster holds a wording that has both "
        "labels by itself, which is among the contradictions."
    )


def test_two_raters_who_judge_one_couple_oppositely_disagree() -> None:
    """x: a before b, y: b before a. Both answers are disputed, and neither stands between pairs."""
    rows = [*pair(0, "a", "b", prompt="p", rater="x"), *pair(1, "b", "a", prompt="p", rater="y")]
    report = audited([*rows, row(9, True)])
    assert found(report, "rater_disputes").value == pytest.approx(2 / 3)
    assert found(report, "pair_contradictions").value == 0
    assert "2 because raters disagree" in found(report, "contradictions").sentence


def test_pair_that_its_rater_turned_round_is_a_changed_mind() -> None:
    """x: a before b, the day after b before a; then b loses to c, so b stands between pairs and a does not."""
    turned = [*pair(0, "a", "b", prompt="p", rater="x"), *pair(1, "b", "a", prompt="p", rater="x", day=1)]
    assert found(audited(turned), "changed_minds").value == 1
    report = audited([*turned, *pair(2, "c", "b", prompt="p", rater="x")])
    assert found(report, "changed_minds").details == {}
    details = found(report, "contradictions").details
    assert (details["same_rater"], details["across_raters"], details["between_pairs"]) == (1, 0, 1)


def test_bad_couple_and_a_winner_of_it_are_a_dispute() -> None:
    """x: a before b; y: both are bad. About a they disagree, about b they do not."""
    bad = [each | {"label": False} for each in pair(1, "a", "b", prompt="p", rater="y")]
    for each in bad:
        each["votes"] = [{**vote, "label": False} for vote in each["votes"]]  # type: ignore[attr-defined]
    details = found(audited([*pair(0, "a", "b", prompt="p", rater="x"), *bad]), "contradictions").details
    assert (details["contradicted"], details["across_raters"]) == (1, 1)


def test_unmarked_near_duplicates_are_said_not_to_be_known() -> None:
    metric = found(audited(many(30, 30)), "near_contradictions")
    assert metric.severity == "info"
    assert not metric.is_gate
    assert "near-duplicates were not looked for here" in metric.sentence


# --- agreement ----------------------------------------------------------------------------------------------------


def test_alpha_is_the_textbooks_by_hand() -> None:
    """Answers with votes (up, down) of (2, 0), (0, 2) and (1, 1).

    Observed disagreement: 2 of 6 ordered couples. Expected of 3 up and 3 down: 2 x 3 x 3 / (6 x 5) = 0.6.
    Alpha = 1 - (1/3) / 0.6 = 4/9.
    """
    labels = [("a", True), ("a", True), ("b", False), ("b", False), ("c", True), ("c", False)]
    rows = [row(place, label, prompt="p", answer=answer) for place, (answer, label) in enumerate(labels)]
    metric = found(audited(rows), "krippendorff_alpha")
    assert metric.value == pytest.approx(4 / 9)
    assert metric.n == 3
    assert metric.details == {"votes": 6, "up": 3}


def test_figures_are_the_same_to_the_last_bit_in_any_order_of_the_votes() -> None:
    """Sums of floats depend on their order, and groups come in any."""
    source = np.random.default_rng(0)
    answers = np.repeat(np.arange(2_000, dtype=np.uint64), 7)
    judged = pl.DataFrame(
        {
            "prompt_key": answers,
            "completion_key": answers,
            "event_id": [str(number) for number in range(len(answers))],
            "rater_key": source.integers(0, 2**63, len(answers), dtype=np.uint64),
            "event_ts": pl.Series([None] * len(answers), dtype=pl.Datetime("us", "UTC")),
            "label": source.random(len(answers)) < 0.6,
        }
    ).filter(pl.Series(source.random(len(answers)) < 0.8))
    orders = (judged.sample(fraction=1, shuffle=True, seed=seed) for seed in range(8))
    found = {tuple(metric.value for metric in measure_agreement(order)) for order in orders}
    assert len(found) == 1
    assert None not in found.pop()


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=8))
def test_alpha_is_the_librarys_on_the_table_of_raters(counts: list[tuple[int, int]]) -> None:
    """Against the package on a table of raters by answers, which has holes."""
    votes = [[1.0] * up + [0.0] * down for up, down in counts]
    several = [each for each in votes if len(each) >= 2]
    rows = [
        row(10 * place + number, bool(vote), prompt="p", answer=str(place))
        for place, each in enumerate(votes)
        for number, vote in enumerate(each)
    ]
    metric = audited(rows).metric("krippendorff_alpha")
    if not several:
        assert metric is None
        return
    assert metric is not None
    if len({vote for each in several for vote in each}) < 2:
        assert metric.value is None
        return
    widest = max(len(each) for each in several)
    table = [[each[rater] if rater < len(each) else float("nan") for each in several] for rater in range(widest)]
    assert metric.value == pytest.approx(krippendorff.alpha(table, level_of_measurement="nominal"))


def test_a_rater_counts_once_with_the_newest_vote() -> None:
    """x was up and is down now, y is down: the two agree."""
    rows = [
        row(0, True, prompt="p", answer="a", rater="x", day=1),
        row(1, False, prompt="p", answer="a", rater="x", day=2),
        row(2, False, prompt="p", answer="a", rater="y"),
    ]
    report = audited(rows)
    assert found(report, "disagreement").value == 0
    assert found(report, "krippendorff_alpha").value is None
    assert "All of 2 votes on 1 answer" in found(report, "krippendorff_alpha").sentence
