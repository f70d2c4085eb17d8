"""The pipeline: raw files in, a whole dataset out, and what happens when it is run again."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import datasets
import polars as pl
import pytest

from feedback.config import RebalanceConfig, SourceConfig
from feedback.pipeline import CurateResult, curate, default_config, read_candidates, rebalance_dataset
from schemas.errors import (
    DataGateError,
    EmptySplitError,
    OneLabelError,
    OutputExistsError,
    RatioUnreachableError,
    TooManyRejectedError,
    UsageError,
)
from schemas.manifest import Manifest
from tests.trl_step import take_kto_step

SHARED = Path(__file__).parents[2].parent / "shared" / "data"
STAGES = ["ingest", "convert", "dedup", "conflicts", "caps", "split", "rebalance", "export"]


def thumbs(folder: Path, up: int = 80, down: int = 20, extra: list[object] | None = None) -> Path:
    labels = ["up"] * up + ["down"] * down
    rows: list[object] = [
        {"prompt": f"question {n}", "completion": f"answer {n}", "label": label, "user": f"u{n % 7}"}
        for n, label in enumerate(labels)
    ]
    path = folder / "thumbs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in [*rows, *(extra or [])]))
    return path


def curated(folder: Path, name: str = "out", **overrides: object) -> CurateResult:
    texts = [f"{key.replace('__', '.')}={value}" for key, value in overrides.items()]
    return curate(default_config([folder / "thumbs.jsonl"], "thumbs", overrides=texts), folder / name)


def rows_of(folder: Path) -> pl.DataFrame:
    return pl.concat([pl.read_parquet(path) for path in sorted((folder / "data").glob("*.parquet"))])


def files_of(folder: Path) -> dict[str, bytes]:
    paths = [*folder.glob("data/*"), folder / "README.md", folder / "manifest.json"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def sums(manifest: Manifest) -> None:
    """Each stage's rows come in where the last one's went out; nothing is lost on the way."""
    for before, after in zip(manifest.stages, manifest.stages[1:], strict=False):
        assert after.rows_in == before.rows_kept
        assert after.digest_in == before.digest_out
    assert manifest.stages[-1].rows_kept == sum(shard.rows for shard in manifest.shards)


def test_signs_of_a_pattern_in_a_path_are_signs_of_its_name(tmp_path: Path) -> None:
    """`out[1]` read as a pattern is `out1`, where another run's files lie."""
    thumbs(tmp_path)
    plain = curated(tmp_path)
    thumbs(tmp_path, up=30, down=30)
    curated(tmp_path, "out1")
    thumbs(tmp_path)
    named = curated(tmp_path, "out[1]")
    assert named.manifest.digest == plain.manifest.digest
    again = rebalance_dataset([named.folder], tmp_path / "again*", RebalanceConfig(high=1.0))
    assert again.manifest.ratio.is_in_range


def test_a_run_gives_a_dataset_whose_counts_and_digests_chain(tmp_path: Path) -> None:
    """80 up and 20 down, a tenth held out: 72 and 18 to train on, of which 24 and 18 stay."""
    thumbs(tmp_path)
    result = curated(tmp_path)
    manifest = Manifest.read(tmp_path / "out")
    assert manifest.to_json() == result.manifest.to_json()
    assert [stage.stage for stage in manifest.stages] == STAGES
    sums(manifest)
    manifest.verify(tmp_path / "out")
    assert (manifest.ratio.desirable, manifest.ratio.undesirable) == (24, 18)
    assert manifest.ratio.is_in_range
    assert manifest.digest == manifest.stages[-1].digest_out
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"data", "stages", "README.md", "manifest.json"}
    for stage in STAGES[:-1]:
        assert (tmp_path / "out" / "stages" / stage / "report.json").is_file()
    loaded = datasets.load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    assert {name: split.num_rows for name, split in loaded.items()} == {"train": 42, "test": 10}


