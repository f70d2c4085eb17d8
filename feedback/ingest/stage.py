"""Stage `ingest`: raw files become tables of events and pairs, and every bad record goes to quarantine.

    sources ─► blocks ─► kernel of `feedback.ingest.block`, many at once ─► results, in order ─► report

Streaming: memory holds the few blocks that are being read.
"""

from __future__ import annotations

import re
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from feedback.config import SourceConfig
from feedback.engine import Engine, LocalEngine, StagedEngine
from feedback.engine.staging import STAGE_FILE
from feedback.formats.drafts import Join
from feedback.ingest.block import ingest_block
from feedback.ingest.block_task import BlockResult
from feedback.ingest.calm_collector import calm_collector
from feedback.ingest.format_check import format_mismatch
from feedback.ingest.join_notes import join_notes, refuse_no_partner
from feedback.ingest.keys import SketchSettings
from feedback.ingest.left_out import left_out_notes
from feedback.ingest.outcome import outcome_digest
from feedback.ingest.rater_key import load_rater_key
from feedback.ingest.source_blocks import FileCounts, OpenSource, SourceBlocks
from feedback.ingest.source_files import join_tables
from feedback.near import SketchFile, preload
from feedback.records.places import place_size
from schemas.errors import FormatMismatchError, InputError, OutputExistsError, TooManyRejectedError, UsageError
from schemas.manifest import SourceFile
from schemas.progress import Advance, Progress, silent
from schemas.reasons import DropReason, RejectReason
from schemas.report import LabelCounts, StageReport

__all__ = ["IngestResult", "SketchSettings", "ingest", "refuse_no_share", "table_paths"]

_FIELD_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.\- ]{0,39}")
_SHOWN_FIELDS: Final = 12
_FIRST_CASES: Final = 3
_ALLOW_MORE: Final = "ingest.max_rejected_share in a config, or --set ingest.max_rejected_share=SHARE"
_JOINED: Final = "joined"


@dataclass(frozen=True, slots=True)
class IngestResult:
    """What `ingest` wrote.

    Args:
        folder: where it lies.
        events: Arrow files of `schemas.events.FEEDBACK_EVENT`; none where there is no event.
        pairs: Arrow files of `schemas.pairs.PREFERENCE_PAIR`, likewise.
        quarantine: Parquet files of `schemas.quarantine.QUARANTINE`, likewise.
        event_keys: Parquet files with the keys of the events, see `feedback.ingest.keys`.
        pair_keys: the same of the pairs.
        sketches: files of sketches; none where they were not asked for.
        report: records in, drafts beyond one a record, rows kept, records quarantined.
        rejected: quarantined records by `RejectReason`.
        source_files: the files that were read: those with the records, then those that were joined to them.
        counts: what became of each file with records, in their order.
        first_cases: the first quarantined records, each with file, line, reason and detail.
    """

    folder: Path
    events: tuple[Path, ...]
    pairs: tuple[Path, ...]
    quarantine: tuple[Path, ...]
    event_keys: tuple[Path, ...]
    pair_keys: tuple[Path, ...]
    sketches: tuple[SketchFile, ...]
    report: StageReport
    rejected: dict[str, int]
    source_files: tuple[SourceFile, ...]
    counts: tuple[FileCounts, ...] = ()
    first_cases: tuple[str, ...] = ()


def ingest(
    sources: Sequence[SourceConfig],
    folder: Path,
    *,
    max_rejected_share: float = 0.2,
    allow_more: str = _ALLOW_MORE,
    sketch: SketchSettings | None = None,
    key: bytes | None = None,
    with_keys: bool = True,
    engine: Engine | None = None,
    progress: Progress = silent,
) -> IngestResult:
    """The tables of all sources in `folder`.

    Args:
        sources: where raw feedback lies and what it looks like.
        folder: a folder that does not exist yet, or is empty; or a stage's folder of `engine`.
        max_rejected_share: largest share of records that may go to quarantine, in [0, 1].
        allow_more: what whoever calls has for a larger share, as the error names it.
        sketch: for which near-duplicates texts are sketched; None makes no sketches.
        key: key for user ids; None takes that of this machine.
        with_keys: whether keys and a digest of all rows are made, which later stages need.
        engine: who reads the blocks; None takes all cores of this machine.
        progress: told about the bytes read.

    Raises:
        InputError: a file is missing, damaged, or not in its format.
        UnknownChoiceError: a format that does not exist.
        UsageError: a share that is none.
        TooManyRejectedError: more records went to quarantine than allowed.
        OutputExistsError: the folder holds files.
    """
    refuse_no_share(max_rejected_share)
    if not isinstance(engine, StagedEngine) and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise OutputExistsError("the folder for ingested tables is not empty", where=folder)
    preload()
    opened = [OpenSource(config) for config in sources]
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as undo:
        undo.callback(shutil.rmtree, folder, ignore_errors=True)
        reader = SourceBlocks(opened, folder, sketch, key or load_rater_key(), with_keys=with_keys)
        result = _ingest(reader, folder, max_rejected_share, allow_more, engine or LocalEngine(), progress)
        undo.pop_all()
    return result


