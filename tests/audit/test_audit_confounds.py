"""What tells the label without the answer: the model, metadata, the week; and rates by slice."""

import math

import numpy as np
import polars as pl
import pytest
from scipy.stats import chi2
from sklearn.metrics import normalized_mutual_info_score

from feedback.audit import AuditConfig
from feedback.audit.drift import stability_index
from feedback.audit.shortcut import shortcut_auc
from feedback.audit.statistics import wilson_interval
from tests.audit_rows import audited, found, many, pair, row

Rows = list[dict[str, object]]


def of_models(*shares: tuple[int, int]) -> Rows:
    """Rows of a model each: so many up, so many down."""
    rows: Rows = []
    for model, (up, down) in enumerate(shares):
        rows += [row(len(rows) + n, n < up, model_id=f"m{model}", day=0) for n in range(up + down)]
    return rows


# --- model --------------------------------------------------------------------------------------------------------


def test_model_that_tells_the_label_warns() -> None:
    """m0: 27 up, 3 down; m1: 9 up, 21 down. By hand in nats:

    H(label) = -(36/60 ln 36/60 + 24/60 ln 24/60) = 0.6730, H(label | model) = (0.3251 + 0.6109) / 2 = 0.4680,
    so the model tells 0.2050 / 0.6730 = 0.3046.
    """
    metric = found(audited(of_models((27, 3), (9, 21))), "model_confound")
    assert metric.value == pytest.approx(0.3046, abs=1e-4)
    assert metric.severity == "warn"
    assert "of the largest models one has 30% up and one 90%" in metric.sentence


def test_confound_is_scikit_learns_normalised_by_the_label() -> None:
    labels = [True] * 27 + [False] * 3 + [True] * 9 + [False] * 21
    models = [0] * 30 + [1] * 30
    # With average_method="min" the divisor is the smaller entropy: the label's, as the models are even.
    expected = normalized_mutual_info_score(labels, models, average_method="min")
    assert found(audited(of_models((27, 3), (9, 21))), "model_confound").value == pytest.approx(expected)


def test_many_small_models_are_chance() -> None:
    """30 models of two rows: the share is large, and the G-test sees that it is nothing."""
    metric = found(audited(of_models(*[(2, 0), (1, 1), (0, 2), (1, 1), (1, 1), (1, 1)] * 5)), "model_confound")
    assert metric.value is not None
    assert metric.value > 0.05
    assert metric.severity == "ok"


def test_one_model_or_one_label_is_no_confound() -> None:
    assert audited(of_models((30, 30))).metric("model_confound") is None
    assert audited(of_models((30, 0), (30, 0))).metric("model_confound") is None


def test_prompts_with_one_model_are_counted() -> None:
    """p has two models, q one model twice, r a single answer."""
    asked = [("p", "m0"), ("p", "m1"), ("q", "m0"), ("q", "m0"), ("r", "m1")]
    rows = [row(n, True, prompt=prompt, model_id=model) for n, (prompt, model) in enumerate(asked)]
    metric = found(audited([*rows, row(9, True)]), "one_model_prompts")
    assert (metric.value, metric.n, metric.details) == (pytest.approx(2 / 3), 3, {"single_answer": 1})


def test_several_votes_on_one_answer_are_a_single_answer() -> None:
    """p has one answer with three votes, q two answers, r one answer that two models gave."""
    given = [("p", "a", "m0")] * 3 + [("q", "a", "m0"), ("q", "b", "m0"), ("r", "a", "m0"), ("r", "a", "m1")]
    rows = [
        row(n, True, prompt=prompt, answer=f"{prompt} {answer}", model_id=model)
        for n, (prompt, answer, model) in enumerate(given)
    ]
    metric = found(audited(rows), "one_model_prompts")
    assert (metric.value, metric.details) == (pytest.approx(2 / 3), {"single_answer": 1})


# --- metadata -----------------------------------------------------------------------------------------------------


def test_label_that_metadata_tells_warns_and_names_the_strongest() -> None:
    rows = [row(n, n % 2 == 0, model_id="good" if n % 2 == 0 else "bad", day=n % 5) for n in range(100)]
    report = audited(rows)
    metric = found(report, "shortcut_auc")
    assert (metric.value, metric.severity) == (1, "warn")
    assert metric.details["alone"]["model"] == 1
    assert "From the model alone" in metric.sentence
    assert any(item.title == "Look at the labels by model first" for item in report.advice)