def test_the_same_files_elsewhere_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        thumbs(tmp_path / name)
        curated(tmp_path / name)
    assert files_of(tmp_path / "a" / "out") == files_of(tmp_path / "b" / "out")


def test_shuffled_records_give_the_same_rows(tmp_path: Path) -> None:
    path = thumbs(tmp_path)
    first = rows_of(curated(tmp_path).folder)
    path.write_text("".join(path.read_text().splitlines(keepends=True)[::-1]))
    again = curated(tmp_path, "again")
    assert rows_of(again.folder).equals(first)
    assert again.manifest.digest == Manifest.read(tmp_path / "out").digest


def test_a_second_run_does_nothing(tmp_path: Path) -> None:
    thumbs(tmp_path)
    first = curated(tmp_path)
    stamp = (tmp_path / "out" / "manifest.json").stat().st_mtime_ns
    second = curated(tmp_path)
    assert (first.was_done, second.was_done) == (False, True)
    assert second.manifest.to_json() == first.manifest.to_json()
    assert (tmp_path / "out" / "manifest.json").stat().st_mtime_ns == stamp


def test_another_result_is_not_replaced_unasked(tmp_path: Path) -> None:
    path = thumbs(tmp_path)
    curated(tmp_path)
    with pytest.raises(OutputExistsError, match="with another config"):
        curated(tmp_path, seed=1)
    thumbs(tmp_path, down=30)
    with pytest.raises(OutputExistsError, match="made from other files"):
        curated(tmp_path)
    result = curate(default_config([path], "thumbs"), tmp_path / "out", overwrite=True)
    assert result.manifest.stages[0].rows_in == 110


def test_a_dataset_with_a_broken_shard_is_made_again(tmp_path: Path) -> None:
    thumbs(tmp_path)
    first = curated(tmp_path)
    whole = files_of(tmp_path / "out")
    (tmp_path / "out" / first.manifest.shards[0].path).write_bytes(b"torn")
    assert not curated(tmp_path).was_done
    assert files_of(tmp_path / "out") == whole


def test_an_interrupted_run_leaves_no_manifest_and_the_next_one_heals(tmp_path: Path, monkeypatch) -> None:
    thumbs(tmp_path)

    def interrupted(*args: object, **more: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("feedback.pipeline.run.export", interrupted)
        with pytest.raises(KeyboardInterrupt):
            curated(tmp_path)
    assert not (tmp_path / "out").exists()
    assert not list((tmp_path / "out.partial").rglob("manifest.json"))
    assert curated(tmp_path).manifest.ratio.is_in_range
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "thumbs.jsonl"]


def test_the_manifest_is_written_last(tmp_path: Path, monkeypatch) -> None:
    thumbs(tmp_path)
    seen: list[set[str]] = []
    write = Manifest.write

    def watched(manifest: Manifest, folder: Path) -> Path:
        seen.append({path.name for path in folder.rglob("*") if path.is_file()})
        return write(manifest, folder)

    monkeypatch.setattr(Manifest, "write", watched)
    folder = curated(tmp_path).folder
    (before,) = seen
    assert {path.name for path in folder.rglob("*") if path.is_file()} - before == {"manifest.json"}


def test_bad_records_are_counted_and_too_many_leave_nothing(tmp_path: Path) -> None:
    thumbs(tmp_path, extra=[{"prompt": "p", "completion": "c", "label": "perhaps"}, {"prompt": "p"}])
    assert curated(tmp_path).manifest.stages[0].dropped == {"quarantined": 2}
    with pytest.raises(TooManyRejectedError):
        curated(tmp_path, "strict", ingest__max_rejected_share=0.01)
    assert not (tmp_path / "strict").exists()


