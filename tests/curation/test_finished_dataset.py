"""A finished dataset: its card, what plain `datasets` and TRL make of it, and what is read back."""

from __future__ import annotations

from pathlib import Path

import datasets
import polars as pl
import pytest

from feedback.config import ExportConfig
from feedback.dataset.card import dataset_card
from feedback.dataset.folders import finish_dataset
from feedback.dataset.rows import read_curated, text_of_curated
from feedback.export import TextTable, export
from feedback.hashing import messages_hash, row_keys
from feedback.near import sketch_texts
from schemas.manifest import Manifest, Ratio, SourceFile
from schemas.report import LabelCounts, StageReport
from tests.exported_rows import prepared, some_events, some_pairs
from tests.feedback_tables import candidate, event, table, turns, write_events
from tests.trl_step import take_kto_step


def finished(folder: Path) -> Manifest:
    rows, texts = prepared(folder, some_events(), some_pairs())
    result = export(rows, texts, folder / "out", ExportConfig(shard_mb=0.004))
    up, down = (rows.filter(split="train", label=label).height for label in (True, False))
    counts = LabelCounts(up, down)
    manifest = Manifest(
        digest=result.report.digest_out,
        dataset_type="unpaired_preference",
        thumbline_version="0",
        sources=(SourceFile("thumbs|`x`.jsonl", "thumbs", "0" * 64, 10, 1234),),
        stages=(
            StageReport("rebalance", rows.height, 0, rows.height, {}, counts, counts, notes=("As it was.",)),
            result.report,
        ),
        shards=result.shards,
        ratio=Ratio(up, down, 1.0, 1.0, 1.0, 4 / 3),
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
    assert ratio is not None
    assert f"1 x {ratio.desirable:,} / (1 x {ratio.undesirable:,}) = {ratio.value:.4f}" in card
    assert "the weights of the training objective itself stay 1" in card
    assert "- `exact_duplicate`: dedup: prompt, completion and label are those of another row" not in card
    assert "| `thumbs\\|'x'.jsonl` | thumbs | 1,234 |" in card
    assert "| rebalance |" in card


def test_a_finished_dataset_is_read_back_as_candidates(tmp_path: Path) -> None:
    manifest = finished(tmp_path)
    rows = read_curated(tmp_path / "out", manifest)
    before, _ = prepared(tmp_path, some_events(), some_pairs())
    same = ["row_id", "row_key", "label", "weight", "group_id", "origin", "source", "split"]
    assert rows.select(same).equals(before.select(same))
    assert (
        rows["votes"]
        .list.eval(pl.element().struct.field("event_id"))
        .equals(before["votes"].list.eval(pl.element().struct.field("event_id")))
    )
    texts = [text_of_curated(tmp_path / "out", manifest)]
    again = export(rows, texts, tmp_path / "again", ExportConfig(shard_mb=0.004))
    assert again.shards == manifest.shards


def test_keys_of_a_dataset_that_is_read_back_are_those_of_its_texts(tmp_path: Path) -> None:
    """One turn or several, and in another Unicode form: as `ingest` hashes them."""
    asked = [*turns("user", "a"), *turns("assistant", "b"), *turns("user", "c")]
    events = [
        event("1") | {"prompt": asked},
        event("2") | {"prompt": turns("user", "Cafe\u0301 \r\n")},
        event("3") | {"prompt": turns("tool", "x")},
    ]
    texts = [TextTable(tuple(write_events(tmp_path, events)), "event_id", {"completion": "completion"})]
    given_rows = table(*(candidate(str(n), text_id=one["event_id"], split="train") for n, one in enumerate(events)))
    result = export(given_rows, texts, tmp_path / "out", ExportConfig())
    manifest = Manifest("0" * 32, "unpaired_preference", "0", (), (), result.shards)
    rows = read_curated(tmp_path / "out", manifest)
    by_id = {one["event_id"]: one for one in events}
    ordered = [by_id[one] for one in given_rows.sort("row_key")["text_id"]]
    hashes = pl.Series([messages_hash(one["prompt"]) for one in ordered])
    assert rows["prompt_hash"].to_list() == row_keys(hashes).to_list()
    flat = ["user\x1fa\x1eassistant\x1fb\x1euser\x1fc", "Cafe\u0301 \r\n", "x"]
    by_flat = dict(zip(by_id, flat, strict=True))
    sketches = sketch_texts([by_flat[one["event_id"]] for one in ordered], ["hello"] * 3)
    assert rows["prompt_key"].to_list() == sketches.prompt_key.tolist()
    assert rows["completion_key"].to_list() == sketches.completion_key.tolist()


def test_votes_that_are_read_back_keep_how_many_went_up(tmp_path: Path) -> None:
    rows, texts = prepared(tmp_path, some_events(6), [])
    votes = [{"event_id": f"{n:032x}", "rater_key": n, "event_ts": None, "label": n < 2} for n in range(3)]
    several = pl.Series("votes", [votes[: n % 4] for n in range(rows.height)], rows.schema["votes"])
    result = export(rows.with_columns(several), texts, tmp_path / "out", ExportConfig())
    read = read_curated(tmp_path / "out", Manifest("0" * 32, "unpaired_preference", "0", (), (), result.shards))
    labels = read["votes"].list.eval(pl.element().struct.field("label")).to_list()
    assert labels == [[True, True, False][: n % 4] for n in range(rows.height)]


def test_events_whose_votes_count_no_more_are_read_back_apart_from_the_votes(tmp_path: Path) -> None:
    """They stand behind the votes, whatever their ids: so a dataset that is rebalanced still says who counted."""
    rows, texts = prepared(tmp_path, some_events(6), [])
    votes = [{"event_id": f"{n + 9:032x}", "rater_key": n, "event_ts": None, "label": n < 2} for n in range(3)]
    others = [[f"{n:032x}" for n in range(count)] or None for count in (0, 1, 0, 2, 3, 0)]
    given = rows.with_columns(
        pl.Series("votes", [votes[: n % 3 + 1] for n in range(6)], rows.schema["votes"]),
        pl.Series("other_event_ids", others, rows.schema["other_event_ids"]),
    )
    result = export(given, texts, tmp_path / "out", ExportConfig())
    manifest = Manifest("0" * 32, "unpaired_preference", "0", (), (), result.shards)
    read = read_curated(tmp_path / "out", manifest)
    assert read["other_event_ids"].to_list() == others
    ids = read["votes"].list.eval(pl.element().struct.field("event_id")).to_list()
    assert ids == [[one["event_id"] for one in votes[: n % 3 + 1]] for n in range(6)]
    export(read, [text_of_curated(tmp_path / "out", manifest)], tmp_path / "again", ExportConfig())
    files = [next((tmp_path / name / "data").glob("*.parquet")) for name in ("out", "again")]
    first, second = (pl.read_parquet(path).sort("row_id") for path in files)
    assert second["source_event_ids"].equals(first["source_event_ids"])
    assert second.select("n_up", "n_down").equals(first.select("n_up", "n_down"))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_trl_takes_a_kto_step_on_the_folder_unchanged(tmp_path: Path) -> None:
    finished(tmp_path)
    assert take_kto_step(tmp_path / "out", tmp_path) > 0
