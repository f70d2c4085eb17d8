"""What a run of `thumbline retrain` is made from, fixed before it begins, and where it leaves what it makes.

    FOLDER/
      decisions/, champion    see `align.champion.registry`
      evaluation/             the frozen evaluation set, a dataset
      runs/ID/
        run.json              what the run is made from, written first
        safety.jsonl          the safety list that it is asked, as it was then
        audit.json, .html     the audit of the new feedback
        dataset/              the whole history, curated
        mixed/                what is trained on, rows or pairs, where that is not all of it
        training/             see `align.trainer.run`
        contest.json          champion against challenger
        report.json, .html    what came in, what changed, what was decided; written last
        waits.json            instead of all that is behind the audit, see `cli.workflows.retrain.waits`

The id of a run follows from the store's version, the config, the code and the model that training begins from: what is
called again with the same of these is the same run, and goes on with it.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from align.champion.registry import Decision, ModelEntry, Registry
from align.champion.safety import read_safety_list
from align.data.parts import DatasetType
from align.models.model_files import model_digest, model_folder
from align.objectives import find_objective
from cli.workflows.retrain.config import RetrainConfig, identity_of_retrain
from feedback.hashing import stable_id
from feedback.store import Store
from feedback.store.durable import private_folder, write_durably
from feedback.store.selection import count_since
from schemas import __version__
from schemas.errors import InputError, NothingToDoError
from schemas.manifest import MANIFEST_NAME, file_sha256

__all__ = ["EVALUATION", "RunPlan", "begin_run", "clear_partials", "plan_run"]

EVALUATION: Final = "evaluation"
_RUN: Final = "run.json"
_ID_DIGITS: Final = 16


@dataclass(frozen=True, slots=True)
class RunPlan:
    """A run before it begins.

    Args:
        id: 16 hex digits.
        folder: the run's folder.
        version: version of the store that it is made from.
        since: the version up to which feedback was decided about before.
        counts: `events`, `pairs` and records in `quarantine` that came since.
        champion: the champion; null where there is none yet.
        latest: the newest decision; null where there is none.
        start: name or folder of the model that training begins from.
        goes_on: whether that is the champion.
        is_forgotten: whether somebody is forgotten whom the champion was trained on.
        frozen: folder of the frozen evaluation set.
        makes_frozen: whether this run makes it.
        identity: what the id follows from.
    """

    id: str
    folder: Path
    version: int
    since: int
    counts: dict[str, int]
    champion: ModelEntry | None
    latest: Decision | None
    start: str
    goes_on: bool
    is_forgotten: bool
    frozen: Path
    makes_frozen: bool
    identity: dict[str, Any]

    @property
    def kind(self) -> DatasetType:
        """What the objective trains on."""
        return find_objective(self.identity["config"]["train"]["objective"]["name"]).data

    @property
    def trained_until(self) -> int:
        """Version of the store up to which the champion's data reaches; 0 where training begins from the base model."""
        return self.champion.version if self.champion is not None and self.goes_on else 0

    @property
    def dataset(self) -> Path:
        """Folder of the whole history, curated."""
        return self.folder / "dataset"

    @property
    def mixed(self) -> Path:
        """Folder of what is trained on, where that is not the whole history."""
        return self.folder / "mixed"

    @property
    def safety(self) -> Path:
        """The safety list that the run is asked, where the config names one."""
        return self.folder / "safety.jsonl"

    @property
    def training(self) -> Path:
        """Folder of the training run."""
        return self.folder / "training"


