"""`--redact` makes texts alike: then they are one prompt on one side of the split, and one answer of one label."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from feedback.audit.sources import audit
from feedback.config import ExportConfig, RebalanceConfig
from feedback.dataset.pairs import read_curated_pairs
from feedback.dataset.rows import read_curated
from feedback.engine import read_rows
from feedback.pipeline import CurateResult, curate, default_config, rebalance_dataset
from feedback.pipeline.order import Stages
from schemas.errors import UsageError
from schemas.manifest import Manifest
from tests.feedback_log import log_config, pairs, story, votes

KEYS = ["row_id", "label", "prompt_hash", "completion_hash", "prompt_key", "completion_key"]


def address(number: int) -> str:
    return f"user{number}@example{number}.com"


def curated(folder: Path, rows: list[dict[str, Any]], *overrides: str, source: str = "thumbs") -> CurateResult:
    path = folder / f"{source}.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    wanted = ["export.redact=true", "rebalance.mode=off", "split.test_fraction=0.3", *overrides]
    return curate(default_config([path], source, overrides=wanted), folder / "out")


def rows_of(result: CurateResult) -> pl.DataFrame:
    """The rows of a dataset, with the words of prompt and completion."""
    shards = pl.concat([pl.read_parquet(result.folder / shard.path) for shard in result.manifest.shards])
    said = {name: pl.col(name).list.last().struct.field("content") for name in ("prompt", "completion")}
    return shards.with_columns(**said)


def dropped(result: CurateResult, stage: str) -> dict[str, int]:
    return dict(next(one for one in result.manifest.stages if one.stage == stage).dropped)


def letters(count: int = 90) -> list[dict[str, Any]]:
    """Thirty letters to three people each, by address; every answer is another one."""
    return [
        {
            "prompt": f"Please write about {story(n % 30, 3)} to {address(n)}",
            "completion": story(f"a{n}", 30),
            "label": "down" if n % 3 == 1 else "up",
            "user": f"u{n}",
        }
        for n in range(count)
    ]


@pytest.mark.parametrize("match", ["near", "normalized", "exact", "off"])
def test_prompts_that_differ_by_an_address_are_on_one_side_of_the_split(tmp_path: Path, match: str) -> None:
    result = curated(tmp_path, letters(), f"dedup.match={match}")
    rows = rows_of(result)
    sides = rows.group_by("prompt").agg(pl.col("split").n_unique(), rows=pl.len())
    assert sides["rows"].to_list() == [3] * 30
    assert sides["split"].to_list() == [1] * 30
    assert set(rows["split"]) == {"train", "test"}
    report = audit([result.folder])
    assert {metric.name: metric.severity for metric in report.metrics}["leakage"] == "ok"


def answers() -> list[dict[str, Any]]:
    """Forty answers that are nothing but themselves, and to one prompt each two that differ by an address only."""
    rows = [
        {"prompt": story(f"q{n}", 12), "completion": story(f"a{n}", 30), "label": "down" if n % 3 else "up"}
        for n in range(40)
    ]
    for n in range(20):
        for one in range(2):
            label = "down" if n >= 10 and one else "up"
            said = {"prompt": story(f"p{n}", 12), "completion": f"Ask {address(100 * n + one)}", "label": label}
            rows.append(said)
    return [row | {"user": f"u{n}"} for n, row in enumerate(rows)]


@pytest.mark.parametrize("match", ["near", "normalized", "exact"])
def test_answers_that_differ_by_an_address_are_merged_or_contradict_each_other(tmp_path: Path, match: str) -> None:
    """Ten are up twice, from two raters, and stay once with both votes; ten are up and down, and nobody decides."""
    result = curated(tmp_path, answers(), f"dedup.match={match}")
    assert dropped(result, "dedup") == {"exact_duplicate": 10}
    assert dropped(result, "conflicts") == {"contested": 20}
    asked = rows_of(result).filter(completion="Ask [EMAIL]")
    assert (asked.height, set(asked["n_up"]), set(asked["n_down"])) == (10, {2}, {0})
    metrics = {metric.name: metric for metric in audit([result.folder]).metrics}
    assert (metrics["contradictions"].value, metrics["exact_duplicates"].value) == (0, 0)


def test_without_redaction_they_are_as_many_answers(tmp_path: Path) -> None:
    result = curated(tmp_path, answers(), "dedup.match=exact", "export.redact=false")
    assert dropped(result, "dedup") == dropped(result, "conflicts") == {}
    note = "Prompts and answers were compared without personal data"
    assert not any(note in one for stage in result.manifest.stages for one in stage.notes)


def test_reports_say_that_texts_were_compared_without_personal_data(tmp_path: Path) -> None:
    stages = {one.stage: one for one in curated(tmp_path, answers()).manifest.stages}
    assert stages["dedup"].notes[0] == (
        "Prompts and answers were compared without personal data: what redaction makes alike is the same here."
    )


def test_a_pair_whose_answers_redaction_makes_alike_is_broken_and_leaves_no_row(tmp_path: Path) -> None:
    rows = [{"prompt": story(n, 12), "chosen": story(f"c{n}", 20), "rejected": story(f"r{n}", 20)} for n in range(20)]
    rows += [
        {"prompt": story(f"who {n}", 12), "chosen": f"Ask {address(n)}", "rejected": f"Ask {address(n + 9)}"}
        for n in range(3)
    ]
    result = curated(tmp_path, rows, source="trl")
    assert result.manifest.pairs is not None
    assert dict(result.manifest.pairs.dropped) == {"broken_pair": 3}
    assert dropped(result, "conflicts") == {"too_few_raters": 6}
    place = result.folder / "preference"
    assert read_curated_pairs(place, Manifest.read(place)).height == 20


def personal(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows with an address in most texts, some as conversations."""
    found = []
    for n, row in enumerate(rows):
        said = {
            name: f"{text} {address(n % 7)}" if n % 3 else text
            for name, text in row.items()
            if name in ("prompt", "completion", "chosen", "rejected")
        }
        if n % 4 == 0:
            turns = [("system", f"You are {address(n)}."), ("user", said["prompt"])]
            said["prompt"] = [{"role": role, "content": content} for role, content in turns]
        found.append(row | said)
    return found