def test_data_that_cannot_be_trained_on_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    cases: list[tuple[int, int, type[DataGateError], str]] = [
        (30, 0, OneLabelError, "30 desirable and 0 undesirable"),
        (0, 30, OneLabelError, "0 desirable and 30 undesirable"),
        (40, 1, EmptySplitError, "the test split has 4 desirable and 0 undesirable rows"),
    ]
    for up, down, error, message in cases:
        thumbs(tmp_path, up, down)
        with pytest.raises(error, match=message):
            curated(tmp_path)
        assert [path.name for path in tmp_path.iterdir()] == ["thumbs.jsonl"]
    thumbs(tmp_path, 9, 2)
    with pytest.raises(RatioUnreachableError, match="9 desirable and 2 undesirable"):
        curated(tmp_path, split__test_fraction=0, rebalance__low=1.2, rebalance__high=1.4)


def test_without_a_test_split_the_card_names_train_only(tmp_path: Path) -> None:
    thumbs(tmp_path, 4, 3)
    folder = curated(tmp_path, split__test_fraction=0).folder
    assert "split: test" not in (folder / "README.md").read_text()
    assert list(datasets.load_dataset(str(folder), cache_dir=str(tmp_path / "cache"))) == ["train"]


def test_candidates_of_raw_files_are_read_without_a_trace(tmp_path: Path) -> None:
    path = thumbs(tmp_path, extra=[{"prompt": "p", "completion": "c", "label": "perhaps"}])
    raw = read_candidates([SourceConfig(path=str(path), format="thumbs")])
    assert (raw.frame.height, raw.rejected) == (100, {"unknown_label": 1})
    assert [report.stage for report in raw.reports] == ["ingest", "convert"]
    assert [file.name for file in raw.sources] == ["thumbs.jsonl"]
    assert [path.name for path in tmp_path.iterdir()] == ["thumbs.jsonl"]


def test_keys_of_pairs_say_what_their_rows_do_not(tmp_path: Path) -> None:
    """A tie gives no row, and its key is there; without pairs there is nothing."""
    rule = tmp_path / "map.toml"
    rule.write_text(
        'kind = "pairs"\n[fields]\nprompt = "q"\nresponse_a = "x"\nresponse_b = "y"\noutcome = "w"\n'
        'presented_first = "f"\nscore_a = "s"\n[outcomes]\nx = "a"\ny = "b"\nnone = "tie"\n'
    )
    path = tmp_path / "pairs.jsonl"
    lines = [{"q": "q", "x": "1", "y": "2", "w": "x", "f": "y", "s": 3}, {"q": "r", "x": "1", "y": "2", "w": "none"}]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    raw = read_candidates([SourceConfig(path=str(path), format="mapped", map=str(rule))])
    told = raw.pairs.sort("outcome").select("outcome", "presented_first", "score_a")
    assert told.rows() == [("a", "b", 3.0), ("tie", None, None)]
    assert read_candidates([SourceConfig(path=str(thumbs(tmp_path)), format="thumbs")]).pairs.is_empty()


def test_a_dataset_is_rebalanced_and_names_its_parent(tmp_path: Path) -> None:
    thumbs(tmp_path)
    parent = curated(tmp_path, rebalance__mode="off")
    result = rebalance_dataset([parent.folder], tmp_path / "even", RebalanceConfig(high=1.0))
    assert result.manifest.parent_digest == parent.manifest.digest
    assert (result.manifest.ratio.desirable, result.manifest.ratio.undesirable) == (18, 18)
    assert [stage.stage for stage in result.manifest.stages] == [*STAGES, "rebalance", "export"]
    sums(result.manifest)
    before, after = rows_of(parent.folder), rows_of(result.folder)
    assert set(after["row_id"]) < set(before["row_id"])
    assert after.filter(split="test").equals(before.filter(split="test"))
    assert before.join(after, on=before.columns, how="semi").height == after.height
    assert rebalance_dataset([parent.folder], tmp_path / "even", RebalanceConfig(high=1.0)).was_done
    with pytest.raises(OutputExistsError):
        rebalance_dataset([parent.folder], tmp_path / "even", RebalanceConfig())


