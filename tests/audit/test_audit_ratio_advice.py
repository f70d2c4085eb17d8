"""The advice on R tells the numbers that its command makes, once it is pasted."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import polars as pl
import pytest

from cli.main import run
from feedback.audit import Advice
from feedback.audit.sources import audit
from feedback.dataset.rows import read_curated
from feedback.pipeline import curate, default_config
from schemas.manifest import Manifest
from tests.audited_log import found, vote, write_log

pytestmark = pytest.mark.usefixtures("rater_key", "own_cache")


def log(folder: Path, up: int, down: int, *, torn: int = 0, repeated: int = 0) -> Path:
    """Votes for answers of their own; `torn` answers have two votes up and one down; the last lines stand twice."""
    rows = [vote(n, n < up, user=f"u{n}") for n in range(up + down)]
    rows += [vote(1000 + n, rater < 2, user=f"t{n}-{rater}") for n in range(torn) for rater in range(3)]
    return write_log(folder, rows + rows[len(rows) - repeated :])


def dataset(folder: Path, path: Path, policy: str) -> Path:
    made = (f"conflicts.policy={policy}", "rebalance.mode=off", "split.test_fraction=0.0", "caps.max_rater_share=1.0")
    return curate(default_config([path], "thumbs", overrides=made), folder / "made").folder


def pasted(advice: Advice, out: Path) -> pl.DataFrame:
    """The rows that the advised command makes."""
    command = shlex.split(advice.command or "")
    assert run([str(out) if part == "OUT" else part for part in command[1:]]) == 0, advice.command
    return read_curated(out, Manifest.read(out))


def by_label(rows: pl.DataFrame) -> tuple[int, int, float]:
    """Rows that are up and down, and R by weight."""
    up, down = rows.filter("label"), rows.filter(~pl.col("label"))
    return up.height, down.height, float(up["weight"].sum()) / float(down["weight"].sum())


@pytest.mark.parametrize("kind", ["repeated", "soft", "plain"])
def test_the_command_makes_the_numbers_that_the_advice_tells(tmp_path: Path, kind: str) -> None:
    """Whole rows, the lambda and the tenth of the desirable rows: of each the rows that stay, R and the weight."""
    if kind == "repeated":
        report = audit([log(tmp_path, 60, 20, repeated=9)], source_format="thumbs")
    else:
        path = log(tmp_path, 60, 20, torn=12 if kind == "soft" else 0)
        report = audit([dataset(tmp_path, path, "soft" if kind == "soft" else "majority")])
    fewer, weighted, tenth = [
        item for item in report.advice if item.metric in ("label_ratio", "discardable_desirables")
    ]
    kept = re.match(
        r"Keep (?:all )?(\d+)(?: of \d+)? up and (?:all )?(\d+)(?: of \d+)? down rows: R = ([\d.]+\d)", fewer.text
    )
    assert kept is not None
    up, down, ratio = by_label(pasted(fewer, tmp_path / "fewer"))
    assert (str(up), str(down), f"{ratio:.2f}".rstrip("0").rstrip(".")) == kept.groups()
    every = pasted(weighted, tmp_path / "weighted")
    taken = re.search(r"takes the least, ([\d.]+\d)|^lambda_U = ([\d.]*\d)", weighted.text)
    taken = re.search(r"takes the least, ([\d.]+\d)", weighted.text) or taken
    assert taken is not None
    assert every.filter(~pl.col("label"))["weight"].max() == pytest.approx(float(taken[1] or taken[2]), rel=1e-6)
    assert by_label(every)[2] == pytest.approx(4 / 3, rel=1e-5)
    told = re.search(r"with (\d+) up and (\d+) down rows", tenth.text)
    assert told is not None
    assert tuple(map(str, by_label(pasted(tenth, tmp_path / "tenth"))[:2])) == told.groups()


def test_records_read_again_that_alone_break_the_range_are_read_once(tmp_path: Path) -> None:
    """50 up and 40 down have R = 1.25; with the last 20 of those down twice it is 50 / 60 = 0.83."""
    report = audit([log(tmp_path, 50, 40, repeated=20)], source_format="thumbs")
    assert found(report, "label_ratio").value == pytest.approx(50 / 60)
    (advice,) = (item for item in report.advice if item.metric == "label_ratio")
    assert advice.title == "Read every record once"
    assert advice.text.startswith("Without the 20 records read again, 50 up and 40 down rows have R = 1.25")
    assert by_label(pasted(advice, tmp_path / "out")) == (50, 40, 1.25)
