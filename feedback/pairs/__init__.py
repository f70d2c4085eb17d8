"""Stage `pairs`: two answers to one prompt, the one that is up before the one that is down."""

from feedback.pairs.comparisons import comparisons_of
from feedback.pairs.notes import pair_notes
from feedback.pairs.stage import make_pairs

__all__ = ["comparisons_of", "make_pairs", "pair_notes"]