def test_metadata_that_say_nothing_are_in_order() -> None:
    """The label is drawn; length, model and week are drawn apart from it."""
    generator = np.random.default_rng(0)
    rows = [
        row(
            n,
            bool(generator.random() < 0.7),
            model_id=f"m{generator.integers(5)}",
            completion_chars=int(generator.lognormal(5)),
            day=int(generator.integers(60)),
        )
        for n in range(400)
    ]
    metric = found(audited(rows), "shortcut_auc")
    assert metric.severity == "ok"
    assert metric.value == pytest.approx(0.5, abs=0.1)


def test_answers_to_one_prompt_are_in_one_fold_so_that_it_teaches_nothing() -> None:
    """Each prompt has a model and a label of its own: learnt across prompts, the model says nothing."""
    rows = [
        row(4 * prompt + n, prompt % 2 == 0, prompt=str(prompt), model_id=f"m{prompt}", day=0)
        for prompt in range(25)
        for n in range(4)
    ]
    assert found(audited(rows), "shortcut_auc").value == pytest.approx(0.5, abs=0.05)


def test_auc_over_folds_by_hand() -> None:
    """In both folds x means up in 3 of 4, y in 1 of 4: of 16 comparisons 9 are won, 6 tied and 1 is lost, 0.75."""
    cells = pl.DataFrame(
        [(fold, kind, label, rows) for fold in (0, 1) for kind, label, rows in _CELLS],
        schema=["fold", "model", "label", "rows"],
        orient="row",
    )
    assert shortcut_auc(cells, ["model"]) == pytest.approx(0.75)
    assert shortcut_auc(
        cells.with_columns(length=pl.when(pl.col("model") == "x").then(9).otherwise(0)), ["length"]
    ) == (pytest.approx(0.75))
    assert shortcut_auc(cells, []) == 0.5


def test_length_that_rises_with_the_label_is_told_by_few_rows() -> None:
    """The share of up rises by 8% from each bin of length to the next: the trend tells more than ten bins apart."""
    chance = np.random.default_rng(1)
    length = chance.integers(0, 10, 300)
    up = chance.random(300) < 0.14 + 0.08 * length
    cells = pl.DataFrame({"fold": np.arange(300) % 5, "length": length, "label": up, "rows": np.ones(300)})
    apart = cells.with_columns(model=pl.format("bin {}", "length"))
    together, alone = shortcut_auc(cells, ["length"]), shortcut_auc(apart, ["model"])
    assert together is not None
    assert alone is not None
    assert together > alone > 0.6


_CELLS = (("x", True, 3), ("x", False, 1), ("y", True, 1), ("y", False, 3))


# --- drift --------------------------------------------------------------------------------------------------------


def test_psi_by_hand() -> None:
    """30 and 10 against 20 and 20, half a case added to each: p = 30.5/41 and 10.5/41, q = 1/2 each."""
    psi, p = stability_index(np.array([30, 10]), np.array([20, 20]))
    first, second = 30.5 / 41, 10.5 / 41
    expected = (first - 0.5) * math.log(first / 0.5) + (second - 0.5) * math.log(second / 0.5)
    assert psi == pytest.approx(expected)
    assert p == pytest.approx(chi2.sf(expected / (1 / 40 + 1 / 40), 1))


def test_equal_shares_have_no_psi() -> None:
    assert stability_index(np.array([30, 10, 0]), np.array([30, 10, 0])) == (0, 1)
    assert stability_index(np.array([5, 0]), np.array([9, 0])) == (0, 1)


