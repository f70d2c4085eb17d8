"""`rebalance --explain`: the arithmetic with its numbers, the exact rows left out, and nothing written unless asked."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from rich.console import Console

from cli.explanation import explanation_page
from cli.main import run
from feedback.config import RebalanceConfig
from feedback.rebalance import rebalance
from feedback.rebalance.explain import RebalanceExplanation, explain_rebalance, write_dropped
from feedback.stage import write_stage
from schemas.errors import InputError, InputNotFoundError, OutputExistsError
from schemas.manifest import Manifest
from tests.feedback_tables import candidate, table


@pytest.fixture
def votes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """40 up and 9 down, and an empty folder to work in."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("THUMBLINE_RATER_KEY", "0" * 64)
    monkeypatch.setenv("COLUMNS", "80")
    path = tmp_path / "votes.jsonl"
    lines = [
        {"prompt": f"question {n}", "completion": f"answer {n}", "label": "up" if n < 40 else "down", "user": f"u{n}"}
        for n in range(49)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    return path


def call(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    capsys.readouterr()
    code = run([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def explained(folder: Path, *, up: int, down: int, weight: float = 1.0, **config: Any) -> RebalanceExplanation:
    """The explanation of a dataset of which only the stage `rebalance` and the manifest are there."""
    rows = [candidate(f"u{n}", weight=weight, split="train", source=f"s{n % 4}") for n in range(up)]
    rows += [candidate(f"d{n}", label=False, split="train", source="s0") for n in range(down)]
    result = rebalance(table(*rows), RebalanceConfig(**config))
    write_stage(result, folder / "stages" / "rebalance")
    Manifest("0" * 32, "unpaired_preference", "0", (), (result.report,), ()).write(folder)
    return explain_rebalance(folder)


def test_explain_alone_prints_the_arithmetic_and_writes_nothing(
    votes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = call(capsys, "rebalance", votes, "--from", "thumbs", "--explain")
    assert code == 0
    for line in (
        "In the train split: 40 desirable and 9 undesirable rows.",
        "R before = 1 x 40 / (1 x 9) = 4.4444, wanted in [1, 4/3].",
        "  k = floor(high x lambda_U x n_U / lambda_D)",
        "    = floor(4/3 x 1 x 9 / 1)",
        "    = 12",
        "Out: 12 desirable and 9 undesirable rows.",
        "R after = 1 x 12 / (1 x 9) = 1.3333.",
        "Rows left out: 28 (28 downsampled); the first 10 by id:",
        "No dataset was written; -o FOLDER makes it.",
    ):
        assert line in out.split("\n")
    assert max(len(line) for line in out.split("\n")) <= 80
    assert [path.name for path in votes.parent.iterdir()] == ["votes.jsonl"]


def test_the_rows_that_explain_names_are_those_that_are_dropped(
    votes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = ("rebalance", votes, "--from", "thumbs", "--seed", "4", "--explain", "--json")
    trial = json.loads(call(capsys, *common, "--dropped", "left_out.csv")[1])
    done = json.loads(call(capsys, *common, "-o", "even")[1])
    tables = [pl.read_parquet(path) for path in done["dropped_in"]]
    dropped = sorted(row_id for one in tables for row_id in one["row_id"])
    assert trial["explanation"] == done["explanation"]
    assert (trial["dropped_in"], "manifest" in trial) == (["left_out.csv"], False)
    assert trial["explanation"]["dropped"] == {"downsampled": dropped}
    assert pl.read_csv("left_out.csv")["row_id"].to_list() == dropped
    assert done["manifest"]["stages"][-2]["rows_kept"] == 49 - len(dropped) == 21
    assert done["explanation"]["figures"]["after"]["ratio"] == pytest.approx(4 / 3)


def test_a_dataset_is_explained_and_shown_when_it_is_made(votes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(capsys, "rebalance", votes, "--from", "thumbs", "--explain", "-o", "even")
    assert code == 0
    assert "  even/stages/rebalance/dropped-00000.parquet" in out.split("\n")
    assert "R of train" in out
    code, out, _ = call(capsys, "rebalance", "even", "--explain", "--ratio", "1")
    assert "R before = 1 x 12 / (1 x 9) = 1.3333, wanted at least 1 and less" in out
    assert "Rows left out: 3 (3 downsampled); all of them:" in out


def test_two_runs_write_the_same_bytes(votes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    digests = []
    for name in ("one", "two"):
        assert call(capsys, "rebalance", votes, "--from", "thumbs", "--strata", "source,week", "-o", name)[0] == 0
        files = sorted(path for path in Path(name).rglob("*") if path.is_file())
        digests.append([(str(path.relative_to(name)), hashlib.sha256(path.read_bytes()).hexdigest()) for path in files])
    assert digests[0] == digests[1]
    assert any(name.startswith("data/train") for name, _ in digests[0])


def test_a_range_below_one_is_asked_for_on_the_command_line(votes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = call(capsys, "rebalance", votes, "--from", "thumbs", "--explain", "--ratio", "0.5:0.8")
    assert code == 2
    assert "--allow-below-one" in err
    code, out, _ = call(
        capsys, "rebalance", votes, "--from", "thumbs", "--explain", "--ratio", "0.5:0.8", "--allow-below-one"
    )
    assert code == 0
    assert "R after = 1 x 7 / (1 x 9) = 0.7778." in out


@pytest.mark.parametrize(
    ("options", "message"),
    [((), "Missing option '-o'"), (("-o", "x", "--dropped", "d.csv"), "--dropped goes with --explain")],
)
def test_a_call_that_says_not_what_to_do_is_refused(
    votes: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], message: str
) -> None:
    code, _, err = call(capsys, "rebalance", votes, "--from", "thumbs", *options)
    assert (code, message in err) == (2, True)


def test_every_step_has_its_numbers(tmp_path: Path) -> None:
    """400 up to 200 by share; 200 to 100, as half must stay; 100 / (4/3 * 30) = 2.5 for the weight."""
    explanation = explained(tmp_path, up=400, down=30, mode="both", keep_desirable_share=0.5)
    assert explanation.steps == (
        "In the train split: 400 desirable and 30 undesirable rows.",
        "R before = 1 x 400 / (1 x 30) = 13.3333, wanted in [1, 4/3].",
        "The share of desirable rows to keep:",
        "  ceil(keep_desirable_share x rows) = ceil(1/2 x 400) = 200",
        "R then = 1 x 200 / (1 x 30) = 6.6667.",
        "R is above the range.",
        "Rows that stay of the 200 desirable ones, k:",
        "  k = max(floor(high x lambda_U x n_U / lambda_D), ceil(min_keep_share x rows))",
        "    = max(floor(4/3 x 1 x 30 / 1), ceil(1/2 x 200))",
        "    = 100",
        (
            "Each stratum (source) keeps 100 / 200 = 50.00% of them, rounded down or up so that the sum is k; which "
            "ones, a hash of the row's id and the seed 0 decides."
        ),
        "The weight of undesirable rows:",
        "  lambda_U = lambda_D x n_D / (high x n_U)",
        "    = 1 x 100 / (4/3 x 30) = 2.500000",
        "Out: 100 desirable and 30 undesirable rows.",
        "R after = 1 x 100 / (2.5 x 30) = 1.3333.",
    )
    assert [(one.name, one.rows, one.share, one.kept) for one in explanation.strata[:4]] == [
        (f"s{n}", 100, 25.0, 25) for n in range(4)
    ]


def test_the_other_side_and_one_row_for_each_prompt_have_their_formulas(tmp_path: Path) -> None:
    steps = explained(tmp_path, up=30, down=100, low=1.2, high=1.5, one_per_prompt=True).steps
    assert "One row for each prompt: 0 desirable and 0 undesirable rows left out." in steps
    assert "  k = floor(lambda_D x n_D / (low x lambda_U))" in steps
    assert "    = floor(1 x 30 / (6/5 x 1))" in steps
    assert "    = 25" in steps
    steps = explained(tmp_path, up=30, down=100, mode="reweight", low=1.2, high=1.5).steps
    assert "    = 6/5 x 1 x 100 / 30 = 4.000000" in steps


def test_rows_with_a_weight_of_their_own_are_counted_by_it(tmp_path: Path) -> None:
    """300 up that weigh 1/2 are 150; 4/3 * 90 = 120 is the weight of 240."""
    steps = explained(tmp_path, up=300, down=90, weight=0.5).steps
    assert steps[0] == "In the train split: 300 desirable that weigh 150 and 90 undesirable rows."
    assert "    -> 240 rows" in steps
    assert steps[-1] == "R after = 1 x 120 / (1 x 90) = 1.3333."


def test_nothing_to_do_is_said_to_be_so(tmp_path: Path) -> None:
    explanation = explained(tmp_path, up=10, down=10)
    assert "R is where it is wanted: no row is left out and no weight is raised." in explanation.steps
    assert explanation_page(explanation, [])[-1] == "No row is left out."
    assert "The mode is off: nothing is done about R." in explained(tmp_path, up=10, down=3, mode="off").steps


def test_the_page_shows_the_largest_strata_in_80_columns(tmp_path: Path) -> None:
    explanation = explained(tmp_path, up=400, down=30, strata=("cluster", "source"))
    console = Console(width=80, file=io.StringIO(), record=True)
    for part in explanation_page(explanation, []):
        console.print(part)
    text = console.export_text()
    assert "410 smaller strata are not shown." in text
    assert max(len(line) for line in text.split("\n")) <= 80


def test_the_rows_left_out_go_into_a_file_that_is_not_there(tmp_path: Path) -> None:
    explanation = explained(tmp_path, up=40, down=9)
    for name in ("a.jsonl", "a.csv", "a.parquet"):
        write_dropped(explanation, tmp_path / name)
        with pytest.raises(OutputExistsError, match="the file is there already"):
            write_dropped(explanation, tmp_path / name)
        write_dropped(explanation, tmp_path / name, overwrite=True)
    assert pl.read_parquet(tmp_path / "a.parquet").equals(explanation.dropped)
    assert pl.read_ndjson(tmp_path / "a.jsonl").equals(explanation.dropped)
    with pytest.raises(InputError, match=r"expected a name that ends in .parquet, .csv, .jsonl"):
        write_dropped(explanation, tmp_path / "a.txt")


def test_a_folder_without_a_dataset_or_without_strata_cannot_be_explained(tmp_path: Path) -> None:
    with pytest.raises(InputNotFoundError):
        explain_rebalance(tmp_path)
    explained(tmp_path, up=40, down=9)
    path = tmp_path / "manifest.json"
    path.write_text(path.read_text("utf-8").replace('"strata": {', '"older": {'), "utf-8")
    with pytest.raises(InputError, match="does not say how it was rebalanced"):
        explain_rebalance(tmp_path)
