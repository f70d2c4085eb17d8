"""Whether style moves the label: the fit beside scikit-learn's, planted flattery, and what length explains."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from feedback.audit import AuditConfig
from feedback.audit.sources import audit
from feedback.audit.texts.logistic import fit_logistic
from tests.audited_log import audited, found, sycophantic, vote, write_log
from tests.feedback_log import story


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_fit_is_that_of_scikit_learn_and_its_errors_those_of_the_information(seed: int) -> None:
    """Two columns, 400 rows; errors by hand from the inverse of X' W X at scikit-learn's coefficients."""
    chance = np.random.default_rng(seed)
    columns = np.column_stack((chance.random(400) < 0.3, chance.normal(size=400))).astype(float)
    label = chance.random(400) < 1 / (1 + np.exp(-(0.5 + columns @ [1.0, -0.7])))
    fit = fit_logistic(columns, label)
    assert fit is not None
    model = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(columns, label)
    theirs = np.concatenate((model.intercept_, model.coef_[0]))
    np.testing.assert_allclose(fit.coefficients, theirs, atol=1e-5)
    design = np.column_stack((np.ones(400), columns))
    p = model.predict_proba(columns)[:, 1]
    errors = np.sqrt(np.diag(np.linalg.inv(design.T @ np.diag(p * (1 - p)) @ design)))
    np.testing.assert_allclose(fit.errors, errors, rtol=1e-4)
    low, high = fit.interval(0)
    assert (low + high) / 2 == pytest.approx(fit.coefficients[1])
    assert high - low == pytest.approx(2 * 1.959963984540054 * errors[1], rel=1e-4)


def test_a_column_that_parts_the_labels_has_no_fit() -> None:
    label = np.arange(40) < 20
    assert fit_logistic(label[:, None].astype(float), label) is None
    assert fit_logistic(np.ones((40, 1)), label) is None


def test_planted_sycophancy_is_caught(tmp_path: Path) -> None:
    """Up in 0.85 against 0.5 of cases: log-odds 1.73."""
    report = audited(tmp_path, sycophantic(600, 0.85))
    lift = found(report, "style_lift")
    assert lift.severity == "warn"
    assert lift.low is not None
    assert lift.high is not None
    assert 0.5 < lift.low < 1.73 < lift.high
    assert "flattery (odds times" in lift.sentence
    assert "pleasing the user pays, so the model learns to flatter" in lift.sentence
    table = report.table("style")
    assert table is not None
    line = next(row for row in table.rows if row[0] == "flattery (English)")
    assert line[1] == 300
    assert line[2] == pytest.approx(0.85, abs=0.05)
    assert "Wald intervals from the information matrix" in table.note


@pytest.mark.parametrize("seed", [0, 1, 2, 3])
def test_flattery_that_moves_nothing_is_not_caught(tmp_path: Path, seed: int) -> None:
    lift = found(audited(tmp_path, sycophantic(600, 0.5, seed)), "style_lift")
    assert lift.severity == "ok"
    assert "no mark of style moves the label far" in lift.sentence


def test_what_length_explains_is_no_lift(tmp_path: Path) -> None:
    """Long answers are up and have lists more often; at equal length lists change nothing."""
    chance = random.Random(5)
    rows = []
    for number in range(1500):
        words = int(10 * 30 ** chance.random())
        has_list = chance.random() < (0.8 if words > 55 else 0.2)
        up = chance.random() < 1 / (1 + 55 / words)
        text = story(f"l{number}", words)
        rows.append(vote(number, up, completion=f"- {text[:5]}\n- {text}" if has_list else f"xx{text[:5]}\nxx{text}"))
    report = audited(tmp_path, rows)
    table = report.table("style")
    assert table is not None
    line = next(row for row in table.rows if row[0] == "lists")
    assert line[2] - line[3] > 0.1
    assert line[5] < 0 < line[6]
    assert found(report, "style_lift").severity == "ok"


def test_the_regression_takes_no_more_rows_than_asked_and_the_same_ones_each_time(tmp_path: Path) -> None:
    path = write_log(tmp_path, sycophantic(300, 0.9))
    reports = [audit([path], source_format="thumbs", config=AuditConfig(style_rows=200)) for _ in range(2)]
    assert found(reports[0], "style_lift").n == 200
    assert reports[0].to_json() == reports[1].to_json()


def test_marks_that_few_answers_have_have_no_lift(tmp_path: Path) -> None:
    rows = [vote(number) for number in range(60)]
    for number in range(4):
        rows[number]["completion"] = f"Great question! {story(str(number), 9)}."
    report = audited(tmp_path, rows)
    table = report.table("style")
    assert table is not None
    assert next(row for row in table.rows if row[0].startswith("flattery"))[4] is None
    assert report.metric("style_lift") is None
