"""Weights by a table in the config: by segment, by rater, by label; what fits nothing is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from align.artifacts.metrics import read_metrics
from align.config import WeightRule
from align.data.dataset import read_pairs, read_split
from align.data.weights import weigh_rows
from align.evaluate import evaluate
from align.trainer import train
from schemas.errors import ConfigError, InputError
from tests.tiny_run import tiny_config, write_dataset, write_model

pytestmark = pytest.mark.usefixtures("own_cache")

TABLE = pa.table(
    {
        "label": [True, False, True, False],
        "rater": [7, 7, None, 8],
        "segment": ["team", "team", "home", "home"],
        "weight": [1.0, 2.0, None, 0.5],
    }
)


def rule(column: str, value: str, weight: float, label: Any = "both") -> WeightRule:
    return WeightRule(column=column, value=value, weight=weight, label=label)


def weights(*rules: WeightRule, table: pa.Table = TABLE, must_fit: bool = True) -> list[float]:
    found: list[float] = weigh_rows(table, rules, where="here", must_fit=must_fit)["weight"].to_pylist()
    return found


def test_a_row_weighs_its_own_times_every_rule_that_fits() -> None:
    """team 3, of undesirable rows of rater 7 another 0.5: 1 x 3, 2 x 3 x 0.5, 1 where null, 0.5."""
    assert weights(rule("segment", "team", 3.0), rule("rater", "7", 0.5, "undesirable")) == [3.0, 3.0, 1.0, 0.5]
    assert weights(rule("segment", "home", 0.0, "desirable")) == [1.0, 2.0, 0.0, 0.5]
    assert weights(rule("segment", "team", 2.0), table=TABLE.drop_columns(["weight"])) == [2.0, 2.0, 1.0, 1.0]


def test_without_rules_the_table_is_left_alone() -> None:
    assert weigh_rows(TABLE, (), where="here", must_fit=True) is TABLE


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (rule("team", "a", 1.0), r"weights\[0\]: a rule names a column that the rows do not have: got 'team'"),
        (rule("segment", "Team", 1.0), r"a rule fits no row: got 'Team'; expected one of home, team"),
        (rule("rater", "8", 1.0, "desirable"), "a rule fits no row: got '8'"),
    ],
)
def test_a_rule_that_fits_no_row_to_train_on_is_refused(bad: WeightRule, message: str) -> None:
    with pytest.raises(InputError, match=message):
        weights(bad)
    assert weights(bad, must_fit=False) == [1.0, 2.0, 1.0, 0.5]


def test_pairs_have_no_label_and_lists_no_value() -> None:
    pairs = pa.table({"prompt": [["a"]], "segment": ["team"]})
    with pytest.raises(InputError, match="a rule names a label, and pairs have none"):
        weights(rule("segment", "team", 2.0, "desirable"), table=pairs)
    with pytest.raises(InputError, match="a column that holds no single values: got 'prompt'"):
        weights(rule("prompt", "a", 2.0), table=pairs)


def test_weights_below_0_and_texts_for_weights_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"config key 'weights\.0\.weight'"):
        tiny_config(weights=[{"column": "segment", "value": "team", "weight": -1.0}])
    with pytest.raises(InputError, match="column 'weight' is not a number: got 'string'"):
        weights(rule("segment", "team", 2.0), table=pa.table({"segment": ["team"], "weight": ["1"]}))


def test_a_dataset_is_read_with_the_weights_of_a_config(tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path / "data", segment=lambda place: "team" if place < 6 else "home")
    rules = (rule("segment", "team", 2.0, "undesirable"),)
    found = [(row.label, row.weight) for row in read_split(dataset, "train", rules)]
    assert found == [(place % 2 == 0, 2.0 if place < 6 and place % 2 else 1.0) for place in range(18)]
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text('{"prompt": "hello", "chosen": "yes", "rejected": "no", "rater": "r1"}\n')
    assert [row.weight for row in read_pairs(pairs, "train", (rule("rater", "r1", 0.25),))] == [0.25]


def test_a_run_trains_with_them_and_its_card_counts_them_into_r(tmp_path: Path) -> None:
    """9 and 9 rows, the undesirable ones of one segment of two thirds doubled: R = 9 / (6 x 2 + 3) = 0.6."""
    model = str(write_model(tmp_path / "model"))
    dataset = write_dataset(tmp_path / "data", segment=lambda place: "team" if place < 12 else "home")
    losses = {}
    for name, rules in (
        ("plain", []),
        ("weighted", [{"column": "segment", "value": "team", "label": "undesirable", "weight": 2.0}]),
        ("none", [{"column": "segment", "value": one, "weight": 0.5} for one in ("team", "home")]),
    ):
        config = tiny_config(weights=rules, max_steps=1, batch={"batch_size": 18}, optimizer={"learning_rate": 1e-4})
        card = train(config, dataset=dataset, model=model, out=tmp_path / name)
        losses[name] = next(line["loss"] for line in read_metrics(tmp_path / name) if line["kind"] == "step")
        if name == "weighted":
            assert card.ratio["value"] == pytest.approx(0.6)
            assert "Warning" in (tmp_path / name / "run_card.md").read_text("utf-8")
    assert losses["plain"] == pytest.approx(0.5)
    assert losses["weighted"] == pytest.approx(0.5 * (12 + 6 * 2) / 18)
    assert losses["none"] == pytest.approx(0.25)
    elsewhere = write_dataset(tmp_path / "elsewhere")
    assert evaluate(str(tmp_path / "weighted"), dataset=elsewhere)["rows"] == 8
