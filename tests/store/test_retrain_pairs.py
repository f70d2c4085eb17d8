"""Scheduled retraining with objectives of pairs: nights that promote, one without pairs, one that is killed."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
import torch

from align.artifacts.card import find_run_card
from align.champion.registry import Registry
from cli.main import run
from cli.workflows.retrain import RetrainResult, load_retrain_config, retrain
from cli.workflows.retrain.config import curate_config
from feedback.store import Store
from schemas.errors import ConfigError, DataGateError, NothingToDoError, UnknownChoiceError
from schemas.manifest import Manifest
from tests.duel_nights import (
    CANARY,
    NIGHTLY,
    config_of,
    copied,
    duels,
    first_night,
    ingest,
    votes,
    write_pairs_config,
)
from tests.product_year import write_config
from tests.retrain_night import nights, start_night


@pytest.fixture(scope="module", autouse=True)
def quiet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Reference log-probabilities go into a folder of the tests, and nights here train as those in processes do."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("THUMBLINE_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("THUMBLINE_RATER_KEY", "0" * 64)
        yield
    torch.set_num_threads(threads)


def rows_of(folder: Path) -> pl.DataFrame:
    return pl.concat([pl.read_parquet(path) for path in sorted(folder.glob("data/*.parquet"))])


def prompts_of(folder: Path, split: str) -> set[str]:
    return {turns[0]["content"] for turns in rows_of(folder).filter(split=split)["prompt"].to_list()}


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder after its first run with dpo, on comparisons and some thumbs."""
    return first_night(tmp_path_factory.mktemp("first"))


@pytest.fixture
def world(first: Path, tmp_path: Path) -> Path:
    """A copy of that folder, in its own place."""
    return copied(first, tmp_path / "world")


@pytest.fixture(scope="module")
def second(first: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RetrainResult]:
    """That folder after another night of comparisons and thumbs; nobody writes into it."""
    folder = copied(first, tmp_path_factory.mktemp("second") / "world")
    ingest(folder, duels(1, NIGHTLY), "duels-1")
    ingest(folder, votes(1), "votes-1")
    return folder, retrain(config_of(folder))


def test_first_night_with_dpo_promotes_and_freezes_labelled_answers(first: Path) -> None:
    decision = Registry(first / "models").latest()
    assert decision is not None
    assert (decision.kind, decision.watermark) == ("promote", 2)
    run_folder = first / "models" / "runs" / decision.run
    card = find_run_card(run_folder / "training")
    assert card is not None
    pairs = Manifest.read(run_folder / "dataset" / "preference")
    assert card.config["objective"]["name"] == "dpo"
    assert (card.dataset["name"], card.dataset["digest"]) == ("dataset/preference", pairs.digest)
    assert card.rows["train"]["kept"] == sum(one.rows for one in pairs.shards if one.split == "train") > 60
    assert Manifest.read(first / "models" / "evaluation").dataset_type == "unpaired_preference"
    assert [one.dataset_digest for one in Store.open(first / "store").runs()] == [pairs.digest]


def test_next_night_goes_on_from_the_champion_on_new_and_as_many_older_pairs(
    second: tuple[Path, RetrainResult],
) -> None:
    folder, result = second
    mixed = Manifest.read(result.folder / "mixed")
    assert mixed.dataset_type == "preference"
    assert mixed.parent_digest == Manifest.read(result.folder / "dataset" / "preference").digest
    mix = next(stage for stage in result.report["dataset"]["stages"] if stage["stage"] == "mix")
    assert mix["figures"]["older"] == mix["figures"]["new"] > 10
    trained = rows_of(result.folder / "mixed").filter(split="train")
    assert trained.height == 2 * mix["figures"]["new"]
    training = result.report["training"]
    assert (training["objective"], training["start"]) == ("dpo", "champion")
    assert training["rows"]["train"]["kept"] == trained.height
    history = Registry(folder / "models").history()
    assert result.decision.previous == history[0].champion
    assert result.decision.watermark == 4


def test_prompts_of_the_frozen_set_are_in_no_pair_that_is_trained_on(second: tuple[Path, RetrainResult]) -> None:
    folder, result = second
    frozen = prompts_of(folder / "models" / "evaluation", "test")
    held_out = prompts_of(result.folder / "dataset" / "preference", "test")
    assert len(held_out) > 10
    assert held_out <= frozen
    for name in ("dataset/preference", "mixed"):
        trained = prompts_of(result.folder / name, "train")
        assert trained
        assert trained.isdisjoint(frozen)


