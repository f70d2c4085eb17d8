"""Pairs: length, circles, the order in which answers are shown, scores, and which objective they suit."""

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feedback.audit import AuditConfig, AuditReport, audit_candidates
from feedback.audit.objective import KEPT_SHARE
from feedback.audit.pairs import pairs_behind
from feedback.audit.presented import measure_positions, measure_scores
from feedback.audit.statistics import wilson_interval
from feedback.audit.unbalanced import Unbalanced
from tests.audit_rows import asked, audited, found, many, pair, row, table

Rows = list[dict[str, object]]


def joined(*pairs: Rows) -> Rows:
    return [each for rows in pairs for each in rows]


def advised(report: AuditReport, name: str) -> str:
    return next(item.command for item in report.advice if item.metric == name)


# --- pairs behind rows --------------------------------------------------------------------------------------------


def test_pairs_are_found_by_their_votes_and_a_lost_answer_is_no_pair() -> None:
    rows = joined(pair(0, "a", "b", prompt="p", chosen_chars=7), pair(1, "c", "d")[:1])
    pairs = pairs_behind(table(*rows, row(9, True)))
    assert pairs.height == 1
    assert pairs.select("chosen_completion_chars", "rejected_completion_chars").row(0) == (7, 100)
    assert pairs_behind(table(row(0, True), row(1, False))).is_empty()


# --- length -------------------------------------------------------------------------------------------------------


def test_chosen_answers_that_are_longer_warn() -> None:
    """27 of 30 longer, two more are equally long."""
    rows = joined(*(pair(n, f"{n}a", f"{n}b", chosen_chars=200 if n < 27 else 50) for n in range(30)))
    rows += joined(*(pair(n, f"{n}a", f"{n}b") for n in range(30, 32)))
    metric = found(audited(rows), "chosen_longer")
    assert (metric.value, metric.n, metric.severity) == (0.9, 30, "warn")
    assert (metric.low, metric.high) == wilson_interval(27, 30)
    assert metric.details == {"longer": 27, "equal": 2}


def test_length_that_chance_explains_is_in_order() -> None:
    """13 of 20 is 65%, out of range; its interval, 43% to 82%, holds one half."""
    rows = joined(*(pair(n, f"{n}a", f"{n}b", chosen_chars=200 if n < 13 else 50) for n in range(20)))
    assert found(audited(rows), "chosen_longer").severity == "ok"


# --- circles ------------------------------------------------------------------------------------------------------


def test_circle_of_three_is_found_and_needs_one_reversal() -> None:
    circle = joined(*(pair(n, win, lose, prompt="p") for n, (win, lose) in enumerate(("ab", "bc", "ca"))))
    order = joined(*(pair(10 + n, win, lose, prompt="q") for n, (win, lose) in enumerate(("ab", "bc", "ac"))))
    report = audited(circle + order, min_rows=1)
    metric = found(report, "preference_cycles")
    assert (metric.value, metric.n, metric.severity) == (0.5, 2, "warn")
    assert (metric.details["prompts"], metric.details["reversals"], metric.details["judgements"]) == (1, 1, 3)
    assert "1 judgement of 3 on them would have to be turned round" in metric.sentence
    assert advised(report, "preference_cycles").endswith("--set conflicts.cycles=drop")


def test_prompts_with_two_answers_cannot_have_a_circle() -> None:
    assert audited(joined(*(pair(n, f"{n}a", f"{n}b") for n in range(5)))).metric("preference_cycles") is None


def test_few_prompts_warn_of_no_circle() -> None:
    circle = joined(*(pair(n, win, lose, prompt="p") for n, (win, lose) in enumerate(("ab", "bc", "ca"))))
    assert found(audited(circle), "preference_cycles").severity == "info"


# --- order --------------------------------------------------------------------------------------------------------


