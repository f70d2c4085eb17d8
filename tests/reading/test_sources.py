"""Raw records from files of any kind, and what happens to bytes that nobody should have written."""

from __future__ import annotations

import csv
import gzip
import io
import json
import sys
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feedback.config import SourceConfig
from feedback.ingest.left_out import left_out_notes
from feedback.records.byte_stream import Tally
from feedback.records.json_splitter import JsonSplitter
from feedback.records.sources import find_files, read_records
from feedback.records.strict_json import MAX_DEPTH
from schemas.errors import CorruptionError, InputError, InputNotFoundError
from schemas.manifest import file_sha256
from schemas.reasons import RejectReason
from tests.raw_files import LINES, ROWS, read, reasons, values, zst


@pytest.mark.parametrize("name", ["in.jsonl", "in.ndjson", "in.json", "in", "in.txt"])
@pytest.mark.parametrize("pack", [bytes, gzip.compress, zst])
def test_json_lines_are_read_whatever_the_suffix_and_the_compression(tmp_path: Path, name: str, pack) -> None:
    records = read(tmp_path, pack(LINES), name)
    assert values(records) == ROWS
    assert [(record.file, record.line) for record in records] == [(name, 1), (name, 2), (name, 3)]
    assert records[0].raw == LINES.splitlines()[0]


@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize("name", ["in.json", "in.jsonl"])
def test_an_array_is_read_element_by_element(tmp_path: Path, name: str, indent: int | None) -> None:
    assert values(read(tmp_path, json.dumps(ROWS, indent=indent).encode(), name)) == ROWS


def test_objects_over_several_lines_are_read_one_after_another(tmp_path: Path) -> None:
    text = "\n".join(json.dumps(row, indent=2) for row in ROWS)
    assert values(read(tmp_path, text.encode(), "in.json")) == ROWS
    assert values(read(tmp_path, json.dumps(ROWS[1], indent=2).encode(), "in.jsonl")) == [ROWS[1]]


