"""Statistics, label balance, slices and lengths: by hand on a few rows, with the gate and the sentence of each."""

import math

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feedback.audit import AuditConfig, AuditReport
from feedback.audit.balance import measure_balance, training_rows
from feedback.audit.statistics import auc_interval, gini, wilson_interval
from feedback.audit.wording import safe_name
from schemas.errors import ConfigError
from tests.audit_rows import audited, found, many, row, table

# --- statistics ---------------------------------------------------------------------------------------------------


def test_wilson_interval_is_the_textbooks() -> None:
    """Newcombe 1998, table I: 81 of 263 gives 0.2553 to 0.3662; 15 of 148 gives 0.0624 to 0.1605; 0 of 20 to 0.1611."""
    assert [round(bound, 4) for bound in wilson_interval(81, 263)] == [0.2553, 0.3662]
    assert [round(bound, 4) for bound in wilson_interval(15, 148)] == [0.0624, 0.1605]
    assert [round(bound, 4) for bound in wilson_interval(0, 20)] == [0.0, 0.1611]


@settings(deadline=None)  # the first call loads scipy
@given(n=st.integers(1, 10_000), share=st.floats(0, 1))
def test_wilson_interval_holds_the_share_and_stays_in_0_to_1(n: int, share: float) -> None:
    count = round(n * share)
    low, high = wilson_interval(count, n)
    assert 0 <= low <= count / n <= high <= 1


@given(counts=st.lists(st.integers(0, 100), min_size=1, max_size=30).filter(any))
def test_gini_is_half_the_relative_mean_difference(counts: list[int]) -> None:
    n = len(counts)
    slow = sum(abs(one - other) for one in counts for other in counts) / (2 * n * sum(counts))
    assert math.isclose(gini(counts), slow, abs_tol=1e-12)


@pytest.mark.parametrize(("positive", "negative"), [(20, 20), (5, 80), (300, 40)])
def test_auc_interval_has_the_variance_of_mann_and_whitney_where_nothing_is_told(positive: int, negative: int) -> None:
    """Without ties Var(U / mn) = (m + n + 1) / (12 m n); the bound next to 1/2 lies 1.96 of its roots from 1/2."""
    half = 1.959963984540054 * math.sqrt((positive + negative + 1) / (12 * positive * negative))
    low, _ = auc_interval(min(0.5 + half, 1.0), positive, negative)
    assert low == pytest.approx(0.5, abs=1e-6)


@settings(deadline=None)
@given(auc=st.floats(0, 1), positive=st.integers(1, 500), negative=st.integers(1, 500))
def test_auc_interval_holds_the_area_and_mirrors(auc: float, positive: int, negative: int) -> None:
    low, high = auc_interval(auc, positive, negative)
    mirrored = auc_interval(1 - auc, negative, positive)
    assert 0 <= low <= auc + 1e-9
    assert auc - 1e-9 <= high <= 1
    assert (1 - mirrored[1], 1 - mirrored[0]) == (pytest.approx(low, abs=1e-6), pytest.approx(high, abs=1e-6))


def test_auc_interval_of_a_perfect_area_is_no_point() -> None:
    """20 of each, in order: 1 - A = 1.96^2 A (1 + 19 ((1 - A) / (2 - A) + A / (1 + A))) / 400 holds at A = 0.8987."""
    area = 0.8987
    assert 1.96**2 * area * (1 + 19 * (0.1013 / 1.1013 + area / (1 + area))) / 400 == pytest.approx(0.1013, abs=1e-4)
    assert auc_interval(1.0, 20, 20) == (pytest.approx(area, abs=1e-4), 1.0)


# --- balance ------------------------------------------------------------------------------------------------------


def test_ratio_counts_rows_and_names_range() -> None:
    """85 up and 15 down: R = 85 / 15 = 5.67, above 4/3."""
    ratio = found(audited(many(85, 15)), "label_ratio")
    assert ratio.value == pytest.approx(85 / 15)
    assert ratio.severity == "warn"
    assert ratio.sentence.startswith("85% of 100 rows are up; R = 5.67 lies above [1, 1.33]:")


@pytest.mark.parametrize(("up", "severity"), [(40, "ok"), (30, "ok"), (41, "warn"), (29, "warn")])
def test_both_ends_of_the_range_are_in_it(up: int, severity: str) -> None:
    """With 30 down, [1, 4/3] is 30 to 40 up."""
    assert found(audited(many(up, 30)), "label_ratio").severity == severity


