"""Which rows of a dataset came, went or changed between two versions of it, by their ids; no text is read.

    rows of both, by row_id ─► came, went, changed label, changed split, changed weight, the same
    and so their pairs, which have no label

A row keeps its id as long as the record behind it does. Where curation settles on another wording of an answer, the row
of the one went and the row of the other came.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from schemas.errors import InputError
from schemas.manifest import PREFERENCE_FOLDER, Manifest

__all__ = ["CHANGES", "DatasetDiff", "diff_datasets"]

CHANGES: Final = ("came", "went", "label", "split", "weight")
"""What can happen to a row; one that changes in several ways counts under the first of them."""

_COLUMNS: Final = ("row_id", "label", "split", "weight", "source")


@dataclass(frozen=True, slots=True)
class DatasetDiff:
    """The rows that two versions of a dataset do not share.

    Args:
        before: digest of the earlier one.
        after: digest of the later one.
        rows_before: rows of the earlier one.
        rows_after: rows of the later one.
        rows: `row_id`, `change` (one of `CHANGES`), and `label`, `split`, `weight` and `source` of both sides, named
            with `_before` and `_after` and null where the row is not; sorted by `row_id`.
        pairs: the same of the pairs in both datasets; null where neither has any.
    """

    before: str
    after: str
    rows_before: int
    rows_after: int
    rows: pa.Table
    pairs: DatasetDiff | None = None

    @property
    def counts(self) -> dict[str, int]:
        """Rows by what happened to them, all of `CHANGES` and `same`."""
        found = {one["values"]: one["counts"] for one in pc.value_counts(self.rows["change"]).to_pylist()}
        counts = {name: int(found.get(name, 0)) for name in CHANGES}
        return {**counts, "same": self.rows_after - sum(counts.values()) + counts["went"]}

    def by_source(self) -> dict[str, dict[str, int]]:
        """For each source, rows that came, went or changed, by what happened; no zeros."""
        source = pc.coalesce(self.rows["source_after"], self.rows["source_before"])
        table = pa.table({"source": source, "change": self.rows["change"]})
        found: dict[str, dict[str, int]] = {}
        for one in table.group_by(["source", "change"]).aggregate([([], "count_all")]).to_pylist():
            found.setdefault(one["source"], {})[one["change"]] = one["count_all"]
        return {name: dict(sorted(found[name].items())) for name in sorted(found)}

    def to_dict(self) -> dict[str, Any]:
        """JSON values: digests, numbers and counts, without the rows."""
        return {
            "before": self.before,
            "after": self.after,
            "rows_before": self.rows_before,
            "rows_after": self.rows_after,
            "counts": self.counts,
            "by_source": self.by_source(),
            "pairs": None if self.pairs is None else self.pairs.to_dict(),
        }

    def examples(self, change: str, limit: int) -> Iterator[dict[str, Any]]:
        """The first rows that changed in one way.

        Args:
            change: one of `CHANGES`.
            limit: at most so many.
        """
        yield from self.rows.filter(pc.equal(self.rows["change"], change)).slice(0, limit).to_pylist()


def diff_datasets(before: Path, after: Path) -> DatasetDiff:
    """What changed from one curated dataset to another.

    Args:
        before: the folder of the earlier one.
        after: the folder of the later one.

    Raises:
        InputNotFoundError: a folder is not a whole dataset.
        CorruptionError: a shard is not what its manifest says.
        InputError: a shard cannot be read, or an id stands twice.
    """
    old, new = (_verified(folder) for folder in (before, after))
    found = _diff(before, after, old, new)
    if not (old.has_pairs or new.has_pairs):
        return found
    places = [folder / PREFERENCE_FOLDER for folder in (before, after)]
    of_pairs = [Manifest.read(place) if one.has_pairs else None for place, one in zip(places, (old, new), strict=True)]
    return replace(found, pairs=_diff(places[0], places[1], of_pairs[0], of_pairs[1]))


def _verified(folder: Path) -> Manifest:
    """The manifest of a dataset whose shards are what it says, those of its pairs too."""
    manifest = Manifest.read(folder)
    manifest.verify(folder)
    return manifest


def _diff(before: Path, after: Path, known_before: Manifest | None, known_after: Manifest | None) -> DatasetDiff:
    """What changed between the shards of two manifests; null is a dataset without rows."""
    old, new = _read(before, known_before), _read(after, known_after)
    joined = old.join(new, keys="row_id", join_type="full outer", left_suffix="_before", right_suffix="_after")
    return DatasetDiff(
        before="" if known_before is None else known_before.digest,
        after="" if known_after is None else known_after.digest,
        rows_before=old.num_rows,
        rows_after=new.num_rows,
        rows=_changed(joined).sort_by("row_id"),
    )


def _read(folder: Path, manifest: Manifest | None) -> pa.Table:
    """The narrow columns of a dataset, or of none."""
    parts = []
    for shard in () if manifest is None else manifest.shards:
        file = pq.ParquetFile(folder / shard.path)
        names = set(file.schema_arrow.names)
        missing = {"row_id", "split"} - names
        if missing:
            raise InputError(f"the dataset has no column {sorted(missing)[0]!r}", where=folder / shard.path)
        part = file.read(columns=[name for name in _COLUMNS if name in names])
        parts.append(part.select([name for name in _COLUMNS if name in names]))
    table = (
        pa.concat_tables(parts, promote_options="permissive")
        if parts
        else pa.table({name: pa.array([], pa.string()) for name in ("row_id", "split")})
    )
    for name, kind in (("label", pa.bool_()), ("weight", pa.float64()), ("source", pa.string())):
        if name not in table.column_names:  # pairs have no label
            table = table.append_column(name, pa.nulls(table.num_rows, kind))
    if pc.count_distinct(table["row_id"]).as_py() != table.num_rows:
        raise InputError("an id stands twice in the dataset, so its rows cannot be compared", where=folder)
    return table.select(_COLUMNS)


def _changed(joined: pa.Table) -> pa.Table:
    """The rows that are not the same on both sides, with what happened to them."""
    is_old, is_new = (joined[f"split_{side}"].is_valid() for side in ("before", "after"))
    differs = [_differs(joined, name) for name in ("label", "split", "weight")]
    conditions = [pc.invert(is_old), pc.invert(is_new), *differs]
    change = pc.case_when(
        pa.StructArray.from_arrays([_flat(each) for each in conditions], names=list(CHANGES)), *CHANGES
    )
    columns = ["row_id", *(f"{name}_{side}" for name in _COLUMNS[1:] for side in ("before", "after"))]
    with_change = joined.select(columns).add_column(1, "change", change)
    return with_change.filter(pc.is_valid(with_change["change"]))


def _differs(joined: pa.Table, name: str) -> pa.ChunkedArray:
    """Whether a value is another one; null on both sides is the same, and a row on one side only is none."""
    before, after = joined[f"{name}_before"], joined[f"{name}_after"]
    return pc.fill_null(pc.not_equal(before, after), False)


def _flat(values: pa.ChunkedArray) -> pa.Array:
    return values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