@given(
    st.lists(
        st.dictionaries(
            st.text(max_size=4), st.recursive(st.text() | st.integers() | st.none(), st.lists, max_leaves=4)
        )
    ),
    st.integers(1, 40),
    st.sampled_from([None, 0, 3]),
    st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_an_array_is_cut_right_wherever_a_chunk_ends(rows, chunk: int, indent: int | None, is_ascii: bool) -> None:
    text = json.dumps(rows, indent=indent, ensure_ascii=is_ascii).encode()
    splitter = JsonSplitter(True, 1 << 20)
    made = [raw for start in range(0, len(text), chunk) for raw, _ in splitter.feed(text[start : start + chunk])]
    assert [json.loads(raw) for raw in made] == rows
    assert splitter.is_whole
    assert splitter.rest() == (b"", 0)


@given(st.lists(st.dictionaries(st.text(max_size=4), st.text()), max_size=5), st.integers(1, 40))
@settings(max_examples=40, deadline=None)
def test_objects_are_cut_right_wherever_a_chunk_ends(rows, chunk: int) -> None:
    text = "\n".join(json.dumps(row, indent=1, ensure_ascii=False) for row in rows).encode()
    splitter = JsonSplitter(False, 1 << 20)
    made = [raw for start in range(0, len(text), chunk) for raw, _ in splitter.feed(text[start : start + chunk])]
    assert [json.loads(raw) for raw in made] == rows


def test_a_line_that_is_a_list_is_one_rejected_record(tmp_path: Path) -> None:
    records = read(tmp_path, b'[{"a": 1}]\n{"a": 2}\n')
    assert reasons(records) == [RejectReason.NOT_AN_OBJECT, None]


def test_elements_that_are_missing_or_no_objects_are_rejected(tmp_path: Path) -> None:
    records = read(tmp_path, b'[{"a": 1}, , 3, {"a": 2},]', "in.json")
    expected = [None, RejectReason.INVALID_JSON, RejectReason.NOT_AN_OBJECT, None, RejectReason.INVALID_JSON]
    assert reasons(records) == expected
    assert reasons(read(tmp_path, b"[{}] more", "in.json")) == [None, RejectReason.INVALID_JSON]


def test_mark_carriage_returns_and_blank_lines_are_no_part_of_a_record(tmp_path: Path) -> None:
    plain = read(tmp_path, LINES)
    odd = read(tmp_path, b"\xef\xbb\xbf" + LINES.replace(b"\n", b"\r\n\r\n  \r\n"))
    assert [record.raw for record in odd] == [record.raw for record in plain]
    assert [record.line for record in odd] == [1, 4, 7]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"a": 1, "a": 2}', RejectReason.DUPLICATE_KEY),
        (b'{"a": {"b": 1, "b": 1}}', RejectReason.DUPLICATE_KEY),
        (b'{"a": NaN}', RejectReason.NON_FINITE_NUMBER),
        (b'{"a": -Infinity}', RejectReason.NON_FINITE_NUMBER),
        (b'{"a": 1e999}', RejectReason.NON_FINITE_NUMBER),
        (b'{"a": ' + b"9" * 5000 + b"}", RejectReason.NON_FINITE_NUMBER),
        (b'{"a": "\\ud800"}', RejectReason.LONE_SURROGATE),
        (b'{"\\uDFFF": 1}', RejectReason.LONE_SURROGATE),
        (b'{"a": "\xff"}', RejectReason.INVALID_UTF8),
        (b'{"a": "\xed\xa0\x80"}', RejectReason.INVALID_UTF8),
        (b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", RejectReason.TOO_DEEP),
        (b'{"a": ' + b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1) + b"}", RejectReason.TOO_DEEP),
        (b'{"a": ' + b'{"b":' * 100_000, RejectReason.TOO_DEEP),
        (b"{'a': 1}", RejectReason.INVALID_JSON),
        (b'{"a": "\n"}'.replace(b"\n", b"\x01"), RejectReason.INVALID_JSON),
        (b"-- log rotated --", RejectReason.INVALID_JSON),
        (b'{"a": 1} {"a": 2}', RejectReason.INVALID_JSON),
        (b"[1, 2]", RejectReason.NOT_AN_OBJECT),
        (b"null", RejectReason.NOT_AN_OBJECT),
    ],
)
def test_an_unsound_line_is_rejected_and_its_neighbours_are_not(tmp_path: Path, line: bytes, reason: str) -> None:
    records = read(tmp_path, LINES + line + b"\n" + LINES)
    assert reasons(records) == [None, None, None, reason, None, None, None]
    assert records[3].raw == line
    assert records[3].line == 4
    assert records[3].reject is not None
    assert records[3].reject[1]


def test_what_is_deep_but_allowed_or_only_looks_unsound_is_read(tmp_path: Path) -> None:
    deep = b'{"a": ' + b"[" * (MAX_DEPTH - 1) + b"]" * (MAX_DEPTH - 1) + b"}"
    wide = json.dumps({"a": [[]] * 500}).encode()
    pair = b'{"a": "\\ud83d\\ude00", "b": "\\\\ud800", "c": "\\u0000"}'
    records = read(tmp_path, b"\n".join([deep, wide, pair]) + b"\n")
    assert reasons(records) == [None, None, None]
    assert records[2].value == {"a": "😀", "b": "\\ud800", "c": "\0"}


def test_a_record_that_is_too_large_is_skipped_to_its_end(tmp_path: Path) -> None:
    large = json.dumps({"text": "x" * 500_000}).encode()
    for data, name in [
        (LINES + large + b"\n" + LINES, "in.jsonl"),
        (b"[" + b",".join([*LINES.splitlines(), large, *LINES.splitlines()]) + b"]", "in.json"),
    ]:
        records = read(tmp_path, data, name, max_record_bytes=1000)
        assert reasons(records) == [None, None, None, RejectReason.TOO_LARGE, None, None, None]
        assert len(records[3].raw) <= 65536
        assert "500,012 bytes" in str(records[3].reject)


