"""Who is forgotten is in no pair that nights were trained on, and the runs on those are marked."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from align.champion.registry import Registry
from cli.workflows.retrain import retrain
from feedback.store import Store
from schemas.errors import DataGateError
from schemas.manifest import Manifest
from tests.canary import places_of
from tests.duel_nights import (
    CANARY,
    FIRST,
    NIGHTLY,
    USER,
    config_of,
    copied,
    duels,
    first_night,
    ingest,
    write_pairs_config,
)


@pytest.fixture(scope="module", autouse=True)
def quiet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Reference log-probabilities go into a folder of the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("THUMBLINE_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("THUMBLINE_RATER_KEY", "0" * 64)
        yield


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder after its first run with dpo."""
    return first_night(tmp_path_factory.mktemp("first"))


@pytest.fixture
def world(first: Path, tmp_path: Path) -> Path:
    """A copy of that folder, in its own place."""
    return copied(first, tmp_path / "world")


def test_forgotten_rater_is_in_no_pair_any_more_and_the_runs_are_marked(world: Path) -> None:
    """The champion knew them, so the next night begins from the base model though nothing has come in."""
    ingest(world, duels(1, NIGHTLY), "duels-1")
    night = retrain(config_of(world, "mix.older_share=0.9"))
    models = world / "models"
    (first_run,) = (path for path in (models / "runs").iterdir() if path != night.folder)
    assert any("/mixed/" in path for path in places_of(CANARY, night.folder))
    store = Store.open(world / "store")
    store.forget(rater=USER)
    for run_folder in (first_run, night.folder):
        assert (run_folder / "training" / "needs_retrain.json").is_file()
        assert (run_folder / "dataset" / "needs_retrain.json").is_file()
    assert (night.folder / "mixed" / "needs_retrain.json").is_file()
    assert all(one.needs_retrain for one in store.runs())
    assert places_of(CANARY, models, world / "store") == []
    Manifest.read(night.folder / "mixed").verify(night.folder / "mixed")
    result = retrain(config_of(world))
    assert result.report["came_in"]["is_forgotten"]
    assert result.report["training"]["start"] == "base"
    assert result.report["changed"]["pairs"]["counts"]["went"] == 0  # the champion's dataset was cleaned too


@pytest.mark.parametrize("name", ["mixed", "evaluation"])
def test_dataset_whose_run_was_killed_before_it_could_say_so_is_cleaned_too(
    name: str, first: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name == "mixed":
        world = copied(first, tmp_path / "world")
        ingest(world, duels(1, NIGHTLY), "duels-1")
    else:
        world = write_pairs_config(tmp_path).parent
        ingest(world, duels(0, FIRST), "duels-0")
    register = Store.register_dataset

    def killed(store: Store, folder: Path, digest: str, version: int) -> Any:
        if folder.name == name:
            raise KeyboardInterrupt
        return register(store, folder, digest, version)

    with monkeypatch.context() as patch:
        patch.setattr(Store, "register_dataset", killed)
        with pytest.raises(KeyboardInterrupt):
            retrain(config_of(world, "mix.older_share=0.9", "curate.seed=1"))
    assert any(f"/{name}/" in path for path in places_of(CANARY, world / "models"))
    Store.open(world / "store").forget(rater=USER)
    assert places_of(CANARY, world / "models", world / "store") == []


def test_champion_that_knows_a_forgotten_rater_and_no_pairs_are_left_stops(world: Path) -> None:
    Store.open(world / "store").forget(rater=USER)
    with pytest.raises(DataGateError, match="there are no pairs to train on, and the champion knows somebody"):
        retrain(config_of(world, "exclude_versions=[1]"))
    latest = Registry(world / "models").latest()
    assert latest is not None
    assert latest.kind == "stop"
