"""What the audit needs to know of texts, read once, a piece at a time: a narrow table of claims, no text.

    text files ──pieces──► turns ──patterns──► claims about each text ──► one row for each answer: key, side, claims

Memory holds a few pieces and the narrow table.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from feedback.audit.texts.integrity_flags import CONTROL_TOKENS, are_roles_out_of_order, integrity_flags
from feedback.audit.texts.style_flags import STYLES, style_flags
from feedback.config import PHONE_REGIONS
from feedback.export.text_files import TextPiece, TextTable, read_piece, text_pieces
from feedback.hashing import keys_of_ids
from feedback.personal import KINDS, find_personal

__all__ = ["FEATURES", "PERSONAL", "read_features"]

PERSONAL: Final = {f"has_{kind}": kind for kind in KINDS if kind != "name"}
"""The column of each kind of personal data, and the kind."""

_KEYS: Final = {"text_key": pl.UInt64(), "text_side": pl.String(), "answer_chars": pl.UInt32()}
_INTEGRITY: Final = ("is_empty", "is_open", "is_mid_word", "is_error", "has_bad_roles", "has_special_token")
_ORIGIN: Final = {"consent": pl.Boolean(), "ts_quality": pl.String(), "lang": pl.String()}
_CLAIMS: Final = (*_INTEGRITY, *PERSONAL, *(style.name for style in STYLES))

FEATURES: Final = pl.Schema({**_KEYS, **dict.fromkeys(_CLAIMS, pl.Boolean()), **_ORIGIN})
"""The narrow table. `text_key` is the first 64 bits of `text_id`; `consent`, `ts_quality` and `lang` are null where the
files do not say."""


def read_features(tables: Sequence[TextTable], *, phone_regions: Sequence[str] = PHONE_REGIONS) -> pl.DataFrame:
    """Rows of `FEATURES`, one for each text and side, in the order of the files.

    Args:
        tables: where the texts lie.
        phone_regions: regions whose national telephone numbers are looked for.

    Raises:
        UnknownChoiceError: a region that there is not.
    """
    pieces = [(table, piece) for table in tables for piece in text_pieces(table.paths)]
    parts = [pl.DataFrame(schema=FEATURES)]
    # Expressions let go of the interpreter, so that one piece is proved while another is looked over.
    with ThreadPoolExecutor(2) as pool:
        for found in pool.map(lambda one: list(_features(one[0], one[1], phone_regions)), pieces):
            parts += found
    return pl.concat(parts).unique(["text_key", "text_side"], keep="first", maintain_order=True)


def _features(table: TextTable, piece: TextPiece, regions: Sequence[str]) -> Iterator[pl.DataFrame]:
    """A table for each side of the piece's rows."""
    columns = (table.id_column, "prompt", *table.completions.values(), "tools", *_ORIGIN)
    batch = read_piece(piece, columns)
    prompt = _claims_of_prompt(batch, regions)
    frame = pl.DataFrame(batch.select([name for name in (table.id_column, *_ORIGIN) if name in batch.schema.names]))
    for side, column in table.completions.items():
        answer = _claims_of_answer(batch.column(column), regions)
        merged = {
            name: prompt[name] | answer[name] if name in prompt.columns else answer[name] for name in answer.columns
        }
        yield frame.select(
            keys_of_ids(pl.col(table.id_column)).alias("text_key"),
            pl.lit(side).alias("text_side"),
            *merged.values(),
            prompt["has_bad_roles"],
            *(
                (pl.col(name) if name in frame.columns else pl.lit(None)).cast(kind).alias(name)
                for name, kind in _ORIGIN.items()
            ),
        ).select(FEATURES.names())


def _claims_of_prompt(batch: pa.RecordBatch, regions: Sequence[str]) -> pl.DataFrame:
    turns = batch.column("prompt")
    claims = _claims_of_turns(turns, regions)
    if "tools" in batch.schema.names and batch.column("tools").null_count < batch.num_rows:
        tools = _personal(pl.Series(batch.column("tools")), regions)
        claims = claims.with_columns(claims[name] | tools[name] for name in PERSONAL)
    return claims.with_columns(pl.Series("has_bad_roles", are_roles_out_of_order(turns)))


def _claims_of_answer(turns: pa.ListArray, regions: Sequence[str]) -> pl.DataFrame:
    """What the turns hold, and how the last one, which was rated, is written."""
    starts = _starts(turns)
    said = pl.Series("answer", turns.flatten().field("content"))
    answer = said if len(said) == len(turns) else said.gather(pl.Series(np.maximum(starts[1:] - 1, 0)))
    text = pl.col("answer")
    shape = answer.to_frame().select(
        text.str.len_chars().alias("answer_chars"), *integrity_flags(text), *style_flags(text)
    )
    return pl.concat([shape, _claims_of_turns(turns, regions)], how="horizontal")


def _claims_of_turns(turns: pa.ListArray, regions: Sequence[str]) -> pl.DataFrame:
    """What any turn of each row holds: special tokens, and personal data by kind."""
    said = pl.Series("text", turns.flatten().field("content"))
    claims = _personal(said, regions).with_columns(said.str.contains(CONTROL_TOKENS).alias("has_special_token"))
    if len(said) == len(turns):
        return claims
    starts = _starts(turns)
    return claims.select(_any(claims[name].to_numpy(), starts).alias(name) for name in claims.columns)


def _personal(texts: pl.Series, regions: Sequence[str]) -> pl.DataFrame:
    finds = find_personal(texts, phone_regions=regions)
    columns = []
    for name, kind in PERSONAL.items():
        flags = np.zeros(len(texts), np.bool_)
        flags[finds.filter(pl.col("kind") == kind)["row"].to_numpy()] = True
        columns.append(pl.Series(name, flags))
    return pl.DataFrame(columns)


def _starts(turns: pa.ListArray) -> NDArray[np.int64]:
    offsets = pl.Series(turns.offsets).to_numpy().astype(np.int64)
    return np.asarray(offsets - offsets[0])


def _any(flags: NDArray[np.bool_], starts: NDArray[np.int64]) -> pl.Series:
    """Whether any turn of a row is flagged."""
    sums = np.concatenate(([0], np.cumsum(flags)))
    return pl.Series(sums[starts[1:]] > sums[starts[:-1]])
