"""What an audit advises, what it stops, and that its JSON can be read back."""

import json
import math
import re
from fractions import Fraction

import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from feedback.audit import Advice, AuditConfig, AuditReport, Metric, audit_candidates, check_gates
from feedback.audit.advice import advise
from feedback.audit.balance import measure_balance
from feedback.audit.report import Column, Table
from feedback.audit.unbalanced import Unbalanced
from feedback.hashing import hex_key, stable_id
from feedback.rebalance.ratio import exact_fraction
from feedback.stage import CANDIDATE_TYPES
from schemas.errors import AuditGateError, InputError
from schemas.report import StageReport
from tests.audit_rows import pair, row
from tests.audit_rows import table as candidates

KEYS = ("row_key", "prompt_hash", "completion_hash", "prompt_key", "completion_key", "group_id", "cluster_id")


def table(up: int, down: int, **changes: object) -> pl.DataFrame:
    """Rows with `up` of one label and `down` of the other, each with a prompt and an answer of its own."""
    ids = [stable_id(str(number)) for number in range(up + down)]
    rows = [
        dict.fromkeys(("row_id", "text_id"), identifier)
        | dict.fromkeys(KEYS, hex_key(identifier))
        | {"text_side": "completion", "source": "thumbs", "origin": "thumb", "rater_kind": "unknown"}
        | {"label": number < up, "weight": 1.0, "prompt_chars": 1, "completion_chars": 1, "votes": []}
        | changes
        for number, identifier in enumerate(ids)
    ]
    return pl.DataFrame(rows, schema=CANDIDATE_TYPES)


def labels(up: int, down: int) -> pl.DataFrame:
    """So many rows of each label, with all that the balance and `rebalance` read."""
    rows = pl.DataFrame({"row_key": range(up + down), "label": [True] * up + [False] * down})
    fixed = {"source": "thumbs", "weight": 1.0, "split": "train", "capped_rater": None}
    return rows.select(pl.col("row_key").cast(pl.UInt64), "label", **{name: pl.lit(of) for name, of in fixed.items()})


def on_ratio(up: int, down: int, **options: float) -> list[Advice]:
    config = AuditConfig(**options)
    metrics = measure_balance(table(up, down), config)
    rows = Unbalanced(labels(up, down), 0)
    return [item for item in advise(metrics, config, rows, source="IN", raw="RAW") if item.metric == "label_ratio"]


def test_too_many_up_rows_can_be_left_out_or_weighed_against() -> None:
    """850 up, 150 down: 4/3 x 150 = 200 up stay and 650 go; lambda_U from 850 / 200 = 4.25 to 850 / 150 = 5.666."""
    fewer, weighted = on_ratio(850, 150)
    assert fewer.text == "Keep 200 of 850 up and all 150 down rows: R = 1.33. 650 rows are left out (65%)."
    assert fewer.command == "thumbline rebalance IN -o OUT --ratio 1:4/3"
    assert weighted.text.startswith("lambda_U = 4.25 brings R to 1.33, and any lambda_U from 4.25 to 5.66 is in range.")
    assert weighted.command == "thumbline rebalance IN -o OUT --ratio 1:4/3 --mode reweight"


def test_too_many_down_rows_the_other_way_round() -> None:
    """30 up, 100 down: 30 down stay; lambda_D from 100 / 30 = 3.333 to 4.444."""
    fewer, weighted = on_ratio(30, 100)
    assert fewer.text.startswith("Keep all 30 up and 30 of 100 down rows: R = 1.")
    assert weighted.text.startswith("lambda_D = 3.34 brings R to 1, and any lambda_D from 3.34 to 4.44 is in range.")
    assert "The command takes the least, 3.333334." in weighted.text


def test_lambdas_of_the_training_are_in_the_arithmetic_and_in_the_command() -> None:
    """lambda_U = 2, 400 up, 100 down: R = 2, and 4/3 x 2 x 100 = 266 up stay."""
    fewer, _ = on_ratio(400, 100, undesirable_weight=2)
    assert fewer.text.startswith("Keep 266 of 400 up")
    assert fewer.command.endswith("--ratio 1:4/3 --set undesirable_weight=2.0")


def test_ratio_that_whole_rows_cannot_make_is_weighed_only() -> None:
    assert [item.title for item in on_ratio(3, 1, low=1.4, high=1.45)] == [
        "Keep every row and raise the weight of the rarer label"
    ]


@given(up=st.integers(1, 400), down=st.integers(1, 400))
def test_advised_numbers_bring_r_into_range(up: int, down: int) -> None:
    for advice in on_ratio(up, down):
        if advice.title.startswith("Leave"):
            kept = [word.replace(",", "") for word in advice.text.split() if word.replace(",", "").isdigit()]
            numbers = [int(word) for word in kept]
            left = numbers[0] if " all " not in advice.text.split(" up and ")[0] + " " else up
            right = down if "all" in advice.text.split(" up and ")[1] else numbers[2 if left != up else 1]
            assert 1 <= Fraction(left, right) <= Fraction(4, 3)


