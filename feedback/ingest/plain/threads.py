"""Messages of chats as columns, each a record of its own: the threads of the judged ones, see `feedback.formats.plain`.

    table of messages ─► whole conversations ─► row of each parent ─► way up ─┬─► judged messages with their turns
                                                                              └─► messages without a judgement

Only conversations are read here of which the block has every message, as often as the joined file has them, and no two
with one id. Everything else, and whatever is wrong, is for the records that are read one by one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from feedback.formats.plain import ANSWER_TURNS, MESSAGE_LIST, PROMPT_TURNS, Threads
from feedback.ingest.arrow_columns import gathered, indices, one_chunk
from feedback.ingest.partners import Partners
from feedback.ingest.plain.turns import are_empty, are_said, value_at
from feedback.records.json_columns import Lines

__all__ = ["Threaded", "read_threads"]

Places = NDArray[np.int64]
Flags = NDArray[np.bool_]

_ROOT, _LOST = -1, -2
_MOST_TURNS: Final = 256
"""Messages of the longest thread that is read here: all others have as much room."""
_ROLES: Final = np.array(["assistant", "user"])
_MESSAGE: Final = MESSAGE_LIST[0].value_type


@dataclass(frozen=True, slots=True)
class Threaded:
    """What a table of messages gives.

    Args:
        rows: which rows are judged messages of plain threads. [N].
        table: those rows, with their turns. [N].
        left_out: which rows are messages without a judgement.
    """

    rows: Places
    table: pa.Table
    left_out: Places


def read_threads(table: pa.Table, places: Places, lines: Lines, threads: Threads, partners: Partners) -> Threaded:
    """The judged messages of a table with their turns, and those that are not judged.

    Args:
        table: messages. [N].
        places: the line of each. [N].
        lines: the lines.
        threads: how messages hang together.
        partners: has the joined file open, which holds these messages.
    """
    found = _Messages(table, threads)
    found.find_whole(partners)
    judgement = value_at(table, threads.judgement)
    is_judged = _are_there(judgement) if judgement is not None else np.zeros(table.num_rows, np.bool_)
    is_whole = found.is_whole
    is_left_out = is_whole & ~is_judged & ~_marked(lines, threads.signs)[places]
    steps, rows = _ways_up(found.parents, np.flatnonzero(is_whole & is_judged))
    ends, sizes = _answers(steps, found.is_user)
    is_right = ((steps < 0) | found.is_plain[steps]).all(axis=1) & (ends > 0) & (ends < sizes)
    rows, steps, ends, sizes = rows[is_right], steps[is_right], ends[is_right], sizes[is_right]
    judged = gathered(table, rows) if len(rows) else table.slice(0, 0)
    for name, first, last in ((PROMPT_TURNS, np.zeros_like(ends), ends), (ANSWER_TURNS, ends, sizes)):
        judged = judged.append_column(name, found.turns(steps, first, last))
    left_out = np.flatnonzero(is_left_out)
    return Threaded(rows, judged, left_out)


class _Messages:
    """A table of messages, taken apart."""

    def __init__(self, table: pa.Table, threads: Threads) -> None:
        self._threads = threads
        self._size = table.num_rows
        names = {"id": threads.id, "parent": threads.parent, "text": threads.text, "is_user": threads.is_user}
        found = {name: value_at(table, path) for name, path in names.items()}
        self._text: pa.Array = found["text"]
        self._frame = pl.DataFrame(
            {
                name: pl.Series(name, found[name], dtype=pl.String) if found[name] is not None else [None] * self._size
                for name in ("id", "parent")
            },
            schema={"id": pl.String, "parent": pl.String},
        ).with_row_index("row")
        is_user = pl.Series(found["is_user"])
        self.is_user = is_user.fill_null(value=False).to_numpy()
        is_whole = ~pl.Series(self._text).str.contains(threads.unsaid, literal=True).fill_null(value=False)
        self.is_plain: Flags = are_said(self._text) & is_user.is_not_null().to_numpy() & is_whole.to_numpy()
        for path in threads.empty:
            if (column := value_at(table, path)) is not None and column.null_count < self._size:
                self.is_plain = self.is_plain & (~_are_there(column) | are_empty(column))
        self._is_named = are_said(found["id"]) if found["id"] is not None else np.zeros(self._size, np.bool_)
        self._is_alone = np.ones(self._size, np.bool_)
        for path in threads.alone:
            if (column := value_at(table, path)) is not None and column.null_count < self._size:
                self._is_alone &= ~_are_there(column)
        self._table = table
        self.parents = np.full(self._size, _LOST)
        self.is_whole = np.zeros(self._size, np.bool_)

    def find_whole(self, partners: Partners) -> None:
        """Tell the conversations that the joined file has no more messages of, and find the parents in them."""
        chat, own = pl.col("chat"), pl.col("id")
        chats = value_at(self._table, partners.key)
        if chats is None or chats.type != pa.string():
            return
        frame = self._frame.with_columns(pl.Series("chat", chats))
        frame = frame.with_columns(is_known=pl.Series(are_said(chats) & self._is_named & self._is_alone))
        sums = frame.group_by(chat, maintain_order=True).agg(
            pl.len().alias("count"), own.n_unique().alias("ids"), pl.col("is_known").all()
        )
        sums = sums.filter(pl.col("is_known") & (pl.col("count") == pl.col("ids")) & (pl.col("count") <= partners.most))
        counts = [end - first for first, end in partners.spans(sums["chat"])]
        whole = sums.filter(pl.Series(counts, dtype=pl.UInt32) == sums["count"]).with_row_index("number")
        frame = frame.join(whole.select(chat, "number"), on="chat", how="left", maintain_order="left")
        self.is_whole = frame["number"].is_not_null().to_numpy()
        self._find_parents(frame)

    def _find_parents(self, frame: pl.DataFrame) -> None:
        kept = frame.filter(pl.Series(self.is_whole))
        above = kept.select("number", parent="id", above=pl.col("row").cast(pl.Int64))
        found = kept.join(above, on=["number", "parent"], how="left", maintain_order="left")
        is_root = pl.col("parent").is_null() | pl.col("parent").is_in(list(self._threads.roots))
        parents = found.select(pl.when(is_root).then(pl.lit(_ROOT)).otherwise(pl.col("above")).fill_null(_LOST))
        self.parents[kept["row"].to_numpy()] = parents.to_series().to_numpy()

    def turns(self, steps: Places, first: Places, last: Places) -> pa.ListArray:
        """The turns of each way from one step to before another, as a list."""
        columns = np.arange(steps.shape[1])
        chosen = steps[(columns >= first[:, None]) & (columns < last[:, None])]
        offsets = np.concatenate(([0], np.cumsum(last - first))).astype(np.int32)
        roles = pl.Series(_ROLES[self.is_user[chosen].astype(np.int64)], dtype=pl.String)
        said = pa.StructArray.from_arrays(
            [
                roles.to_arrow(compat_level=pl.CompatLevel.oldest()).cast(pa.string()),
                one_chunk(pa.chunked_array([self._text.take(indices(chosen.astype(np.int32)))])),
            ],
            fields=[_MESSAGE.field(number) for number in range(_MESSAGE.num_fields)],
        )
        return pa.ListArray.from_arrays(indices(offsets), said, type=MESSAGE_LIST[0])


def _ways_up(parents: Places, rows: Places) -> tuple[Places, Places]:
    """The messages from the first one down to each of some rows, and -1 behind them, where there is such a way.

    Returns:
        [N, D] rows of messages, and the rows that are left. [N].
    """
    above, climbed = rows, [rows]
    is_open = above >= 0
    while is_open.any() and len(climbed) < _MOST_TURNS:
        above = np.where(is_open, parents[above], above)
        is_open = above >= 0
        climbed.append(np.where(is_open, above, _ROOT))
    is_right = above == _ROOT
    way = np.stack(climbed, axis=1)[is_right]
    sizes = (way >= 0).sum(axis=1)
    # The oldest first: what was climbed, read backwards from its end.
    order = sizes[:, None] - 1 - np.arange(way.shape[1])
    return np.where(order >= 0, np.take_along_axis(way, np.maximum(order, 0), axis=1), _ROOT), rows[is_right]


def _answers(steps: Places, is_user: Flags) -> tuple[Places, Places]:
    """Where all that the assistant said last begins in each way, and how long the way is. [N] each."""
    columns = np.arange(steps.shape[1])
    asked = (steps >= 0) & is_user[steps]
    begins = np.where(asked, columns + 1, 0).max(axis=1, initial=0)
    return begins, (steps >= 0).sum(axis=1)


def _are_there(column: pa.Array) -> Flags:
    is_there: Flags = pl.Series(column.is_valid()).to_numpy()
    return is_there


def _marked(lines: Lines, signs: tuple[bytes, bytes, bytes]) -> Flags:
    """Which lines hold one of three signs."""
    from feedback.records.line_kernels import mark_lines

    is_marked = np.zeros(len(lines), dtype=np.bool_)
    sought, other, third = (np.frombuffer(sign, np.uint8) for sign in signs)
    mark_lines(np.frombuffer(lines.data, np.uint8), lines.ends, sought, other, third, is_marked)
    return is_marked
