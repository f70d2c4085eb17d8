"""Arrays of any size and objects over several lines: cut as a slow reader would cut them, and never held as a whole."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feedback.records.json_lines import decode_lines, decode_texts
from feedback.records.json_rows import block_records
from feedback.records.json_splitter import JsonSplitter
from feedback.records.raw_record import RawRecord, json_record
from feedback.records.sources import read_blocks, read_records
from feedback.records.strict_json import MAX_DEPTH
from feedback.records.text_blocks import TextBlock
from schemas.reasons import RejectReason

SIGNS = st.text(alphabet='[]{}",:\\ \nax1', max_size=60)


def slow_split(text: str, is_array: bool) -> list[str]:
    """The values of `text`, sign by sign, and what is left at its end if anything is."""
    found, value, depth, in_text, is_escaped, has_closed, after_comma = [], "", 0, False, False, False, False
    for sign in text:
        begins = ends = False
        if in_text:
            if is_escaped:
                is_escaped = False
            elif sign == "\\":
                is_escaped = True
            elif sign == '"':
                in_text = False
        elif sign == '"':
            in_text = True
        elif sign in "{[":
            depth += 1
            begins = is_array and depth == 1
        elif sign in "}]":
            depth = max(depth - 1, 0)
            ends = depth == 0
        elif sign == ",":
            ends = is_array and depth == 1
        if has_closed or not (begins or ends):
            value += sign
            continue
        value += "" if is_array else sign
        if not (is_array and sign == "["):
            if sign == "," or after_comma or value.strip(" \t\r\n"):
                found.append(value.strip(" \t\r\n"))
                value = ""
            after_comma = sign == ","
        has_closed = is_array and sign == "]"
    return [*found, value.strip(" \t\r\n")]


def blocks_as_records(path: Path, **options: int) -> list[RawRecord]:
    return [
        record
        for block in read_blocks(path, **options)
        for record in (block_records(block) if isinstance(block, TextBlock) else block)
    ]


@given(SIGNS, st.integers(1, 20), st.booleans())
@settings(max_examples=400, deadline=None)
def test_any_text_is_cut_as_a_slow_reader_cuts_it(text: str, chunk: int, is_array: bool) -> None:
    text = f"[{text}" if is_array else text
    raw = text.encode()
    splitter = JsonSplitter(is_array, 1 << 20)
    made = [value for start in range(0, len(raw), chunk) for value, _ in splitter.feed(raw[start : start + chunk])]
    assert [one.decode() for one in [*made, splitter.rest()[0]]] == slow_split(text, is_array)


def test_more_values_than_fit_into_one_search_are_all_found() -> None:
    splitter = JsonSplitter(True, 1 << 20)
    assert len(list(splitter.feed(b"[" + b"{}," * 50_000 + b"{}]"))) == 50_001


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("chunk", [1, 7, 1 << 20])
def test_blocks_and_records_of_an_array_are_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, indent: int | None, chunk: int
) -> None:
    monkeypatch.setattr("feedback.records.json_values._CHUNK", chunk)
    rows = [{"n": n, "text": 'b\n"{[é', "inner": {"a": [n, {"b": None}]}} for n in range(9)]
    path = tmp_path / "in.json"
    path.write_text(json.dumps(rows, indent=indent, ensure_ascii=False), "utf-8")
    records = list(read_records(path))
    assert [record.value for record in records] == rows
    assert [record.line for record in records] == list(range(1, 10))
    assert blocks_as_records(path) == records
    assert records == [json_record("in.json", place, one.raw) for place, one in enumerate(records, start=1)]


def test_lines_values_and_what_is_neither_keep_their_order_and_numbers(tmp_path: Path) -> None:
    path = tmp_path / "in.json"
    big = json.dumps({"a": "x" * 300})
    path.write_text(f'[{{"a": 1}}, {{"a":\n2}}, , 3, {big}, {{"a": 4, "a": 5}}, {{"a": "\n"}}, {{"a": 6}}, {{"a')
    records = list(read_records(path, max_record_bytes=200))
    assert [(record.line, record.reject[0] if record.reject else record.value) for record in records] == [
        (1, {"a": 1}),
        (2, {"a": 2}),
        (3, RejectReason.INVALID_JSON),
        (4, RejectReason.NOT_AN_OBJECT),
        (5, RejectReason.TOO_LARGE),
        (6, RejectReason.DUPLICATE_KEY),
        (7, RejectReason.INVALID_JSON),
        (8, {"a": 6}),
        (9, RejectReason.TRUNCATED),
    ]
    assert records[1].raw == b'{"a":\n2}'
    assert blocks_as_records(path, max_record_bytes=200) == records


def test_elements_on_one_line_come_as_text_and_in_small_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("feedback.records.json_values._BLOCK_BYTES", 10)
    (tmp_path / "in.json").write_text('[{"a": 1}, {"a": 2}, {"a": 3}, {"a": 4}, {"a": 5}]')
    blocks = list(read_blocks(tmp_path / "in.json"))
    assert [block for block in blocks if isinstance(block, TextBlock)] == blocks
    assert [(block.first_line, block.data.count(b"\n")) for block in blocks] == [(1, 2), (3, 2), (5, 1)]


@given(st.lists(SIGNS.map(lambda text: "{" + text + "}"), min_size=1, max_size=4))
@settings(max_examples=200, deadline=None)
def test_texts_over_several_lines_are_decoded_as_one_by_one(texts: list[str]) -> None:
    raws = [text.encode() for text in texts]
    values, rejects = decode_texts(raws)
    for place, raw in enumerate(raws):
        alone = json_record("x", 1, raw)
        assert (values[place], rejects.get(place)) == (alone.value, alone.reject)


@pytest.mark.parametrize("extra", [0, 1])
def test_a_record_of_many_brackets_is_too_deep_only_where_it_is(extra: int) -> None:
    """The object around them is no level of its own; brackets within a text, also behind a quote in it, are none."""
    lists = MAX_DEPTH + extra
    wide = {"a": [[n] for n in range(1000)], "text": '"' + "[" * 999}
    line = json.dumps(wide)[:-1] + ', "deep": ' + "[" * lists + "]" * lists + "}"
    values, rejects = decode_lines([b'{"a": 1}', line.encode()])
    assert values[0] == {"a": 1}
    assert (rejects[1][0] == RejectReason.TOO_DEEP) if extra else (values[1] is not None)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the system does not tell a process's peak memory")
def test_an_array_of_a_gigabyte_on_one_line_is_read_in_less_than_500_mb(tmp_path: Path) -> None:
    """Also where its elements are as nested as those of a chat log. Measured in a process of its own, all included."""
    path = tmp_path / "big.json"
    turns = [{"id": f"m{n}", "role": "user", "content": 'words and \\ more "words" ' * 20} for n in range(60)]
    element = json.dumps({"id": "x", "data": {"rating": 1}, "chat": {"messages": turns}}).encode()
    count = (1 << 30) // len(element) + 1
    with path.open("wb") as file:
        file.write(b"[" + element)
        for _ in range(count - 1):
            file.write(b", " + element)
        file.write(b"]")
    program = (
        "import pathlib, re, sys\n"
        "from feedback.records.sources import read_records\n"
        "good = sum(record.value is not None for record in read_records(pathlib.Path(sys.argv[1])))\n"
        # The peak that getrusage gives begins with that of the process that started this one.
        "status = pathlib.Path('/proc/self/status').read_text()\n"
        "print(good, re.search(r'VmHWM:\\s+(\\d+) kB', status)[1])"
    )
    root = Path(__file__).parents[2]
    result = subprocess.run(
        [sys.executable, "-c", program, path],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    path.unlink()
    good, peak_kib = map(int, result.stdout.split())
    assert good == count
    assert peak_kib < 500_000