@settings(deadline=None)
@given(
    up=st.integers(1, 3000),
    down=st.integers(1, 3000),
    low=st.sampled_from([0.5, 1.0, 1.3]),
    width=st.sampled_from([1.0001, 1.02, 4 / 3]),
    weight=st.sampled_from([0.02, 1.0, 7.5]),
)
@example(up=803, down=600, low=1.0, width=4 / 3, weight=1.0)
@example(up=850, down=150, low=1.0, width=4 / 3, weight=1.0)
def test_every_lambda_that_is_printed_is_in_range(up: int, down: int, low: float, width: float, weight: float) -> None:
    """As it is read back, in fractions."""
    config = AuditConfig(low=low, high=low * width, undesirable_weight=weight)
    (metric,) = (item for item in measure_balance(labels(up, down), config) if item.name == "label_ratio")
    for advice in advise([metric], config, Unbalanced(labels(up, down), 0), source="IN", raw="RAW"):
        if not advice.title.startswith("Keep"):
            continue
        symbol = "lambda_D" if "lambda_D" in advice.text else "lambda_U"
        first, least, most = re.findall(
            r"(?:lambda_[DU] =|from|to) ([\d,]+(?:\.\d+)?)(?= brings| to|is| is)", advice.text
        )
        assert first == least != most
        for printed in (least, most):
            given = Fraction(printed.replace(",", ""))
            above = Fraction(up) * (given if symbol == "lambda_D" else 1)
            below = Fraction(down) * (given if symbol == "lambda_U" else Fraction(str(weight)))
            assert exact_fraction(config.low) <= above / below <= exact_fraction(config.high)


def test_lambda_that_warned_is_not_advised() -> None:
    """803 / 600 = 1.338 is above 4/3; lambda_U = 803 / 800 = 1.00375 is the least that is in range."""
    _, weighted = on_ratio(803, 600)
    assert weighted.text.startswith("lambda_U = 1.01 brings R to 1.33, and any lambda_U from 1.01 to 1.33 is in range.")
    assert "The command takes the least, 1.00375." in weighted.text


def test_one_number_as_the_range_is_met_by_one_lambda() -> None:
    _, weighted = on_ratio(300, 100, low=1.2, high=1.2)
    assert weighted.text.startswith("lambda_U = 2.5 brings R to 1.2. No row is lost")


# --- contradictions and raters ------------------------------------------------------------------------------------


def advice_on(rows: list[dict[str, object]], name: str) -> Advice:
    report = audit_candidates(candidates(*rows), raw="RAW")
    return next(item for item in report.advice if item.metric == name)


def test_advice_on_a_ranking_speaks_of_pairs_and_of_the_rows_that_they_lose() -> None:
    """a before b, b before c, each pair by a rater of its own: b has a row for each label, and neither wins."""
    rows = [
        each
        for number in range(20)
        for place, (winner, loser) in enumerate(("ab", "bc"))
        for each in pair(2 * number + place, winner, loser, prompt=str(number))
    ]
    advice = advice_on(rows, "contradictions")
    assert advice.title == "Train on the pairs as pairs"
    assert advice.text.startswith("20 won one pair and lost another, where nobody contradicts anybody")
    assert advice.text.endswith("40 of 40 rows are left out.")
    assert "rater" not in advice.text