def test_a_file_that_stops_within_a_record_ends_with_one_truncated_record(tmp_path: Path) -> None:
    for data, name in [(LINES + b'{"n": 4, "te', "in.jsonl"), (b"[" + LINES.replace(b"\n", b",") + b'{"n', "in.json")]:
        records = read(tmp_path, data, name)
        assert reasons(records) == [None, None, None, RejectReason.TRUNCATED]
        assert f"after {len(data):,} bytes" in str(records[3].reject)
    assert values(read(tmp_path, LINES.rstrip(b"\n"))) == ROWS


@pytest.mark.parametrize("name", ["in.jsonl", "in.json", "in.csv", "in"])
@pytest.mark.parametrize("data", [b"", b"\n\n", b"\xef\xbb\xbf", b"  "])
def test_an_empty_file_has_no_records(tmp_path: Path, name: str, data: bytes) -> None:
    if not (name == "in.csv" and data.strip(b"\xef\xbb\xbf")):
        assert read(tmp_path, data, name) == []
    assert read(tmp_path, gzip.compress(data.strip(b" \n")), name) == []


def test_an_empty_array_has_no_records(tmp_path: Path) -> None:
    assert read(tmp_path, b" [ \n ] \n", "in.json") == []


def test_utf_16_is_refused_as_a_whole(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"in.jsonl: the file is UTF-16; expected UTF-8"):
        read(tmp_path, LINES.decode().encode("utf-16"))


def test_a_csv_row_may_span_lines_and_its_empty_cells_are_null(tmp_path: Path) -> None:
    text = io.StringIO(newline="")
    table = csv.writer(text)
    table.writerows([["prompt", "label"], ['two\nlines, "quoted"', "up"], ["", "down"], ["last", ""]])
    records = read(tmp_path, b"\xef\xbb\xbf" + text.getvalue().encode(), "in.csv")
    assert values(records) == [
        {"prompt": 'two\nlines, "quoted"', "label": "up"},
        {"prompt": None, "label": "down"},
        {"prompt": "last", "label": None},
    ]
    assert [record.line for record in records] == [2, 4, 5]
    assert records[0].raw == b'"two\nlines, ""quoted""",up'


@pytest.mark.parametrize("sign", [";", "\t"])
def test_other_separators_of_a_csv_are_seen_in_its_header(tmp_path: Path, sign: str) -> None:
    text = f"prompt{sign}label\nhi, you{sign}up\n"
    assert values(read(tmp_path, text.encode(), "in.csv")) == [{"prompt": "hi, you", "label": "up"}]


@pytest.mark.parametrize("first", ["sep=;\n", '"sep=;"\r\n', "\ufeffsep=;\n"])
def test_a_first_line_that_names_the_separator_is_no_header(tmp_path: Path, first: str) -> None:
    """As Excel writes and reads it."""
    records = read(tmp_path, f"{first}a,b;label\nhi, you;up\n".encode(), "in.csv")
    assert values(records) == [{"a,b": "hi, you", "label": "up"}]
    assert [record.line for record in records] == [3]
    assert values(read(tmp_path, b"sep=|\na|b\n1|2\n", "in.csv")) == [{"a": "1", "b": "2"}]
    assert values(read(tmp_path, b"sep=,x\n1,2\n", "in.csv")) == [{"sep=": "1", "x": "2"}]
    assert read(tmp_path, b"sep=;\n", "in.csv") == []


