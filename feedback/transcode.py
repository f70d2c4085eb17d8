"""File to file: feedback of any format in another one, and what was lost on the way.

The input is ingested into a folder of its own first, so that everything that holds of `ingest` holds here: the same
rules, quarantine and keyed user ids. Nothing is curated: duplicates and contradictions stay. Of a record with several
revisions the latest is written, and none where that takes the vote back; formats that can say so get them all.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal

import polars as pl
import pyarrow as pa

from feedback.config import Ranking, SourceConfig
from feedback.convert import find_revisions
from feedback.engine import read_rows, write_arrow
from feedback.formats import FORMATS
from feedback.formats.trainer_files import check_beside, write_beside
from feedback.formats.writers import WRITERS, Writer
from feedback.ingest import IngestResult, ingest
from feedback.partners import pair_events
from feedback.records.row_files import check_out, open_row_file
from feedback.stage import counted
from schemas.errors import DataGateError, UnknownChoiceError, UsageError
from schemas.progress import Progress, silent
from schemas.reasons import DropReason
from schemas.report import LabelCounts, StageReport

__all__ = ["convert_files"]

_BATCH_ROWS: Final = 2_000
_KINDS: Final = {"unpaired_preference": "events", "preference": "pairs"}
_IDS: Final = frozenset(
    {"event_id", "pair_id", "group_id", "source", "raw_sha256", "ts_quality", "signal", "raw_value"}
)
_TEXTS: Final = frozenset({"prompt", "completion", "label", "op", "chosen", "rejected", "outcome", "rater_kind"})
_ALLOW_MORE: Final = "--max-rejected-share SHARE"
_MACHINES: Final = ("llm_judge", "code")
_SILENT: Final = _IDS | _TEXTS | {"prompt_hash", "completion_hash", "response_a_hash", "response_b_hash"}
"""Columns that are written anyway, or are ours and no part of what the source said."""


def convert_files(
    inputs: Sequence[str | Path],
    from_format: str,
    to_format: str,
    out: Path,
    *,
    map_path: Path | None = None,
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
        inputs: files, globs, folders, `-`, or URLs.
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
        UnknownChoiceError: a format that cannot be read or written.
        UsageError: a suffix that cannot be written, or a dataset type that the format does not take.
        OutputExistsError: the output is there already, or what belongs beside it is about another file.
        InputError: a file is missing, damaged or not in its format.
        TooManyRejectedError: more records were rejected than allowed.
        DataGateError: pairs are wanted and no prompt has answers of both labels.
    """
    writers = _writers_of(to_format, dataset_type)
    suffix = check_out(out, can_be_parquet=any(writer.schema is not None for writer in writers.values()))
    check_beside(to_format, out, suffix)
    mapped = None if map_path is None else str(map_path)
    sources = [
        SourceConfig(path=str(item), format=from_format, map=mapped, ranking=ranking, join=join, sql=sql)
        for item in inputs
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
        tally = _Tally()
        latest = raw if writer.takes_unlabelled else _latest(raw, Path(folder) / "latest", tally)
        schema = _present(writer, latest) if suffix == ".parquet" else None
        with open_row_file(out, suffix, schema) as file, progress("write", raw.report.rows_kept) as advance:
            advance(tally.dropped.total())
            rows = _rows(latest, writer, tally, advance)
            for row in _redacted(rows, tally) if redact else rows:
                record = writer.record(row)
                if record is None:
                    tally.drop(DropReason.NOT_EXPRESSIBLE, row.get("events", 1))
                    continue
                tally.keep(row, record, writer)
                file.write(record)
            _refuse_no_pair(writer, raw, tally)
        beside = write_beside(to_format, writer.kind, out, suffix, tally.fields)
    return _report(raw, writer, tally, beside)


@dataclass(slots=True)
class _Tally:
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


def _writers_of(to_format: str, dataset_type: str | None) -> dict[str, Writer]:
    writers = {kind: writer for (name, kind), writer in WRITERS.items() if name == to_format}
    if not writers:
        known = {name for name, _ in WRITERS}
        todo = f"The format {to_format!r} can only be read" if to_format in FORMATS else None
        raise UnknownChoiceError("format to write", to_format, known, todo=todo)
    if dataset_type is None:
        return writers
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


def _latest(raw: IngestResult, folder: Path, tally: _Tally) -> IngestResult:
    """`raw` with the latest revision of every record, and its other ones counted."""
    folder.mkdir()
    kinds = {"event_id": (raw.event_keys, raw.events), "pair_id": (raw.pair_keys, raw.pairs)}
    events, pairs = (
        _without(paths, name, _replaced(keys, tally), folder, tally) for name, (keys, paths) in kinds.items()
    )
    return replace(raw, events=events, pairs=pairs)


def _replaced(keys: Sequence[Path], tally: _Tally) -> pl.Series:
    """The ids of rows that a later revision of their record replaces.

    Later is what has the later time, and where times are equal, or one is missing, what comes later in the input.

    Args:
        keys: files of keys of events or of pairs, in the order of the input.
        tally: counts the records whose times do not say which is later.
    """
    revisions = find_revisions(keys)
    if revisions.is_empty():
        return pl.Series([], dtype=pl.String)
    tally.unordered += revisions.filter(~pl.col("is_order_known")).height
    several = revisions.select("record_key")
    rows = pl.concat(
        read_rows(path, ["record_key", "text_id", "event_ts"]).join(several, on="record_key", maintain_order="left")
        for path in keys
    )
    is_timed = pl.col("event_ts").is_not_null().all().over("record_key")
    ordered = rows.with_columns(pl.when(is_timed).then("event_ts")).sort("event_ts", maintain_order=True)
    latest = pl.col("text_id").last().over("record_key")
    return ordered.filter(pl.col("text_id") != latest)["text_id"].unique()


def _without(paths: Sequence[Path], id_name: str, replaced: pl.Series, folder: Path, tally: _Tally) -> tuple[Path, ...]:
    """Files of a table without the rows of some ids, which are counted."""
    kept: list[Path] = []
    for path in paths:
        is_kept = ~read_rows(path, [id_name]).to_series().is_in(replaced.implode())
        count = int((~is_kept).sum())
        if count:
            tally.drop(DropReason.SUPERSEDED_REVISION, count)
            with pa.memory_map(str(path)) as source:
                table = pa.ipc.open_file(source).read_all().filter(is_kept.to_arrow())
            path = folder / path.name
            write_arrow(table, path)
        kept.append(path)
    return tuple(kept)


def _rows(raw: IngestResult, writer: Writer, tally: _Tally, advance: Any) -> Iterator[dict[str, Any]]:
    if writer.kind == "events":
        yield from _labelled(raw, writer, tally, advance)
        return
    for row in _read(raw.pairs, advance):
        if row["outcome"] in ("a", "b"):
            yield _oriented(row)
        else:
            tally.drop(DropReason.TIE)
    if raw.events:
        pairs, drops = pair_events(raw.events)
        tally.dropped.update(drops)
        for pair in pairs:
            yield pair
            advance(2)


def _redacted(rows: Iterator[dict[str, Any]], tally: _Tally) -> Iterator[dict[str, Any]]:
    from feedback.personal import Redactor, redact_records  # loads phonenumbers

    redactor = Redactor()
    tally.redacted = redactor.counts
    return redact_records(rows, redactor)


def _labelled(raw: IngestResult, writer: Writer, tally: _Tally, advance: Any) -> Iterator[dict[str, Any]]:
    for row in _read(raw.events, advance):
        if row["op"] == "retract" and not writer.takes_unlabelled:
            tally.drop(DropReason.RETRACTED)
        elif row["label"] is None and not writer.takes_unlabelled:
            tally.drop(DropReason.NEUTRAL)
        else:
            yield row
    for row in _read(raw.pairs, advance):
        if row["outcome"] in ("tie", "abstain"):
            tally.drop(DropReason.TIE)
            continue
        tally.created += 1
        for side in ("a", "b"):
            yield _answer(row, side)


def _answer(pair: dict[str, Any], side: str) -> dict[str, Any]:
    """One side of a pair as an event."""
    row = {name: value for name, value in pair.items() if not name.endswith(("_a", "_b")) and name != "flags"}
    return {
        **row,
        "source_record_id": f"{pair['source_record_id']}/{side}",
        "op": "create",
        "completion": pair[f"response_{side}"],
        "label": pair["outcome"] == side,
        "model_id": pair[f"model_{side}"],
        "score": pair[f"score_{side}"],
    }


def _oriented(pair: dict[str, Any]) -> dict[str, Any]:
    """A pair with its winner as `chosen`."""
    sides = ("a", "b") if pair["outcome"] == "a" else ("b", "a")
    row = {name: value for name, value in pair.items() if not name.endswith(("_a", "_b"))}
    for name, side in zip(("chosen", "rejected"), sides, strict=True):
        row[name] = pair[f"response_{side}"]
        row[f"score_{name}"] = pair[f"score_{side}"]
        row[f"model_{name}"] = pair[f"model_{side}"]
    return row


def _read(paths: Sequence[Path], advance: Any) -> Iterator[dict[str, Any]]:
    for path in paths:
        with pa.memory_map(str(path)) as source:
            table = pa.ipc.open_file(source).read_all()
        for batch in table.to_batches(_BATCH_ROWS):
            yield from batch.to_pylist()
            advance(batch.num_rows)


def _present(writer: Writer, raw: IngestResult) -> pa.Schema:
    """The writer's schema without the columns that no row can have a value for."""
    if writer.kind == "events":
        optional = {"tools": "tools"}
    else:
        optional = {"tools": "tools", "score_chosen": "score_a", "score_rejected": "score_b", "margin": "margin"}
    empty = {
        name
        for name, column in optional.items()
        if not any(_has_values(path, column) for path in (*raw.events, *raw.pairs))
    }
    return pa.schema([one for one in writer.schema or () if one.name not in empty])


def _has_values(path: Path, column: str) -> bool:
    with pa.memory_map(str(path)) as source:
        table = pa.ipc.open_file(source).read_all()
    return column in table.column_names and table.column(column).null_count < table.num_rows


def _is_of_source(name: str, value: Any) -> bool:
    is_made_up = name == "source_record_id" and str(value).startswith("sha256:")
    # Formats do not say who judged, and whoever reads them again thinks of people.
    is_machine = name == "rater_kind" and value in _MACHINES
    return is_machine or (name not in _SILENT and name != "events" and not is_made_up)


def _refuse_no_pair(writer: Writer, raw: IngestResult, tally: _Tally) -> None:
    if writer.kind == "pairs" and raw.events and not tally.written:
        raise DataGateError(
            "no prompt has an answer voted up and another one voted down, so there is no pair to write",
            where=f"{raw.report.rows_kept:,} rows",
            todo="Write labels instead, for example in the format thumbs",
        )


def _report(raw: IngestResult, writer: Writer, tally: _Tally, beside: str | None) -> StageReport:
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
        notes=(*raw.report.notes, *_notes(raw, writer, tally), *(() if beside is None else (beside,))),
        figures={
            "rows_written": tally.written,
            "rejected": raw.rejected,
            "first_cases": list(raw.first_cases),
            "lost": dict(sorted(tally.lost.items())),
            **({} if tally.redacted is None else {"redacted": dict(sorted(tally.redacted.items()))}),
        },
    )


def _notes(raw: IngestResult, writer: Writer, tally: _Tally) -> Iterator[str]:
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