def test_ratio_below_the_range_says_what_the_model_will_not_learn() -> None:
    ratio = found(audited(many(10, 30)), "label_ratio")
    assert "lies below [1, 1.33]: in training criticism outweighs praise" in ratio.sentence


def test_ratio_multiplies_weights_of_rows_and_lambdas() -> None:
    """60 up of weight 1, 20 down of weight 3, lambda_U = 0.5: R = 60 / (0.5 x 60) = 2."""
    rows = [row(number, number < 60, weight=1.0 if number < 60 else 3.0) for number in range(80)]
    ratio = found(audited(rows, undesirable_weight=0.5), "label_ratio")
    assert ratio.value == 2
    assert "R by weight = 2" in ratio.sentence


def test_ratio_interval_follows_the_interval_of_the_share() -> None:
    low, high = wilson_interval(85, 100)
    ratio = found(audited(many(85, 15)), "label_ratio")
    assert (ratio.low, ratio.high) == (pytest.approx(low / (1 - low)), pytest.approx(high / (1 - high)))


@pytest.mark.parametrize(
    ("up", "down", "words"), [(30, 0, "All 30 rows are up and none is down"), (0, 30, "none is up")]
)
def test_one_label_fails(up: int, down: int, words: str) -> None:
    report = audited(many(up, down))
    labels = found(report, "labels")
    assert labels.severity == report.severity == "fail"
    assert words in labels.sentence


def test_table_without_rows_fails_and_is_still_a_report() -> None:
    report = audited([])
    assert found(report, "labels").sentence == "There is no labelled row, so there is nothing to train on."
    assert report.severity == "fail"
    assert AuditReport.from_json(report.to_json()).rows["total"] == 0


def test_ratio_without_undesirable_rows_is_infinite_and_survives_json() -> None:
    report = audited(many(3, 0))
    assert found(report, "label_ratio").value == math.inf
    assert found(AuditReport.from_json(report.to_json()), "label_ratio").value == math.inf


def test_held_out_rows_are_not_counted() -> None:
    rows = many(30, 30, split="train") + [row(number, True, split="test") for number in range(100, 150)]
    report = audited(rows)
    assert found(report, "label_ratio").value == 1
    assert dict(report.rows) == {"total": 110, "desirable": 30, "undesirable": 30, "test": 50}
    assert training_rows(table(*rows)).height == 60


def test_effective_rows_shrink_where_weights_differ() -> None:
    """Weights 1 and 3: (1 + 3)^2 / (1 + 9) = 1.6 up rows; two of weight 2 are 2 down rows."""
    rows = [row(0, True), row(1, True, weight=3.0), row(2, False, weight=2.0), row(3, False, weight=2.0)]
    assert found(audited(rows), "effective_rows").details == {"desirable": pytest.approx(1.6), "undesirable": 2.0}


@pytest.mark.parametrize(
    ("up", "down", "words"),
    [
        (9966, 10_000, "R = 0.997 lies below [1, 1.33]:"),
        (1335, 1000, "R = 1.335 lies above [1, 1.33]: in training praise weighs 1.335 times"),
        (13_334, 10_000, "R = 1.333 lies above [1, 1.33]:"),
    ],
)
def test_ratio_has_the_digits_that_tell_it_from_the_end_of_its_range(up: int, down: int, words: str) -> None:
    rows = pl.DataFrame({"label": [True] * up + [False] * down, "weight": 1.0})
    metric = next(item for item in measure_balance(rows, AuditConfig()) if item.name == "label_ratio")
    assert metric.severity == "warn"
    assert words in metric.sentence


# --- slices -------------------------------------------------------------------------------------------------------


def test_slices_count_every_row_once_and_give_each_its_interval() -> None:
    rows = [row(number, number % 3 > 0, source="a" if number < 20 else "b", model_id="m") for number in range(30)]
    report = audited(rows)
    by_source = report.table("by_source")
    assert by_source is not None
    assert [line[:4] for line in by_source.rows] == [("a", 20, 13, 7), ("b", 10, 7, 3)]
    assert by_source.rows[0][5:7] == wilson_interval(13, 20)
    for name in ("by_source", "by_origin", "by_model", "by_time", "by_length"):
        sliced = report.table(name)
        assert sliced is not None
        assert sum(line[1] for line in sliced.rows) == 30