def test_broken_csv_rows_are_rejected_one_by_one(tmp_path: Path) -> None:
    text = b'a,b\n1,\xff\n1,2,3\n"x"y,2\n5,6\n' + b"z" * 300 + b',1\n7,8\n9,"open\n'
    records = read(tmp_path, text, "in.csv", max_record_bytes=200)
    assert reasons(records)[:4] == [
        RejectReason.INVALID_UTF8,
        RejectReason.RULE_VIOLATION,
        RejectReason.RULE_VIOLATION,
        None,
    ]
    assert RejectReason.TOO_LARGE in reasons(records)
    assert reasons(records)[-1] == RejectReason.TRUNCATED
    assert {"a": "7", "b": "8"} in values(records)


def test_a_cut_off_compressed_csv_ends_with_a_truncated_record(tmp_path: Path) -> None:
    rows = "a,b\n" + "".join(f"{n},{hash((n, 'y'))}\n" for n in range(20_000))
    packed = gzip.compress(rows.encode())
    records = read(tmp_path, packed[: len(packed) // 2], "in.csv.gz")
    assert len(records) > 1
    assert reasons(records)[-1] == RejectReason.TRUNCATED


@pytest.mark.parametrize("header", ["a,a\n", "a,\n"])
def test_a_csv_header_must_name_each_column_once(tmp_path: Path, header: str) -> None:
    with pytest.raises(InputError, match=r"in.csv line 1: the header of the CSV file is not a list of different names"):
        read(tmp_path, header.encode() + b"1,2\n", "in.csv")


def test_a_name_in_a_csv_header_may_hold_line_breaks_and_delimiters_in_quotes(tmp_path: Path) -> None:
    text = b'"answer\n(a, b, c)";label\nhi;up\n'
    records = read(tmp_path, text, "in.csv")
    assert values(records) == [{"answer\n(a, b, c)": "hi", "label": "up"}]
    assert [(record.line, record.raw) for record in records] == [(3, b"hi;up")]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (b"a,b\r1,2\r", "end in carriage returns alone"),
        (b'a,"b\n1,2\n', "the header of the CSV file is not CSV"),
        (b'a,"b\n' + b"x,y\n" * 200 + b'z"\n1,2\n', "the header of the CSV file is not CSV"),
    ],
)
def test_a_csv_header_that_is_not_csv_is_refused(tmp_path: Path, text: bytes, what: str) -> None:
    with pytest.raises(InputError, match=what):
        read(tmp_path, text, "in.csv")


def test_a_csv_header_without_end_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the header of the CSV file is too long"):
        read(tmp_path, b"a" * 500, "in.csv", max_record_bytes=100)


def test_parquet_gives_rows_with_nested_lists(tmp_path: Path) -> None:
    rows = [{"prompt": [{"role": "user", "content": f"q{n}"}], "label": n % 2 == 0} for n in range(3000)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "in.parquet")
    records = list(read_records(tmp_path / "in.parquet"))
    assert values(records) == rows
    assert json.loads(records[7].raw) == rows[7]
    data = (tmp_path / "in.parquet").read_bytes()
    assert values(read(tmp_path, data, "named.jsonl")) == rows
    assert values(read(tmp_path, gzip.compress(data), "in.parquet.gz")) == rows


def test_parquet_numbers_that_are_not_finite_are_rejected(tmp_path: Path) -> None:
    pq.write_table(pa.table({"score": [1.0, float("nan")], "text": ["NaN", "b"]}), tmp_path / "in.parquet")
    assert reasons(list(read_records(tmp_path / "in.parquet"))) == [None, RejectReason.NON_FINITE_NUMBER]


def test_parquet_text_that_is_not_utf_8_is_rejected_alone(tmp_path: Path) -> None:
    bad = pa.Array.from_buffers(pa.string(), 3, pa.array([b"a", b"\xff", b"c"], pa.binary()).buffers())
    pq.write_table(pa.table({"text": bad}), tmp_path / "in.parquet")
    assert reasons(list(read_records(tmp_path / "in.parquet"))) == [None, RejectReason.INVALID_UTF8, None]


