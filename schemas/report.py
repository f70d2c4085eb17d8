"""What a stage says of itself: counts that must sum, digests that chain, and notes in plain words."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from schemas.errors import ShapeError

__all__ = ["LabelCounts", "StageReport"]


@dataclass(frozen=True, slots=True)
class LabelCounts:
    """Rows by label: desirable, undesirable, and those without a label yet."""

    desirable: int = 0
    undesirable: int = 0
    unlabelled: int = 0

    @property
    def total(self) -> int:
        """All rows counted."""
        return self.desirable + self.undesirable + self.unlabelled


@dataclass(frozen=True, slots=True)
class StageReport:
    """Counts of one stage; refuses to exist when they do not sum.

    Args:
        stage: name of the stage, the same as its module and its folder.
        rows_in: rows that came in.
        rows_created: rows that the stage made beyond those (a pair gives two labelled answers: one is created).
        rows_kept: rows that went on.
        dropped: rows left out, by `DropReason`; no zeros.
        labels_in: label counts of the rows that came in.
        labels_kept: label counts of the rows that went on.
        digest_in: digest of the input, 32 hex digits; empty where the stage is the first.
        digest_out: digest over `digest_in`, the stage's name, its config and the rows kept.
        config: the stage's resolved config, JSON values only.
        notes: what the stage did and could not do, a sentence each.
        figures: further numbers of the stage, JSON values only.

    Raises:
        ShapeError: rows_in + rows_created differs from rows_kept + rows dropped.
    """

    stage: str
    rows_in: int
    rows_created: int
    rows_kept: int
    dropped: Mapping[str, int]
    labels_in: LabelCounts = LabelCounts()
    labels_kept: LabelCounts = LabelCounts()
    digest_in: str = ""
    digest_out: str = ""
    config: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    figures: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.rows_in + self.rows_created != self.rows_kept + self.rows_dropped:
            raise ShapeError(
                "the stage's counts do not sum",
                where=f"stage {self.stage!r}",
                received=(self.rows_in, self.rows_created, self.rows_kept, self.rows_dropped),
                expected="rows in + created equal to rows kept + dropped",
                todo="This is a defect of thumbline, not of the data: please report it",
            )

    @property
    def rows_dropped(self) -> int:
        """Rows left out, over all reasons."""
        return sum(self.dropped.values())

    def to_dict(self) -> dict[str, Any]:
        """JSON values of this report, in a fixed order."""
        return {**asdict(self), "dropped": dict(sorted(self.dropped.items())), "notes": list(self.notes)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> StageReport:
        """The report that `to_dict` described."""
        known = dict(values)
        known["labels_in"] = LabelCounts(**known.get("labels_in", {}))
        known["labels_kept"] = LabelCounts(**known.get("labels_kept", {}))
        known["notes"] = tuple(known.get("notes", ()))
        return cls(**known)

    def to_json(self) -> str:
        """This report as indented JSON with sorted keys."""
        return json.dumps(self.to_dict(), indent=2, sort_keys=True, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> StageReport:
        """The report that `to_json` wrote."""
        return cls.from_dict(json.loads(text))
