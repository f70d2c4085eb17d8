"""A finished dataset as candidates again, so that it can be rebalanced or audited without its raw files."""

from __future__ import annotations

from typing import Final

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from feedback.export.text_files import TextTable
from feedback.flat_text import flat_text
from feedback.hashing import answer_id, exact_text, ids_of_turns, messages_hash, row_keys
from feedback.stage import CANDIDATE_TYPES, sort_rows
from schemas.datasets import OPTIONAL_COLUMNS, UNPAIRED_PREFERENCE
from schemas.errors import ShapeError
from schemas.manifest import Manifest
from schemas.paths import AnyPath, path_of

__all__ = ["read_curated", "text_of_curated"]

_BATCH_ROWS: Final = 50_000


def read_curated(folder: AnyPath, manifest: Manifest, *, with_raters: bool = False) -> pl.DataFrame:
    """The rows of a dataset as `schemas.datasets.CANDIDATE`.

    Times and models are not in a dataset, so they are null here; votes have their ids and their labels in total, and
    stand apart from the events whose votes count no more. Every answer is a cluster of its own: what was nearly the
    same was merged when the dataset was made.

    Args:
        folder: the dataset's folder.
        manifest: its manifest.
        with_raters: whether votes are said to be of the one rater of their row, where the dataset has `rater_key`:
            what it says is kept, but tells nothing of who gave the votes of all other rows.

    Raises:
        ShapeError: a shard has not the columns of `schemas.datasets.UNPAIRED_PREFERENCE`.
    """
    folder = path_of(folder, name="folder")
    frames = [pl.DataFrame(schema=CANDIDATE_TYPES)]
    for shard in manifest.shards:
        with pq.ParquetFile(folder / shard.path) as file:
            missing = set(UNPAIRED_PREFERENCE.names) - {*OPTIONAL_COLUMNS} - set(file.schema_arrow.names)
            if missing:
                raise ShapeError(f"columns are missing: {', '.join(sorted(missing))}", where=folder / shard.path)
            frames += [_candidates(batch, with_raters=with_raters) for batch in file.iter_batches(_BATCH_ROWS)]
    return sort_rows(pl.concat(frames, rechunk=True))


def text_of_curated(folder: AnyPath, manifest: Manifest) -> TextTable:
    """Where the texts of a dataset's rows lie: in its own shards."""
    paths = tuple(path_of(folder, name="folder") / shard.path for shard in manifest.shards)
    return TextTable(paths, "row_id", {"completion": "completion"})


def _candidates(batch: pa.RecordBatch, *, with_raters: bool) -> pl.DataFrame:
    from feedback.near import sketch_texts  # loads numba

    rows = pl.DataFrame(batch)
    if not with_raters or "rater_key" not in rows.columns:
        rows = rows.with_columns(rater_key=pl.lit(None, pl.String))
    prompts, completions = (flat_text(batch.column(name)) for name in ("prompt", "completion"))
    sketches = sketch_texts(prompts, completions)
    full = rows.with_columns(
        *_events(rows),
        pl.Series("prompt_key", sketches.prompt_key),
        pl.Series("completion_key", sketches.completion_key),
        pl.Series("cluster_id", answer_id(sketches.prompt_key, sketches.completion_key)),
        pl.Series("prompt_chars", sketches.prompt_chars),
        pl.Series("completion_chars", sketches.completion_chars),
        _exact_keys(rows["prompt"]).alias("prompt_hash"),
        _exact_keys(rows["completion"]).alias("completion_hash"),
        row_keys(rows["row_id"]).alias("row_key"),
        row_keys(rows["group_id"]),
        pl.lit("unknown").alias("rater_kind"),
        pl.lit("completion").alias("text_side"),
        text_id="row_id",
        rater_key=None,
        model_id=None,
        event_ts=None,
        capped_rater=None,
    )
    return full.select(pl.col(name).cast(kind) for name, kind in CANDIDATE_TYPES.items())


def _events(rows: pl.DataFrame) -> tuple[pl.Series, pl.Series]:
    """The votes of each row, of which only how many went up is known, not which any more, and its other events."""
    ids, counts = pl.col("source_event_ids").list, pl.col("n_up") + pl.col("n_down")
    has_others = ids.len() > counts
    votes, others = rows.select(votes=ids.head(counts), other_event_ids=pl.when(has_others).then(ids.slice(counts)))
    return _votes(votes, rows["n_up"], rows["rater_key"].str.to_integer(base=16, dtype=pl.UInt64)), others


def _votes(ids: pl.Series, ups: pl.Series, raters: pl.Series) -> pl.Series:
    lengths = ids.list.len().cast(pl.Int64).to_numpy()
    offsets = np.concatenate(([0], np.cumsum(lengths)))
    places = np.arange(offsets[-1]) - np.repeat(offsets[:-1], lengths)
    votes = pl.DataFrame(
        {
            "event_id": ids.explode(empty_as_null=False),
            "rater_key": raters.gather(pl.Series(np.repeat(np.arange(len(lengths)), lengths))),
            "label": places < np.repeat(ups.to_numpy(), lengths),
        }
    ).select(
        "event_id",
        "rater_key",
        pl.lit(None, dtype=pl.Datetime("us", "UTC")).alias("event_ts"),
        "label",
    )
    lists = pa.LargeListArray.from_arrays(pl.Series(offsets, dtype=pl.Int64).to_arrow(), votes.to_struct().to_arrow())
    return pl.Series("votes", lists)


def _exact_keys(messages: pl.Series) -> pl.Series:
    """The key of the exact text of each list of turns, as `ingest` makes it."""
    hashes = np.empty(messages.len(), dtype=object)
    is_single = (messages.list.len() == 1).fill_null(value=False)
    hashes[(~is_single).to_numpy()] = [messages_hash(turns) for turns in messages.filter(~is_single).to_list()]
    first = messages.list.first().struct
    turns = pl.DataFrame({"role": first.field("role"), "content": first.field("content")}).with_row_index("row")
    for (role,), part in turns.filter(is_single).partition_by("role", as_dict=True).items():
        texts = pl.DataFrame({"text": [exact_text(text) for text in part["content"].to_list()]})
        hashes[part["row"].to_numpy()] = texts.select(ids_of_turns(str(role), pl.col("text"))).to_series().to_list()
    return row_keys(pl.Series(hashes.tolist(), dtype=pl.String))