def test_stages_decide_by_the_keys_that_the_exported_texts_have(tmp_path: Path) -> None:
    """Of votes and pairs, of single turns and conversations: read from its shards, each row has the same keys."""
    log = {"thumbs": personal(votes()[:-4]), "trl": personal(pairs())}
    overrides = ("export.redact=true", "conflicts.policy=off")
    result = curate(log_config(tmp_path / "in", overrides=overrides, **log), tmp_path / "out")
    kept = sorted((result.folder / "stages" / "rebalance").glob("kept-*"))
    decided = pl.concat([read_rows(path).select(KEYS) for path in kept]).sort("row_id")
    read = read_curated(result.folder, result.manifest).select(KEYS).sort("row_id")
    assert decided.height > 100
    assert decided.equals(read)


def test_a_run_that_breaks_off_does_not_redact_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = {"thumbs": personal(votes()[:-4]), "trl": personal(pairs())}
    config = log_config(tmp_path / "in", overrides=("export.redact=true",), **log)
    whole = curate(config, tmp_path / "whole")

    def broken(*_: object) -> None:
        raise KeyboardInterrupt

    def refused(*_: object) -> None:
        pytest.fail("the texts are read again")

    with monkeypatch.context() as patched:
        patched.setattr(Stages, "_clusters", broken)
        with pytest.raises(KeyboardInterrupt):
            curate(config, tmp_path / "out")
    monkeypatch.setattr("feedback.export.redaction.redact_in_turn", refused)
    assert curate(config, tmp_path / "out").manifest.digest == whole.manifest.digest


def test_a_finished_dataset_is_not_redacted_late(tmp_path: Path) -> None:
    """Its splits were decided on other texts; what was redacted when it was made may be redacted again."""
    kept = RebalanceConfig(mode="off")
    plain = curated(tmp_path, letters(), "export.redact=false").folder.rename(tmp_path / "plain")
    with pytest.raises(UsageError, match="personal data cannot be taken out of a finished dataset"):
        rebalance_dataset([plain], tmp_path / "late", kept, export_config=ExportConfig(redact=True))
    assert not (tmp_path / "late").exists()
    redacted = curated(tmp_path, letters())
    again = rebalance_dataset([redacted.folder], tmp_path / "again", kept, export_config=ExportConfig(redact=True))
    assert rows_of(again)["prompt"].sort().equals(rows_of(redacted)["prompt"].sort())
