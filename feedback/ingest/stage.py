"""Stage `ingest`: raw files become tables of events and pairs, and every bad record goes to quarantine.

    sources ─► records ─► format: drafts ─► rows ─► rules ─► events-*, pairs-* ─► report.json
                  └─────────────┴───────────┴────────┴─────► quarantine-*

Streaming, in batches: memory does not follow the number of records. The folder appears whole or not at all.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import polars as pl

from feedback.config import SourceConfig
from feedback.formats import Format, find_format, mapped_format
from feedback.hashing import stage_digest
from feedback.ingest.files import IngestFiles
from feedback.ingest.format_check import FormatCheck
from feedback.ingest.rater_key import load_rater_key
from feedback.records.byte_stream import Tally
from feedback.records.raw_record import RawRecord
from feedback.records.sources import find_files, read_records
from schemas.errors import (
    ConfigError,
    OutputExistsError,
    RecordRejectedError,
    TooManyRejectedError,
)
from schemas.manifest import SourceFile, write_last
from schemas.progress import Advance, Progress, silent
from schemas.reasons import DropReason, RejectReason
from schemas.report import LabelCounts, StageReport

__all__ = ["IngestResult", "ingest", "open_format"]

_EVENT_DIGEST: Final = ("event_id", "op", "signal", "label", "prompt_hash", "completion_hash", "event_ts", "updated_ts")
_PAIR_DIGEST: Final = ("pair_id", "outcome", "margin", "prompt_hash", "response_a_hash", "response_b_hash", "event_ts")
_FIELD_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.\- ]{0,39}")
_SHOWN_FIELDS: Final = 12
_MOST_FIELDS: Final = 1000


@dataclass(frozen=True, slots=True)
class IngestResult:
    """What `ingest` wrote.

    Args:
        folder: where it lies.
        events: Parquet files of `schemas.events.FEEDBACK_EVENT`; none where there is no event.
        pairs: Parquet files of `schemas.pairs.PREFERENCE_PAIR`, likewise.
        quarantine: Parquet files of `schemas.quarantine.QUARANTINE`, likewise.
        report: records in, drafts beyond one a record, rows kept, records quarantined.
        rejected: quarantined records by `RejectReason`.
        source_files: the files that were read.
    """

    folder: Path
    events: tuple[Path, ...]
    pairs: tuple[Path, ...]
    quarantine: tuple[Path, ...]
    report: StageReport
    rejected: dict[str, int]
    source_files: tuple[SourceFile, ...]


def ingest(
    sources: Sequence[SourceConfig], folder: Path, *, max_rejected_share: float = 0.2, progress: Progress = silent
) -> IngestResult:
    """The tables of all sources in `folder`.

    Args:
        sources: where raw feedback lies and what it looks like.
        folder: a folder that does not exist yet, or is empty.
        max_rejected_share: largest share of records that may go to quarantine, in [0, 1].
        progress: told about the bytes read.

    Raises:
        InputError: a file is missing, damaged, or not in its format.
        UnknownChoiceError: a format that does not exist.
        TooManyRejectedError: more records went to quarantine than allowed; nothing is left behind.
        OutputExistsError: the folder holds files.
    """
    opened = [_Source(config) for config in sources]
    key = load_rater_key()
    with _built_beside(folder) as work:
        files = IngestFiles(work, key)
        read: list[SourceFile] = []
        with progress("ingest", _size(opened)) as advance, files:
            for source in opened:
                read += _read_source(source, files, advance)
        records = sum(file.records for file in read)
        _refuse_too_many(files, records, max_rejected_share)
        report = _report(opened, files, records, max_rejected_share)
        write_last(work / "report.json", report.to_json())
    return IngestResult(
        folder=folder,
        events=tuple(folder / path.name for path in files.parts["events"].paths),
        pairs=tuple(folder / path.name for path in files.parts["pairs"].paths),
        quarantine=tuple(folder / path.name for path in files.quarantine.paths),
        report=report,
        rejected=dict(sorted(files.rejected.items())),
        source_files=tuple(read),
    )


def open_format(name: str, map_path: str | Path | None) -> Format:
    """The format `name`, with its map where it is `mapped`.

    Raises:
        UnknownChoiceError: there is no such format.
        ConfigError: a map without need, or none where it is needed.
    """
    found = find_format(name)
    if found.name == "mapped" and map_path is not None:
        return mapped_format(Path(map_path))
    if found.name == "mapped" or map_path is not None:
        raise ConfigError(
            "the format 'mapped' needs a map" if map_path is None else f"the format {name!r} takes no map",
            received=None if map_path is None else str(map_path),
            todo="Name the TOML file with --map or map = FILE" if map_path is None else "Use the format mapped",
        )
    return found


class _Source:
    """A source with its format, its files, and the fields of its records that the format does not read."""

    def __init__(self, config: SourceConfig) -> None:
        self.format = open_format(config.format, config.map)
        self.name = config.name or self.format.name
        self.paths = find_files([config.path])
        self.unused: set[str] = set()

    def note_unused(self, value: dict[str, Any]) -> None:
        """Remember the fields of a record that nobody reads; their names only, and not without end."""
        known = self.format.keys
        if known is not None and not value.keys() <= known and len(self.unused) < _MOST_FIELDS:
            self.unused |= value.keys() - known


@contextmanager
def _built_beside(folder: Path) -> Iterator[Path]:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise OutputExistsError("the folder for ingested tables is not empty", where=folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f"{folder.name}.partial-", dir=folder.parent))
    try:
        yield work
        work.chmod(0o755)
        work.rename(folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _size(sources: Sequence[_Source]) -> int | None:
    paths = [path for source in sources for path in source.paths]
    return sum(path.stat().st_size for path in paths) if all(path.is_file() for path in paths) else None


def _read_source(source: _Source, files: IngestFiles, advance: Advance) -> list[SourceFile]:
    checks = [FormatCheck(source.format) for _ in source.paths]
    read = [_read_file(path, source, files, check, advance) for path, check in zip(source.paths, checks, strict=True)]
    # One bad record may be all that a small file holds; it condemns the source only where nothing speaks for it.
    if not any(check.is_decided for check in checks):
        for check in checks:
            check.finish()
    return read


def _read_file(path: Path, source: _Source, files: IngestFiles, check: FormatCheck, advance: Advance) -> SourceFile:
    tally = Tally(advance)
    records = 0
    for record in read_records(path, tally=tally):
        records += 1
        try:
            files.accept(source.name, record, list(source.format.parse(_value(record))))
        except RecordRejectedError as error:
            check.rejected(record, error.reason, error.detail)
            files.refuse(source.name, record, error.reason, error.detail)
        else:
            check.accepted()
            source.note_unused(_value(record))
    name = "stdin" if str(path) == "-" else path.name
    return SourceFile(name, source.format.name, tally.sha256, tally.bytes, records)


def _value(record: RawRecord) -> dict[str, Any]:
    if record.value is None:
        raise RecordRejectedError(*(record.reject or (RejectReason.NOT_AN_OBJECT, "the record is empty")))
    return record.value


def _refuse_too_many(files: IngestFiles, records: int, limit: float) -> None:
    count = files.rejected.total()
    if count <= limit * records:
        return
    listed = ", ".join(f"{reason} {number:,}" for reason, number in files.rejected.most_common())
    raise TooManyRejectedError(
        f"{count:,} of {records:,} records ({count / records:.0%}) were rejected: {listed}",
        expected=f"at most {limit:.0%}",
        todo=f"Nothing was written. The first cases are: {'; '.join(files.first_cases)}. Mend the records, name "
        "another format, or allow more with max_rejected_share",
    )


def _report(sources: Sequence[_Source], files: IngestFiles, records: int, max_rejected_share: float) -> StageReport:
    events = _frame(files.parts["events"].paths, _EVENT_DIGEST)
    pairs = _frame(files.parts["pairs"].paths, _PAIR_DIGEST)
    count = files.rejected.total()
    up, labelled = int(events["label"].sum() or 0), events["label"].count()
    digest = stage_digest("", "ingest", {}, events, _EVENT_DIGEST)
    return StageReport(
        stage="ingest",
        rows_in=records,
        rows_created=files.drafts,
        rows_kept=events.height + pairs.height,
        dropped={DropReason.QUARANTINED.value: count} if count else {},
        labels_in=LabelCounts(unlabelled=records),
        labels_kept=LabelCounts(up, labelled - up, events.height - labelled + pairs.height),
        digest_out=stage_digest(digest, "ingest", {}, pairs, _PAIR_DIGEST),
        config={
            "max_rejected_share": max_rejected_share,
            "sources": sorted(({"name": one.name, "format": one.format.name} for one in sources), key=str),
        },
        notes=tuple(_notes(sources, records)),
        figures={
            "events": events.height,
            "pairs": pairs.height,
            "rejected": dict(sorted(files.rejected.items())),
        },
    )


def _frame(paths: Sequence[Path], columns: Sequence[str]) -> pl.DataFrame:
    """The narrow columns that the digest is over, in an order that does not follow the files'."""
    if not paths:
        return pl.DataFrame(schema={name: pl.Boolean if name == "label" else pl.String for name in columns})
    frame = pl.concat([pl.read_parquet(path, columns=list(columns)) for path in paths])
    return frame.select(columns).sort(columns, nulls_last=True)


def _notes(sources: Sequence[_Source], records: int) -> Iterator[str]:
    if not records:
        yield "No record was read: the files are empty."
    unused: dict[str, set[str]] = {}
    for source in sources:
        unused.setdefault(source.name, set()).update(source.unused)
    for name, found in sorted(unused.items()):
        fields = sorted(field for field in found if _FIELD_NAME.fullmatch(field))
        if fields:
            shown = ", ".join(fields[:_SHOWN_FIELDS]) + (", ..." if len(fields) > _SHOWN_FIELDS else "")
            yield f"Source {name!r} has fields that its format does not read: {shown}."