def test_answer_shown_first_that_wins_too_often_warns() -> None:
    """30 of 40 went to the first: 75%. Ties and pairs of unknown order do not count."""
    shown = [(f"{n}a", f"{n}b", "a" if n < 30 else "b", "a") for n in range(40)]
    (metric,) = measure_positions(asked(*shown, ("x", "y", "tie", "a"), ("x", "y", "a", None)), AuditConfig())
    assert (metric.name, metric.value, metric.n, metric.severity) == ("first_shown_wins", 0.75, 40, "warn")
    assert (metric.low, metric.high) == wilson_interval(30, 40)


def test_order_that_does_not_matter_is_in_order() -> None:
    shown = [(f"{n}a", f"{n}b", "a" if n % 2 else "b", "a") for n in range(40)]
    assert measure_positions(asked(*shown), AuditConfig())[0].severity == "ok"
    assert measure_positions(asked(("a", "b", "a", None)), AuditConfig()) == []


def test_flips_are_counted_over_answers_shown_in_both_orders() -> None:
    """x-y: the first wins twice, a flip. u-v: u wins both times. s-t was shown in one order only."""
    shown = [("x", "y", "a", "a"), ("y", "x", "a", "a"), ("u", "v", "a", "a"), ("u", "v", "a", "b")]
    flips = measure_positions(asked(*shown, ("s", "t", "a", "a")), AuditConfig(min_rows=1))[1]
    assert (flips.name, flips.value, flips.n, flips.severity) == ("swap_flips", 0.5, 2, "warn")
    assert flips.details == {"to_first": 1, "to_last": 0}


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 2), st.integers(0, 2), st.sampled_from(["a", "b", "tie"]), st.sampled_from(["a", "b", None])
        ),
        min_size=1,
        max_size=30,
    )
)
def test_names_of_the_sides_change_nothing(pairs: list[tuple[int, int, str, str | None]]) -> None:
    """Whether an answer is called a or b is nobody's business: where both are renamed, the metrics stay."""
    other = {"a": "b", "b": "a", "tie": "tie", None: None}
    plain = [(str(a), str(b), outcome, first) for a, b, outcome, first in pairs]
    renamed = [(b, a, str(other[outcome]), other[first]) for a, b, outcome, first in plain]
    assert measure_positions(asked(*plain), AuditConfig()) == measure_positions(asked(*renamed), AuditConfig())


# --- scores -------------------------------------------------------------------------------------------------------


def test_chosen_below_and_rejected_above_the_score_are_counted() -> None:
    """Chosen 9, 2 and 8, rejected 1, 1 and 7. The median of all six is 4.5: one chosen below, one rejected above."""
    pairs = asked(
        *(("x", "y", outcome, None) for outcome in ("a", "a", "b", "tie")), scores=((9, 1), (2, 1), (7, 8), (5, 5))
    )
    low, high = measure_scores(pairs, AuditConfig())
    assert (low.name, low.value, low.n, low.severity) == ("low_chosen", pytest.approx(1 / 3), 3, "info")
    assert (high.name, high.value) == ("high_rejected", pytest.approx(1 / 3))
    assert low.details == {"good_score": 4.5}
    assert measure_scores(pairs, AuditConfig(good_score=8.5))[0].value == pytest.approx(2 / 3)


def test_pairs_without_scores_are_not_measured() -> None:
    assert measure_scores(asked(("x", "y", "a", None)), AuditConfig()) == []


# --- objective ----------------------------------------------------------------------------------------------------


def twice(agreed: int, opposed: int) -> Rows:
    """Couples of answers that two raters judged, alike or against each other."""
    rows: Rows = []
    for n in range(agreed + opposed):
        answers = (f"{n}a", f"{n}b")
        rows += pair(2 * n, *answers, prompt=str(n))
        rows += pair(2 * n + 1, *(answers if n < agreed else answers[::-1]), prompt=str(n))
    return rows