def refuse_no_share(max_rejected_share: float) -> None:
    """Pass if the largest share of rejected records is one.

    Raises:
        UsageError: it is not in [0, 1].
    """
    if not 0 <= max_rejected_share <= 1:
        raise UsageError(
            "no share of records can be that",
            where="max_rejected_share",
            received=max_rejected_share,
            expected="0 to 1",
        )


def table_paths(folder: Path, name: str) -> tuple[Path, ...]:
    """The files of one table in the folder of the stage, by their numbers."""
    return tuple(sorted(folder.glob(f"{name}-[0-9]*.*")))


def _ingest(
    reader: SourceBlocks, folder: Path, max_rejected_share: float, allow_more: str, engine: Engine, progress: Progress
) -> IngestResult:
    sources = reader.sources
    with progress("ingest", _size(sources)) as advance, calm_collector():
        results = _read_alone(reader, folder, engine, advance)
        if results is None:
            results = _read_joined(reader, folder, engine, advance)
        files = reader.source_files(results, advance)
    reader.note_groups(results, files)
    _refuse_wrong_formats(sources, reader, results)
    for source in sources:
        if source.table is not None and source.files.other and source.format.join is not None:
            of_source = reader.of_source(source, results)
            _refuse_no_key(source, source.format.join, of_source)
            refuse_no_partner(source.format.join, source.table, of_source)
    records = sum(result.records for result in results)
    rejected: Counter[str] = Counter()
    for result in results:
        rejected.update(result.rejected)
    first_cases = tuple(case for result in results for case in result.first_cases)[:_FIRST_CASES]
    _refuse_too_many(rejected, first_cases, records, max_rejected_share, allow_more)
    return IngestResult(
        folder=folder,
        events=table_paths(folder, "events"),
        pairs=table_paths(folder, "pairs"),
        quarantine=table_paths(folder, "quarantine"),
        event_keys=table_paths(folder, "event-keys"),
        pair_keys=table_paths(folder, "pair-keys"),
        sketches=tuple(sketches for result in results for sketches in result.sketches),
        report=_report(sources, reader, results, rejected, max_rejected_share),
        rejected=dict(sorted(rejected.items())),
        source_files=tuple(files),
        counts=reader.counts(results),
        first_cases=first_cases,
    )


def _read_alone(reader: SourceBlocks, folder: Path, engine: Engine, advance: Advance) -> list[BlockResult] | None:
    """What the blocks give where records find all that they lack in their own; None where they need a table for it."""
    if isinstance(engine, StagedEngine) and (engine.folder("join") / STAGE_FILE).exists():
        # It was needed when this plan was run before.
        return None
    if not reader.find_groups():
        return None
    try:
        results = engine.run("ingest", ingest_block, reader.tasks(advance))
    except FormatMismatchError:
        # Records that lack what lies in another block may look like those of another format.
        results = None
    if results is not None and not reader.are_apart(results):
        return results
    if not isinstance(engine, StagedEngine):
        _empty(folder)
    return None


def _read_joined(reader: SourceBlocks, folder: Path, engine: Engine, advance: Advance) -> list[BlockResult]:
    """What the blocks give with tables of all that their records find."""
    sources = reader.sources
    is_itself = any(one.files.is_itself for one in sources)
    tables, tables_folder = join_tables([(one.format, one.files) for one in sources], folder / "join", engine)
    for source, table in zip(sources, tables, strict=True):
        source.table, source.groups = table, None
    # Of another key than what was read without tables, so that one is never taken for the other.
    results = engine.run("ingest", ingest_block, reader.tasks(advance), key=_JOINED if is_itself else "")
    if tables_folder is not None and not isinstance(engine, StagedEngine):
        shutil.rmtree(tables_folder)
    return results


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def _size(sources: Sequence[OpenSource]) -> int | None:
    sizes = [place_size(path) for source in sources for path in source.files.read]
    known = [size for size in sizes if size is not None]
    return sum(known) if len(known) == len(sizes) else None


def _refuse_wrong_formats(sources: Sequence[OpenSource], reader: SourceBlocks, results: Sequence[BlockResult]) -> None:
    """Refuse a source in which no record was in its format.

    One bad record may be all that a small file holds; it condemns the source only where nothing speaks for it.

    Raises:
        FormatMismatchError: there is such a source.
    """
    for source in sources:
        of_source = reader.of_source(source, results)
        misses = [result.miss for result in of_source if result.miss is not None]
        if misses and not any(result.is_in_format for result in of_source):
            raise format_mismatch(source.format, misses[0])


