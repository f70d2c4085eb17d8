"""Order, files, blocks, workers and partitions decide nothing: the same rows survive, in the same bytes."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from feedback.caps.stage import cap_influence
from feedback.engine import LocalEngine, read_arrow
from feedback.ingest.rater_key import ENVIRONMENT_VARIABLE
from feedback.pipeline import CurateResult, curate, partitions
from feedback.rebalance import rebalance
from feedback.split import split
from feedback.stage import CANDIDATE_TYPES, sort_rows
from schemas.errors import DataGateError
from schemas.reasons import DropReason
from schemas.report import StageReport
from tests.feedback_log import log_config, vote, votes
from tests.feedback_tables import candidate

ROWS = "feedback.pipeline.partitions._ROWS_A_PARTITION"
BLOCK = "feedback.records.text_blocks.BLOCK_BYTES"


@pytest.fixture(autouse=True, scope="module")
def _key() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(ENVIRONMENT_VARIABLE, "a key that is for tests only")
        yield


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> CurateResult:
    """The log in one file a source, in one block and one partition."""
    folder = tmp_path_factory.mktemp("whole")
    return curate(log_config(folder / "in"), folder / "out", engine=LocalEngine(1))


def shards(result: CurateResult) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((result.folder / "data").iterdir())}


def dropped(result: CurateResult, stage: str) -> pl.DataFrame:
    files = sorted((result.folder / "stages" / stage).glob("dropped-*.parquet"))
    return pl.concat([pl.read_parquet(path) for path in files]).sort("row_key", "row_id", "drop_reason")


def counts(report: StageReport) -> StageReport:
    """A report without its digests, which say how the rows were parted."""
    return replace(report, digest_in="", digest_out="")


def same_but_digests(found: CurateResult, wanted: CurateResult) -> None:
    assert shards(found) == shards(wanted)
    for report, other in zip(found.manifest.stages, wanted.manifest.stages, strict=True):
        assert counts(report) == counts(other)
    assert found.manifest.ratio == wanted.manifest.ratio
    for stage in ("convert", "dedup", "conflicts", "caps", "split", "rebalance"):
        assert dropped(found, stage).equals(dropped(wanted, stage)), stage


@given(
    seed=st.integers(0, 99),
    files=st.sampled_from([1, 3, 20]),
    workers=st.sampled_from([1, 2]),
    rows=st.sampled_from([25, 10_000]),
    block=st.sampled_from([3_000, 1 << 20]),
)
@settings(max_examples=6, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
def test_however_a_log_is_cut_the_same_rows_survive(
    whole: CurateResult,
    tmp_path_factory: pytest.TempPathFactory,
    seed: int,
    files: int,
    workers: int,
    rows: int,
    block: int,
) -> None:
    folder = tmp_path_factory.mktemp("cut")
    config = log_config(folder / "in", order=random.Random(seed), files=files)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ROWS, rows)
        patch.setattr(BLOCK, block)
        found = curate(config, folder / "out", engine=LocalEngine(workers))
    same_but_digests(found, whole)
    if rows > 1000:
        assert [one.digest_out for one in found.manifest.stages] == [one.digest_out for one in whole.manifest.stages]
        assert found.manifest.digest == whole.manifest.digest


def test_partitions_are_many_and_whole(whole: CurateResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prompts of one group are in one partition, and every partition has a file of each stage."""
    monkeypatch.setattr(ROWS, 15)
    found = curate(log_config(tmp_path / "in"), tmp_path / "out")
    rows = found.manifest.stages[0].rows_kept
    assert partitions.number_of_partitions(rows) == -(-rows // 15) > 8
    files = sorted((found.folder / "stages" / "rebalance").glob("kept-*.arrow"))
    assert len(files) == -(-rows // 15)
    groups = [set(read_arrow(path)["group_id"]) for path in files]
    assert sum(map(len, groups)) == len(set().union(*groups))
    same_but_digests(found, whole)
    shuffled = log_config(tmp_path / "mixed", order=random.Random(1), files=3)
    assert curate(shuffled, tmp_path / "mixed-out").manifest.digest == found.manifest.digest


def test_one_pass_over_partitions_decides_what_the_stages_decide_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Caps, split and rebalance are planned before any of them is applied, and on other partitions."""
    monkeypatch.setattr(ROWS, 40)
    caps = ("caps.max_rater_share=0.1", "caps.share_from_raters=2", "caps.max_rows_per_rater_day=20")
    ratio = ("rebalance.strata=['source','week']", "rebalance.keep_desirable_share=0.8")
    brigade = [vote(n, user="u0") for n in range(200, 240)] + [
        vote(n, user="u1", label="down") for n in range(240, 248)
    ]
    config = log_config(tmp_path / "in", overrides=(*caps, *ratio), thumbs=votes() + brigade)
    found = curate(config, tmp_path / "out")
    kept = pl.concat([read_arrow(path) for path in (found.folder / "stages" / "rebalance").glob("kept-*.arrow")])
    left_out = pl.concat([dropped(found, stage) for stage in ("caps", "rebalance")], how="diagonal")
    came = pl.concat([kept, left_out.select(kept.columns)]).with_columns(
        split=pl.lit(None, pl.String), capped_rater=pl.lit(None, pl.UInt64)
    )
    capped = cap_influence(came, config.caps, seed=config.seed)
    parted = split(capped.kept, config.split, seed=config.seed)
    balanced = rebalance(parted.kept, config.rebalance, seed=config.seed)
    assert balanced.kept.equals(sort_rows(kept))
    assert dropped(found, "caps").equals(capped.dropped.sort("row_key", "row_id", "drop_reason"))
    assert dropped(found, "rebalance").equals(balanced.dropped.sort("row_key", "row_id", "drop_reason"))
    assert {DropReason.RATER_CAP, DropReason.RATER_DAY_CAP} <= set(capped.dropped["drop_reason"])
    assert DropReason.DESIRABLE_SHARE in set(balanced.dropped["drop_reason"])
    reports = {report.stage: report for report in found.manifest.stages}
    for result in (capped, parted, balanced):
        report = reports[result.report.stage]
        assert (report.dropped, report.labels_kept) == (result.report.dropped, result.report.labels_kept)
        assert report.notes == result.report.notes


def test_a_gate_behind_the_caps_says_what_they_left_out(tmp_path: Path) -> None:
    config = log_config(tmp_path / "in", overrides=("caps.min_raters=9",))
    with pytest.raises(DataGateError, match=r"after the stages ingest, convert.*caps, split: no row.*unconfirmed"):
        curate(config, tmp_path / "out")


def test_nothing_is_lost_and_every_reason_is_counted(whole: CurateResult) -> None:
    """From the lines of the files to the rows of the shards."""
    stages = {report.stage: report for report in whole.manifest.stages}
    assert stages["ingest"].rows_in == sum(file.records for file in whole.manifest.sources)
    assert dict(stages["ingest"].dropped) == {"quarantined": 2}
    for before, after in zip(whole.manifest.stages, whole.manifest.stages[1:], strict=False):
        assert after.rows_in == before.rows_kept
        assert after.rows_in + after.rows_created == after.rows_kept + sum(after.dropped.values())
        assert after.digest_in == before.digest_out
    for name in ("convert", "dedup", "conflicts", "caps", "split", "rebalance"):
        assert Counter(dropped(whole, name)["drop_reason"]) == dict(stages[name].dropped)
    seen = {DropReason(reason) for report in whole.manifest.stages for reason in report.dropped}
    assert seen >= {
        DropReason.NEUTRAL,
        DropReason.RETRACTED,
        DropReason.SUPERSEDED_REVISION,
        DropReason.DUPLICATE_RECORD,
        DropReason.EXACT_DUPLICATE,
        DropReason.NORMALIZED_DUPLICATE,
        DropReason.NEAR_DUPLICATE,
    }
    assert sum(shard.rows for shard in whole.manifest.shards) == stages["rebalance"].rows_kept


def test_near_duplicates_are_merged_within_a_label_and_contested_across_labels(whole: CurateResult) -> None:
    """Votes about an answer that is nearly another one: with its label merged, against it left to conflicts."""
    stages = {report.stage: report for report in whole.manifest.stages}
    merged = dropped(whole, "dedup").filter(drop_reason="near_duplicate")
    assert merged.height == stages["dedup"].figures["near"] > 0
    contested = stages["dedup"].figures["near_across_labels"]
    assert contested > 0
    assert stages["conflicts"].figures["near_duplicates"] > 0
    assert any("nearly the same" in note for note in stages["dedup"].notes)
    assert any("not merged" in note for note in stages["dedup"].notes)
    kept = pl.concat([read_arrow(path) for path in (whole.folder / "stages" / "rebalance").glob("kept-*.arrow")])
    assert kept.group_by("cluster_id").agg(pl.col("label").n_unique()).filter(pl.col("label") > 1).is_empty()


def test_without_near_the_same_votes_stay_apart(tmp_path: Path, whole: CurateResult) -> None:
    config = log_config(tmp_path / "in", overrides=("dedup.match=normalized",))
    found = curate(config, tmp_path / "out")
    assert "near_duplicate" not in found.manifest.stages[2].dropped
    assert found.manifest.stages[2].rows_kept > whole.manifest.stages[2].rows_kept


def test_a_log_of_votes_only_and_one_of_pairs_only_are_cut_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A partition may hold no event, or no pair."""
    for name, rows in (("votes", {"trl": []}), ("pairs", {"thumbs": []}), ("few", {"trl": [], "thumbs": votes(12)})):
        results = []
        for size in (10_000, 9):
            monkeypatch.setattr(ROWS, size)
            overrides = ("split.test_fraction=0", "rebalance.mode=reweight")
            config = log_config(tmp_path / f"{name}-{size}", overrides=overrides, **rows)
            results.append(curate(config, tmp_path / f"{name}-{size}-out"))
        same_but_digests(results[1], results[0])


def test_rows_are_sorted_with_all_their_votes() -> None:
    """Votes are taken apart and put together again, so each row must find its own, be they none, one or several."""
    rows = [candidate(completion=f"answer {number}", rater_key="ann") for number in range(30)]
    for number, row in enumerate(rows):
        row["votes"] = [{**row["votes"][0], "event_id": f"{number} {vote}"} for vote in range(number % 4)]
    frame = pl.DataFrame(sorted(rows, key=lambda row: row["completion_key"]), schema=CANDIDATE_TYPES)
    wanted = pl.DataFrame(sorted(rows, key=lambda row: row["row_key"]), schema=CANDIDATE_TYPES)
    assert not frame.equals(wanted)
    assert sort_rows(frame).equals(wanted)
    assert sort_rows(frame.clear()).equals(wanted.clear())
