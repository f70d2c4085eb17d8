"""One rater with ten thousand thumbs among two hundred raters: at the cap in the curated set, and it is said."""

from __future__ import annotations

import json
import random
from pathlib import Path

import polars as pl
import pytest

from feedback.audit.waterfall import tabulate_waterfall
from feedback.engine import read_arrow
from feedback.hashing import hex_key
from feedback.ingest.rater_key import ENVIRONMENT_VARIABLE, rater_key
from feedback.pipeline import CurateResult, curate, default_config

KEY = "a key that is for tests only"
CAP = 0.1


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, KEY)


def curated(folder: Path, thumbs: int, of_others: int, up: float, *overrides: str) -> CurateResult:
    """A run over `thumbs` votes of one rater, a share `up` of them up, and `of_others` votes of two hundred others."""
    chance = random.Random(0)
    rows = [("brigade", chance.random() < up) for _ in range(thumbs)]
    rows += [(f"u{n % 200}", chance.random() < 0.7) for n in range(of_others)]
    chance.shuffle(rows)
    lines = (
        json.dumps(
            {
                "prompt": f"q {n} {n * 7}",
                "completion": f"a {n} {n * 3}",
                "label": "up" if is_up else "down",
                "user": who,
            }
        )
        for n, (who, is_up) in enumerate(rows)
    )
    (folder / "in.jsonl").write_text("".join(f"{line}\n" for line in lines))
    return curate(default_config([folder / "in.jsonl"], "thumbs", overrides=overrides), folder / "out")


def shares(result: CurateResult) -> dict[bool, float]:
    """Of the curated rows of each label, the share of the one rater."""
    files = (result.folder / "stages" / "rebalance").glob("kept-*.arrow")
    rows = pl.concat([read_arrow(path, ["label", "rater_key"]) for path in files])
    one = pl.col("rater_key") == pl.lit(hex_key(rater_key("brigade", KEY.encode())), dtype=pl.UInt64)
    return dict(rows.group_by("label").agg(one.fill_null(value=False).mean()).iter_rows())


def holds(result: CurateResult, thumbs: int, labels: set[bool]) -> None:
    """The rater is at the cap in the labels that they flooded and nowhere above, and the waterfall says so."""
    found = shares(result)
    for label in (True, False):
        assert found[label] <= CAP
        assert not labels & {label} or found[label] > CAP - 0.01
    caps = next(report for report in result.manifest.stages if report.stage == "caps")
    left_out = caps.dropped["rater_cap"]
    assert thumbs * 0.5 < left_out < thumbs
    assert caps.rows_in - caps.rows_kept == left_out
    told = [note for note in caps.notes if "at most 10.0%" in note]
    assert len(told) == len(labels)
    assert all("of one rater left out" in note for note in told)
    (_, dropped) = tabulate_waterfall(result.manifest.stages)
    assert ("caps", "rater_cap", left_out) in {row[:3] for row in dropped.rows}
    assert "brigade" not in result.manifest.to_json()


@pytest.mark.parametrize(("up", "labels"), [(1.0, {True}), (0.0, {False}), (0.5, {True, False})])
def test_one_rater_among_two_hundred_is_held_to_the_cap(tmp_path: Path, up: float, labels: set[bool]) -> None:
    holds(curated(tmp_path, 10_000, 10_000, up), 10_000, labels)


@pytest.mark.parametrize("mode", ["downsample", "reweight", "both"])
def test_the_cap_holds_in_every_mode_and_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
    monkeypatch.setattr("feedback.pipeline.partitions._ROWS_A_PARTITION", 600)
    holds(curated(tmp_path, 2_000, 3_000, 0.5, f"rebalance.mode={mode}"), 2_000, {True, False})


def test_without_the_cap_the_rater_is_most_of_it(tmp_path: Path) -> None:
    """What the cap is for: two fifths of the votes are two fifths of the dataset."""
    result = curated(tmp_path, 2_000, 3_000, 0.5, "caps.max_rater_share=1.0")
    assert min(shares(result).values()) > 0.25
