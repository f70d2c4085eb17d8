"""File to file: feedback of any format in another one, and what was lost on the way.

The input is ingested into a folder of its own first, so that everything that holds of `ingest` holds here: the same
rules, quarantine and keyed user ids. Nothing is curated: duplicates and contradictions stay. Of a record with several
revisions the latest is written, and none where that takes the vote back; formats that can say so get them all.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final, Literal

from feedback.config import Ranking, SourceConfig
from feedback.formats import FORMATS
from feedback.formats.trainer_files import check_beside, write_beside
from feedback.formats.writers import WRITERS, Writer
from feedback.ingest import IngestResult, ingest
from feedback.records.row_files import check_out, open_row_file
from feedback.transcode.revisions import latest_revisions
from feedback.transcode.rows import present_columns, rows_of
from feedback.transcode.tally import Tally, tally_notes
from schemas.errors import DataGateError, UnknownChoiceError, UsageError
from schemas.paths import AnyPath, path_of, path_texts
from schemas.progress import Progress, silent
from schemas.reasons import DropReason
from schemas.report import LabelCounts, StageReport

__all__ = ["convert_files"]

_KINDS: Final = {"unpaired_preference": "events", "preference": "pairs"}
_ALLOW_MORE: Final = "--max-rejected-share SHARE"


def convert_files(
    inputs: AnyPath | Iterable[AnyPath],
    from_format: str,
    to_format: str,
    out: AnyPath,
    *,
    map_path: AnyPath | None = None,
    ranking: Ranking = "extremes",
    join: str | None = None,
    sql: str | None = None,
    dataset_type: Literal["unpaired_preference", "preference"] | None = None,
    redact: bool = False,
    max_rejected_share: float = 0.2,
    progress: Progress = silent,
) -> StageReport:
    """The report of writing the feedback in `inputs` to `out` in another format.

    Pairs become two labelled rows where the target takes labels. Labels become pairs where it takes pairs: an answer
    voted up and one voted down to the same prompt; what has no such partner is dropped and counted.

    Args:
        inputs: files, globs, folders, `-`, or URLs, one or several.
        from_format: the format of the input.
        to_format: the format of the output: thumbs, trl, openai, llamafactory or axolotl.
        out: the file to write: .jsonl, .jsonl.gz, .jsonl.zst or .parquet. What its trainer wants beside it is written
            too, see `feedback.formats.trainer_files`.
        map_path: the map, for the input format `mapped`.
        ranking: which ranked answers become pairs, for input formats that rank.
        join: a file, a glob or a folder with what the records lack, for input formats that join another file.
        sql: the query, where the inputs are databases.
        dataset_type: what to write where the format takes both; null keeps what the input is.
        redact: whether personal data in texts is replaced by marks, see `feedback.personal`.
        max_rejected_share: largest share of records that may be rejected, in [0, 1].
        progress: told about reading and writing.

    Raises:
        UnknownChoiceError: a format that cannot be read or written, or an unknown dataset type.
        UsageError: no input or a blank one, a suffix that cannot be written, a dataset type that the format does not
            take, or a share that is none.
        OutputExistsError: the output is there already, or what belongs beside it is about another file.
        LockedError: another run writes it.
        InputError: a file is missing, damaged or not in its format.
        TooManyRejectedError: more records were rejected than allowed.
        DataGateError: pairs are wanted and no prompt has answers of both labels.
    """
    out = path_of(out, name="out")
    writers = _writers_of(to_format, dataset_type)
    suffix = check_out(out, can_be_parquet=any(writer.schema is not None for writer in writers.values()))
    check_beside(to_format, out, suffix)
    mapped = None if map_path is None else str(path_of(map_path, name="map_path"))
    sources = [
        SourceConfig(path=text, format=from_format, map=mapped, ranking=ranking, join=join, sql=sql)
        for text in path_texts(inputs)
    ]
    with tempfile.TemporaryDirectory(prefix="thumbline-") as folder:
        raw = ingest(
            sources,
            Path(folder) / "in",
            max_rejected_share=max_rejected_share,
            allow_more=_ALLOW_MORE,
            progress=progress,
        )
        writer = _choose_writer(writers, raw)
        tally = Tally()
        latest = raw if writer.takes_unlabelled else latest_revisions(raw, Path(folder) / "latest", tally)
        schema = present_columns(writer, latest) if suffix == ".parquet" else None
        with open_row_file(out, suffix, schema) as file, progress("write", raw.report.rows_kept) as advance:
            advance(tally.dropped.total())
            rows = rows_of(latest, writer, tally, advance)
            for row in _redacted(rows, tally) if redact else rows:
                if redact and writer.kind == "pairs" and row["chosen"] == row["rejected"]:
                    tally.drop(DropReason.REDACTED_ALIKE, row.get("events", 1))
                    continue
                record = writer.record(row)
                if record is None:
                    tally.drop(DropReason.NOT_EXPRESSIBLE, row.get("events", 1))
                    continue
                tally.keep(row, record, writer)
                file.write(record)
            _refuse_no_pair(writer, raw, tally)
        beside = write_beside(to_format, writer.kind, out, suffix, tally.fields)
    return _report(raw, writer, tally, beside)


def _writers_of(to_format: str, dataset_type: str | None) -> dict[str, Writer]:
    writers = {kind: writer for (name, kind), writer in WRITERS.items() if name == to_format}
    if not writers:
        known = {name for name, _ in WRITERS}
        todo = f"The format {to_format!r} can only be read" if to_format in FORMATS else None
        raise UnknownChoiceError("format to write", to_format, known, todo=todo)
    if dataset_type is None:
        return writers
    if dataset_type not in _KINDS:
        raise UnknownChoiceError("dataset type", dataset_type, _KINDS)
    kind = _KINDS[dataset_type]
    if kind not in writers:
        takes = [name for name, one in _KINDS.items() if one in writers]
        raise UsageError(
            f"the format {to_format!r} does not take this dataset type", received=dataset_type, expected=takes[0]
        )
    return {kind: writers[kind]}


def _choose_writer(writers: dict[str, Writer], raw: IngestResult) -> Writer:
    natural = "pairs" if raw.pairs and not raw.events else "events"
    return writers.get(natural) or next(iter(writers.values()))


def _redacted(rows: Iterator[dict[str, Any]], tally: Tally) -> Iterator[dict[str, Any]]:
    from feedback.personal import Redactor, redact_records  # loads phonenumbers

    redactor = Redactor()
    tally.redacted = redactor.counts
    return redact_records(rows, redactor)


def _refuse_no_pair(writer: Writer, raw: IngestResult, tally: Tally) -> None:
    if writer.kind == "pairs" and raw.events and not tally.written:
        raise DataGateError(
            "no prompt has an answer voted up and another one voted down, so there is no pair to write",
            where=f"{raw.report.rows_kept:,} rows",
            todo="Write labels instead, for example in the format thumbs",
        )


def _report(raw: IngestResult, writer: Writer, tally: Tally, beside: str | None) -> StageReport:
    dropped = Counter(raw.report.dropped) + tally.dropped
    labels = LabelCounts(tally.labels[True], tally.labels[False], tally.labels[None])
    return StageReport(
        stage="transcode",
        rows_in=raw.report.rows_in,
        rows_created=raw.report.rows_created + tally.created,
        rows_kept=tally.kept,
        dropped=dict(sorted(dropped.items())),
        labels_in=raw.report.labels_in,
        labels_kept=labels if writer.kind == "events" else LabelCounts(unlabelled=tally.kept),
        digest_in=raw.report.digest_out,
        config={"format": writer.format, "kind": writer.kind},
        notes=(*raw.report.notes, *tally_notes(raw, writer, tally), *(() if beside is None else (beside,))),
        figures={
            "rows_written": tally.written,
            "rejected": raw.rejected,
            "first_cases": list(raw.first_cases),
            "lost": dict(sorted(tally.lost.items())),
            **({} if tally.redacted is None else {"redacted": dict(sorted(tally.redacted.items()))}),
        },
    )
