"""The dataset of pairs that `curate` writes beside the labelled answers: same splits, same words, and it trains."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Any

import datasets
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import feedback.pipeline.partitions
from align.artifacts.metrics import read_metrics
from align.data.dataset import read_pairs, read_split
from align.data.parts import dataset_name, part_for
from align.evaluate import evaluate
from align.trainer import train
from cli.main import run
from feedback.config import CurateConfig, RebalanceConfig, SourceConfig
from feedback.dataset.outputs import is_whole
from feedback.engine import LocalEngine
from feedback.ingest.rater_key import load_rater_key, rater_key
from feedback.pipeline import CurateResult, curate, curate_store, rebalance_dataset, store_config
from feedback.store import Store
from schemas.datasets import PREFERENCE
from schemas.errors import InputError
from schemas.manifest import Manifest
from schemas.settings import apply_overrides, load_settings
from tests.tiny_run import tiny_config, write_model
from tests.trl_step import take_dpo_step


@pytest.fixture(autouse=True)
def _own_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_cache: None) -> None:
    monkeypatch.setenv("THUMBLINE_RATER_KEY", "1" * 32)


def votes(chance: random.Random, count: int = 160) -> list[dict[str, Any]]:
    """Few questions, answers and raters: repetitions, contradictions, near-duplicates, and siblings of both labels."""
    return [
        {
            "prompt": f"What does the paragraph number {chance.randrange(30)} of the contract say about the notice?"
            + chance.choice(["", " Thanks!"]),
            "completion": f"In {chance.randrange(5)} months it may be ended by either side, in writing.",
            "label": chance.choice(["up", "up", "down"]),
            "user": f"u{chance.randrange(6)}",
        }
        for _ in range(count)
    ]


def duels(chance: random.Random, count: int = 60) -> list[dict[str, Any]]:
    """Comparisons of two of the same answers, to the same questions and others; some are repeated, some contradict."""
    question, answer = (
        "What does the paragraph number {} of the contract say about the notice?",
        "In {} months it may be ended by either side, in writing.",
    )
    drawn = [(chance.randrange(60), chance.sample(range(5), 2)) for _ in range(count)]
    return [
        {"prompt": question.format(number), "chosen": answer.format(first), "rejected": answer.format(second)}
        for number, (first, second) in drawn
    ]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def config_of(folder: Path, *overrides: str) -> CurateConfig:
    sources = [{"path": str(folder / "votes"), "format": "thumbs"}, {"path": str(folder / "duels"), "format": "trl"}]
    wanted = ["split.test_fraction=0.2", *overrides]
    return load_settings(CurateConfig, apply_overrides({"sources": sources}, wanted), where="test")


def curated(folder: Path, *overrides: str, seed: int = 0, name: str = "out") -> CurateResult:
    chance = random.Random(seed)
    write(folder / "votes" / "a.jsonl", votes(chance))
    write(folder / "duels" / "a.jsonl", duels(chance))
    return curate(config_of(folder, *overrides), folder / name)


def rows_of(folder: Path) -> pl.DataFrame:
    return pl.concat([pl.read_parquet(path) for path in sorted((folder / "data").glob("*.parquet"))])


def pairs_of(result: CurateResult) -> pl.DataFrame:
    return rows_of(result.folder / "preference")


def test_the_pairs_are_a_dataset_of_their_own(tmp_path: Path) -> None:
    """Manifest, card, shards with TRL's columns; counts and digests chain from the raw files to them."""
    result = curated(tmp_path)
    folder = result.folder / "preference"
    manifest, pairs = Manifest.read(folder), pairs_of(result)
    assert manifest.dataset_type == "preference"
    assert {path.name for path in folder.iterdir()} == {"data", "README.md", "manifest.json"}
    assert set(pairs.columns) == {*PREFERENCE.names} - {"tools", "rater_key"}
    names = [stage.stage for stage in manifest.stages]
    assert names == ["ingest", "convert", "dedup", "conflicts", "caps", "split", "pairs", "export"]
    for before, after in zip(manifest.stages, manifest.stages[1:], strict=False):
        assert after.digest_in == before.digest_out
    made = manifest.stages[-2]
    assert made == result.manifest.pairs
    assert made.rows_in + made.rows_created == made.rows_kept + made.rows_dropped
    assert made.rows_kept == manifest.stages[-1].rows_in == pairs.height == sum(one.rows for one in manifest.shards)
    assert made.rows_in == manifest.stages[1].figures["won_pairs"]
    assert set(pairs["origin"]) == {"pair", "thumb"}
    assert {split: made.figures[split] for split in ("train", "test")} == dict(
        pairs["split"].value_counts().iter_rows()
    )
    dropped = pl.read_parquet(result.folder / "stages" / "pairs" / "dropped-*.parquet")
    assert dict(dropped["drop_reason"].value_counts().iter_rows()) == made.dropped
    assert "DPOTrainer" in (folder / "README.md").read_text()


