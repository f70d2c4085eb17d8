"""A curated dataset on disk, as a whole: how its folder appears, what is said of it, and how it is read again.

folders   built beside its place and swapped in; nothing that is not ours is replaced
outputs   whether it is to be made: not where it is there already, and by one run at a time
card      the dataset card, from the manifest alone
rows      its labelled rows as candidates again; `pairs` likewise
history   the raters, models and times of its rows, from its stage folder
frozen    its test split as a dataset of its own, on which no later one trains
redacted  what took personal data out of its texts, and that it is not taken out later
"""

from feedback.dataset.card import dataset_card
from feedback.dataset.folders import (
    built_folder,
    finish_dataset,
    is_unfinished,
    refuse_to_replace,
    remove_unfinished,
)
from feedback.dataset.frozen import FrozenSet, freeze, read_frozen
from feedback.dataset.history import with_history
from feedback.dataset.outputs import Claim, claimed_output, is_made_of, is_whole
from feedback.dataset.pairs import read_curated_pairs, text_of_curated_pairs
from feedback.dataset.redacted import redactions_of, refuse_late_redaction
from feedback.dataset.rows import read_curated, text_of_curated

__all__ = [
    "Claim",
    "FrozenSet",
    "built_folder",
    "claimed_output",
    "dataset_card",
    "finish_dataset",
    "freeze",
    "is_made_of",
    "is_unfinished",
    "is_whole",
    "read_curated",
    "read_curated_pairs",
    "read_frozen",
    "redactions_of",
    "refuse_late_redaction",
    "refuse_to_replace",
    "remove_unfinished",
    "text_of_curated",
    "text_of_curated_pairs",
    "with_history",
]