def test_frozen_question_that_comes_again_in_a_comparison_is_not_trained_on(world: Path) -> None:
    """What is compared beside it is."""
    frozen = sorted(prompts_of(world / "models" / "evaluation", "test"))[:8]
    again = [{**duel, "prompt": prompt} for duel, prompt in zip(duels(2, 8), frozen, strict=True)]
    ingest(world, [*again, *({**duel, "id": duel["id"] + "x"} for duel in duels(3, 8))], "again")
    result = retrain(config_of(world))
    whole = rows_of(result.folder / "dataset" / "preference")
    answers = {duel["chosen"] for duel in again}
    mine = whole.filter(pl.col("chosen").list.first().struct.field("content").is_in(answers))
    assert mine.height == 8
    assert set(mine["split"]) == {"test"}
    mix = next(stage for stage in result.report["dataset"]["stages"] if stage["stage"] == "mix")
    assert mix["figures"]["new"] == 8


def test_page_and_report_tell_of_pairs_and_show_no_text(second: tuple[Path, RetrainResult]) -> None:
    _, result = second
    report, page = result.report, (result.folder / "report.html").read_text()
    assert report["dataset"]["kind"] == "preference"
    assert report["dataset"]["trained_on"] == Manifest.read(result.folder / "mixed").digest
    assert [stage["stage"] for stage in report["dataset"]["stages"]][-4:] == ["pairs", "export", "mix", "export"]
    pairs = report["dataset"]["pairs"]
    assert report["changed"]["pairs"]["rows_after"] == pairs["train"] + pairs["test"]
    assert report["changed"]["pairs"]["counts"]["came"] == NIGHTLY
    assert "Trained on: pairs." in page
    assert "dpo: " in page
    assert "pairs that came" in page
    for name in ("report.html", "report.json"):
        assert CANARY not in (result.folder / name).read_text()


def test_night_without_new_pairs_waits_and_is_made_up_for_by_the_next_one(world: Path) -> None:
    """Thumbs alone: 75, told again at once, no decision, no dataset left; then comparisons come, and all counts."""
    version = ingest(world, votes(1), "votes-1")
    before = Registry(world / "models").history()
    sentence = f"only 0 new pairs to train on since version {version - 1}; expected at least 1"
    with pytest.raises(NothingToDoError, match=sentence) as caught:
        retrain(config_of(world))
    assert caught.value.exit_code == 75
    assert Registry(world / "models").history() == before
    (waiting,) = (path.parent for path in (world / "models" / "runs").glob("*/waits.json"))
    assert not (waiting / "dataset").exists()
    assert not (waiting / "training").exists()
    said: list[str] = []
    with pytest.raises(NothingToDoError, match="0 new pairs to train on"):
        retrain(config_of(world), tell=said.append)
    assert said == []
    with pytest.raises(NothingToDoError, match=r"at least 1\b"):
        retrain(config_of(world, "contest.margin=0.4"))
    ingest(world, duels(1, NIGHTLY), "duels-1")
    result = retrain(config_of(world))
    assert result.report["came_in"]["since"] == version - 1
    assert result.report["came_in"]["events"] >= NIGHTLY
    assert result.decision.watermark == version + 1


def test_night_of_thumbs_of_one_label_waits_and_is_stopped_where_labels_are_trained_on(world: Path) -> None:
    ingest(world, [{**vote, "label": "up"} for vote in votes(1)], "votes-1")
    anything = "gates.max_share_up_change=1"
    with pytest.raises(NothingToDoError, match="0 new pairs to train on"):
        retrain(config_of(world, anything))
    with pytest.raises(DataGateError, match="labels: All 24 rows are up"):
        retrain(config_of(world, anything, "train.objective.name=kto"))


def test_ratio_of_labels_is_left_alone_where_pairs_are_trained_on(second: tuple[Path, RetrainResult]) -> None:
    """A range that no down-sampling can reach stops nobody, and no answer is left out for it."""
    folder, result = second
    assert Manifest.read(result.folder / "dataset").config["rebalance"]["mode"] == "off"
    wanted = config_of(folder, "curate.rebalance.low=5", "curate.rebalance.high=5")
    assert curate_config(wanted, frozen=None).rebalance.mode == "off"
    of_labels = config_of(folder, "train.objective.name=kto", "curate.rebalance.low=5", "curate.rebalance.high=5")
    assert curate_config(of_labels, frozen=None).rebalance.low == 5


