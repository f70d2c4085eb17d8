"""What the audit needs to know of texts, read once, a piece at a time: a narrow table of claims, no text.

    text files ──pieces──► turns ──patterns──► claims about each text ──► one row for each answer: key, side, claims

Memory holds a few pieces and the narrow table.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
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
"""The narrow table. `text_key` is the first 64 bits of `text_id`; marks of style are null where nobody asked for them,
`consent`, `ts_quality` and `lang` where the files do not say."""

_MAY_BE_CONTROL: Final = r"[<\[]"
"""What every control token begins with: quick to look for, and most texts have none."""


def read_features(
    tables: Sequence[TextTable],
    *,
    styled: pl.DataFrame | None = None,
    phone_regions: Sequence[str] = PHONE_REGIONS,
) -> pl.DataFrame:
    """Rows of `FEATURES`, one for each text and side, in the order of the files.

    Args:
        tables: where the texts lie.
        styled: `text_key` and `text_side` of the answers whose style is wanted; null wants that of all. Marks of style
            take longer to look for than all else together.
        phone_regions: regions whose national telephone numbers are looked for.

    Raises:
        UnknownChoiceError: a region that there is not.
    """
    pieces = [(table, piece) for table in tables for piece in text_pieces(table.paths)]
    wanted = None if styled is None else {side: keys["text_key"] for (side,), keys in styled.group_by("text_side")}
    reading = partial(_features, styled=wanted, regions=phone_regions)
    parts = [pl.DataFrame(schema=FEATURES)]
    # Expressions let go of the interpreter, so that one piece is proved while another is looked over.
    with ThreadPoolExecutor(2) as pool:
        for found in pool.map(lambda one: list(reading(*one)), pieces):
            parts += found
    return pl.concat(parts).unique(["text_key", "text_side"], keep="first", maintain_order=True)


def _features(
    table: TextTable, piece: TextPiece, styled: Mapping[str, pl.Series] | None, regions: Sequence[str]
) -> Iterator[pl.DataFrame]:
    """A table for each side of the piece's rows."""
    columns = (table.id_column, "prompt", *table.completions.values(), "tools", *_ORIGIN)
    batch = read_piece(piece, columns)
    prompt = _claims_of_prompt(batch, regions)
    names = [name for name in (table.id_column, *_ORIGIN) if name in batch.schema.names]
    frame = pl.DataFrame({name: pl.Series(_copied(batch.column(name))) for name in names})
    keys = frame.select(keys_of_ids(pl.col(table.id_column)).alias("text_key")).to_series()
    for side, column in table.completions.items():
        is_styled = None if styled is None else keys.is_in(styled.get(side, keys.clear()).implode())
        answer = _claims_of_answer(batch.column(column), is_styled, regions)
        merged = {
            name: prompt[name] | answer[name] if name in prompt.columns else answer[name] for name in answer.columns
        }
        yield frame.select(
            keys,
            pl.lit(side).alias("text_side"),
            *merged.values(),
            prompt["has_bad_roles"],
            *(
                (pl.col(name) if name in frame.columns else pl.lit(None)).cast(kind).alias(name)
                for name, kind in _ORIGIN.items()
            ),
        ).select(FEATURES.names())


def _copied(column: pa.Array) -> pa.Array:
    """The column in memory of its own: one that still lay in the mapped file would keep all of that in memory."""
    return pa.concat_arrays([column, column.slice(0, 0)])


def _claims_of_prompt(batch: pa.RecordBatch, regions: Sequence[str]) -> pl.DataFrame:
    turns = batch.column("prompt")
    claims = _claims_of_turns(turns, regions)
    if "tools" in batch.schema.names and batch.column("tools").null_count < batch.num_rows:
        tools = _personal(pl.Series(batch.column("tools")), regions)
        claims = claims.with_columns(claims[name] | tools[name] for name in PERSONAL)
    return claims.with_columns(pl.Series("has_bad_roles", are_roles_out_of_order(turns)))


def _claims_of_answer(turns: pa.ListArray, is_styled: pl.Series | None, regions: Sequence[str]) -> pl.DataFrame:
    """What the turns hold, and how the last one, which was rated, is written."""
    starts = _starts(turns)
    said = pl.Series("answer", turns.flatten().field("content"))
    answer = said if len(said) == len(turns) else said.gather(pl.Series(np.maximum(starts[1:] - 1, 0)))
    text = pl.col("answer")
    shape = answer.to_frame().select(text.str.len_chars().alias("answer_chars"), *integrity_flags(text))
    return pl.concat([shape, _style(answer, is_styled), _claims_of_turns(turns, regions)], how="horizontal")


def _style(answer: pl.Series, is_styled: pl.Series | None) -> pl.DataFrame:
    """The marks of style of some answers, null for the others."""
    flags = style_flags(pl.col("answer"))
    if is_styled is None:
        return answer.to_frame().select(flags)
    numbered = answer.to_frame().with_row_index("row")
    found = numbered.filter(is_styled).select("row", *flags)
    return numbered.select("row").join(found, on="row", how="left", maintain_order="left").drop("row")


def _claims_of_turns(turns: pa.ListArray, regions: Sequence[str]) -> pl.DataFrame:
    """What any turn of each row holds: special tokens, and personal data by kind."""
    said = pl.Series("text", turns.flatten().field("content"))
    claims = _personal(said, regions).with_columns(_has_control_token(said).alias("has_special_token"))
    if len(said) == len(turns):
        return claims
    starts = _starts(turns)
    return claims.select(_any(claims[name].to_numpy(), starts).alias(name) for name in claims.columns)


def _has_control_token(texts: pl.Series) -> pl.Series:
    flags = np.zeros(len(texts), np.bool_)
    rows = texts.str.contains(_MAY_BE_CONTROL).arg_true()
    flags[rows.filter(texts.gather(rows).str.contains(CONTROL_TOKENS)).to_numpy()] = True
    return pl.Series(flags)


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