def _refuse_no_key(source: OpenSource, join: Join, results: Sequence[BlockResult]) -> None:
    """Refuse a source whose map could say where the ids are by which it is joined, and none is where they should be.

    Raises:
        InputError: it is such a source.
    """
    alone = sum(one.alone for one in results)
    if source.config.map is None or not alone or any(one.joined or one.first_alone for one in results):
        return
    raise InputError(
        f"none of {alone:,} records has an id at {join.key!r}, by which its {join.what} are found in the other file",
        where=source.config.path,
        todo='Name the path of that id in the map: [join] with key = PATH, for example key = "trace_id"',
    )


def _refuse_too_many(
    rejected: Counter[str], first_cases: Sequence[str], records: int, limit: float, allow_more: str
) -> None:
    count, unjudged = rejected.total(), rejected[RejectReason.NO_JUDGEMENT.value]
    if unjudged < records:
        # A chat log holds few votes and many lines without one, which say nothing against its format.
        rejected = rejected - Counter({RejectReason.NO_JUDGEMENT.value: unjudged})
        count, records = rejected.total(), records - unjudged
    if count <= limit * records:
        return
    listed = ", ".join(f"{reason} {number:,}" for reason, number in rejected.most_common())
    raise TooManyRejectedError(
        f"{count:,} of {records:,} records ({count / records:.0%}) were rejected: {listed}",
        expected=f"at most {limit:.0%}",
        todo=f"Nothing was written. The first cases are: {'; '.join(first_cases)}. Mend the records, name "
        f"another format, or allow more with {allow_more}",
    )


def _report(
    sources: Sequence[OpenSource],
    reader: SourceBlocks,
    results: Sequence[BlockResult],
    rejected: Counter[str],
    max_rejected_share: float,
) -> StageReport:
    records, events, pairs = (sum(getattr(one, name) for one in results) for name in ("records", "events", "pairs"))
    ups, labelled = (sum(getattr(one, name) for one in results) for name in ("ups", "labelled"))
    ignored = _ignored(results)
    left_out = {DropReason.IGNORED: ignored.total(), DropReason.QUARANTINED: rejected.total()}
    # Each once: the same files are the same rows, named one by one or by their folder.
    described = sorted({(one.name, one.format.name) for one in sources})
    config = {
        "max_rejected_share": max_rejected_share,
        "sources": [{"name": name, "format": kind} for name, kind in described],
    }
    return StageReport(
        stage="ingest",
        rows_in=records,
        rows_created=sum(one.drafts for one in results),
        rows_kept=events + pairs,
        dropped={reason.value: count for reason, count in left_out.items() if count},
        labels_in=LabelCounts(unlabelled=records),
        labels_kept=LabelCounts(ups, labelled - ups, events - labelled + pairs),
        digest_out=outcome_digest([one.outcome for one in results], events, pairs),
        config=config,
        notes=tuple(_notes(sources, reader, results, records)),
        figures={"events": events, "pairs": pairs, "rejected": dict(sorted(rejected.items())), **_named(ignored)},
    )


def _notes(
    sources: Sequence[OpenSource], reader: SourceBlocks, results: Sequence[BlockResult], records: int
) -> Iterator[str]:
    if not records:
        yield "No record was read: the files are empty."
    yield from left_out_notes([source.config for source in sources])
    unused: dict[str, set[str]] = {}
    for source in sources:
        for result in reader.of_source(source, results):
            unused.setdefault(source.name, set()).update(result.unused)
    for name, found in sorted(unused.items()):
        fields = sorted(field for field in found if _FIELD_NAME.fullmatch(field))
        if fields:
            shown = ", ".join(fields[:_SHOWN_FIELDS]) + (", ..." if len(fields) > _SHOWN_FIELDS else "")
            yield f"Source {name!r} has fields that its format does not read: {shown}."
    for source in sources:
        if source.table is not None and source.format.join is not None:
            of_source = reader.of_source(source, results)
            yield from join_notes(source.name, source.format.join, source.table, of_source)
    ignored = _ignored(results)
    if ignored:
        # By count, then by name: the same in every order of the blocks.
        listed = [f"{what} ({count:,})" for what, count in sorted(ignored.items(), key=lambda one: (-one[1], one[0]))]
        shown = ", ".join(listed[:_SHOWN_FIELDS]) + (", ..." if len(listed) > _SHOWN_FIELDS else "")
        yield f"Left out, as the sources' maps and formats say: {shown}."


def _ignored(results: Sequence[BlockResult]) -> Counter[str]:
    ignored: Counter[str] = Counter()
    for result in results:
        ignored.update(result.ignored)
    return ignored


def _named(ignored: Counter[str]) -> dict[str, dict[str, int]]:
    return {"ignored": dict(sorted(ignored.items()))} if ignored else {}
