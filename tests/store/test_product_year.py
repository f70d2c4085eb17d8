"""A year of nightly runs: a drifting product, a brigade, an outage, a renamed field, a poisoned week, two erasures."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from align.champion.registry import Registry
from cli.workflows.retrain import load_retrain_config, retrain
from cli.workflows.retrain.config import curate_config
from feedback.config import SourceConfig
from feedback.pipeline import curate_store
from feedback.store import Store
from schemas.errors import DataGateError, EvaluationGateError, InputError, NothingToDoError
from schemas.manifest import Manifest
from tests import product_year as year

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3000)]

WEEKS = 52
ERASURES = {15: "u7", 35: "u11"}


@pytest.fixture(scope="module", autouse=True)
def quiet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Reference log-probabilities go into a folder of the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("THUMBLINE_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("THUMBLINE_RATER_KEY", "0" * 64)
        yield


def ingest(store: Store, path: Path) -> int:
    return store.ingest([SourceConfig(path=str(path), format="thumbs", name="chat")]).version


class Year:
    """What happened, week by week."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.exports = folder / "exports"
        self.exports.mkdir()
        self.store = Store.open(folder / "store", create=True)
        self.outcomes: dict[int, str] = {}
        self.starts: dict[int, str] = {}
        self.spoilt: dict[int, int] = {}
        for week in range(WEEKS):
            self._live(week)

    def _live(self, week: int) -> None:
        if week in ERASURES:
            self.store.forget(rater=ERASURES[week])
        version = self._take_in(week)
        self.outcomes[week] = self._retrain(week)
        if self.outcomes[week] == "stop":
            assert version is not None
            self.spoilt[week] = version

    def _take_in(self, week: int) -> int | None:
        path = year.write_export(self.exports, week)
        if path is None:
            return None
        if week == year.SCHEMA_WEEK:
            before = self.store.version
            with pytest.raises((DataGateError, InputError)):
                ingest(self.store, path)
            assert Store.open(self.folder / "store").version == before
            year.write_export(self.exports, week, year.mended(week))
        version = ingest(self.store, path)
        assert ingest(self.store, path) == version, "the same file again brings nothing"
        return version

    def _retrain(self, week: int) -> str:
        exclude = tuple(self.spoilt.values())
        config = load_retrain_config(year.write_config(self.folder, exclude=exclude))
        try:
            result = retrain(config)
        except NothingToDoError:
            return "nothing"
        except DataGateError:
            return "stop"
        except EvaluationGateError:
            return "keep"
        self.starts[week] = result.report["training"]["start"]
        return "promote"

    def final(self) -> Path:
        """The dataset of the last run."""
        latest = Registry(self.folder / "models").latest()
        assert latest is not None
        return self.folder / "models" / "runs" / latest.run / "dataset"


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Year:
    return Year(tmp_path_factory.mktemp("year"))


def test_gates_stop_the_brigade_and_the_poisoned_week_and_nothing_else(lived: Year) -> None:
    stopped = [week for week, outcome in lived.outcomes.items() if outcome == "stop"]
    assert stopped == [year.BRIGADE_WEEK, year.POISONED_WEEK]
    waited = [week for week, outcome in lived.outcomes.items() if outcome == "nothing"]
    assert waited == [0, 1, 2, 3, year.OUTAGE_WEEK], "the first run waits for 200 votes"
    counts = Counter(lived.outcomes.values())
    assert counts["promote"] + counts["keep"] == WEEKS - 7
    assert counts["promote"] >= 0.9 * (WEEKS - 7)


def test_every_vote_is_in_the_store_exactly_once(lived: Year) -> None:
    """Replayed by hand: what was said of each record, without those of who is forgotten; the same again is nothing.

    So is the same with a field more that nobody reads.
    """
    revisions: dict[str, dict[str, dict[str, Any]]] = {}
    for week in range(WEEKS):
        records = year.mended(week) if week == year.SCHEMA_WEEK else year.export(week)
        for record in records or []:
            if record["user"] in ERASURES.values():
                continue
            said = {key: value for key, value in record.items() if key != "client"}
            revisions.setdefault(record["id"], {})[json.dumps(said, sort_keys=True)] = record
    everything = lived.store.events(revisions="all").select("event_id", "source_record_id").collect()
    assert everything["event_id"].n_unique() == everything.height == sum(map(len, revisions.values()))
    latest = lived.store.events().select("source_record_id").collect()["source_record_id"]
    taken_back = {
        name for name, known in revisions.items() if any(one.get("op") == "retract" for one in known.values())
    }
    alive = revisions.keys() - taken_back
    assert set(latest) == alive
    assert latest.len() == len(alive)


