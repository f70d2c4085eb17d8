"""What differs between two datasets, two training runs or two runs of `thumbline retrain`, whatever is named."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from align.champion.dataset_diff import DatasetDiff, diff_datasets
from align.champion.registry import Registry
from feedback.engine import written_whole
from schemas.errors import InputNotFoundError, OutputExistsError, UnknownChoiceError
from schemas.manifest import MANIFEST_NAME

__all__ = ["Comparison", "compare_named", "write_differing"]


@dataclass(frozen=True, slots=True)
class Comparison:
    """What differs between two things.

    Args:
        datasets: what differs between the datasets; null where a side has none.
        models: what differs between the models, see `align.champion.model_diff.diff_models`; null likewise.
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
        CorruptionError: a file is not what was written.
    """
    sides = [_parts(name, folder) for name in (before, after)]
    (old_data, old_run), (new_data, new_run) = sides
    datasets = None if old_data is None or new_data is None else diff_datasets(old_data, new_data)
    models = None
    if old_run is not None and new_run is not None:
        from align.champion.model_diff import diff_models  # it loads torch

        models = diff_models(old_run, new_run)
    if datasets is None and models is None:
        raise InputNotFoundError(
            "the two have nothing in common that could be compared",
            where=f"{before} and {after}",
            expected="two datasets, two training runs or two runs of retrain",
        )
    return Comparison(datasets, models)


def _parts(name: str, folder: Path | None) -> tuple[Path | None, Path | None]:
    """The folders of the dataset and of the training run that a name stands for."""
    place = Path(name) if folder is None or Path(name).exists() else _run_folder(name, folder)
    if (place / MANIFEST_NAME).is_file():
        return place, None
    if (place / "run_card.json").is_file():
        return None, place
    dataset, training = place / "dataset", place / "training"
    found = (
        dataset if (dataset / MANIFEST_NAME).is_file() else None,
        training if (training / "run_card.json").is_file() else None,
    )
    if found == (None, None):
        raise InputNotFoundError(
            "there is no dataset and no finished run",
            where=place,
            todo=None if folder else "Name the folder of thumbline retrain with --in to compare its runs by their ids",
        )
    return found


def _run_folder(name: str, folder: Path) -> Path:
    latest = Registry(folder).latest()
    aliases = {} if latest is None else {"champion": latest.champion, "previous": latest.previous}
    entry = aliases.get(name)
    run = name if entry is None else entry.run
    place = folder / "runs" / run
    if not place.is_dir():
        known = [path.name for path in (folder / "runs").glob("*") if path.is_dir()]
        raise UnknownChoiceError("run", name, [*known, "champion", "previous"], where=folder)
    return place