def test_both_datasets_open_in_the_library(tmp_path: Path) -> None:
    result = curated(tmp_path)
    for name, place in (("default", result.folder), ("preference", result.folder / "preference")):
        loaded = datasets.load_dataset(str(result.folder), name, cache_dir=str(tmp_path / "cache" / name))
        assert sum(part.num_rows for part in loaded.values()) == rows_of(place).height
    alone = datasets.load_dataset(str(result.folder / "preference"), cache_dir=str(tmp_path / "cache" / "alone"))
    assert alone["train"].column_names[:4] == ["row_id", "prompt", "chosen", "rejected"]


def check_pairs(result: CurateResult) -> None:
    """Every pair is of an answer up and one down of one group and split; no held-out prompt is trained on by either."""
    rows, pairs = rows_of(result.folder), pairs_of(result)
    votes_of = [(one["label"], one["group_id"], one["split"], set(one["source_event_ids"])) for one in rows.to_dicts()]
    for pair in pairs.to_dicts():
        behind = set(pair["source_event_ids"])
        place = pair["group_id"], pair["split"]
        labels = {label for label, *where, ids in votes_of if tuple(where) == place and ids <= behind}
        assert labels == {True, False}
    everything = pl.concat([rows.select("prompt", "group_id", "split"), pairs.select("prompt", "group_id", "split")])
    texts = everything.with_columns(
        text=pl.col("prompt").list.last().struct.field("content").str.strip_suffix(" Thanks!")
    )
    for key in ("text", "group_id"):
        assert texts.group_by(key).agg(pl.col("split").n_unique())["split"].max() == 1
    siblings = pairs.filter(pl.col("origin") == "thumb")
    shown = {(str(one["prompt"]), str(one["completion"])): one["label"] for one in rows.to_dicts()}
    for one in siblings.to_dicts():
        assert shown[str(one["prompt"]), str(one["chosen"])] is True
        assert shown.get((str(one["prompt"]), str(one["rejected"])), False) is False


@given(
    seed=st.integers(0, 10**6),
    files=st.sampled_from([1, 3, 20]),
    workers=st.sampled_from([1, 2]),
    rows_a_partition=st.sampled_from([10, 40, 1000]),
    memory_mb=st.sampled_from([0, 256]),
)
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_shuffled_files_give_the_same_pairs(
    tmp_path_factory: pytest.TempPathFactory,
    seed: int,
    files: int,
    workers: int,
    rows_a_partition: int,
    memory_mb: int,
) -> None:
    """Whatever the order of records and files, the workers, the partitions and the memory."""
    chance = random.Random(seed)
    logs = {"votes": votes(chance), "duels": duels(chance)}
    results = []
    for name, count in (("plain", 1), ("mixed", files)):
        folder = tmp_path_factory.mktemp(name)
        for kind, rows in logs.items():
            mixed = rows if name == "plain" else chance.sample(rows, len(rows))
            for number in range(count):
                write(folder / kind / f"{number:02d}.jsonl", mixed[number::count])
        with pytest.MonkeyPatch.context() as patch:
            if name == "mixed":
                patch.setattr(feedback.pipeline.partitions, "_ROWS_A_PARTITION", rows_a_partition)
            config = config_of(
                folder, "rebalance.mode=off", f"export.memory_mb={256 if name == 'plain' else memory_mb}"
            )
            results.append(curate(config, folder / "out", engine=LocalEngine(workers)))
    plain, mixed_result = results
    check_pairs(plain)
    assert pairs_of(mixed_result).equals(pairs_of(plain))
    assert [shard.sha256 for shard in Manifest.read(mixed_result.folder / "preference").shards] == [
        shard.sha256 for shard in Manifest.read(plain.folder / "preference").shards
    ]
    assert mixed_result.manifest.pairs.figures == plain.manifest.pairs.figures


def test_a_store_gives_the_same_pairs_as_its_raw_files(tmp_path: Path) -> None:
    plain = curated(tmp_path)
    store = Store.open(tmp_path / "store", create=True)
    for name, source in (("votes", "thumbs"), ("duels", "trl")):
        store.ingest([SourceConfig(path=str(tmp_path / name), format=source)])
    result = curate_store(store, store_config(["split.test_fraction=0.2"]), tmp_path / "from-store")
    assert pairs_of(result).equals(pairs_of(plain))


