"""What a call of `ingest` into a store did, in numbers that sum."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from feedback.ingest import IngestResult
from feedback.store.landing import Landing
from feedback.store.new_rows import Chosen
from feedback.store.source_rows import TakenFile
from feedback.store.tables import EVENT, PAIR, QUARANTINED
from schemas.errors import ShapeError
from schemas.manifest import SourceFile

__all__ = ["IngestSummary"]


@dataclass(frozen=True, slots=True)
class IngestSummary:
    """What became of the records of some raw files; refuses to exist where it does not sum.

    Args:
        before: version of the store that was found, version: the one that holds the rows.
        rows_in: records, and rows that they gave beyond one each.
        new: rows that came into the store; events, pairs: of each kind.
        already_there: rows that were in it.
        quarantined: records that were not accepted, by reason in `rejected`; of files that were known already only the
            number is.
        ignored: what formats left out on purpose.
        forgotten: rows and records of somebody who was forgotten; nothing of them was kept.
        files: the raw files.
        known_files: how many of them were in the store already, and were not read again.
        notes: what could not be done, a sentence each.

    Raises:
        ShapeError: the counts do not sum.
    """

    before: int
    version: int
    rows_in: int
    new: int
    events: int
    pairs: int
    already_there: int
    quarantined: int
    ignored: int
    forgotten: int
    rejected: dict[str, int]
    files: tuple[SourceFile, ...]
    known_files: int = 0
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        told = self.new + self.already_there + self.quarantined + self.ignored + self.forgotten
        if self.rows_in != told or self.new != self.events + self.pairs:
            raise ShapeError(
                "the counts of an ingest do not sum",
                received=asdict(self),
                expected="rows_in = new + already_there + quarantined + ignored + forgotten",
                todo="This is a defect of thumbline, not of the data: please report it",
            )

    def to_dict(self) -> dict[str, Any]:
        """JSON values of this summary."""
        return {**asdict(self), "files": [asdict(file) for file in self.files], "notes": list(self.notes)}

    @classmethod
    def of_known(cls, known: Sequence[TakenFile], version: int) -> IngestSummary:
        """The summary of files of which every one was in the store already."""
        counts = [one.counts for one in known]
        return cls(
            before=version,
            version=version,
            rows_in=sum(one.records + one.created for one in counts),
            new=0,
            events=0,
            pairs=0,
            already_there=sum(one.events + one.pairs for one in counts),
            quarantined=sum(one.quarantined for one in counts),
            ignored=sum(one.ignored for one in counts),
            forgotten=0,
            rejected={},
            files=tuple(one.file for one in known),
            known_files=len(known),
        )

    @classmethod
    def of_read(
        cls,
        read: Sequence[tuple[Landing, TakenFile]],
        known: Sequence[TakenFile],
        chosen: Chosen,
        result: IngestResult,
        before: int,
        version: int,
    ) -> IngestSummary:
        """The summary of files of which some were read.

        Args:
            read: those that were read.
            known: those that were in the store already.
            chosen: which rows were new.
            result: what `ingest` said of those that were read.
            before: version that was found.
            version: version that holds the rows.
        """
        old = cls.of_known(known, before)
        events, pairs, bad = (chosen.counts[kind] for kind in (EVENT, PAIR, QUARANTINED))
        report = result.report
        quarantined = sum(result.rejected.values())
        return cls(
            before=before,
            version=version,
            rows_in=old.rows_in + report.rows_in + report.rows_created,
            new=events.new + pairs.new,
            events=events.new,
            pairs=pairs.new,
            already_there=old.already_there + events.there + pairs.there,
            quarantined=old.quarantined + quarantined - bad.forgotten,
            ignored=old.ignored + report.rows_dropped - quarantined,
            forgotten=events.forgotten + pairs.forgotten + bad.forgotten,
            rejected=result.rejected,
            files=(*(one.file for _, one in read), *old.files),
            known_files=len(known),
            notes=tuple(report.notes),
        )
