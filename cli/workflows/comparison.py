"""What differs between two datasets, two training runs or two runs of `thumbline retrain`, whatever is named."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from align.champion.dataset_diff import DatasetDiff, diff_datasets
from align.champion.registry import Registry
from feedback.engine import written_whole
from schemas.errors import InputNotFoundError, OutputExistsError, UnknownChoiceError, UsageError
from schemas.manifest import MANIFEST_NAME

__all__ = ["Comparison", "compare_named", "write_differing"]

_RUN_CARD: Final = "run_card.json"


@dataclass(frozen=True, slots=True)
class Comparison:
    """What differs between two things.

    Args:
        datasets: what differs between the datasets; null where a side has none.
        models: what differs between the models, see `align.champion.model_diff.diff_models`; null likewise. Of two runs
            of retrain that were in one contest, figures are those on the frozen set.
    """

    datasets: DatasetDiff | None
    models: dict[str, Any] | None

    def to_dict(self) -> dict[str, Any]:
        """JSON values of this comparison."""
        return {"datasets": None if self.datasets is None else self.datasets.to_dict(), "models": self.models}


def write_differing(rows: pa.Table, path: Path) -> None:
    """Write the rows that differ into a Parquet file, whole or not at all.

    Args:
        rows: what `DatasetDiff.rows` has.
        path: the file.

    Raises:
        OutputExistsError: there is such a file.
    """
    if path.exists():
        raise OutputExistsError("the file is there already", where=path, todo="Name another file, or move it away")
    with written_whole(path) as partial:
        pq.write_table(rows, partial)


def compare_named(before: str, after: str, folder: Path | None = None) -> Comparison:
    """Compare what two names stand for.

    Args:
        before: folder of a dataset, of a training run or of a run of `retrain`; or, with `folder`, the id of such a
            run, `champion` or `previous`.
        after: likewise.
        folder: folder of `thumbline retrain`.

    Raises:
        InputNotFoundError: there is nothing of that name that could be compared.
        UnknownChoiceError: no run has that id.
        UsageError: there is no champion yet, or none before it.
        CorruptionError: a file is not what was written.
    """
    old, new = (_side(name, folder) for name in (before, after))
    datasets = None if old.dataset is None or new.dataset is None else diff_datasets(old.dataset, new.dataset)
    models = None
    if old.training is not None and new.training is not None:
        from align.champion.model_diff import diff_models  # it loads torch

        models = diff_models(old.training, new.training) | _on_the_frozen_set(old.place, new.place)
    if datasets is None and models is None:
        raise InputNotFoundError(
            "the two have nothing in common that could be compared",
            where=f"{before} and {after}",
            expected="two datasets, two training runs or two runs of retrain",
        )
    return Comparison(datasets, models)


@dataclass(frozen=True, slots=True)
class _Side:
    """What a name stands for: its folder, and those of the dataset and of the training run there."""

    place: Path
    dataset: Path | None
    training: Path | None


def _side(name: str, folder: Path | None) -> _Side:
    place = Path(name) if folder is None or Path(name).exists() else _run_folder(name, folder)
    if (place / MANIFEST_NAME).is_file():
        return _Side(place, place, None)
    if (place / _RUN_CARD).is_file():
        return _Side(place, None, place)
    dataset, training = place / "dataset", place / "training"
    found = _Side(
        place,
        dataset if (dataset / MANIFEST_NAME).is_file() else None,
        training if (training / _RUN_CARD).is_file() else None,
    )
    if found.dataset is None and found.training is None:
        raise InputNotFoundError(
            "there is no dataset and no finished run",
            where=place,
            todo=None if folder else "Name the folder of thumbline retrain with --in to compare its runs by their ids",
        )
    return found


def _run_folder(name: str, folder: Path) -> Path:
    latest = Registry(folder).latest()
    aliases = {
        "champion": None if latest is None else latest.champion,
        "previous": None if latest is None else latest.previous,
    }
    entry = aliases.get(name)
    place = folder / "runs" / (name if entry is None else entry.run)
    if place.is_dir():
        return place
    if name in aliases and entry is None:
        no_one = "no champion yet" if aliases["champion"] is None else "no earlier champion yet"
        raise UsageError(
            f"there is {no_one}", where=folder, received=name, todo="Name a run by its id, or wait for one"
        )
    known = [path.name for path in (folder / "runs").glob("*") if path.is_dir()]
    raise UnknownChoiceError("run", name, [*known, *(alias for alias in aliases if aliases[alias])], where=folder)


def _on_the_frozen_set(before: Path, after: Path) -> dict[str, Any]:
    """What a contest found of two runs of retrain: the same rows and the same reference; empty where there was none."""
    for old, new, is_turned in ((before, after, False), (after, before, True)):
        measured = _contest_between(old.absolute(), new.absolute())
        if measured:
            ends = ("after", "before") if is_turned else ("before", "after")
            return {
                "evaluation": {one["name"]: [one[end] for end in ends] for one in measured},
                "evaluated_on": "Both were measured in one contest, on the frozen evaluation set and its prompts.",
            }
    return {}


def _contest_between(champion: Path, challenger: Path) -> list[dict[str, Any]]:
    """The measures of the contest in which one run was challenged by the other; none where it was not."""
    path = challenger / "contest.json"
    if champion.parent != challenger.parent or not path.is_file():
        return []
    decision = Registry(challenger.parent.parent).decided(challenger.name)
    then = None if decision is None else decision.previous if decision.kind == "promote" else decision.champion
    if then is None or then.run != champion.name:
        return []
    measures: list[dict[str, Any]] = json.loads(path.read_text("utf-8"))["measures"]
    return measures
