"""The page on objectives is true: tables are the code's and the measurement's, and its training commands run."""

from __future__ import annotations

import dataclasses
import json
import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from align.batches.inputs import tokenize_split
from align.config import ObjectiveConfig, TokenConfig
from align.data.dataset import read_split
from align.models.loading import load_tokenizer
from align.objectives import OBJECTIVES
from align.objectives.table import markdown_table
from align.objectives.values import VALUES
from bench.objectives import VARIANTS, cost_note, cost_table, measure_costs, write_rows
from cli.main import thumbline
from tests.tiny_run import write_model

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "objectives.md").read_text("utf-8")
RESULT = json.loads((ROOT / "bench" / "results" / "objectives.json").read_text("utf-8"))


def block(name: str) -> str:
    return PAGE.partition(f"<!-- {name} -->\n")[2].partition("<!-- end -->")[0]


def test_the_table_of_objectives_is_the_codes() -> None:
    """Where it fails, `markdown_table()` of `align.objectives.table` has the new text."""
    assert block("objectives") == markdown_table()


def test_costs_are_those_that_were_measured() -> None:
    """Where it fails, `cost_table()` and `cost_note()` of `bench.objectives` have the new text."""
    assert block("cost") == cost_table(RESULT)
    assert block("how") == cost_note(RESULT)
    assert {row["name"] for row in RESULT["table"]} == set(VARIANTS)
    measured = {name for name, objective in OBJECTIVES.items() if not objective.is_online}  # it depends on the answers
    assert {objective["name"] for objective in VARIANTS.values()} == measured


def test_every_objective_and_each_of_its_settings_is_on_the_page() -> None:
    sections = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## )", PAGE, re.MULTILINE | re.DOTALL))
    fields = {field.name for field in dataclasses.fields(ObjectiveConfig)}
    for name, objective in OBJECTIVES.items():
        assert objective.settings <= fields
        missing = [setting for setting in objective.settings if f"`{setting}`" not in sections[name]]
        assert missing == [], name
    assert [value for value in VALUES if f"| `{value}` |" not in PAGE] == []


def test_the_picture_of_theorem_4_3_has_a_text_alternative() -> None:
    found = re.search(r"!\[(.{100,})\]\(theorem-4-3\.svg\)", PAGE)
    assert found is not None
    assert (ROOT / "docs" / "theorem-4-3.svg").read_text("utf-8").startswith("<svg ")


@pytest.mark.usefixtures("own_cache")
def test_training_commands_of_the_page_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a model of a few thousand weights in the place of the built-in one, on a few rows: each objective once."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sample_data").symlink_to(ROOT / "sample_data")
    model = str(write_model(tmp_path / "model", max_position_embeddings=2048))
    lines = re.findall(r"^(?:\$ )?thumbline ((?:train|convert|curate) .+)$", PAGE, re.MULTILINE)
    trained = set()
    for line in lines:
        words = [model if word == "$M" else word for word in shlex.split(line)]
        result = CliRunner().invoke(thumbline, words, catch_exceptions=False)
        assert result.exit_code == 0, f"{words}\n{result.output}"
        if words[0] == "convert":  # a step of each objective is enough
            written = Path(words[words.index("-o") + 1])
            written.write_text("".join(written.read_text("utf-8").splitlines(keepends=True)[:12]), "utf-8")
        elif words[0] == "train":
            trained.add(words[words.index("--objective") + 1])
    assert trained == set(OBJECTIVES)


@pytest.mark.usefixtures("own_cache")
def test_costs_are_counted_in_passes(tmp_path: Path) -> None:
    """Of sequences of one length: KTO 8 operations to SFT's 6, pairs 12; a reference pass 2, of KL partners 2 more.

    Two answers to one prompt in a pass compute it once, which is a share of one sequence less; reward models do not.
    """
    model = write_model(tmp_path / "model")
    write_rows(tmp_path, 4)
    rows = tokenize_split(read_split(tmp_path / "labels.jsonl", "train"), load_tokenizer(model), TokenConfig()).rows
    prompts = sum(len(row.prompt_ids) for row in rows)
    both = 2 - prompts / (prompts + sum(len(row.completion_ids) for row in rows))
    assert 1.7 < both < 1.9
    table = {row["name"]: row for row in measure_costs(str(model), tmp_path, batch=2, steps=2, rounds=1)}
    found = {name: (row["operations_times_sft"], row["reference_operations_times_sft"]) for name, row in table.items()}
    assert found["kto"] == pytest.approx((8 / 6, both * 2 / 6), abs=0.02)
    assert found["kto, `z0_scope = none`"] == pytest.approx((1, 2 / 6), abs=0.02)
    assert found["kto, `reference = uniform`"] == pytest.approx((8 / 6, 0), abs=0.02)
    assert found["dpo"] == pytest.approx((both, both * 2 / 6), abs=0.04)
    assert found["orpo"] == pytest.approx((both, 0), abs=0.04)
    assert found["offline_ppo"] == pytest.approx((10 / 6, 0), abs=0.02)
    assert found["reward_model"] == pytest.approx((2, 0), abs=0.04)
    assert all(row["seconds"] > 0 for row in table.values())
