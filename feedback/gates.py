"""Gates of a curation run: data that cannot be trained on is refused before anything is written, with its counts."""

from __future__ import annotations

from collections.abc import Sequence

from schemas.errors import EmptySplitError, OneLabelError
from schemas.report import LabelCounts, StageReport

__all__ = ["refuse_unusable"]


def refuse_unusable(reports: Sequence[StageReport], test_fraction: float) -> None:
    """Pass if both labels are there, and in every split.

    Args:
        reports: the reports of the stages so far, the last one of `split`.
        test_fraction: share that was to be held out.

    Raises:
        OneLabelError: all rows have one label.
        EmptySplitError: there is no row, or a split has rows of one label only.
    """
    counts = reports[-1].labels_kept
    if not counts.total:
        raise EmptySplitError(
            "no row is left",
            where=f"after the stages {', '.join(report.stage for report in reports)}",
            received=_dropped(reports),
            expected="rows of both labels",
            todo="Look at the reasons in the counts, or add sources",
        )
    if not counts.desirable or not counts.undesirable:
        raise OneLabelError(
            f"all rows have one label: {_in_words(counts)}",
            where=f"after the stages {', '.join(report.stage for report in reports)}",
            received=_dropped(reports),
            expected="rows of both labels",
            todo="Add a source that has the missing label, such as pairs or thumbs of the other kind",
        )
    for name in ("train", "test") if test_fraction else ("train",):
        part = LabelCounts(**reports[-1].figures[name])
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


def _dropped(reports: Sequence[StageReport]) -> dict[str, int] | None:
    """All drops so far by reason; None where there are none."""
    total: dict[str, int] = {}
    for report in reports:
        for reason, count in report.dropped.items():
            total[reason] = total.get(reason, 0) + count
    return dict(sorted(total.items())) or None
