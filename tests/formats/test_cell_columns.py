"""Lists of texts in cells, read for a whole column: what msgspec reads of each, and nothing where it reads none."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import polars as pl
from hypothesis import example, given, settings
from hypothesis import strategies as st

from feedback.formats.parts.cell_columns import text_lists

STRICT = msgspec.json.Decoder(list[str])
WHOLE = st.builds(
    lambda texts, is_ascii, indent: json.dumps(texts, ensure_ascii=is_ascii, indent=indent),
    st.lists(st.text(max_size=40), max_size=6),
    st.booleans(),
    st.sampled_from([None, 0, 1]),
)
ESCAPES = (
    "\\n",
    "\\/",
    "\\u00e9",
    "\\uD83D\\uDE00",
    "\\ud83d",
    "\\ude00",
    "\\ud83d\\u0041",
    "\\x",
    "\\u12",
    "\\",
    "\\U",
)
PIECES = (
    *ESCAPES,
    *'[]",\n\t ',
    '"a"',
    "null",
    "1",
    "é",
    "😀",
    "\0",
    "\x1f",
    "\x7f",
    "a" * 17,
    '["',
    '"]',
    "{}",
    "\\u0000",
)
BROKEN = st.lists(st.sampled_from(PIECES), max_size=12).map("".join)
INSIDE = st.lists(st.sampled_from(PIECES), max_size=6).map(lambda parts: f'["{"".join(parts)}"]')


def read_one(cell: str | None) -> Any:
    try:
        return None if cell is None else STRICT.decode(cell)
    except (msgspec.DecodeError, UnicodeEncodeError):
        return None


@settings(deadline=None)
@given(st.lists(st.one_of(st.none(), WHOLE, BROKEN, INSIDE), max_size=8))
@example(['["a"]', None, "", "[]", " [ ] ", '["a",]', '[,"a"]', '["a" "b"]', '["a"] x', '[["a"]]', '["a', '["a"'])
@example(['["' + "x" * size + '\\n"]' for size in range(40)])
def test_a_column_of_cells_is_read_as_each_cell_is(cells: list[str | None]) -> None:
    frame = pl.DataFrame({"cell": pl.Series(cells, dtype=pl.String)})
    assert frame.select(text_lists("cell")).to_series().to_list() == [read_one(cell) for cell in cells]


@settings(deadline=None)
@given(st.lists(WHOLE, min_size=3, max_size=8), st.integers(0, 2))
def test_a_part_of_a_column_is_read_like_a_whole_one(cells: list[str], start: int) -> None:
    part = pl.DataFrame({"cell": cells})[start:]
    assert part.select(text_lists("cell")).to_series().to_list() == [read_one(cell) for cell in cells[start:]]
