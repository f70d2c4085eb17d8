"""Nights of `retrain` with hardly a vote, or with nothing but votes taken back: they wait, and stop nothing."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from align.champion.registry import Registry
from cli.workflows.retrain import load_retrain_config, retrain
from cli.workflows.retrain.config import GatesConfig
from cli.workflows.retrain.gates import as_of_a_night, stopping_reasons
from feedback.audit import AuditReport
from feedback.audit.new_feedback import audit_new_feedback
from feedback.config import SourceConfig
from feedback.pipeline import curate_store, store_config
from feedback.store import Store
from feedback.store.selection import count_since
from schemas.errors import DataGateError, NothingToDoError, OneLabelError
from tests.product_year import Record, new_votes, write_config, write_export


@pytest.fixture(scope="module", autouse=True)
def quiet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Reference log-probabilities go into a folder of the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("THUMBLINE_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("THUMBLINE_RATER_KEY", "0" * 64)
        yield


def ingest(folder: Path, week: int, records: list[Record] | None = None) -> int:
    """Take a week's export into the store, or other records; the version after it."""
    path = write_export(folder, week, records)
    store = Store.open(folder / "store", create=True)
    limit = 1.0  # so that rejected records reach the gates of `retrain`
    source = SourceConfig(path=str(path), format="thumbs", name="chat")
    return store.ingest([source], max_rejected_share=limit).version


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder after its first run, on five weeks of votes."""
    folder = tmp_path_factory.mktemp("first")
    for week in range(5):
        ingest(folder, week)
    retrain(load_retrain_config(write_config(folder)))
    return folder


@pytest.fixture
def world(first: Path, tmp_path: Path) -> Path:
    """A copy of that folder, in its own place."""
    shutil.copytree(first, tmp_path / "world", symlinks=True)
    return tmp_path / "world"


def taken_back(votes: list[Record]) -> list[Record]:
    return [vote | {"op": "retract", "updated": "2025-03-01T00:00:00Z"} for vote in votes]


def test_night_of_retractions_waits_and_stops_nothing(world: Path) -> None:
    """It is no decision, so all counts again with what comes in later; the same call says so at once."""
    before = Registry(world / "models").history()
    ingest(world, 5, taken_back(new_votes(3)[:25]))
    config = load_retrain_config(world / "retrain.toml")
    said: list[str] = []
    with pytest.raises(NothingToDoError, match="only 0 new rows to train on since version 5") as caught:
        retrain(config, tell=said.append)
    assert caught.value.exit_code == 75
    assert any("too few cases to say anything" in sentence for sentence in said)
    said.clear()
    with pytest.raises(NothingToDoError, match="only 0 new rows"):
        retrain(config, tell=said.append)
    assert said == []
    assert Registry(world / "models").history() == before
    assert not list((world / "models" / "runs").glob("*/mixed")), "no run is left half made"
    ingest(world, 6)
    result = retrain(config)
    assert result.report["came_in"]["since"] == 5
    assert result.report["came_in"]["events"] > 25 + 44
    unjudged = result.report["audit"]["unjudged"]
    assert unjudged > 0
    assert f"{unjudged} have too few cases to say." in (result.folder / "report.html").read_text()


def test_single_vote_stops_nothing(world: Path) -> None:
    """An up vote and the older row beside it are of one label."""
    before = Registry(world / "models").history()
    ingest(world, 5, [new_votes(5)[0] | {"label": "up"}])
    with pytest.raises(NothingToDoError, match="only 1 new row to train on since version 5"):
        retrain(load_retrain_config(world / "retrain.toml"))
    assert Registry(world / "models").history() == before


def test_rows_that_no_training_set_comes_of_stop_the_run_where_they_are_many(
    world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object, **settings: object) -> None:
        raise OneLabelError("all rows are up")

    monkeypatch.setattr("cli.workflows.retrain.steps.mix_dataset", refuse)
    ingest(world, 5)
    with pytest.raises(DataGateError, match="all rows are up"):
        retrain(load_retrain_config(world / "retrain.toml"))


def votes_on_frozen_answers(world: Path, night: int, count: int) -> list[Record]:
    """Votes of other people on answers of the frozen set, with the label that most gave before."""
    shards = [pl.read_parquet(path) for path in sorted((world / "models" / "evaluation").glob("data/*.parquet"))]
    rows = pl.concat(shards).sort("row_id").head(count).to_dicts()
    return [
        {
            "id": f"f{night}-{number}",
            "prompt": row["prompt"][-1]["content"],
            "completion": row["completion"][0]["content"],
            "label": "up" if row["label"] else "down",
            "user": f"f{night}-{number}",
            "conversation": f"f{night}-{number}",
            "time": f"2025-02-{10 + night}T00:00:00Z",
        }
        for number, row in enumerate(rows)
    ]


def test_votes_that_curation_leaves_out_wait_until_they_are_many_and_then_stop_the_run(world: Path) -> None:
    """On answers of the frozen set no vote is trained on. Ten wait; with the next night they are 40, and it stops."""
    config = load_retrain_config(world / "retrain.toml")
    ingest(world, 5, votes_on_frozen_answers(world, 0, 10))
    for _ in range(2):  # the second call reads what the first one noted
        with pytest.raises(NothingToDoError, match=r"only 0 new rows .* \(left out: 10 held_out\)"):
            retrain(config)
    ingest(world, 6, votes_on_frozen_answers(world, 1, 30))
    with pytest.raises(DataGateError, match=r"of 40 labelled answers .* only 0 new rows .* \(left out: 40 held_out"):
        retrain(config)
    assert Registry(world / "models").history()[-1].kind == "stop"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store with two weeks of votes."""
    for week in range(2):
        ingest(tmp_path, week)
    return Store.open(tmp_path / "store")


