"""What the kernel of `ingest` is given of a raw file, and what it says of it, see `feedback.ingest.block`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from feedback.ingest.format_check import Miss
from feedback.ingest.keys import SketchSettings
from feedback.ingest.own_records import BlockIds
from feedback.near import SketchFile
from feedback.records.raw_record import RawRecord
from feedback.records.text_blocks import TextBlock

__all__ = ["BlockResult", "BlockTask"]


@dataclass(frozen=True, slots=True)
class BlockTask:
    """A block and what is needed to read it.

    Args:
        number: which block of the run it is, from 0; names its files.
        owner: which file of the run it is from, from 0.
        folder: where its files go.
        source: name of the source.
        format: name of the source's format.
        map: path of the TOML map, for the format `mapped`.
        ranking: which ranked answers become pairs, for formats that rank.
        key: key for user ids.
        sketch: for which near-duplicates texts are sketched; None writes no sketches.
        is_first: whether it is the first block of its file, which tells whether the file is in the format.
        block: the lines, or records.
        join: the table of the other file, for formats that join one.
        with_keys: whether the keys of rows are written beside them.
        is_joined_itself: whether the other file is the block's own; without a table, the block itself is.
    """

    number: int
    owner: int
    folder: Path
    source: str
    format: str
    map: str | None
    ranking: str
    key: bytes
    sketch: SketchSettings | None
    is_first: bool
    block: TextBlock | list[RawRecord]
    join: Path | None = None
    with_keys: bool = True
    is_joined_itself: bool = False


@dataclass(frozen=True, slots=True)
class BlockResult:
    """What a block gave; its files lie in the task's folder.

    Args:
        owner: which file of the run it is from.
        records: records in it.
        events: rows of events kept, pairs: of pairs.
        drafts: rows beyond one for each record that was accepted.
        ups: events that say up; labelled: events that say up or down.
        rejected: quarantined records by reason.
        ignored: what formats left out on purpose, by what it is.
        first_cases: the first of them, for people.
        unused: names of fields that nobody reads.
        is_in_format: whether a record was in the format, or spoke for it.
        miss: the first record that lacked a required field.
        sketches: files of sketches.
        outcome: sum of what all rows say, see `feedback.ingest.keys.outcome_sum`.
        joined: records that found what they lacked in the other file; alone: records that did not.
        first_alone: the id of the first that did not.
        ids: the ids of its records, where these were looked for in the block itself.
    """

    owner: int
    records: int
    events: int = 0
    pairs: int = 0
    drafts: int = 0
    ups: int = 0
    labelled: int = 0
    rejected: dict[str, int] = field(default_factory=dict)
    ignored: dict[str, int] = field(default_factory=dict)
    first_cases: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()
    is_in_format: bool = False
    miss: Miss | None = None
    sketches: tuple[SketchFile, ...] = ()
    outcome: int = 0
    joined: int = 0
    alone: int = 0
    first_alone: str = ""
    ids: BlockIds | None = None