def test_off_writes_no_pairs_and_compared_no_siblings(tmp_path: Path) -> None:
    off = curated(tmp_path, "pairs.mode=off", name="off")
    assert off.manifest.pairs is None
    assert not (off.folder / "preference").exists()
    compared = curated(tmp_path, "pairs.mode=compared", name="compared")
    assert set(pairs_of(compared)["origin"]) == {"pair"}
    assert compared.manifest.digest == off.manifest.digest == curated(tmp_path, name="all").manifest.digest


def test_without_a_pair_there_is_no_second_dataset(tmp_path: Path) -> None:
    write(
        tmp_path / "votes" / "a.jsonl",
        [{"prompt": f"p {n}", "completion": "c", "label": "up" if n % 2 else "down"} for n in range(40)],
    )
    source = SourceConfig(path=str(tmp_path / "votes"), format="thumbs")
    result = curate(CurateConfig(sources=(source,)), tmp_path / "out")
    assert result.manifest.pairs is not None
    assert not result.manifest.has_pairs
    assert not (result.folder / "preference").exists()
    with pytest.raises(
        InputError, match=r"trains on pairs.*thumbline convert '.*/data/train-\*\.parquet'.*--type preference"
    ):
        read_pairs(part_for(result.folder, "preference"), "train")


def test_a_dataset_whose_pairs_are_damaged_is_made_again(tmp_path: Path) -> None:
    result = curated(tmp_path)
    assert curated(tmp_path).was_done
    shard = next((result.folder / "preference" / "data").iterdir())
    whole = shard.read_bytes()
    shard.write_bytes(b"torn")
    assert not is_whole(result.manifest, result.folder)
    assert not curated(tmp_path).was_done
    assert shard.read_bytes() == whole


def test_personal_data_is_replaced_in_pairs_and_counted_once(tmp_path: Path) -> None:
    """The prompt's address counts once, though both answers stand beside it."""
    rows = [
        {"prompt": f"who, {n}, is jo@example.org?", "chosen": f"ask {n}, al@example.org", "rejected": f"nobody, {n}"}
        for n in range(20)
    ]
    write(tmp_path / "duels" / "a.jsonl", rows)
    config = load_settings(
        CurateConfig,
        apply_overrides(
            {"sources": [{"path": str(tmp_path / "duels"), "format": "trl"}]},
            ["export.redact=true", "dedup.match=exact"],
        ),
        where="test",
    )
    result = curate(config, tmp_path / "out")
    pairs = pairs_of(result)
    assert not any("example.org" in str(row) for row in pairs.select("prompt", "chosen", "rejected").iter_rows())
    export = Manifest.read(result.folder / "preference").stages[-1]
    assert export.figures["redacted"] == {"email": 2 * pairs.height}


def test_answers_that_are_alike_without_personal_data_are_no_pair(tmp_path: Path) -> None:
    """Where both labels of an answer stay; else a pair of one text twice would stop every training on the dataset."""
    rows = [{"prompt": f"question {n}", "chosen": f"yes, {n}", "rejected": f"no, {n}"} for n in range(20)]
    rows += [{"prompt": f"whom to ask, {n}?", "chosen": f"al{n}@a.org", "rejected": f"bo{n}@b.org"} for n in range(3)]
    write(tmp_path / "duels" / "a.jsonl", rows)
    source = {"path": str(tmp_path / "duels"), "format": "trl"}
    values = apply_overrides({"sources": [source]}, ["export.redact=true", "dedup.match=exact", "conflicts.policy=off"])
    result = curate(load_settings(CurateConfig, values, where="test"), tmp_path / "out")
    folder = result.folder / "preference"
    export = Manifest.read(folder).stages[-1]
    assert (export.rows_in, export.rows_kept, export.dropped) == (23, 20, {"redacted_alike": 3})
    dropped = pl.read_parquet(folder / "stages" / "export" / "dropped-00000.parquet")
    assert dropped["drop_reason"].to_list() == ["redacted_alike"] * 3
    assert len(read_pairs(folder, "train")) + len(read_pairs(folder, "test")) == pairs_of(result).height == 20
    assert result.manifest.has_pairs
    result.manifest.verify(result.folder)


def test_a_rebalanced_dataset_keeps_its_pairs(tmp_path: Path) -> None:
    result = curated(tmp_path)
    again = rebalance_dataset([result.folder], tmp_path / "again", RebalanceConfig(low=1.0, high=1.0))
    assert pairs_of(again).equals(pairs_of(result))
    again.manifest.verify(again.folder)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_trl_takes_a_dpo_step_on_the_pairs(tmp_path: Path) -> None:
    assert take_dpo_step(curated(tmp_path).folder, tmp_path) == pytest.approx(math.log(2), abs=1e-3)


