"""The stage `export` and the dataset card: shards, their order, and what plain `datasets` makes of them."""

from __future__ import annotations

from pathlib import Path

import datasets
import polars as pl
import pyarrow.parquet as pq
import pytest

from feedback.card import dataset_card
from feedback.config import ConvertConfig, DedupConfig, ExportConfig, RebalanceConfig, SplitConfig
from feedback.convert import convert
from feedback.curated import read_curated, text_of_curated
from feedback.dedup import dedup
from feedback.export import ExportResult, TextTable, export
from feedback.folders import finish_dataset
from feedback.rebalance import ratio_of_report, rebalance
from feedback.split import split
from schemas.datasets import UNPAIRED_PREFERENCE
from schemas.errors import CorruptionError
from schemas.manifest import Manifest, SourceFile
from tests.feedback_tables import event, pair, turns, write_events, write_pairs
from tests.trl_step import take_kto_step


def prepared(folder: Path, events: list[dict], pairs: list[dict]) -> tuple[pl.DataFrame, list[TextTable], list]:
    event_files, pair_files = write_events(folder, events), write_pairs(folder, pairs)
    results = [convert(event_files, pair_files, ConvertConfig())]
    results.append(dedup(results[-1].kept, DedupConfig()))
    results.append(split(results[-1].kept, SplitConfig(test_fraction=0.2)))
    results.append(rebalance(results[-1].kept, RebalanceConfig()))
    texts = [
        TextTable(tuple(event_files), "event_id", {"completion": "completion"}),
        TextTable(tuple(pair_files), "pair_id", {"a": "response_a", "b": "response_b"}),
    ]
    return results[-1].kept, texts, [result.report for result in results]


def some_events(count: int = 60) -> list[dict]:
    return [event(f"question {n}", f"answer {n} " * 20, n % 3 > 0) for n in range(count)]


def exported(folder: Path, *, shard_mb: float = 256.0, seed: int = 0, events=None, pairs=None) -> ExportResult:
    folder.mkdir(parents=True, exist_ok=True)
    rows, texts, _ = prepared(folder, events or some_events(), pairs or [pair(f"duel {n}") for n in range(20)])
    return export(rows, texts, folder / "out", ExportConfig(shard_mb=shard_mb), seed=seed)


def read_back(folder: Path) -> pl.DataFrame:
    return pl.concat([pl.read_parquet(path) for path in sorted((folder / "out" / "data").glob("*.parquet"))])


def test_shards_have_the_columns_of_the_table_and_the_texts_of_their_rows(tmp_path: Path) -> None:
    result = exported(tmp_path)
    schema = pq.read_schema(tmp_path / "out" / result.shards[0].path)
    assert schema.names == [name for name in UNPAIRED_PREFERENCE.names if name != "tools"]
    rows = read_back(tmp_path)
    answers = {row["prompt"][0]["content"]: row["completion"][0]["content"] for row in rows.to_dicts()}
    assert answers["question 7"] == "answer 7 " * 20
    duels = rows.filter(source="duel").select("label", pl.col("completion").list.first().struct.field("content"))
    assert set(duels.rows()) == {(True, "hello"), (False, "go away")}
    assert not (tmp_path / "out" / "parts").exists()


def test_shards_are_of_the_wanted_size_and_train_comes_first(tmp_path: Path) -> None:
    """60 answers of about 200 characters, in shards of 2,000."""
    shards = exported(tmp_path, shard_mb=0.002).shards
    names = [shard.path for shard in shards]
    train = [name for name in names if "train" in name]
    assert (
        names[: len(train)] == train == [f"data/train-{n:05d}-of-{len(train):05d}.parquet" for n in range(len(train))]
    )
    assert 3 <= len(train) <= 8
    sizes = [shard.rows for shard in shards if shard.split == "train"]
    assert max(sizes) - min(sizes) <= 1
    assert all(shard.rows == shard.desirable + shard.undesirable for shard in shards)


def test_labels_and_sources_are_mixed_in_every_shard(tmp_path: Path) -> None:
    exported(tmp_path, shard_mb=0.004)
    for path in sorted((tmp_path / "out" / "data").glob("train-*.parquet")):
        rows = pl.read_parquet(path)
        assert rows["label"].n_unique() == 2
        assert rows["label"].rle().len() > 3
        assert rows["source"].n_unique() == 2


def test_the_same_input_gives_the_same_bytes_and_another_seed_another_order(tmp_path: Path) -> None:
    first, again = (exported(tmp_path / name) for name in ("a", "b"))
    shuffled = exported(tmp_path / "c", events=some_events()[::-1])
    other = exported(tmp_path / "d", seed=1)
    assert first == again == shuffled
    assert first.shards != other.shards
    assert read_back(tmp_path / "a").sort("row_id").equals(read_back(tmp_path / "d").sort("row_id"))


