"""What an audit advises, what it stops, and that its JSON can be read back."""

import json
import math
from fractions import Fraction

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedback.audit import Advice, AuditConfig, AuditReport, Metric, audit_candidates, check_gates
from feedback.audit.advice import advise
from feedback.audit.balance import measure_balance
from feedback.hashing import hex_key, stable_id
from feedback.stage import CANDIDATE_TYPES
from schemas.errors import AuditGateError, InputError
from schemas.report import StageReport

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


def on_ratio(up: int, down: int, **options: float) -> list[Advice]:
    config = AuditConfig(**options)
    metrics = measure_balance(table(up, down), config)
    return [item for item in advise(metrics, config, source="IN", raw="RAW") if item.metric == "label_ratio"]


def test_too_many_up_rows_can_be_left_out_or_weighed_against() -> None:
    """850 up, 150 down: 4/3 x 150 = 200 up stay and 650 go; lambda_U from 850 / 200 = 4.25 to 850 / 150 = 5.67."""
    fewer, weighted = on_ratio(850, 150)
    assert fewer.text == "Keep 200 of 850 up and all 150 down rows: R = 1.33. 650 rows are left out (65%)."
    assert fewer.command == "thumbline rebalance IN -o OUT --ratio 1:4/3"
    assert weighted.text.startswith("lambda_U = 4.25 brings R to 1.33, and any lambda_U from 4.25 to 5.67 is in range.")
    assert weighted.command == "thumbline rebalance IN -o OUT --ratio 1:4/3 --mode reweight"


def test_too_many_down_rows_the_other_way_round() -> None:
    """30 up, 100 down: 30 down stay; lambda_D from 100 / 30 = 3.33 to 4.44."""
    fewer, weighted = on_ratio(30, 100)
    assert fewer.text.startswith("Keep all 30 up and 30 of 100 down rows: R = 1.")
    assert weighted.text.startswith("lambda_D = 3.33 brings R to 1, and any lambda_D from 3.33 to 4.44 is in range.")


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


def test_report_of_a_later_version_is_refused() -> None:
    values = audit_candidates(table(3, 3)).to_dict() | {"schema_version": 2}
    with pytest.raises(InputError, match="it is of version 2"):
        AuditReport.from_json(json.dumps(values))