def audited(store: Store, records: list[Record]) -> AuditReport:
    """The audit of records that come in, as a night takes it."""
    since = store.version
    version = ingest(store.folder.parent, 9, records)
    return as_of_a_night(audit_new_feedback(Store.open(store.folder), since, version), has_older=True)


def reasons(report: AuditReport) -> list[str]:
    """Names of what stops a night."""
    return [reason.split(":")[0] for reason in stopping_reasons(report, GatesConfig(), "unpaired_preference")]


@pytest.mark.parametrize(("rejected", "accepted", "stopping"), [(1, 1, []), (12, 12, ["rejected", "rejected"])])
def test_rejected_records_stop_a_night_where_they_are_not_few(
    rejected: int, accepted: int, stopping: list[str], store: Store
) -> None:
    votes = new_votes(5)
    odd = [vote | {"label": "perhaps"} for vote in votes[:rejected]]
    report = audited(store, [*odd, *votes[rejected : rejected + accepted]])
    assert reasons(report) == stopping
    gate = report.metric("rejected")
    assert gate is not None
    assert gate.severity == ("fail" if stopping else "info")
    assert ("Of so few records nothing follows." in gate.sentence) is not bool(stopping)
    assert ("rejected" in {one.metric for one in report.advice}) is bool(stopping)


def test_night_of_one_label_is_stopped_where_chance_does_not_make_it(store: Store) -> None:
    """Of older votes of which three in four are up, four up are nothing special and thirty are."""
    votes = [vote | {"label": "up"} for vote in new_votes(5)]
    few, many = audited(store, votes[:4]), audited(store, votes[4:34])
    assert reasons(few) == []
    assert "labels" in reasons(many)
    gate = few.metric("labels")
    assert gate is not None
    assert gate.sentence.endswith("Chance alone makes that of the older feedback, which is trained on beside it.")


def test_labels_of_a_first_night_are_judged(store: Store) -> None:
    """Nothing is older that could be trained on beside it."""
    version = ingest(store.folder.parent, 9, [vote | {"label": "up"} for vote in new_votes(5)])
    report = audit_new_feedback(store, 0, version, exclude=[1, 2])
    assert "labels" in reasons(as_of_a_night(report, has_older=False))


def test_vote_that_is_taken_back_stays_so_when_its_version_is_left_out(store: Store, tmp_path: Path) -> None:
    """A change of a vote is left out: then the vote is what it was. One was taken back before."""
    votes = new_votes(1)
    turned = votes[2] | {"op": "update", "label": "down", "updated": "2025-03-01T00:00:00Z"}
    version = ingest(tmp_path, 9, [*taken_back(votes[:2]), turned])
    curated = curate_store(Store.open(store.folder), store_config(), tmp_path / "without", exclude=[version])
    shards = [pl.read_parquet(path, columns=["completion"]) for path in (tmp_path / "without").glob("data/*.parquet")]
    answers = {turns[0]["content"] for turns in pl.concat(shards)["completion"].to_list()}
    assert {vote["completion"] in answers for vote in votes[:2]} == {False}
    convert = next(stage for stage in curated.manifest.stages if stage.stage == "convert")
    assert convert.dropped["retracted"] == 3
    assert count_since(store, version - 1, version, [version])["events"] == 0