@pytest.mark.parametrize(
    ("rows", "objective", "words"),
    [
        (many(30, 30), "kto", "all 60 judgements are of single answers"),
        (twice(19, 1), "dpo", "of 20 couples of answers judged twice or more 5% were preferred both ways"),
        (twice(15, 5), "kto", "25% were preferred both ways, more than 10%"),
        (
            joined(*(pair(n, f"{n}a", f"{n}b") for n in range(30))),
            "kto",
            "no two answers of 30 pairs were judged twice",
        ),
        ([*twice(19, 1), *(row(200 + n, True) for n in range(10))], "kto", "would leave out 10 judgements"),
        (
            joined(*(pair(n, win, lose, prompt="p") for n, (win, lose) in enumerate(("ab", "bc", "ca")))),
            "kto",
            "100% of prompts with three compared answers have a circle",
        ),
    ],
    ids=["thumbs", "clean pairs", "noisy pairs", "judged once", "mixed", "circles"],
)
def test_objective_follows_from_noise_circles_and_thumbs(rows: Rows, objective: str, words: str) -> None:
    metric = found(audited(rows), "objective")
    assert metric.details["objective"] == objective
    assert words in metric.sentence
    assert "arXiv:2402.01306" in metric.sentence
    assert metric.severity == "info"


def both_bad(number: int) -> Rows:
    """The rows of a comparison of which both answers are bad."""
    return [
        each | {"label": False, "votes": [{**vote, "label": False} for vote in each["votes"]]}  # type: ignore[attr-defined]
        for each in pair(number, f"{number}a", f"{number}b")
    ]


def test_comparison_that_nobody_won_is_no_judgement_of_a_single_answer() -> None:
    pairs, bad = joined(*(pair(n, f"{n}a", f"{n}b") for n in range(30))), joined(*(both_bad(n) for n in range(30, 40)))
    comparisons = "from comparisons without a winner, or without one of their answers among the rows"
    some = found(audited(pairs + bad), "objective").sentence
    assert f"would leave out 10 judgements {comparisons}, 25% of all 40" in some
    assert f"all 10 judgements are {comparisons}, which make no pairs" in found(audited(bad), "objective").sentence
    mixed = found(audited([*bad, row(100, True)]), "objective").sentence
    assert f"all 11 judgements are of a single answer (1) or {comparisons} (10)" in mixed


def test_advice_on_the_objective_is_for_who_has_a_choice() -> None:
    pairs = audit_candidates(table(*twice(19, 1)), raw="p.jsonl --from trl")
    assert advised(pairs, "objective") == "thumbline curate p.jsonl --from trl -o OUT"
    assert "objective" not in {item.metric for item in audited(many(30, 30)).advice}


def test_rows_that_could_go_are_counted_with_the_weight_that_makes_up_for_them() -> None:
    """850 up, 150 down: 85 stay, R = 85 / 150 = 0.57, and lambda_D = 150 / 85 = 1.764706 makes it 1, 1.77 too."""
    report = audited(many(850, 150))
    metric = found(report, "discardable_desirables")
    assert (metric.value, metric.n) == (765, 850)
    assert "with 85 up and 150 down rows R = 0.57, and lambda_D = 1.77, lambda_U = 1 make it 1." in metric.sentence
    command = "thumbline rebalance IN -o OUT --ratio 1:4/3 --mode reweight --set keep_desirable_share=0.1"
    assert advised(report, "discardable_desirables") == command


@given(up=st.integers(1, 500), down=st.integers(1, 500))
def test_a_tenth_of_the_desirable_rows_can_always_be_weighed_into_range(up: int, down: int) -> None:
    rows = pl.DataFrame({"row_key": range(up + down), "label": [True] * up + [False] * down}).select(
        pl.col("row_key").cast(pl.UInt64),
        "label",
        source=pl.lit("thumbs"),
        weight=1.0,
        split=pl.lit("train"),
        capped_rater=None,
    )
    plan = Unbalanced(rows, 0).plan(AuditConfig(), "reweight", KEPT_SHARE)
    assert plan is not None
    assert plan.desirable == -(-up // 10)
    assert plan.value is not None
    assert 1 <= plan.value <= 4 / 3 + 1e-6