def test_a_reweighted_dataset_can_be_reweighted_again(tmp_path: Path) -> None:
    """The weight is set anew: 72 against 18 needs lambda_U = 3 at 4/3 and 4 at 1, not 12."""
    thumbs(tmp_path)
    first = curated(tmp_path, rebalance__mode="reweight")
    assert first.manifest.ratio.undesirable_weight == pytest.approx(3)
    again = rebalance_dataset([first.folder], tmp_path / "again", RebalanceConfig(mode="reweight", high=1.0))
    weights = rows_of(again.folder).filter(split="train", label=False)["weight"].unique()
    assert weights.to_list() == [4.0]
    assert rows_of(again.folder).filter(split="test")["weight"].unique().to_list() == [1.0]


def test_raw_files_are_rebalanced_and_nothing_else(tmp_path: Path) -> None:
    twin = {"prompt": "question 1", "completion": "answer 1", "label": "up", "user": "other"}
    path = thumbs(tmp_path, extra=[twin])
    result = rebalance_dataset([path], tmp_path / "even", RebalanceConfig(), format="thumbs")
    assert result.manifest.stages[2].rows_kept == 101
    assert (result.manifest.ratio.desirable, result.manifest.ratio.undesirable) == (26, 20)
    assert {shard.split for shard in result.manifest.shards} == {"train"}


def test_a_rebalance_that_cannot_be_is_refused(tmp_path: Path) -> None:
    path = thumbs(tmp_path)
    with pytest.raises(UsageError, match="not a finished dataset and no format is given"):
        rebalance_dataset([path], tmp_path / "even", RebalanceConfig())
    folder = curated(tmp_path).folder
    with pytest.raises(UsageError, match="a dataset cannot replace itself"):
        rebalance_dataset([folder], folder, RebalanceConfig(), overwrite=True)


def test_seeds_and_settings_reach_their_stages(tmp_path: Path) -> None:
    path = thumbs(tmp_path)
    config = default_config([path], "thumbs", overrides=["seed=5", "rebalance.high=1.5"])
    manifest = curate(config, tmp_path / "out").manifest
    by_stage = {stage.stage: stage.config for stage in manifest.stages}
    assert [by_stage[name]["seed"] for name in ("split", "rebalance", "export")] == [5, 5, 5]
    assert by_stage["rebalance"]["high"] == 1.5
    assert manifest.config["sources"][0]["path"] == "thumbs.jsonl"
    other = curate(replace(config, seed=6), tmp_path / "other").manifest
    assert manifest.digest != other.digest


real_files = pytest.mark.parametrize(
    ("name", "form"),
    [
        ("llamafactory_kto/kto_en_demo.json", "llamafactory"),
        ("openai_dpo/orca_dpo_pairs.validation.jsonl", "openai"),
        ("hh_rlhf/harmless-base.test.jsonl.gz", "hh_rlhf"),
    ],
)
needs_real_files = pytest.mark.skipif(not SHARED.is_dir(), reason="the folder of real files is absent")


@needs_real_files
@real_files
def test_real_files_give_datasets(tmp_path: Path, name: str, form: str) -> None:
    result = curate(default_config([SHARED / name], form), tmp_path / "out")
    sums(result.manifest)
    assert result.manifest.ratio.is_in_range
    loaded = datasets.load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    assert sum(split.num_rows for split in loaded.values()) == result.manifest.stages[-1].rows_kept
    if form == "hh_rlhf":
        bad = pl.read_parquet(tmp_path / "out" / "stages" / "ingest" / "quarantine-*.parquet")
        counts = dict(bad.group_by("reason").len().iter_rows())
        assert counts == {"prompts_differ": 5, "empty_completion": 4}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@needs_real_files
@real_files
def test_trl_takes_a_kto_step_on_real_files(tmp_path: Path, name: str, form: str) -> None:
    result = curate(default_config([SHARED / name], form), tmp_path / "out")
    assert take_kto_step(result.folder, tmp_path) > 0