def test_the_order_of_text_batches_and_many_shards_do_not_matter(tmp_path: Path, monkeypatch) -> None:
    few = exported(tmp_path / "a", shard_mb=0.001)
    monkeypatch.setattr("feedback.export._OPEN_FILES", 2)
    monkeypatch.setattr("feedback.export._BATCH_ROWS", 7)
    assert exported(tmp_path / "b", shard_mb=0.001) == few


def test_votes_are_counted_and_their_ids_kept(tmp_path: Path) -> None:
    again = [event("again", "yes", True, record=f"r{n}") for n in range(3)]
    rows, texts, _ = prepared(tmp_path, [*some_events(), *again], [pair()])
    export(rows.with_columns(split=pl.lit("train")), texts, tmp_path / "out", ExportConfig())
    (row,) = (row for row in read_back(tmp_path).to_dicts() if row["prompt"] == turns("user", "again"))
    assert (row["n_up"], row["n_down"]) == (3, 0)
    assert row["source_event_ids"] == sorted(one["event_id"] for one in again)


def test_tools_are_a_column_only_where_a_row_has_some(tmp_path: Path) -> None:
    tools = '[{"type": "function"}]'
    exported(tmp_path, events=[*some_events(), *(event(f"tool {n}", tools=tools) for n in range(9))])
    assert set(read_back(tmp_path)["tools"].drop_nulls()) == {tools}


def test_a_missing_text_is_corruption(tmp_path: Path) -> None:
    rows, texts, _ = prepared(tmp_path, some_events(), [pair()])
    with pytest.raises(CorruptionError, match="the text of 2 rows is missing, the first with text_id"):
        export(rows, texts[:1], tmp_path / "out", ExportConfig())


def test_a_text_that_breaks_a_rule_is_corruption(tmp_path: Path) -> None:
    rows, texts, _ = prepared(tmp_path, [*some_events(), event("blank", " ")], [pair()])
    with pytest.raises(CorruptionError, match="1 row break the rules of the curated table"):
        export(rows.with_columns(split=pl.lit("train")), texts, tmp_path / "out", ExportConfig())


def finished(folder: Path) -> Manifest:
    rows, texts, reports = prepared(folder, some_events(), [pair(f"duel {n}") for n in range(20)])
    result = export(rows, texts, folder / "out", ExportConfig(shard_mb=0.004), digest_in=reports[-1].digest_out)
    manifest = Manifest(
        digest=result.report.digest_out,
        dataset_type="unpaired_preference",
        thumbline_version="0",
        sources=(SourceFile("thumbs|`x`.jsonl", "thumbs", "0" * 64, 10, 1234),),
        stages=(*reports, result.report),
        shards=result.shards,
        ratio=ratio_of_report(dict(reports[-1].figures)),
    )
    finish_dataset(folder / "out", manifest)
    return manifest


def test_plain_datasets_opens_the_folder_with_its_splits(tmp_path: Path) -> None:
    manifest = finished(tmp_path)
    loaded = datasets.load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    for name in ("train", "test"):
        assert loaded[name].num_rows == sum(shard.rows for shard in manifest.shards if shard.split == name)
    first = loaded["train"][0]
    assert (first["prompt"][0]["role"], first["completion"][0]["role"]) == ("user", "assistant")
    assert isinstance(first["label"], bool)


def test_the_card_has_the_counts_the_ratio_and_every_drop_reason(tmp_path: Path) -> None:
    manifest = finished(tmp_path)
    card = (tmp_path / "out" / "README.md").read_text("utf-8")
    assert card == dataset_card(manifest)
    ratio = manifest.ratio
    assert f"1 x {ratio.desirable:,} / (1 x {ratio.undesirable:,}) = {ratio.value:.4f}" in card
    assert "the weights of the training objective itself stay 1" in card
    assert "- `exact_duplicate`: dedup: prompt, completion and label are those of another row" not in card
    assert "| `thumbs\\|'x'.jsonl` | thumbs | 1,234 |" in card
    assert "| rebalance |" in card


def test_a_finished_dataset_is_read_back_as_candidates(tmp_path: Path) -> None:
    manifest = finished(tmp_path)
    rows = read_curated(tmp_path / "out", manifest)
    before, _, _ = prepared(tmp_path, some_events(), [pair(f"duel {n}") for n in range(20)])
    same = ["row_id", "label", "weight", "group_id", "origin", "source", "split", "prompt_key", "completion_key"]
    same += ["prompt_hash", "completion_hash", "prompt_chars", "completion_chars"]
    assert rows.select(same).equals(before.select(same))
    texts = [text_of_curated(tmp_path / "out", manifest)]
    again = export(rows, texts, tmp_path / "again", ExportConfig(shard_mb=0.004))
    assert again.shards == manifest.shards


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_trl_takes_a_kto_step_on_the_folder_unchanged(tmp_path: Path) -> None:
    finished(tmp_path)
    assert take_kto_step(tmp_path / "out", tmp_path) > 0