def test_week_of_other_labels_warns() -> None:
    """Three weeks of 40 rows with 80% up, a fourth with 20%."""
    rows = [row(n, (n % 10 < 8) != (n >= 120), day=n // 40 * 7) for n in range(160)]
    report = audited(rows)
    metric = found(report, "label_drift")
    assert metric.severity == "warn"
    assert metric.details["shifted"] == ["2026-W05"]
    drift = report.table("drift")
    assert drift is not None
    assert [line[:2] for line in drift.rows] == [(f"2026-W0{week}", 40) for week in range(2, 6)]


def test_the_week_that_is_named_is_one_that_shifted() -> None:
    """A week of 300 rows of which 60% are up shifts; one of 20, all up, has the larger PSI by chance."""
    sizes = [(164, 36)] * 3 + [(180, 120), (164, 36), (20, 0)] + [(164, 36)] * 4
    labels = [[True] * up + [False] * down for up, down in sizes]
    rows = [
        row(1000 * week + n, label, day=7 * week)
        for week, of_week in enumerate(labels)
        for n, label in enumerate(of_week)
    ]
    metric = found(audited(rows), "label_drift")
    named, psi = metric.details["period"], dict(zip(*_psi_of_weeks(rows), strict=True))
    assert metric.details["shifted"] == [named]
    assert metric.value == pytest.approx(psi[named])
    assert max(psi, key=lambda week: psi[week]) != named
    assert f"the largest PSI of labels beyond chance is {psi[named]:.2f}, in {named} (300 rows)" in metric.sentence


def _psi_of_weeks(rows: list[dict[str, object]]) -> tuple[list[str], list[float]]:
    drift = audited(rows).table("drift")
    assert drift is not None
    return [str(line[0]) for line in drift.rows], [float(line[2]) for line in drift.rows]


def test_week_that_asks_one_thing_warns() -> None:
    """In the last of four weeks, every row is of one prompt; the other weeks differ from a rest that holds it."""
    rows = [row(n, n % 2 == 0, day=n // 40 * 7, prompt="same" if n >= 120 else str(n)) for n in range(160)]
    metric = found(audited(rows), "prompt_drift")
    assert (metric.severity, metric.details["period"]) == ("warn", "2026-W05")


def test_small_weeks_and_missing_times_are_left_out() -> None:
    """A week of 19 rows, all down, is too small to say; rows without a time are counted."""
    steady = [row(n, n % 10 < 8, day=n // 40 * 7) for n in range(120)]
    small = [row(200 + n, False, day=70) for n in range(19)]
    timeless = [row(300 + n, False, event_ts=None) for n in range(50)]
    metric = found(audited(steady + small + timeless), "label_drift")
    assert (metric.severity, metric.n, metric.details["undated"]) == ("ok", 120, 50)
    assert "50 rows without a time are left out." in metric.sentence


def test_one_week_or_no_time_cannot_drift() -> None:
    assert audited(many(30, 30, day=0)).metric("label_drift") is None
    assert audited(many(30, 30, event_ts=None)).metric("label_drift") is None


# --- slices -------------------------------------------------------------------------------------------------------


def test_rates_by_slice_say_where_contradictions_are() -> None:
    """Source a: 10 answers, 2 of them with both labels. Source b: 5 answers, none."""
    rows = [row(n, True, source="a", model_id="m") for n in range(10)] + [
        row(20 + n, True, source="b") for n in range(5)
    ]
    rows += [row(30 + n, False, source="a", prompt=str(n), answer=str(n)) for n in range(2)]
    sliced = audited(rows).table("contradictions_by_slice")
    assert sliced is not None
    by_source = [line[1:] for line in sliced.rows if line[0] == "Source"]
    assert by_source == [("a", 10, 2, 0.2, *wilson_interval(2, 10)), ("b", 5, 0, 0.0, *wilson_interval(0, 5))]
    assert {line[0] for line in sliced.rows} == {"Source", "Model", "Week", "Answer length"}


def test_rates_of_duplicates_and_of_pairs_have_slices_too() -> None:
    rows = [row(n, True, prompt="p", answer="a", source="copies") for n in range(3)]
    pairs = [each for n in range(4) for each in pair(10 + n, f"{n}a", f"{n}b", chosen_chars=500)]
    report = audited(rows + pairs)
    duplicates, longer = report.table("duplicates_by_slice"), report.table("chosen_longer_by_slice")
    assert duplicates is not None
    assert longer is not None
    assert next(line for line in duplicates.rows if line[1] == "copies")[2:4] == (3, 2)
    assert [line[2:4] for line in longer.rows if line[0] == "Source"] == [(4, 4)]


def test_a_record_read_again_is_no_duplicate_in_any_slice() -> None:
    """Three raters of one answer are two duplicates, in all and over the slices; a record read twice is none."""
    rows = [row(n, True, prompt="p", answer="a", source="ab"[n % 2]) for n in range(3)]
    report = audited([*rows, *rows, *many(4, 4)[3:]])
    sliced = report.table("duplicates_by_slice")
    assert sliced is not None
    assert found(report, "exact_duplicates").details["rows"] == 2
    assert sum(line[3] for line in sliced.rows if line[0] == "Source") == 2


def test_a_rate_that_is_nowhere_has_no_table() -> None:
    assert audited(many(5, 5)).table("contradictions_by_slice") is None


def test_thresholds_can_be_set() -> None:
    rows = of_models((27, 3), (9, 21))
    assert found(audited(rows, max_model_confound=0.4), "model_confound").severity == "ok"
    assert AuditConfig(max_psi=1.5).max_psi == 1.5