def test_advice_on_disputes_and_changed_minds_names_what_is_there() -> None:
    disputed = [row(number, number % 2 == 0, answer=str(number // 2), prompt="p") for number in range(40)]
    text = advice_on(disputed, "contradictions").text
    assert text == (
        "A majority settles some of the 20 where raters disagree; those that it cannot settle are left out."
    )


def test_second_rater_is_not_asked_for_where_hardly_a_row_would_be_left() -> None:
    """Each answer has one vote: of 520 rows none would be left."""
    rows = [row(number, number % 26 > 0, rater=number % 26) for number in range(520)]
    advice = advice_on(rows, "extreme_raters")
    assert not advice.command
    assert "at most 0 of 520 rows would be left" in advice.text


def test_second_rater_is_asked_for_with_the_rows_that_would_be_left() -> None:
    """24 raters in twelve couples who are up on twenty answers each, and one who is down on twenty of his own."""
    rows = [
        row(20 * rater + vote, True, prompt="p", answer=f"{rater // 2} {vote}", rater=rater)
        for rater in range(24)
        for vote in range(20)
    ]
    rows += [row(900 + vote, False, prompt="p", answer=f"own {vote}", rater="strict") for vote in range(20)]
    advice = advice_on(rows, "extreme_raters")
    assert advice.command == "thumbline curate RAW -o OUT --set caps.min_raters=2"
    assert "at most 240 of 260 rows would be left" in advice.text


def test_ratio_in_range_needs_no_advice() -> None:
    assert audit_candidates(table(30, 30)).advice == ()


def test_one_label_is_advised_on_once() -> None:
    report = audit_candidates(table(30, 0))
    assert [(item.metric, item.title) for item in report.advice] == [("labels", "Add a source that has down rows")]


def test_every_gate_that_can_break_has_advice() -> None:
    """Break all: one label, a leak, a gap, a raw id; then ratio, contradictions, one rater, lengths and metadata."""
    leak = table(3, 0, split="train").with_columns(
        split=pl.Series(["train", "test", "test"]), group_id=pl.lit(7, pl.UInt64), rater_key=pl.lit(42, pl.UInt64)
    )
    failed = audit_candidates(leak, reports=[StageReport("convert", 9, 0, 9, {})])
    rows = table(60, 30).with_columns(
        votes=pl.concat_list(
            pl.struct(
                pl.col("row_id").alias("event_id"),
                pl.lit(2**40, pl.UInt64).alias("rater_key"),
                pl.lit(None, pl.Datetime("us", "UTC")).alias("event_ts"),
                "label",
            )
        ),
        prompt_key=pl.lit(7, pl.UInt64),
        completion_key=pl.Series([number % 45 for number in range(90)], dtype=pl.UInt64),
        completion_chars=pl.when("label").then(1).otherwise(9).cast(pl.Int64),
    )
    warned = audit_candidates(rows)
    for report, severity, gates in ((failed, "fail", 4), (warned, "warn", 5)):
        broken = {gate.name for gate in report.gates if gate.severity == severity}
        assert broken <= {advice.metric for advice in report.advice}
        assert len(broken) == gates


# --- gates ------------------------------------------------------------------------------------------------------


def test_warnings_do_not_stop_a_pipeline_unless_asked() -> None:
    report = audit_candidates(table(60, 30))
    check_gates(report)
    with pytest.raises(AuditGateError, match=r"1 audit gate does not hold: label_ratio: 67% of 90 rows are up; R = 2 "):
        check_gates(report, fail_on="warn")


def test_failed_gate_stops_with_its_sentence_and_what_to_do() -> None:
    report = audit_candidates(table(60, 0), name="votes")
    with pytest.raises(
        AuditGateError, match=r"^votes: 1 audit gate does not hold: labels: All 60 rows are up"
    ) as caught:
        check_gates(report)
    assert caught.value.exit_code == 3
    assert caught.value.todo == "Add a source that has down rows"


def test_gates_are_listed_worst_first() -> None:
    gates = audit_candidates(table(60, 0)).gates
    assert [gate.severity for gate in gates] == ["fail", "warn", "ok", "ok"]


# --- JSON -------------------------------------------------------------------------------------------------------


def test_json_says_everything_and_reads_back_the_same() -> None:
    report = audit_candidates(table(60, 30), reports=[StageReport("convert", 95, 0, 90, {"neutral": 5})], name="votes")
    again = AuditReport.from_json(report.to_json())
    assert again.to_json() == report.to_json()
    values = json.loads(report.to_json())
    assert list(values) == [
        "schema_version",
        "name",
        "kind",
        "severity",
        "rows",
        "metrics",
        "tables",
        "series",
        "waterfall",
        "advice",
        "config",
    ]
    assert values["schema_version"] == 1
    assert values["severity"] == "warn"


def test_json_is_strict_where_a_number_is_infinite() -> None:
    metric = Metric("m", "M", math.inf, "number", 1, "info", "s")
    text = AuditReport("n", "candidates", {"total": 1}, (metric,)).to_json()
    assert "Infinity" not in text
    assert AuditReport.from_json(text).metrics[0].value == math.inf


@pytest.mark.parametrize("text", ["", "[]", '{"name": "x"}', "null"])
def test_text_that_is_no_report_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="the text is not an audit report of version 1"):
        AuditReport.from_json(text)


def test_tiny_p_keeps_its_digits_in_json_and_other_numbers_are_rounded() -> None:
    metric = Metric("m", "M", 1 / 3, "number", 1, "info", "s", details={"p": 2.8123456789012e-46, "near": 1e-17})
    table = Table("t", "T", (Column("label_p", "p", "number"), Column("share", "S", "share")), ((1e-20, 1e-20),))
    again = AuditReport.from_json(AuditReport("n", "candidates", {"total": 1}, (metric,), (table,)).to_json())
    assert again.metrics[0].details == {"p": 2.812345679e-46, "near": 0}
    assert again.metrics[0].value == 0.3333333333
    assert again.tables[0].rows == ((1e-20, 0),)


def test_report_of_a_later_version_is_refused() -> None:
    values = audit_candidates(table(3, 3)).to_dict() | {"schema_version": 2}
    with pytest.raises(InputError, match="it is of version 2"):
        AuditReport.from_json(json.dumps(values))
