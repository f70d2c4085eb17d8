"""Plain records, read column by column, against the same records read one by one: the same tables and counts."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from feedback.engine import read_rows
from feedback.formats.thumbs import THUMBS
from feedback.ingest import block
from feedback.ingest.block import ingest_block
from feedback.ingest.block_task import BlockResult, BlockTask
from feedback.ingest.keys import SketchSettings
from feedback.ingest.plain.records import PlainSource, read_plain
from feedback.ingest.plain.shapes import choose_shapes, plain_schema
from feedback.records.json_columns import read_columns, split_lines
from feedback.records.text_blocks import TextBlock
from schemas.errors import FormatMismatchError
from tests.json_text import MUTATIONS, NAUGHTY

TEXTS = st.one_of(
    st.text(min_size=1, max_size=8),
    st.sampled_from(
        [
            *("What is 2 + 2?", "a\r\nb", "a\rb", "said \t\n", " said", "said\x1f", "said\x85", "said\u2003", "😀 ok"),
            *("e\u0301", "\u00e9", "\ufb01n", "ก็", "中文 字", "x\0y", "\x7f", "\u2028", "NaN", "2025-01-01T00:00:00Z"),
            *("\\", '"', "}{", "\ufeff", "\ufeffa", "\u200b", "\u1680", "\u180e"),
        ]
    ),
)
BLANKS = st.sampled_from(
    ["", " ", "\n", "\t\r\n", "\x0b", "\x0c", "\x1c\x1f", "\x85", "\u3000", "\u2028\u2029", "\u00a0"]
)
ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.sampled_from([2**63 - 1, 2**63, -(2**63), 10**25, 0.5, 1.0, -0.0, 1e300]),
    BLANKS,
    st.sampled_from([[], {}, ["a"], [1], {"a": "b"}, [{"role": "user", "content": "q"}]]),
    st.just([{"role": "assistant", "content": "a"}]),
)
IDS = st.one_of(st.integers(0, 9), st.sampled_from(["1", "é", "x\0", " a ", "a\n"]), st.integers(-(2**70), 2**70))
TIMES = st.one_of(
    st.integers(631_152_000, 4_102_444_800),
    st.sampled_from([631_151_999, 631_152_000, 4_102_444_800, 4_102_444_801, 1767606699000, 0, -1]),
    st.floats(6e8, 4.2e9),
    st.sampled_from(
        [
            *(
                "2026-01-05T09:51:39Z",
                "2026-01-05T09:51:39",
                "2026-01-05 09:51:39.123456+01:00",
                "2026-01-05",
                "20260105",
            ),
            *(
                "1989-12-31T23:59:59Z",
                "2101-01-01",
                "yesterday",
                "",
                " ",
                "2026-01-05 09:51:39 UTC",
                "",
                "2026-W01",
                "2026-01-05T09:51:39+23:59",
                "0001-01-01",
            ),
            *("1767606699", "1767606699.25", "631151999", "1767606699000", "20260105109"),
            *("9999-12-31T23:59:59-23:59", "1990-01-01T00:00:00+00:01", "2026-01-05T24:00:00", " 2026-01-05"),
        ]
    ),
)
LABELS = st.sampled_from(["up", "down", "none", "neutral"])
OPTIONAL: dict[str, st.SearchStrategy[Any]] = {
    "id": IDS,
    "user": IDS,
    "time": TIMES,
    "model": st.sampled_from(["m1", "m2", 7]),
    "conversation": IDS,
    "message": IDS,
    "comment": TEXTS | BLANKS,
    "lang": st.sampled_from(["de", "", " "]),
}
MORE: dict[str, st.SearchStrategy[Any]] = {
    "op": st.sampled_from(["create", "update", "retract", "delete"]),
    "updated": TIMES,
    "reasons": st.sampled_from(["r", ["r", " "], [], [1]]),
    "strength": st.sampled_from([0.5, 1, "x"]),
    "consent": st.booleans(),
    "tools": st.sampled_from([[], "[]", [{"name": "t"}], "{", ""]),
    "email": TEXTS,
    "meta": ODD,
}
REQUIRED = {"prompt": TEXTS, "completion": TEXTS, "label": LABELS}
PLAIN = st.fixed_dictionaries(REQUIRED, optional=OPTIONAL)
RICH = st.fixed_dictionaries(REQUIRED, optional=OPTIONAL | MORE)
FAULTY = st.builds(
    lambda record, key, value: {**record, key: value}, RICH, st.sampled_from([*REQUIRED, *OPTIONAL, *MORE]), ODD
)
SHORT = st.builds(
    lambda record, key: {name: value for name, value in record.items() if name != key},
    RICH,
    st.sampled_from([*REQUIRED]),
)


def dumped(record: Any, is_ascii: bool) -> bytes:
    return json.dumps(record, ensure_ascii=is_ascii).encode("utf-8", "surrogatepass")


LINES = st.one_of(
    st.builds(dumped, PLAIN, st.booleans()),
    st.builds(dumped, PLAIN, st.booleans()),
    st.builds(dumped, RICH, st.booleans()),
    st.builds(dumped, FAULTY, st.booleans()),
    st.builds(dumped, SHORT, st.booleans()),
    st.builds(lambda line, change: change(line), st.builds(dumped, PLAIN, st.booleans()), st.sampled_from(MUTATIONS)),
    st.sampled_from([*NAUGHTY, b"", b" "]),
)
QUICK = settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))


@contextmanager
def plain_path(is_on: bool) -> Iterator[None]:
    """The format `thumbs` with or without plain records."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(block, "open_format", lambda *_: THUMBS if is_on else replace(THUMBS, plain=()))
        yield


