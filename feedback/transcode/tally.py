"""What happened to the rows: those written, those left out and why, and what of a row the format has no place for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from feedback.formats.writers import Writer
from feedback.ingest import IngestResult
from feedback.stage import counted
from schemas.reasons import DropReason

__all__ = ["Tally", "tally_notes"]

_IDS: Final = frozenset(
    {"event_id", "pair_id", "group_id", "source", "raw_sha256", "ts_quality", "signal", "raw_value"}
)
_TEXTS: Final = frozenset({"prompt", "completion", "label", "op", "chosen", "rejected", "outcome", "rater_kind"})
_MACHINES: Final = ("llm_judge", "code")
_SILENT: Final = _IDS | _TEXTS | {"prompt_hash", "completion_hash", "response_a_hash", "response_b_hash"}
"""Columns that are written anyway, or are ours and no part of what the source said."""


@dataclass(slots=True)
class Tally:
    """What happened to the rows."""

    written: int = 0
    kept: int = 0
    created: int = 0
    unordered: int = 0
    labels: Counter[bool | None] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    lost: Counter[str] = field(default_factory=Counter)
    fields: set[str] = field(default_factory=set)
    redacted: Counter[str] | None = None

    def drop(self, reason: DropReason, count: int = 1) -> None:
        """Count rows that are left out."""
        self.dropped[reason.value] += count

    def keep(self, row: dict[str, Any], record: dict[str, Any], writer: Writer) -> None:
        """Count a row that is written, and what of it the format has no place for."""
        self.written += 1
        self.fields.update(record)
        self.kept += row.get("events", 1)
        self.labels[row.get("label")] += 1
        for name, value in row.items():
            if name not in writer.columns and value not in (None, []) and _is_of_source(name, value):
                self.lost[name.removesuffix("_chosen").removesuffix("_rejected")] += 1


def tally_notes(raw: IngestResult, writer: Writer, tally: Tally) -> Iterator[str]:
    """What a reader of the report should know of the rows of `raw` that were written by `writer`, and of the others."""
    if tally.unordered:
        yield (
            f"{counted(tally.unordered, 'record id')} with different contents and no time that says which is the "
            "latest: the last one in the input was taken."
        )
    if writer.kind == "events" and raw.pairs:
        yield f"Pairs were split: {tally.created:,} pairs gave two labelled rows each."
    if writer.kind == "pairs" and raw.events:
        alone = tally.dropped[DropReason.NO_PARTNER.value]
        yield (
            "Labels were paired: answers voted up and down to the same prompt, in the order of their ids; "
            f"{alone:,} had no partner. The raters did not compare them side by side."
        )
    if tally.lost:
        listed = ", ".join(f"{name} ({count:,} rows)" for name, count in sorted(tally.lost.items()))
        yield f"Not written, since {writer.format} has no field for it: {listed}."
    unfit = tally.dropped[DropReason.NOT_EXPRESSIBLE.value]
    if unfit:
        yield f"Not written, since {writer.format} cannot hold them ({writer.refuses}): {unfit:,} rows."
    if tally.redacted is not None:
        yield f"{sum(tally.redacted.values()):,} finds of personal data were replaced by marks."
    if "rater_key" in writer.columns:
        yield "User ids are written as keyed hashes; the ids themselves never leave ingest."


def _is_of_source(name: str, value: Any) -> bool:
    is_made_up = name == "source_record_id" and str(value).startswith("sha256:")
    # Formats do not say who judged, and whoever reads them again thinks of people.
    is_machine = name == "rater_kind" and value in _MACHINES
    return is_machine or (name not in _SILENT and name != "events" and not is_made_up)