def test_run_after_an_erasure_begins_from_the_base_model(lived: Year) -> None:
    for week in ERASURES:
        assert lived.starts[week] == "base"
        assert lived.starts[week + 1] == "champion"


def test_who_is_forgotten_appears_nowhere(lived: Year) -> None:
    """Neither the words, in any file of any kind, nor the rater's key."""
    words = {word for _, word in year.CANARIES.values()}
    seen = 0
    for path in sorted(lived.folder.rglob("*")):
        if not path.is_file() or path.is_relative_to(lived.exports):
            continue
        seen += 1
        text = _text_of(path)
        assert not [word for word in words if word in text], path
    assert seen > 10 * WEEKS


def _text_of(path: Path) -> str:
    """All that a file says, read as what it is."""
    if path.suffix == ".parquet":
        return str(pq.read_table(path).to_pylist())
    if path.suffix == ".arrow":
        with pa.memory_map(str(path)) as source:
            return str(pa.ipc.open_file(source).read_all().to_pylist())
    return path.read_bytes().decode("utf-8", errors="replace")


def test_final_dataset_is_that_of_the_same_feedback_from_scratch(lived: Year, tmp_path: Path) -> None:
    """Another store, filled in one go in another order, with the same people forgotten and weeks left out.

    What is left out is what came first with a spoilt week, so the others stay before or behind it.
    """
    scratch = Store.open(tmp_path / "store", create=True)
    spoilt = []

    def place(week: int) -> tuple[int, bool, int]:
        return sum(spoilt_week < week for spoilt_week in lived.spoilt), week in lived.spoilt, (week * 17) % WEEKS

    for week in sorted(range(WEEKS), key=place):
        path = lived.exports / f"week-{week:02d}.jsonl"
        if path.is_file():
            version = ingest(scratch, path)
            spoilt += [version] if week in lived.spoilt else []
    for rater in ERASURES.values():
        scratch.forget(rater=rater)
    config = load_retrain_config(lived.folder / "retrain.toml")
    settings = curate_config(config, frozen=lived.folder / "models" / "evaluation")
    made = curate_store(scratch, settings, tmp_path / "dataset", exclude=spoilt).manifest
    final = Manifest.read(lived.final())
    assert [shard.sha256 for shard in made.shards] == [shard.sha256 for shard in final.shards]
    assert made.digest == final.digest


def test_nothing_of_the_frozen_set_was_ever_trained_on(lived: Year) -> None:
    def prompts(folder: Path, split: str) -> set[str]:
        frames = [pl.read_parquet(path) for path in folder.glob(f"data/{split}-*.parquet")]
        return {json.dumps(turns) for frame in frames for turns in frame["prompt"].to_list()}

    frozen = prompts(lived.folder / "models" / "evaluation", "test")
    assert frozen
    runs = [path for path in (lived.folder / "models" / "runs").iterdir() if (path / "training").is_dir()]
    assert len(runs) == WEEKS - 7
    for folder in runs:
        for name in ("dataset", "mixed"):
            assert prompts(folder / name, "train").isdisjoint(frozen), folder


def test_every_run_left_a_page_and_the_history_tells_the_year(lived: Year) -> None:
    history = Registry(lived.folder / "models").history()
    assert [one.kind for one in history].count("stop") == 2
    watermarks = [one.watermark for one in history]
    assert watermarks == sorted(watermarks)
    for decision in history:
        folder = lived.folder / "models" / "runs" / decision.run
        assert (folder / "report.html").is_file()
        assert json.loads((folder / "report.json").read_text())["decision"]["number"] == decision.number