def ingested(folder: Path, data: bytes, *, is_plain: bool) -> tuple[BlockResult | str, dict[str, pl.DataFrame]]:
    """What the kernel says of one block, or its error, and its tables, sorted."""
    shutil.rmtree(folder, ignore_errors=True)
    task = BlockTask(
        number=0,
        owner=0,
        folder=folder,
        source="thumbs",
        format="thumbs",
        map=None,
        ranking="extremes",
        key=b"k" * 16,
        sketch=SketchSettings(0.8, 3),
        is_first=True,
        block=TextBlock("in.jsonl", 1, data),
    )
    with plain_path(is_plain):
        try:
            result: BlockResult | str = replace(ingest_block(task), sketches=())
        except FormatMismatchError as error:
            return str(error), {}
    tables = {path.name: read_rows(path) for path in sorted(folder.glob("*-0*"))}
    return result, {name: table.sort(table.columns[0], table.columns[2]) for name, table in tables.items()}


def agree(folder: Path, lines: list[bytes]) -> None:
    data = b"".join(line + b"\n" for line in lines if b"\n" not in line)
    fast, fast_tables = ingested(folder / "fast", data, is_plain=True)
    slow, slow_tables = ingested(folder / "slow", data, is_plain=False)
    assert fast_tables.keys() == slow_tables.keys()
    for name, table in slow_tables.items():
        assert fast_tables[name].schema == table.schema
        assert fast_tables[name].to_dicts() == table.to_dicts(), name
    assert fast == slow


@given(st.lists(LINES, max_size=12))
@QUICK
def test_any_records_give_the_same_either_way(tmp_path_factory: pytest.TempPathFactory, lines: list[bytes]) -> None:
    agree(tmp_path_factory.getbasetemp() / "any", lines)


@given(st.lists(st.builds(dumped, PLAIN, st.booleans()), min_size=1, max_size=12))
@QUICK
def test_plain_records_give_the_same_either_way(tmp_path_factory: pytest.TempPathFactory, lines: list[bytes]) -> None:
    agree(tmp_path_factory.getbasetemp() / "plain", lines)


WRITTEN = st.builds(
    "{:04d}-{:02d}-{:02d}{}{:02d}:{:02d}:{:02d}{}{}{}".format,
    st.sampled_from([0, 1, 1989, 1990, 2024, 2025, 2026, 2100, 9999]),
    st.integers(0, 13),
    st.sampled_from([0, 1, 2, 15, 28, 29, 30, 31, 32]),
    st.sampled_from(["T", "T", "T", " ", "t"]),
    st.integers(0, 24),
    st.integers(0, 60),
    st.integers(0, 60),
    st.sampled_from(["", "", ".1", ".12", ".123", ".123456", ".1234567", ",123", "."]),
    st.sampled_from(["Z", "Z", "Z", "z", "+00:00", "-00:00", "+0000", "+00", "+01:30", "+00:00:01", ""]),
    st.sampled_from(["", "", "", "", "\n", " "]),
)
TIMED = st.builds(lambda time: dumped({"prompt": "q", "completion": "a", "label": "up", "time": time}, True), WRITTEN)


@given(st.lists(TIMED, min_size=20, max_size=60))
@settings(QUICK, max_examples=40)
def test_times_are_read_the_same_either_way(tmp_path_factory: pytest.TempPathFactory, lines: list[bytes]) -> None:
    """Written in the commonest form and in others, right and wrong, in one column."""
    agree(tmp_path_factory.getbasetemp() / "times", lines)


def test_plain_records_are_read_as_columns(tmp_path: Path) -> None:
    """What the other tests compare is not one path with itself."""
    record = {"prompt": "q", "completion": "a", "label": "up", "user": 1, "id": "x", "time": "2026-01-05T09:51:39Z"}
    odd = [{"tools": [{"name": "t"}]}, {"user": " "}, {"time": "soon"}, {"prompt": "\x1c"}, {"label": "maybe"}]
    rows = [record, record | {"meta": 1}, record | {"tools": None}, *(record | more for more in odd)]
    lines = split_lines(b"".join(dumped(row, True) + b"\n" for row in rows))
    shapes = choose_shapes(THUMBS, rows[:1])
    assert shapes
    assert THUMBS.keys is not None
    schema = plain_schema(shapes, rows[:1])
    source = PlainSource(shapes=shapes, schema=schema, read=THUMBS.keys, name="thumbs", key=b"k" * 16)
    (found,) = read_plain(lines, source, read_columns(lines, schema))
    assert found.records.tolist() == [0, 1, 2]
