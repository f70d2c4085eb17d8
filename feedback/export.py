"""Stage `export`: text joins the rows again, and Parquet shards are written.

    keys ──order by hash──► shard, position
    text tables ──batch by batch──► a part file per shard ──one shard at a time──► data/train-00000-of-00004.parquet

Text is read once and memory holds the keys, one batch and one shard. The manifest is not written here: it comes last.
"""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from feedback.config import ExportConfig
from feedback.stage import count_labels, counted, finish_stage, hash_column
from schemas.datasets import SPLITS, UNPAIRED_PREFERENCE
from schemas.errors import CorruptionError
from schemas.manifest import Shard, file_sha256
from schemas.messages import MESSAGES
from schemas.progress import Advance, Progress, silent
from schemas.report import StageReport
from schemas.rules import UnpairedPreferenceRules, violations
from schemas.settings import settings_to_dict

__all__ = ["ExportResult", "TextTable", "export"]

_BATCH_ROWS: Final = 4096
_OPEN_FILES: Final = 256
_PART: Final = pa.schema(
    [("position", pa.int64()), ("prompt", MESSAGES), ("completion", MESSAGES), ("tools", pa.string())]
)


@dataclass(frozen=True, slots=True)
class TextTable:
    """Parquet files that hold text: the column of ids, and for each `text_side` the column of its completion."""

    paths: tuple[Path, ...]
    id_column: str
    completions: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ExportResult:
    """The shards, train first, and the report."""

    shards: tuple[Shard, ...]
    report: StageReport


def export(
    candidates: pl.DataFrame,
    texts: Sequence[TextTable],
    folder: Path,
    config: ExportConfig,
    *,
    seed: int = 0,
    digest_in: str = "",
    progress: Progress = silent,
) -> ExportResult:
    """Shards of `schemas.datasets.UNPAIRED_PREFERENCE` in `folder/data`, in an order that mixes labels and sources.

    Args:
        candidates: rows of `schemas.datasets.CANDIDATE` with their split, each `row_id` once.
        texts: where their texts lie.
        folder: the dataset's folder.
        config: the wanted size of shards.
        seed: decides the order of rows.
        digest_in: digest of the stage before.
        progress: told about every row written.

    Raises:
        CorruptionError: a row's text is missing, or breaks the rules of the table.
    """
    rows = _placed(candidates, config, seed)
    parts = folder / "parts"
    names = UNPAIRED_PREFERENCE.names if _has_tools(rows, texts) else _without_tools()
    # Train comes first in every list of shards.
    paths = rows.select("split", "path").unique().sort(["split", "path"], descending=[True, False])["path"].to_list()
    shards = []
    (folder / "data").mkdir(parents=True, exist_ok=True)
    with progress("export", 2 * rows.height) as advance:
        for start in range(0, len(paths), _OPEN_FILES):
            group = paths[start : start + _OPEN_FILES]
            _scatter(rows.filter(pl.col("path").is_in(group)), texts, parts, advance)
            for path in group:
                meta = rows.filter(path=path).sort("position")
                shards.append(_write_shard(meta, parts, folder, names))
                advance(meta.height)
            shutil.rmtree(parts)
    return ExportResult(tuple(shards), _report(candidates, tuple(shards), config, seed, digest_in))