def plan_run(config: RetrainConfig, store: Store, registry: Registry) -> RunPlan:
    """The run that is due.

    Args:
        config: the config.
        store: the store.
        registry: the decisions so far.

    Raises:
        InputNotFoundError: the safety list is not there.
        InputError: it is not one.
        NothingToDoError: less has come in than `gates.min_new`, or `gates.min_first` where there is no frozen set yet,
            and nobody is forgotten whom the champion knows.
        ModelError: the base model cannot be found.
    """
    latest = registry.latest()
    champion = None if latest is None else latest.champion
    version, since = store.version, 0 if latest is None else latest.watermark
    counts = count_since(store, since, version, config.exclude_versions)
    is_forgotten = champion is not None and _is_forgotten(store, registry.folder, champion)
    frozen = registry.folder / EVALUATION
    wanted = config.gates.min_new if (frozen / MANIFEST_NAME).is_file() else config.gates.min_first
    if counts["events"] + counts["pairs"] < wanted and not is_forgotten:
        raise NothingToDoError(
            f"{counts['events'] + counts['pairs']:,} new events and pairs have come in since version {since}",
            where=config.store,
            expected=f"at least {wanted:,}",
            todo="Take feedback in with: thumbline ingest",
        )
    goes_on = champion is not None and config.start == "champion" and not is_forgotten
    start = str(registry.folder / champion.folder) if champion is not None and goes_on else config.model
    identity = _identity(config, store, version, start)
    run = stable_id(json.dumps(identity, sort_keys=True))[:_ID_DIGITS]
    folder = registry.folder / "runs" / run
    return RunPlan(
        id=run,
        folder=folder,
        version=version,
        since=since,
        counts=counts,
        champion=champion,
        latest=latest,
        start=start,
        goes_on=goes_on,
        is_forgotten=is_forgotten,
        frozen=frozen,
        makes_frozen=_makes_frozen(folder, frozen),
        identity=identity,
    )


def begin_run(plan: RunPlan, config: RetrainConfig) -> None:
    """Write down what the run is made from, where that was not done before it was broken off.

    Args:
        plan: the run.
        config: the config.

    Raises:
        InputError: the safety list has become another one since the run was planned.
    """
    path = private_folder(plan.folder) / _RUN
    clear_partials(plan.folder)
    _keep_safety_list(plan, config)
    if not path.is_file():
        values = {
            **plan.identity,
            "since": plan.since,
            "counts": plan.counts,
            "start": plan.start,
            "goes_on": plan.goes_on,
            "is_forgotten": plan.is_forgotten,
            "makes_frozen": plan.makes_frozen,
        }
        write_durably(path, (json.dumps(values, indent=2, sort_keys=True) + "\n").encode(), point="retrain.run")


def _keep_safety_list(plan: RunPlan, config: RetrainConfig) -> None:
    """Copy the safety list into the run, so that what is written into it while the run trains is the next run's."""
    listed = config.contest.probes.safety
    if listed is None or plan.safety.is_file():
        return
    content = Path(listed).read_bytes()
    if hashlib.sha256(content).hexdigest() != plan.identity["config"]["contest"]["probes"]["safety"]:
        raise InputError("the safety list is being written", where=listed, todo="Run the same command again")
    write_durably(plan.safety, content, point="retrain.safety")


def clear_partials(folder: Path) -> None:
    """Remove what a call that was killed had begun to write; whoever holds the lock is the only writer."""
    for partial in folder.glob("*.partial"):
        if partial.is_file():
            partial.unlink()


def _identity(config: RetrainConfig, store: Store, version: int, start: str) -> dict[str, Any]:
    values = identity_of_retrain(config)
    safety = config.contest.probes.safety
    if safety is not None:
        read_safety_list(Path(safety))  # what is none is refused before hours of training, not behind them
        values["contest"]["probes"]["safety"] = file_sha256(Path(safety))
    return {
        "store": {"id": store.id, "version": version},
        "config": values,
        "code": __version__,
        "base": model_digest(model_folder(start)),
    }


def _makes_frozen(folder: Path, frozen: Path) -> bool:
    """Whether the run makes the frozen set: what it said when it began, or else whether there is none yet."""
    if (folder / _RUN).is_file():
        known: bool = json.loads((folder / _RUN).read_text("utf-8"))["makes_frozen"]
        return known
    return not (frozen / MANIFEST_NAME).is_file()


def _is_forgotten(store: Store, folder: Path, champion: ModelEntry) -> bool:
    """Whether a row behind the champion, or behind a champion that it went on from, is of somebody forgotten."""
    marked = {Path(run.folder) for run in store.runs() if run.needs_retrain}
    seen: set[Path] = set()
    training = (folder / champion.folder).parent.resolve()
    while training not in seen:
        if training in marked:
            return True
        seen.add(training)
        parent = _began_from(training)
        if parent is None:
            return False
        training = parent
    return False


def _began_from(training: Path) -> Path | None:
    """The training run of the model that a run began from; null where that is no run of ours."""
    from align.artifacts.card import find_run_card

    card = find_run_card(training)
    if card is None:
        return None
    parent = Path(str(card.model["name"])).parent.resolve()
    return parent if find_run_card(parent) is not None else None
