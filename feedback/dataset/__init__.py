"""A curated dataset on disk, as a whole: how its folder appears, what is said of it, and how it is read again.

folders   built beside its place and swapped in; nothing that is not ours is replaced
card      the dataset card, from the manifest alone
rows      its labelled rows as candidates again; `pairs` likewise
frozen    its test split as a dataset of its own, on which no later one trains
"""

from feedback.dataset.card import dataset_card
from feedback.dataset.folders import (
    built_folder,
    finish_dataset,
    is_whole,
    refuse_to_replace,
    remove_unfinished,
    same_result,
)
from feedback.dataset.frozen import FrozenSet, freeze, groups_of_frozen, read_frozen
from feedback.dataset.pairs import read_curated_pairs, text_of_curated_pairs
from feedback.dataset.rows import read_curated, text_of_curated

__all__ = [
    "FrozenSet",
    "built_folder",
    "dataset_card",
    "finish_dataset",
    "freeze",
    "groups_of_frozen",
    "is_whole",
    "read_curated",
    "read_curated_pairs",
    "read_frozen",
    "refuse_to_replace",
    "remove_unfinished",
    "same_result",
    "text_of_curated",
    "text_of_curated_pairs",
]