def _placed(candidates: pl.DataFrame, config: ExportConfig, seed: int) -> pl.DataFrame:
    """The rows without text, with the path of their shard and their position in the split."""
    of_vote = pl.element().struct
    rows = candidates.with_columns(
        order=hash_column(candidates["row_id"], "export", str(seed)),
        source_event_ids=pl.col("votes").list.eval(of_vote.field("event_id")).list.sort(),
        n_up=pl.col("votes").list.eval(of_vote.field("label").cast(pl.Int64)).list.sum(),
        n_down=pl.col("votes").list.eval((~of_vote.field("label")).cast(pl.Int64)).list.sum(),
    ).sort("order", "row_id")
    placed = []
    for split in SPLITS:
        part = rows.filter(split=split).with_row_index("position").with_columns(pl.col("position").cast(pl.Int64))
        # A character is taken for a byte: the keys know lengths in characters only.
        size = int((part["prompt_chars"] + part["completion_chars"]).sum())
        count = max(1, min(part.height, math.ceil(size / (config.shard_mb * 1e6))))
        number = (pl.col("position") * count // max(1, part.height)).cast(pl.String).str.zfill(5)
        placed.append(part.with_columns(path=pl.format(f"data/{split}-{{}}-of-{count:05d}.parquet", number)))
    return pl.concat(placed)


def _without_tools() -> list[str]:
    return [name for name in UNPAIRED_PREFERENCE.names if name != "tools"]


def _has_tools(rows: pl.DataFrame, texts: Sequence[TextTable]) -> bool:
    wanted = rows.select("text_id")
    for table in texts:
        for path in table.paths:
            if "tools" in pq.read_schema(path).names:
                tools = pl.scan_parquet(path).select(pl.col(table.id_column).alias("text_id"), "tools")
                used = tools.filter(pl.col("tools").is_not_null()).join(wanted.lazy(), on="text_id", how="semi")
                if used.head(1).collect().height:
                    return True
    return False


def _scatter(rows: pl.DataFrame, texts: Sequence[TextTable], parts: Path, advance: Advance) -> None:
    """Write the texts of `rows` into one part file for each shard, in the order of the text tables."""
    parts.mkdir(parents=True, exist_ok=True)
    wanted = rows.select("text_id", "text_side", "path", "position")
    writers = {
        path: pq.ParquetWriter(parts / Path(path).name, _PART, compression="zstd")
        for path in wanted["path"].unique().to_list()
    }
    try:
        for table in texts:
            for joined in _join_texts(wanted, table):
                for (path,), part in joined.partition_by("path", as_dict=True).items():
                    writers[path].write_table(_arrow(part.select(_PART.names), _PART))
                advance(joined.height)
    finally:
        for writer in writers.values():
            writer.close()


def _join_texts(wanted: pl.DataFrame, table: TextTable) -> Iterator[pl.DataFrame]:
    columns = [table.id_column, "prompt", "tools", *table.completions.values()]
    for path in table.paths:
        with pq.ParquetFile(path) as file:
            known = [name for name in columns if name in file.schema_arrow.names]
            for batch in file.iter_batches(_BATCH_ROWS, columns=known):
                texts = pl.DataFrame(pl.from_arrow(batch)).rename({table.id_column: "text_id"})
                if "tools" not in known:
                    texts = texts.with_columns(tools=pl.lit(None, dtype=pl.String))
                for side, column in table.completions.items():
                    joined = wanted.filter(text_side=side).join(texts, on="text_id")
                    if joined.height:
                        yield joined.with_columns(completion=column)


def _write_shard(meta: pl.DataFrame, parts: Path, folder: Path, names: Sequence[str]) -> Shard:
    """One finished Parquet file of the rows `meta`, flushed to disk.

    Raises:
        CorruptionError: a text is missing or breaks the rules.
    """
    path = folder / meta["path"][0]
    texts = pl.DataFrame(pl.read_parquet(parts / path.name))
    # The same record may have been ingested twice; its text is the same.
    texts = texts.unique("position", keep="any").sort("position")
    if texts["position"].to_list() != meta["position"].to_list():
        missing = meta.join(texts, on="position", how="anti")
        raise CorruptionError(
            f"the text of {counted(missing.height, 'row')} is missing, the first with text_id {missing['text_id'][0]}",
            where=path.name,
            todo="Curate again from the raw files",
        )
    frame = pl.concat([meta, texts.drop("position")], how="horizontal").select(names)
    broken = violations(frame, UnpairedPreferenceRules)
    if broken:
        raise CorruptionError(
            f"{counted(len(broken), 'row')} break the rules of the curated table",
            where=path.name,
            received=broken[0].detail,
            expected="rows that `ingest` let through",
            todo="Curate again from the raw files",
        )
    schema = pa.schema([UNPAIRED_PREFERENCE.field(name) for name in names])
    with path.open("wb") as sink:
        pq.write_table(_arrow(frame, schema), sink, compression="zstd", write_page_checksum=True, row_group_size=10_000)
        sink.flush()
        os.fsync(sink.fileno())
    labels = count_labels(meta)
    return Shard(
        path=meta["path"][0],
        split=meta["split"][0],
        rows=meta.height,
        desirable=labels.desirable,
        undesirable=labels.undesirable,
        bytes=path.stat().st_size,
        sha256=file_sha256(path),
    )


def _arrow(frame: pl.DataFrame, schema: pa.Schema) -> pa.Table:
    return frame.to_arrow(compat_level=pl.CompatLevel.oldest()).cast(schema)


def _report(
    candidates: pl.DataFrame, shards: tuple[Shard, ...], config: ExportConfig, seed: int, digest_in: str
) -> StageReport:
    size = sum(shard.bytes for shard in shards)
    figures: dict[str, Any] = {"shards": len(shards), "bytes": size}
    result = finish_stage(
        "export",
        candidates,
        candidates.clear().with_columns(drop_reason=pl.lit(None, dtype=pl.String)),
        rows_in=candidates.height,
        labels_in=count_labels(candidates),
        config={**settings_to_dict(config), "seed": seed},
        digest_in=digest_in,
        notes=[f"{counted(candidates.height, 'row')} in {counted(len(shards), 'shard')} of {size:,} bytes together."],
        figures=figures,
    )
    return result.report
