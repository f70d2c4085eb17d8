"""Gates of a curation run: data that cannot be trained on is refused before anything is written, with its counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from schemas.errors import EmptySplitError, OneLabelError
from schemas.report import LabelCounts

__all__ = ["refuse_unusable"]


def refuse_unusable(
    splits: Mapping[str, LabelCounts], test_fraction: float, *, stages: Sequence[str] = (), dropped: Mapping[str, int]
) -> None:
    """Pass if both labels are there, and in every split.

    Args:
        splits: rows by label of the splits `train` and `test`.
        test_fraction: share that was to be held out.
        stages: names of the stages that they went through.
        dropped: rows that these left out, by reason.

    Raises:
        OneLabelError: all rows have one label.
        EmptySplitError: there is no row, or a split has rows of one label only.
    """
    counts = LabelCounts(
        sum(part.desirable for part in splits.values()), sum(part.undesirable for part in splits.values())
    )
    received = dict(sorted(dropped.items())) or None
    if not counts.total:
        raise EmptySplitError(
            "no row is left",
            where=f"after the stages {', '.join(stages)}",
            received=received,
            expected="rows of both labels",
            todo="Look at the reasons in the counts, or add sources",
        )
    if not counts.desirable or not counts.undesirable:
        raise OneLabelError(
            f"all rows have one label: {_in_words(counts)}",
            where=f"after the stages {', '.join(stages)}",
            received=received,
            expected="rows of both labels",
            todo="Add a source that has the missing label, such as pairs or thumbs of the other kind",
        )
    for name in ("train", "test") if test_fraction else ("train",):
        part = splits[name]
        if not part.desirable or not part.undesirable:
            raise EmptySplitError(
                f"the {name} split has {_in_words(part)} rows",
                where=f"of {_in_words(counts)} rows with test_fraction {test_fraction:g}",
                expected="rows of both labels in every split",
                todo=_help(name),
            )


def _help(split: str) -> str:
    if split == "train":
        return "Hold out less (--set split.test_fraction=0.05), or nothing (--set split.test_fraction=0)"
    return "Hold out more (--set split.test_fraction=0.3), or nothing (--set split.test_fraction=0), or add rows"


def _in_words(counts: LabelCounts) -> str:
    return f"{counts.desirable:,} desirable and {counts.undesirable:,} undesirable"