@pytest.mark.parametrize("name", ["dpo", "cdpo", "slic", "orpo", "reward_model"])
def test_an_objective_of_pairs_trains_on_a_curated_dataset(name: str, tmp_path: Path) -> None:
    result = curated(tmp_path)
    model = str(write_model(tmp_path / "model"))
    config = tiny_config(objective={"name": name}, epochs=1, max_steps=3)
    card = train(config, dataset=result.folder, model=model, out=tmp_path / "run")
    pairs = Manifest.read(result.folder / "preference")
    assert (card.dataset["name"], card.dataset["digest"]) == ("out/preference", pairs.digest)
    assert [stage["stage"] for stage in card.dataset["stages"]][-2:] == ["pairs", "export"]
    steps = [line for line in read_metrics(tmp_path / "run") if line["kind"] == "step"]
    assert len(steps) == 3
    assert all(0 <= line["pair_accuracy"] <= 1 and line["reward_margin"] is not None for line in steps)
    assert card.evaluation["last"]["n_desirable"] == pairs.stages[-2].figures["test"]
    again = evaluate(str(tmp_path / "run"), dataset=result.folder)
    assert again["reward_accuracy"] == pytest.approx(card.evaluation["last"]["reward_accuracy"])
    assert train(config, dataset=result.folder, model=model, out=tmp_path / "run").seconds == card.seconds


def test_a_dry_run_and_the_page_of_curate_count_pairs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A pair has no label, so none is shown, and no step is said to be of one label."""
    write(tmp_path / "duels" / "a.jsonl", duels(random.Random(3), 200))
    out = str(tmp_path / "out")
    call = ["curate", str(tmp_path / "duels" / "a.jsonl"), "--from", "trl", "-o", out]
    assert run(call) == 0
    figures = Manifest.read(tmp_path / "out").pairs.figures  # type: ignore[union-attr]
    shown = " ".join(capsys.readouterr().out.split())
    assert f"Pairs: train {figures['train']} and test {figures['test']}, for objectives such as dpo: " in shown
    assert run([*call, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["was_done"], told["preference"]["dataset_type"]) == (True, "preference")
    model = str(write_model(tmp_path / "model"))
    assert run(["train", out, "--model", model, "--objective", "dpo", "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert f"Pairs: {figures['train']} of {figures['train']}." in shown
    assert "Labels" not in shown
    assert "one label" not in shown


def test_an_unpaired_objective_takes_the_labelled_answers(tmp_path: Path) -> None:
    result = curated(tmp_path)
    model = str(write_model(tmp_path / "model"))
    card = train(tiny_config(epochs=1, max_steps=2), dataset=result.folder, model=model, out=tmp_path / "run")
    assert (card.dataset["name"], card.dataset["digest"]) == ("out", result.manifest.digest)
    pairs = result.folder / "preference"
    with pytest.raises(InputError, match=r"dataset holds pairs.*Name .*/out, which holds the labelled answers"):
        train(tiny_config(), dataset=pairs, model=model, out=tmp_path / "other")
    assert dataset_name(pairs) == "out/preference"


def test_rows_weigh_by_rater_where_the_dataset_keeps_raters(tmp_path: Path) -> None:
    """The column holds keyed hashes of who is behind all votes of a row, never an id; it is there on request only."""
    result = curated(tmp_path, "export.raters=true", "rebalance.mode=off")
    rows, pairs = rows_of(result.folder), pairs_of(result)
    known = {rater_key(f"u{n}", load_rater_key())[:16]: f"u{n}" for n in range(6)}
    assert set(rows["rater_key"].drop_nulls()) <= set(known)
    assert rows.filter(pl.col("source_event_ids").list.len() > 1)["rater_key"].is_null().any()
    assert (
        rows.filter(pl.col("origin") == "thumb", pl.col("source_event_ids").list.len() == 1)["rater_key"].null_count()
        == 0
    )
    who = rows["rater_key"].drop_nulls().mode()[0]
    rule = {"column": "rater_key", "value": who, "weight": 3.0}
    weights = tiny_config(weights=[rule]).weights
    heavy = [row for row in read_split(result.folder, "train", weights) if row.weight == 3.0]
    assert len(heavy) == rows.filter(pl.col("split") == "train", pl.col("rater_key") == who).height
    one = pairs.filter(pl.col("split") == "train")["rater_key"].drop_nulls()
    if len(one):
        weights = tiny_config(weights=[{**rule, "value": one[0]}]).weights
        found = read_pairs(result.folder / "preference", "train", weights)
        assert sum(row.weight == 3.0 for row in found) == (one == one[0]).sum()
    plain = curated(tmp_path, "rebalance.mode=off", name="plain")
    assert plain.manifest.digest == result.manifest.digest
    assert "rater_key" not in rows_of(plain.folder).columns
    with pytest.raises(InputError, match=r"got 'rater_key'.*Curate with: --set export\.raters=true"):
        read_split(plain.folder, "train", weights)
