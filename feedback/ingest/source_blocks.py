"""The blocks of all sources of a run, and which block came from which file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from feedback.config import SourceConfig
from feedback.formats import Format
from feedback.ingest.block_sizes import smaller_blocks
from feedback.ingest.block_task import BlockResult, BlockTask
from feedback.ingest.groups import Groups, are_apart, find_groups, table_of_blocks
from feedback.ingest.join_table import JoinTable
from feedback.ingest.keys import SketchSettings
from feedback.ingest.source_files import find_source_files
from feedback.ingest.source_format import open_format
from feedback.records.byte_stream import Tally
from feedback.records.places import Place, place_name
from feedback.records.queries import RowTally
from feedback.records.raw_record import RawRecord
from feedback.records.sources import new_tally, read_blocks, tally_of
from feedback.records.text_blocks import TextBlock
from schemas.manifest import SourceFile
from schemas.progress import Advance

__all__ = ["FileCounts", "OpenSource", "SourceBlocks"]


@dataclass(frozen=True, slots=True)
class FileCounts:
    """What became of one file: records + created == events + pairs + quarantined + ignored.

    Args:
        records: records in it.
        created: rows beyond one for each record.
        events: events kept, pairs: pairs kept.
        quarantined: records in quarantine.
        ignored: what its format left out on purpose.
    """

    records: int
    created: int
    events: int
    pairs: int
    quarantined: int
    ignored: int


class OpenSource:
    """A source with its format and its files."""

    def __init__(self, config: SourceConfig) -> None:
        self.config = config
        self.format: Format = open_format(config.format, config.map, config.ranking)
        self.name = config.name or self.format.name
        self.files = find_source_files(config, self.format)
        self.table: JoinTable | None = None
        self.groups: Groups | None = None

    def described(self) -> dict[str, str]:
        """What the report says of it."""
        ranking = {"ranking": self.config.ranking} if self.format.rankings else {}
        return {"name": self.name, "format": self.format.name, **ranking}


class SourceBlocks:
    """All blocks of all sources, and which block came from which file."""

    def __init__(
        self, sources: Sequence[OpenSource], folder: Path, sketch: SketchSettings | None, key: bytes, *, with_keys: bool
    ) -> None:
        self.sources = sources
        self._folder = folder
        self._sketch = sketch
        self._key = key
        self._with_keys = with_keys
        self._files = [(source, path) for source in sources for path in source.files.read]
        self._tallies: list[Tally | RowTally] = []

    def find_groups(self) -> bool:
        """Whether all that records of any source find might be in their own blocks; these are then cut for it."""
        joined = [one for one in self.sources if one.files.other or one.files.is_itself]
        for source in joined:
            join = source.format.join
            source.groups = None if source.files.other or join is None else find_groups(source.files.read, join)
            if source.groups is None:
                return False
        return bool(joined)

    def are_apart(self, results: Sequence[BlockResult]) -> bool:
        """Whether it was not so after all."""
        return are_apart(result.ids for result in results if result.ids is not None)

    def note_groups(self, results: Sequence[BlockResult], files: Sequence[SourceFile]) -> None:
        """Give every source that needed no table what one would have said, of all that are joined as it is."""
        for source in self.sources:
            if source.groups is not None:
                owners = [one for one, (other, _) in enumerate(self._files) if other.format.join == source.format.join]
                found = [one.ids for one in results if one.owner in owners and one.ids is not None]
                source.table = table_of_blocks([files[owner] for owner in owners], found)

    def tasks(self, advance: Advance | None) -> Iterator[BlockTask]:
        """The blocks, read one after another."""
        number = 0
        self._tallies = []
        for owner, (source, path) in enumerate(self._files):
            self._tallies.append(new_tally(path, advance))
            blocks = _blocks(source, path, self._tallies[owner])
            for place, block in enumerate(blocks):
                yield BlockTask(
                    number=number,
                    owner=owner,
                    folder=self._folder,
                    source=source.name,
                    format=source.config.format,
                    map=source.config.map,
                    ranking=source.config.ranking,
                    key=self._key,
                    sketch=self._sketch,
                    is_first=place == 0,
                    block=block,
                    join=None if source.table is None else source.table.table,
                    with_keys=self._with_keys,
                    is_joined_itself=source.files.is_itself,
                )
                number += 1

    def source_files(self, results: Sequence[BlockResult], advance: Advance) -> list[SourceFile]:
        """What was read of each file; where the stage was complete before, the files are read again for it."""
        if not self._tallies:
            self._tallies = [tally_of(path, advance) for _, path in self._files]
        records = Counter[int]()
        for result in results:
            records[result.owner] += result.records
        read = [
            SourceFile(place_name(path), source.format.name, tally.sha256, tally.bytes, records[owner])
            for owner, ((source, path), tally) in enumerate(zip(self._files, self._tallies, strict=True))
        ]
        other = [source.table.files for source in self.sources if source.table is not None and source.files.other]
        return [*read, *dict.fromkeys(file for files in other for file in files)]

    def counts(self, results: Sequence[BlockResult]) -> tuple[FileCounts, ...]:
        """What became of each file."""
        found = [Counter[str]() for _ in self._files]
        for one in results:
            found[one.owner].update(
                records=one.records,
                created=one.drafts,
                events=one.events,
                pairs=one.pairs,
                quarantined=sum(one.rejected.values()),
                ignored=sum(one.ignored.values()),
            )
        return tuple(FileCounts(**{field.name: one[field.name] for field in fields(FileCounts)}) for one in found)

    def of_source(self, source: OpenSource, results: Sequence[BlockResult]) -> list[BlockResult]:
        """The results of the blocks of one source."""
        return [result for result in results if self._files[result.owner][0] is source]


def _blocks(source: OpenSource, path: Place, tally: Tally | RowTally) -> Iterator[TextBlock | list[RawRecord]]:
    """The blocks of one file."""
    if source.table is not None:
        return smaller_blocks(read_blocks(path, tally=tally), source.table, is_itself=source.files.is_itself)
    if source.groups is not None:
        return read_blocks(path, tally=tally, block_bytes=source.groups.block_bytes, cut_at=source.groups.cut_at)
    return read_blocks(path, tally=tally)