def test_rare_values_of_a_slice_become_one_line() -> None:
    rows = [row(number, True, model_id=f"m{number % 5}") for number in range(20)]
    sliced = audited(rows, max_slices=3).table("by_model")
    assert sliced is not None
    assert [line[0] for line in sliced.rows] == ["m0", "m1", "m2", "(others)"]
    assert sliced.rows[-1][1] == 8


def test_weeks_are_iso_weeks_in_order_and_long_spans_are_months() -> None:
    weeks = audited([row(number, True, day=number * 7) for number in range(3)]).table("by_time")
    months = audited([row(number, True, day=number * 30) for number in range(40)]).table("by_time")
    assert weeks is not None
    assert months is not None
    assert [line[0] for line in weeks.rows] == ["2026-W02", "2026-W03", "2026-W04"]
    assert months.columns[0].title == "Month"


@pytest.mark.parametrize(
    ("chars", "value"),
    [(0, "under 100"), (99, "under 100"), (100, "100 to 299"), (2999, "1,000 to 2,999"), (3000, "3,000 and more")],
)
def test_length_slices_have_closed_lower_ends(chars: int, value: str) -> None:
    sliced = audited([row(0, True, completion_chars=chars)]).table("by_length")
    assert sliced is not None
    assert sliced.rows[0][0] == value


# --- lengths ------------------------------------------------------------------------------------------------------


def test_long_down_answers_are_a_length_bias() -> None:
    rows = [row(number, number < 30, completion_chars=100 if number < 30 else 400) for number in range(60)]
    metric = found(audited(rows), "length_auc")
    assert (metric.value, metric.severity) == (0, "warn")
    assert "by writing shorter answers instead of better ones" in metric.sentence
    assert metric.details == {"median_up": 100, "median_down": 400}


def test_rows_of_one_length_count_each() -> None:
    """Ups of 10, 10, 10 and 30, downs of 20 and 30: of 8 comparisons 1 is longer and 1 is a tie, so 1.5 / 8."""
    lengths = [(True, 10), (True, 10), (True, 10), (True, 30), (False, 20), (False, 30)]
    rows = [row(place, label, completion_chars=chars) for place, (label, chars) in enumerate(lengths)]
    assert found(audited(rows), "length_auc").value == pytest.approx(1.5 / 8)


def test_equal_lengths_are_none() -> None:
    metric = found(audited(many(30, 30)), "length_auc")
    assert (metric.value, metric.severity) == (0.5, "ok")


def test_histogram_shares_sum_to_one_for_each_label() -> None:
    rows = [row(number, number % 2 == 0, completion_chars=number * 37) for number in range(60)]
    histogram = audited(rows).table("length_histogram")
    assert histogram is not None
    assert sum(line[2] for line in histogram.rows) == pytest.approx(1)
    assert sum(line[3] for line in histogram.rows) == pytest.approx(1)
    assert all(low < high for low, high, *_ in histogram.rows)


# --- the whole ----------------------------------------------------------------------------------------------------


@settings(max_examples=15, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.booleans(),
            st.integers(0, 3),
            st.integers(0, 4),
            st.integers(0, 3),
            st.sampled_from(["train", "test", None]),
        ),
        max_size=25,
    ),
    st.randoms(),
)
def test_order_of_rows_changes_nothing(cases: list[tuple[bool, int, int, int, str | None]], order: object) -> None:
    rows = [
        row(number, label, prompt=str(prompt), answer=str(answer), rater=rater or None, split=split, day=answer)
        for number, (label, prompt, answer, rater, split) in enumerate(cases)
    ]
    shuffled = list(rows)
    order.shuffle(shuffled)  # type: ignore[attr-defined]
    assert audited(rows).to_json() == audited(shuffled).to_json()


def test_names_of_sources_and_models_are_made_safe_to_show() -> None:
    rows = [row(0, True, source="a\x1b[31m\u202eb", model_id="m" * 300), row(1, False)]
    text = audited(rows).to_json()
    assert "\\u001b" not in text
    assert "\u202e" not in text
    assert "m" * 81 not in text
    assert safe_name("gpt-4o mini (é)") == "gpt-4o mini (é)"


def test_thresholds_upside_down_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"table \[audit\]: low is greater than high: got \(2.0, 1.5\)"):
        AuditConfig(low=2, high=1.5)
    with pytest.raises(ConfigError, match="length_low is greater than length_high"):
        AuditConfig(length_low=0.7)
