"""Blocks of lines: the same records as line by line, wherever a block ends."""

from __future__ import annotations

import gzip
import io
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feedback.records.byte_stream import Tally, open_bytes
from feedback.records.json_columns import split_lines
from feedback.records.json_text import read_json_lines
from feedback.records.raw_record import RawRecord, json_record
from feedback.records.sources import read_blocks
from feedback.records.text_blocks import TextBlock, read_text_blocks

LINE = st.one_of(
    st.just(b'{"a": 1}'),
    st.just(b""),
    st.just(b" \t "),
    st.integers(0, 30).map(lambda size: b'{"a": "' + b"x" * size + b'"}'),
    st.binary(max_size=12).map(lambda data: data.replace(b"\n", b"").replace(b"\r", b"")),
)
COMPRESSED = (b"\x1f\x8b", b"\x28\xb5\x2f\xfd")
"""How files of gzip and Zstandard begin; such bytes are no text, whatever the file is called."""
TEXT = (
    st.lists(st.tuples(LINE, st.sampled_from([b"\n", b"\r\n"])), max_size=12)
    .flatmap(lambda lines: st.builds(lambda end: b"".join(b"".join(one) for one in lines) + end, LINE))
    .filter(lambda text: not text.startswith(COMPRESSED))
)


def records_of(pieces: list[TextBlock | list[RawRecord]]) -> list[RawRecord]:
    """The records of blocks, read as the stage `ingest` splits them."""
    found: list[RawRecord] = []
    for piece in pieces:
        if isinstance(piece, TextBlock):
            lines = split_lines(piece.data)
            numbered = ((piece.first_line + place, lines.line(place)) for place in range(len(lines)))
            found += [json_record(piece.file, line, raw) for line, raw in numbered if raw.strip(b" \t\r")]
        else:
            found += piece
    return found


def read(path: Path, read_lines: Any, max_bytes: int) -> list[Any]:
    with open_bytes(path, Tally()) as source:
        return list(read_lines(io.BufferedReader(source), source, "f", max_bytes))


def behind_first_line(text: memoryview) -> int:
    """A cut that keeps back as much as there may be."""
    return bytes(text).find(b"\n") + 1


def before_last_line(text: memoryview) -> int:
    """A cut that keeps back one line; 0 where there is no other."""
    return bytes(text).rfind(b"\n", 0, -1) + 1


@given(
    TEXT,
    st.integers(1, 50),
    st.sampled_from([8, 20, 1000]),
    st.sampled_from([None, behind_first_line, before_last_line]),
)
@settings(max_examples=200, deadline=None)
def test_blocks_hold_the_records_of_the_lines(
    tmp_path_factory: pytest.TempPathFactory, text: bytes, block_bytes: int, max_bytes: int, cut_at: Any
) -> None:
    """Numbers, bytes, values and rejections; lines that are too long and a last one without an end too."""
    path = tmp_path_factory.getbasetemp() / "blocks.jsonl"
    path.write_bytes(text)
    wanted = read(path, read_json_lines, max_bytes)
    found = records_of(read(path, partial(read_text_blocks, block_bytes=block_bytes, cut_at=cut_at), max_bytes))
    assert [replace(one, raw=one.raw[:max_bytes]) for one in found] == [
        replace(one, raw=one.raw[:max_bytes]) for one in wanted
    ]


@pytest.mark.parametrize("end", [b"\n", b""])
@pytest.mark.parametrize("block_bytes", [8, 16, 24, 32, 40, 64])
def test_what_a_cut_keeps_back_begins_the_next_block(tmp_path: Path, block_bytes: int, end: bytes) -> None:
    """Lines of eight bytes, in pairs: none is parted, not even where the last line has no end."""
    path = tmp_path / "in.jsonl"
    path.write_bytes(b"\n".join(b'{"a":%d}' % (number // 2) for number in range(8)) + end)

    def cut_at(text: memoryview) -> int:
        values = bytes(text).splitlines()
        return sum(len(value) + 1 for value in values if value != values[-1])

    pieces = read(path, partial(read_text_blocks, block_bytes=block_bytes, cut_at=cut_at), 1000)
    found = [{one.raw for one in records_of([piece])} for piece in pieces]
    if block_bytes >= 24:
        assert sum(map(len, found)) == len(set().union(*found)) == 4
        assert all(isinstance(piece, TextBlock) for piece in pieces[: None if end else -1])
    assert [one.line for one in records_of(pieces)] == list(range(1, 9))


@pytest.mark.parametrize("size", [0.2, 0.5, 0.9])
@pytest.mark.parametrize("block_bytes", [100, 5_000, 1 << 20])
def test_a_compressed_file_that_is_cut_off_ends_with_a_truncated_record(
    tmp_path: Path, size: float, block_bytes: int
) -> None:
    path = tmp_path / "in.jsonl.gz"
    packed = gzip.compress(b"".join(b'{"a": %d}\n' % (n * n * 7919) for n in range(5000)))
    path.write_bytes(packed[: int(len(packed) * size)])
    wanted = read(path, read_json_lines, 1000)
    assert wanted[-1].reject[0] == "truncated"
    assert records_of(read(path, partial(read_text_blocks, block_bytes=block_bytes), 1000)) == wanted


def test_behind_a_line_that_is_too_long_blocks_go_on(tmp_path: Path) -> None:
    """One long line must not make a record of its own of every line behind it."""
    path = tmp_path / "in.jsonl"
    path.write_bytes(b'{"a": 1}\n' + b"x" * 5000 + b"\n" + b'{"a": 2}\n' * 1000)
    pieces = read(path, partial(read_text_blocks, block_bytes=1000), 2000)
    assert len(pieces) < 20
    assert [piece[0].line for piece in pieces if isinstance(piece, list)] == [2]
    assert len(records_of(pieces)) == 1002


@given(st.lists(st.binary(max_size=5).map(lambda data: data.replace(b"\n", b"")), max_size=8), st.booleans())
def test_lines_are_what_stands_between_line_ends(parts: list[bytes], has_end: bool) -> None:
    text = b"\n".join(parts) + (b"\n" if has_end and parts else b"")
    lines = split_lines(text)
    wanted = [part.rstrip(b"\r") for part in text.split(b"\n")]
    wanted = wanted[:-1] if not wanted[-1] and not text.endswith(b"\r") else wanted
    assert [lines.line(place) for place in range(len(lines))] == wanted


@pytest.mark.parametrize(("lines", "count"), [(1, 1), (10, 1), (11, 4), (40, 4), (45, 8), (81, 12)])
def test_a_file_of_several_blocks_has_blocks_of_one_size(
    lines: int, count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whole lines of ten bytes, of which ten fill a block: a multiple of four blocks, as even as lines allow."""
    monkeypatch.setattr("feedback.records.text_blocks.BLOCK_BYTES", 100)
    path = tmp_path / "in.jsonl"
    path.write_bytes(b'{"a": 12}\n' * lines)
    sizes = [len(block.data) for block in read_blocks(path) if isinstance(block, TextBlock)]
    assert (len(sizes), sum(sizes)) == (count, 10 * lines)
    assert max(sizes) - min(sizes) <= 10
    packed = tmp_path / "in.jsonl.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    sizes = [len(block.data) for block in read_blocks(packed) if isinstance(block, TextBlock)]
    assert sizes == [100] * (lines // 10) + [lines % 10 * 10] * (lines % 10 > 0)
