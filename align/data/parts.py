"""Where in a curated dataset the rows of a kind lie: labelled answers in it, pairs in the folder `preference` in it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from schemas.manifest import MANIFEST_NAME, PREFERENCE_FOLDER, Manifest

__all__ = ["DatasetType", "dataset_name", "is_part", "part_for"]

DatasetType = Literal["unpaired_preference", "preference"]
"""The dataset types, in TRL's words."""


def part_for(dataset: Path, kind: DatasetType) -> Path:
    """The folder of the rows of a kind: where pairs are wanted of a curated dataset that has some, the one they lie in.

    Args:
        dataset: a dataset, as `align.data.dataset` reads it.
        kind: what is wanted.

    Raises:
        CorruptionError: the manifest cannot be read.
    """
    if kind != "preference" or not (dataset / MANIFEST_NAME).is_file():
        return dataset
    return dataset / PREFERENCE_FOLDER if Manifest.read(dataset).has_pairs else dataset


def dataset_name(folder: Path) -> str:
    """What a dataset is called in reports: its folder's name, that of pairs with the folder that they lie in."""
    place = folder.resolve()
    return f"{place.parent.name}/{place.name}" if is_part(place) else place.name


def is_part(folder: Path) -> bool:
    """Whether a folder is that of the pairs in a dataset of labelled answers."""
    return folder.name == PREFERENCE_FOLDER and (folder.parent / MANIFEST_NAME).is_file()