def test_a_truncated_parquet_file_is_corruption(tmp_path: Path) -> None:
    pl.DataFrame({"a": range(1000)}).write_parquet(tmp_path / "in.parquet")
    data = (tmp_path / "in.parquet").read_bytes()
    with pytest.raises(CorruptionError, match=r"in.parquet after row 0: the Parquet file cannot be read"):
        read(tmp_path, data[:-20], "in.parquet")


def test_standard_input_is_read_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for data in (LINES, gzip.compress(LINES)):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
        records = list(read_records(Path("-")))
        assert values(records) == ROWS
        assert records[0].file == "stdin"
    pl.DataFrame(ROWS).write_parquet(tmp_path / "in.parquet")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO((tmp_path / "in.parquet").read_bytes())))
    assert values(list(read_records(Path("-")))) == ROWS
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"a,b\n1,2\n")))
    assert values(list(read_records(Path("-")))) == [{"a": "1", "b": "2"}]


def test_the_tally_is_of_the_file_as_it_lies_on_disk(tmp_path: Path) -> None:
    pl.DataFrame(ROWS).write_parquet(tmp_path / "c.parquet")
    (tmp_path / "a.jsonl").write_bytes(LINES)
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(LINES))
    for path in find_files([tmp_path]):
        seen: list[int] = []
        tally = Tally(seen.append)
        assert len(list(read_records(path, tally=tally))) == 3
        assert (tally.bytes, tally.sha256) == (path.stat().st_size, file_sha256(path))
        assert sum(seen) == tally.bytes


def test_files_are_found_by_path_glob_and_folder_each_once(tmp_path: Path) -> None:
    for name in ("b.jsonl", "a.csv", "sub/c.parquet", "d.json.gz", "e.txt", ".hidden/f.jsonl", "README.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    names = [path.relative_to(tmp_path).as_posix() for path in find_files([tmp_path])]
    assert names == ["a.csv", "b.jsonl", "d.json.gz", "sub/c.parquet"]
    found = find_files([tmp_path / "e.txt", f"{tmp_path}/*.jsonl", tmp_path, "-"])
    assert [path.name for path in found] == ["e.txt", "b.jsonl", "a.csv", "d.json.gz", "c.parquet", "-"]


def test_of_a_curated_dataset_the_shards_are_found(tmp_path: Path) -> None:
    for name in ("manifest.json", "data/train-00000-of-00001.parquet", "stages/dedup/kept-00000.parquet"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    assert [path.name for path in find_files([tmp_path])] == ["train-00000-of-00001.parquet"]


def test_a_curated_dataset_below_a_folder_is_not_read_with_it(tmp_path: Path) -> None:
    shard = "data/train-00000-of-00001.parquet"
    inside = ("manifest.json", shard, "stages/pairs/kept-00000.arrow", f"preference/{shard}")
    own = ("votes.jsonl", "logs/manifest.json", "logs/data/votes.csv")
    for name in (*own, *(f"sub/ds/{one}" for one in inside)):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    names = [path.relative_to(tmp_path).as_posix() for path in find_files([tmp_path])]
    assert names == ["logs/data/votes.csv", "logs/manifest.json", "votes.jsonl"]
    (note,) = left_out_notes([SourceConfig(path=str(tmp_path), format="thumbs")])
    assert note.endswith("the curated datasets in it, sub/ds. They are results; one is read where it is named itself.")
    assert [path.name for path in find_files([tmp_path / "sub" / "ds"])] == ["train-00000-of-00001.parquet"]


def test_what_cannot_be_found_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputNotFoundError, match="no such file or folder"):
        find_files([tmp_path / "none.jsonl"])
    with pytest.raises(InputNotFoundError, match="no file matches the pattern"):
        find_files([f"{tmp_path}/*.jsonl"])
    with pytest.raises(InputNotFoundError, match="the folder holds no data file; expected files ending"):
        find_files([tmp_path])
    with pytest.raises(InputNotFoundError, match="the file cannot be read"):
        list(read_records(tmp_path / "none.jsonl"))
