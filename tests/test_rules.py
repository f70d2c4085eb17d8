"""The value rules: one statement of each, which the stages and pandera read alike."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.datasets import UNPAIRED_PREFERENCE
from schemas.errors import ShapeError
from schemas.events import FEEDBACK_EVENT
from schemas.messages import ROLES
from schemas.pairs import PREFERENCE_PAIR
from schemas.reasons import RejectReason
from schemas.rules import (
    FeedbackEventRules,
    PreferencePairRules,
    Rules,
    UnpairedPreferenceRules,
    as_pandera,
    violations,
)

ROOT = Path(__file__).parents[1]
SCHEMAS = {
    "FeedbackEventRules": FEEDBACK_EVENT,
    "PreferencePairRules": PREFERENCE_PAIR,
    "UnpairedPreferenceRules": UNPAIRED_PREFERENCE,
}
ALL = [FeedbackEventRules, PreferencePairRules, UnpairedPreferenceRules]

words = st.sampled_from(["", " ", "\n\u3000", "a", " b "])
turns = st.lists(st.fixed_dictionaries({"role": st.sampled_from([*ROLES, "narrator"]), "content": words}), max_size=3)
asked = st.one_of(st.just([{"role": "user", "content": "a"}]), turns)
answered = st.one_of(st.just([{"role": "assistant", "content": "b"}]), turns)
ids = st.sampled_from(["0" * 32, "f" * 32, "F" * 32, "0" * 31, "0" * 32 + "\n", None])
names = st.sampled_from(["create", "exact", "end_user", "a", "train", "test", "b", "", None])
times = st.sampled_from([None, 0, 631_152_000_000_000, 1_750_000_000_000_000, 4_102_444_800_000_001])
VALUES = {
    **dict.fromkeys(("event_id", "pair_id", "row_id"), ids),
    **dict.fromkeys(("source", "op", "ts_quality", "rater_kind", "outcome", "split"), names),
    **dict.fromkeys(("response_a_hash", "response_b_hash"), st.sampled_from(["x", "y"])),
    **dict.fromkeys(("event_ts", "updated_ts"), times),
    **dict.fromkeys(("n_up", "n_down"), st.sampled_from([-1, 0, 3, None])),
    **dict.fromkeys(("completion", "response_a", "response_b"), answered),
    "prompt": asked,
    "label": st.sampled_from([True, False, None]),
    "weight": st.sampled_from([0.5, 0.0, -1.0, float("nan"), float("inf"), None]),
}


def table_of(rules: Rules, rows: list[dict[str, Any]]) -> pl.DataFrame:
    kinds = {field.name: field.type for field in SCHEMAS[rules.name]}
    schema = pa.schema([(name, kinds[name]) for name in rules.types])
    return pl.DataFrame(pa.Table.from_pylist(rows, schema=schema))


def refused_by_pandera(frame: pl.DataFrame, rules: Rules) -> set[int]:
    from pandera.errors import SchemaErrors

    try:
        as_pandera(rules).validate(frame, lazy=True)
    except SchemaErrors as error:
        return set(error.failure_cases["index"].to_list())
    return set()


@pytest.mark.parametrize("rules", ALL, ids=lambda rules: rules.name)
def test_the_stages_and_pandera_refuse_the_same_rows(rules: Rules) -> None:
    """On rows of all kinds of faults, and on the same rows again, whose ids are then there twice."""
    row = st.fixed_dictionaries({name: VALUES[name] for name in rules.types})

    @settings(max_examples=40, deadline=None)
    @given(st.lists(row, min_size=1, max_size=6))
    def agree(rows: list[dict[str, Any]]) -> None:
        frame = table_of(rules, rows)
        assert {one.row for one in violations(frame, rules)} == refused_by_pandera(frame, rules)

    agree()


GOOD: dict[str, Any] = {
    "row_id": "0" * 32,
    "prompt": [{"role": "user", "content": "a"}],
    "completion": [{"role": "assistant", "content": "b"}],
    "label": True,
    "weight": 1.0,
    "n_up": 1,
    "n_down": 0,
    "split": "train",
}


@pytest.mark.parametrize(
    ("changes", "detail"),
    [
        ({"row_id": "0" * 32 + "\n"}, "row_id: 32 hex digits"),
        ({"label": None}, "label: not null"),
        ({"weight": float("nan")}, "weight: a number greater than 0"),
        ({"weight": float("inf")}, "weight: a number greater than 0"),
        ({"n_up": -1}, "n_up: at least 0"),
        ({"split": "dev"}, "split: one of train, test"),
        ({"split": None}, "split: one of train, test"),
    ],
)
def test_a_value_that_is_not_right_is_named_with_what_it_should_be(changes: dict[str, Any], detail: str) -> None:
    frame = table_of(UnpairedPreferenceRules, [{**GOOD, "row_id": "1" * 32}, GOOD | changes])
    (found,) = violations(frame, UnpairedPreferenceRules)
    assert (found.row, found.reason, found.detail) == (1, RejectReason.RULE_VIOLATION, detail)


def test_of_several_broken_rules_the_first_reason_counts() -> None:
    broken = GOOD | {"prompt": [], "completion": [{"role": "user", "content": " "}], "weight": 0.0}
    (found,) = violations(table_of(UnpairedPreferenceRules, [broken]), UnpairedPreferenceRules)
    assert found.reason == RejectReason.EMPTY_PROMPT


def test_rows_with_the_same_id_are_refused_all() -> None:
    frame = table_of(UnpairedPreferenceRules, [GOOD, {**GOOD, "row_id": "1" * 32}, GOOD])
    found = violations(frame, UnpairedPreferenceRules)
    assert [(one.row, one.detail) for one in found] == [(row, "row_id: no two rows have the same") for row in (0, 2)]


def test_a_column_of_another_type_is_no_rows_fault() -> None:
    frame = table_of(UnpairedPreferenceRules, [GOOD]).with_columns(pl.col("weight").cast(pl.String))
    with pytest.raises(ShapeError, match=r"column 'weight' has another type.*got 'String'; expected Float64"):
        violations(frame, UnpairedPreferenceRules)


@pytest.mark.parametrize("rules", ALL, ids=lambda rules: rules.name)
def test_no_rows_break_no_rules(rules: Rules) -> None:
    assert violations(table_of(rules, []), rules) == []


def test_the_rules_load_without_pandera() -> None:
    program = "import sys, schemas.rules; print(sorted({'pandera', 'pandas'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