def test_first_run_waits_for_enough_pairs_before_anything_is_frozen(tmp_path: Path) -> None:
    write_pairs_config(tmp_path)
    ingest(tmp_path, votes(0, 100), "votes-0")
    with pytest.raises(NothingToDoError, match=r"0 new pairs to train on .* expected at least 60"):
        retrain(config_of(tmp_path))
    assert not (tmp_path / "models" / "evaluation").exists()


@pytest.mark.parametrize("place", ["retrain.mix.after", "retrain.train.after"])
def test_killed_night_with_pairs_goes_on(
    place: str, second: tuple[Path, RetrainResult], first: Path, tmp_path: Path
) -> None:
    """The next call ends where a night without a kill does."""
    folder = copied(first, tmp_path / "world")
    ingest(folder, duels(1, NIGHTLY), "duels-1")
    ingest(folder, votes(1), "votes-1")
    process = start_night(nights(), folder, f"{place}:kill")
    process.join()
    assert process.exitcode == -signal.SIGKILL
    process = start_night(nights(), folder)
    process.join()
    assert process.exitcode == 0
    expected = second[1]
    latest = Registry(folder / "models").latest()
    assert latest is not None
    assert (latest.kind, latest.run, latest.champion) == ("promote", expected.run, expected.decision.champion)
    again = folder / "models" / "runs" / latest.run
    assert Manifest.read(again / "mixed").digest == Manifest.read(expected.folder / "mixed").digest
    assert (again / "report.json").is_file()


@pytest.mark.parametrize("objective", ["cdpo", "slic", "orpo", "kto"])
def test_other_objectives_go_on_from_a_champion_of_dpo(objective: str, world: Path) -> None:
    ingest(world, duels(1, NIGHTLY), "duels-1")
    result = retrain(config_of(world, f"train.objective.name={objective}"))
    assert result.report["training"]["objective"] == objective
    kind = "unpaired_preference" if objective == "kto" else "preference"
    assert result.report["dataset"]["kind"] == kind == Manifest.read(result.folder / "mixed").dataset_type


@pytest.mark.parametrize(
    ("overrides", "error", "message"),
    [
        (
            ["reward_model"],
            UnknownChoiceError,
            r"objective of a champion: got 'reward_model'; expected one of cdpo, csft,",
        ),
        (["rlhf"], UnknownChoiceError, "not from what came in: use `thumbline train`"),
        (["dpo", "curate.pairs.mode=off"], ConfigError, "'dpo' trains on pairs, and none would be made"),
        (["orpo", "train.objective.beta=0.3"], ConfigError, "the objective 'orpo' has no such setting"),
    ],
)
def test_objective_that_cannot_be_exits_2_before_anything_is_touched(
    overrides: list[str], error: type[Exception], message: str, tmp_path: Path
) -> None:
    path = write_config(tmp_path)
    wanted = [f"train.objective.name={overrides[0]}", *overrides[1:]]
    with pytest.raises(error, match=message):
        load_retrain_config(path, wanted)
    assert run(["retrain", str(path), *(part for one in wanted for part in ("--set", one))]) == 2
    assert not (tmp_path / "models").exists()


def test_nights_of_labelled_answers_may_do_without_pairs(tmp_path: Path) -> None:
    assert load_retrain_config(write_config(tmp_path), ["curate.pairs.mode=off"]).curate.pairs.mode == "off"


def test_diff_shows_pairs_that_came_and_went(
    second: tuple[Path, RetrainResult], capsys: pytest.CaptureFixture[str]
) -> None:
    models = str(second[0] / "models")
    assert run(["diff", "previous", "champion", "--in", models]) == 0
    shown = capsys.readouterr().out
    assert "pairs that came" in shown
    assert "pairs with another label" not in shown
    assert "rows in both, with the same label, split and weight" in shown  # not "the same": their texts are not read
    assert "pairs in both, with the same split and weight" in shown
    assert run(["diff", "champion", "previous", "--in", models, "--json"]) == 0
    pairs = json.loads(capsys.readouterr().out)["datasets"]["pairs"]
    assert (pairs["counts"]["went"], pairs["counts"]["came"]) == (NIGHTLY, 0)
