"""Scheduled retraining with a tiny model: what comes of a night, twice the same night, and a bad one."""

from __future__ import annotations

import html
import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from align.champion.registry import LOCK_NAME, Registry
from cli.main import run
from cli.workflows.retrain import load_retrain_config, retrain
from cli.workflows.retrain.steps import train_step
from feedback.config import SourceConfig
from feedback.pipeline import mix_dataset
from feedback.store import Store
from schemas.errors import (
    ConfigError,
    DataGateError,
    EvaluationGateError,
    InputError,
    InputNotFoundError,
    LockedError,
    NothingToDoError,
    UnknownChoiceError,
)
from schemas.lock import folder_lock
from schemas.manifest import Manifest
from tests.product_year import brigade, new_votes, poisoned, write_config, write_export


@pytest.fixture(scope="module", autouse=True)
def quiet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Reference log-probabilities go into a folder of the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("THUMBLINE_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("THUMBLINE_RATER_KEY", "0" * 64)
        yield


def ingest(folder: Path, path: Path) -> int:
    """Take a file into the store; the version after it."""
    store = Store.open(folder / "store", create=True)
    return store.ingest([SourceConfig(path=str(path), format="thumbs", name="chat")]).version


def ingest_records(folder: Path, name: str, records: list[dict[str, Any]]) -> int:
    path = folder / name
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return ingest(folder, path)


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder after its first run, on six weeks of votes."""
    folder = tmp_path_factory.mktemp("first")
    for week in range(6):
        path = write_export(folder, week)
        assert path is not None
        ingest(folder, path)
    retrain(load_retrain_config(write_config(folder)))
    return folder


@pytest.fixture
def world(first: Path, tmp_path: Path) -> Path:
    """A copy of that folder, in its own place."""
    shutil.copytree(first, tmp_path / "world", symlinks=True)
    return tmp_path / "world"


def config_of(folder: Path, *overrides: str) -> Any:
    return load_retrain_config(folder / "retrain.toml", overrides)


def test_first_run_freezes_a_set_and_promotes_against_the_base_model(first: Path) -> None:
    registry = Registry(first / "models")
    decision = registry.latest()
    assert decision is not None
    assert (decision.kind, decision.previous, decision.watermark) == ("promote", None, 6)
    assert (first / "models" / "champion" / "config.json").is_file()
    frozen = Manifest.read(first / "models" / "evaluation")
    assert {shard.split for shard in frozen.shards} == {"test"}
    report = json.loads((first / "models" / "runs" / decision.run / "report.json").read_text())
    assert report["decision"]["kind"] == "promote"
    assert report["came_in"]["until"] == 6
    assert report["contest"]["measures"][0]["before"] == 0.5


def test_page_of_a_run_asks_for_nothing_and_shows_no_text_of_users(first: Path) -> None:
    folder = next((first / "models" / "runs").iterdir())
    page = (folder / "report.html").read_text()
    assert "The challenger is champion now" in page
    assert "default-src 'none'" in html.unescape(page)
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "https://" not in page
    vote = new_votes(0)[0]
    for name in ("report.html", "report.json", "audit.html", "audit.json", "contest.json"):
        text = (folder / name).read_text()
        assert vote["prompt"] not in text
        assert vote["completion"] not in text


def test_same_inputs_again_are_nothing_to_do(world: Path) -> None:
    before = Registry(world / "models").history()
    with pytest.raises(NothingToDoError, match="0 new events and pairs have come in since version 6"):
        retrain(config_of(world))
    assert Registry(world / "models").history() == before


def test_calls_that_are_skipped_are_counted_in_the_metrics(world: Path, tmp_path: Path) -> None:
    """Beside the newest decided run, which stays what it was."""
    config = config_of(world, f"notices.prometheus={tmp_path}/thumbline.prom")
    for _ in range(2):
        with pytest.raises(NothingToDoError):
            retrain(config)
    with folder_lock(world / "models" / LOCK_NAME, purpose="a test"), pytest.raises(LockedError):
        retrain(config)
    text = (tmp_path / "thumbline.prom").read_text()
    assert 'thumbline_retrain_skipped_calls{why="nothing_new"} 2.0' in text
    assert 'thumbline_retrain_skipped_calls{why="locked"} 1.0' in text
    assert "thumbline_retrain_last_skipped_timestamp_seconds" in text
    assert 'thumbline_retrain_decisions{kind="promote"} 1.0' in text
    assert "thumbline_retrain_last_exit_code 0.0" in text


def test_first_run_waits_for_enough_to_freeze(tmp_path: Path) -> None:
    write_config(tmp_path)
    ingest(tmp_path, Path(str(write_export(tmp_path, 0))))
    with pytest.raises(NothingToDoError, match=r"44 new events and pairs .* expected at least 200"):
        retrain(config_of(tmp_path))
    assert not (tmp_path / "models" / "runs").exists()


def test_second_week_goes_on_from_the_champion_on_new_and_some_older_rows(world: Path) -> None:
    ingest(world, Path(str(write_export(world, 6))))
    result = retrain(config_of(world))
    training, dataset = result.report["training"], result.report["dataset"]
    assert training["start"] == "champion"
    mix = next(stage for stage in dataset["stages"] if stage["stage"] == "mix")
    assert mix["figures"]["older"] == mix["figures"]["new"] > 0
    assert result.decision.previous == Registry(world / "models").history()[0].champion
    assert result.report["changed"]["counts"]["came"] > 20
    assert result.report["changed"]["counts"]["went"] >= 1


def test_mix_whose_maker_was_killed_loses_who_is_forgotten(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was whole, and the store had not been told that it is."""

    def killed(*arguments: Any, **settings: Any) -> None:
        mix_dataset(*arguments, **settings)
        raise KeyboardInterrupt

    monkeypatch.setattr("cli.workflows.retrain.steps.mix_dataset", killed)
    export = Path(str(write_export(world, 6)))
    ingest(world, export)
    with pytest.raises(KeyboardInterrupt):
        retrain(config_of(world))
    (mixed,) = (world / "models" / "runs").glob("*/mixed")
    texts = _texts(mixed)
    records = [json.loads(line) for line in export.read_text().splitlines()]
    record = next(one for one in records if one.get("user") and one["completion"] in texts)
    Store.open(world / "store").forget(rater=record["user"])
    assert record["completion"] not in _texts(mixed)
    assert (mixed / "needs_retrain.json").exists()


def _texts(dataset: Path) -> set[str]:
    tables = [pl.read_parquet(path, columns=["completion"]) for path in dataset.glob("data/*.parquet")]
    return {turns[0]["content"] for table in tables for turns in table["completion"].to_list()}


def test_frozen_rows_are_in_no_later_training_split(world: Path) -> None:
    import pyarrow.parquet as pq

    ingest(world, Path(str(write_export(world, 6))))
    result = retrain(config_of(world))

    def prompts(folder: Path, split: str) -> set[str]:
        return {
            json.dumps(row)
            for path in folder.glob(f"data/{split}-*.parquet")
            for row in pq.read_table(path)["prompt"].to_pylist()
        }

    frozen = prompts(world / "models" / "evaluation", "test")
    assert frozen
    for name in ("dataset", "mixed"):
        trained = prompts(result.folder / name, "train")
        assert trained
        assert trained.isdisjoint(frozen)
    assert Manifest.read(result.folder / "dataset").config["split"]["held_out"]


@pytest.mark.parametrize(("records", "gate"), [(brigade(6), "top_rater|extreme_raters|share_up_change")])
def test_brigade_stops_the_run_before_training_and_again_until_it_is_dealt_with(
    world: Path, records: list[dict[str, Any]], gate: str
) -> None:
    version = ingest_records(world, "brigade.jsonl", [*new_votes(6), *records])
    before = Registry(world / "models").latest()
    for _ in range(2):
        with pytest.raises(DataGateError, match=gate) as caught:
            retrain(config_of(world))
        assert caught.value.exit_code == 3
    latest = Registry(world / "models").latest()
    assert before is not None
    assert latest is not None
    assert (latest.kind, latest.number) == ("stop", before.number + 1)
    assert (latest.champion, latest.watermark) == (before.champion, before.watermark)
    folder = world / "models" / "runs" / latest.run
    assert not (folder / "training").exists()
    assert "Nothing was trained" in (folder / "report.html").read_text()
    for name in ("audit.json", "audit.html", "report.json"):
        assert not re.search(r"\b[0-9a-f]{8}…", (folder / name).read_text()), "no rater can be told from another"
    ingest(world, Path(str(write_export(world, 7))))
    result = retrain(config_of(world, f"exclude_versions=[{version}]"))
    assert result.decision.watermark == version + 1


def test_labels_that_turn_over_stop_the_run(world: Path) -> None:
    turned = [vote for week in (6, 7, 8) for vote in poisoned(week)]
    ingest_records(world, "poisoned.jsonl", turned)
    with pytest.raises(DataGateError, match="share_up_change"):
        retrain(config_of(world))


def test_challenger_that_loses_leaves_the_champion(world: Path) -> None:
    """A week of training that only hears what was bad, and loudly."""
    ingest(world, Path(str(write_export(world, 6))))
    before = Registry(world / "models").latest()
    deaf = ("train.objective.desirable_weight=0.001", "train.optimizer.learning_rate=0.05", "train.epochs=8")
    with pytest.raises(EvaluationGateError, match="the challenger loses: reward accuracy") as caught:
        retrain(config_of(world, "contest.margin=0.02", *deaf))
    assert caught.value.exit_code == 4
    latest = Registry(world / "models").latest()
    assert before is not None
    assert latest is not None
    assert (latest.kind, latest.champion, latest.watermark) == ("keep", before.champion, 7)
    assert "The champion stays" in (world / "models" / "runs" / latest.run / "report.html").read_text()


def test_safety_list_of_a_run_is_what_it_was_when_the_run_began(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is written into the file while the run trains is asked in the next one."""
    ingest(world, Path(str(write_export(world, 6))))
    listed = world / "list.jsonl"
    item = '{"name": "one", "prompt": "hello", "forbid": ["z{9}"]}\n'
    listed.write_text(item)

    def trained(*arguments: Any) -> None:
        train_step(*arguments)
        listed.write_text(item + item.replace("one", "two"))

    monkeypatch.setattr("cli.workflows.retrain.run.train_step", trained)
    result = retrain(config_of(world, f"contest.probes.safety={listed}"))
    (measure,) = (one for one in result.decision.figures["measures"] if one["name"] == "safety")
    assert measure["cases"] == 1
    assert (result.folder / "safety.jsonl").read_text() == item
    assert result.report["identity"]["config"]["contest"]["probes"]["safety"] == sha256(item.encode()).hexdigest()


@pytest.mark.parametrize(("content", "message"), [(None, "no such safety list"), ("{}", "nothing is asked of the")])
def test_safety_list_that_is_none_is_refused_before_anything_is_trained(
    content: str | None, message: str, world: Path
) -> None:
    ingest(world, Path(str(write_export(world, 6))))
    if content is not None:
        (world / "list.jsonl").write_text(content)
    with pytest.raises(InputError, match=message):
        retrain(config_of(world, f"contest.probes.safety={world}/list.jsonl"))
    assert len(list((world / "models" / "runs").iterdir())) == 1


def test_frozen_set_that_erasures_used_up_stops_the_run_before_training(world: Path) -> None:
    """What is left of it has one label, as after the erasure of those who gave the other one."""
    frozen = world / "models" / "evaluation"
    manifest = Manifest.read(frozen)
    replace(manifest, shards=tuple(replace(shard, undesirable=0) for shard in manifest.shards)).write(frozen)
    ingest(world, Path(str(write_export(world, 6))))
    with pytest.raises(DataGateError, match="the frozen evaluation set has no rows of both labels any more"):
        retrain(config_of(world))
    latest = Registry(world / "models").latest()
    assert latest is not None
    assert not (world / "models" / "runs" / latest.run / "training").exists()


def test_report_that_a_crash_took_is_made_up_for(world: Path) -> None:
    ingest(world, Path(str(write_export(world, 6))))
    result = retrain(config_of(world))
    known = json.loads((result.folder / "report.json").read_text())
    for name in ("report.json", "report.html"):
        (result.folder / name).unlink()
    (world / "models" / "champion").unlink()
    with pytest.raises(NothingToDoError):
        retrain(config_of(world))
    assert json.loads((result.folder / "report.json").read_text()) == known
    assert (world / "models" / "champion" / "config.json").is_file()


def test_second_process_is_refused_with_the_holder_named(world: Path) -> None:
    with (
        folder_lock(world / "models" / LOCK_NAME, purpose="thumbline retrain"),
        pytest.raises(LockedError, match=r"thumbline retrain \(process \d+ on"),
    ):
        retrain(config_of(world))


def test_store_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputNotFoundError):
        retrain(config_of(write_config(tmp_path).parent))


@pytest.mark.parametrize(
    ("override", "error", "message"),
    [
        ("gate.min_new=1", UnknownChoiceError, "unknown config key: got 'gate'"),
        ("gates.min_news=1", UnknownChoiceError, "unknown config key: got 'gates.min_news'"),
        ("gates.max_share_up_change=2", ConfigError, "'gates.max_share_up_change' is not right"),
        ("curate.split.test_fraction=0", ConfigError, "nothing would be held out to compare models on"),
        ("curate.split.held_out=x", ConfigError, "made and named by the run itself"),
        ("train.objective.name=reward_model", UnknownChoiceError, "objective of a champion: got 'reward_model'"),
        ("notices.webhook=ftp://x", ConfigError, "the webhook is not a web address"),
        ("notices.prometheus=x.txt", ConfigError, "expected a name that ends in .prom"),
        ("start=last", ConfigError, "'start' is not right"),
    ],
)
def test_config_that_is_not_right_exits_2_before_anything_is_touched(
    override: str, error: type[Exception], message: str, tmp_path: Path
) -> None:
    path = write_config(tmp_path)
    with pytest.raises(error, match=message):
        load_retrain_config(path, [override])
    assert run(["retrain", str(path), "--set", override]) == 2
    assert not (tmp_path / "models").exists()


def test_paths_of_a_config_are_relative_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    config = load_retrain_config(write_config(tmp_path), ["contest.probes.safety=list.jsonl"])
    assert config.store == str(tmp_path / "store")
    assert config.model == str(tmp_path / "base")
    assert config.contest.probes.safety == str(tmp_path / "list.jsonl")


def test_commands_speak_of_the_run(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ingest(world, Path(str(write_export(world, 6))))
    assert run(["retrain", str(world / "retrain.toml")]) == 0
    captured = capsys.readouterr()
    assert "was promoted" in captured.out
    assert "4 of 4: the challenger against the champion" in captured.err
    assert run(["retrain", str(world / "retrain.toml"), "--json"]) == 75
    assert json.loads(capsys.readouterr().out)["error"]["type"] == "NothingToDoError"
    assert run(["history", str(world / "models"), "--json"]) == 0
    decisions = json.loads(capsys.readouterr().out)["decisions"]
    assert [one["kind"] for one in decisions] == ["promote", "promote"]
    rows = world / "rows.parquet"
    command = ["diff", "previous", "champion", "--in", str(world / "models"), "--json", "--rows", str(rows)]
    assert run(command) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["datasets"]["counts"]["came"] > 20
    assert found["models"]["weights"]["relative"] > 0
    counts = found["datasets"]["counts"]
    assert pl.read_parquet(rows).height == sum(counts.values()) - counts["same"]
    assert run(command) != 0
    assert "is there already" in capsys.readouterr().err
    assert run(["rollback", str(world / "models"), "--reason", "rude", "--json"]) == 0
    back = json.loads(capsys.readouterr().out)
    assert (back["kind"], back["champion"]["run"]) == ("rollback", decisions[0]["run"])
    assert (world / "models" / "champion").readlink() == Path(decisions[0]["champion"]["folder"])
    assert run(["history", str(world / "models")]) == 0
    assert "rollback" in capsys.readouterr().out
