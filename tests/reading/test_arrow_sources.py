"""Parquet and Arrow files as the JSON records that their rows would be."""

from __future__ import annotations

import gzip
import json
import pickle
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import feather

from feedback.config import SourceConfig
from feedback.ingest import ingest
from feedback.records.arrow_files import read_seekable
from feedback.records.byte_stream import Tally
from feedback.records.raw_record import RawRecord
from feedback.records.sources import find_files, read_records
from schemas.errors import CorruptionError, InputError
from schemas.manifest import file_sha256
from schemas.reasons import RejectReason

ROWS = [{"n": n, "turns": [{"role": "user", "content": f"é {n}"}], "label": n % 2 == 0} for n in range(3000)]
TABLE = pa.Table.from_pylist(ROWS)


def write_stream(table: pa.Table, path: Path) -> None:
    with pa.ipc.new_stream(path, table.schema) as writer:
        writer.write_table(table)


WRITERS = {
    "in.parquet": lambda table, path: pq.write_table(table, path, row_group_size=700),
    "in.arrow": lambda table, path: feather.write_feather(table, path, compression="uncompressed"),
    "in.feather": lambda table, path: feather.write_feather(table, path, compression="zstd"),
    "in.arrows": write_stream,
}


def records_of(table: pa.Table, folder: Path, name: str = "in.arrow") -> list[RawRecord]:
    WRITERS[name](table, folder / name)
    return list(read_records(folder / name))


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
@pytest.mark.parametrize("name", WRITERS)
def test_rows_are_read_whatever_the_kind_of_file_and_its_compression(tmp_path: Path, name: str, pack) -> None:
    WRITERS[name](TABLE, tmp_path / "plain")
    path = tmp_path / f"{name}.bin"
    path.write_bytes(pack((tmp_path / "plain").read_bytes()))
    tally = Tally()
    records = list(read_records(path, tally=tally))
    assert [record.value for record in records] == ROWS
    assert [record.line for record in records[:2]] == [1, 2]
    assert json.loads(records[7].raw) == ROWS[7]
    assert (tally.bytes, tally.sha256) == (path.stat().st_size, file_sha256(path))


def test_arrow_and_feather_files_of_a_folder_are_found(tmp_path: Path) -> None:
    for name in ("b.arrow", "a.feather", "c.arrow.gz", "d.bin"):
        (tmp_path / name).write_bytes(b"")
    assert [path.name for path in find_files([tmp_path])] == ["a.feather", "b.arrow", "c.arrow.gz"]


def test_values_are_what_json_would_hold(tmp_path: Path) -> None:
    """A time has a zone only where it came with one; a decimal is a number; a dictionary is its values."""
    when = datetime(2026, 1, 5, 9, 51, 39, 500_000)
    table = pa.table(
        {
            "naive": pa.array([when], pa.timestamp("us")),
            "aware": pa.array([when.replace(tzinfo=UTC)], pa.timestamp("ms", "UTC")),
            "nano": pa.array([when], pa.timestamp("ns")),
            "day": pa.array([date(2026, 1, 5)]),
            "clock": pa.array([time(9, 51)], pa.time64("us")),
            "decimal": pa.array([Decimal("4.50")], pa.decimal128(6, 2)),
            "whole": pa.array([Decimal(12345678901234567890)], pa.decimal128(20, 0)),
            "word": pa.array(["up"]).dictionary_encode(),
            "map": pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int64())),
            "json": pa.array(['{"k": [1]}'], pa.json_()),
            "absent": pa.nulls(1),
        }
    )
    assert records_of(table, tmp_path)[0].value == {
        "naive": "2026-01-05T09:51:39.500000",
        "aware": "2026-01-05T09:51:39.500000+00:00",
        "nano": "2026-01-05T09:51:39.500000",
        "day": "2026-01-05",
        "clock": "09:51:00",
        "decimal": 4.5,
        "whole": 12345678901234567890,
        "word": "up",
        "map": {"a": 1},
        "json": {"k": [1]},
        "absent": None,
    }


def test_bytes_are_no_text_and_differ_where_they_differ(tmp_path: Path) -> None:
    table = pa.table({"image": pa.array([b"\x00\xff", b"\x00\xfe"]), "text": ["a", "a"]})
    one, two = (record.value or {} for record in records_of(table, tmp_path, "in.parquet"))
    assert one["image"]["bytes"] == 2
    assert one["text"] == two["text"]
    assert one["image"] != two["image"]


def test_a_value_that_cannot_be_had_rejects_its_row_alone(tmp_path: Path) -> None:
    bad_text = pa.Array.from_buffers(pa.string(), 3, pa.array([b"a", b"\xff", b"c"], pa.binary()).buffers())
    far = pa.array([0, 0, 1 << 62], pa.int64()).cast(pa.timestamp("us"))
    records = records_of(pa.table({"text": bad_text, "at": far, "n": [1.0, 2.0, 3.0]}), tmp_path)
    assert [record.reject and record.reject[0] for record in records] == [
        None,
        RejectReason.INVALID_UTF8,
        RejectReason.BAD_TIME,
    ]
    doubled = pa.array([[("a", 1), ("a", 2)], [("a", 1)]], pa.map_(pa.string(), pa.int64()))
    json_text = pa.ExtensionArray.from_storage(pa.json_(), pa.array(["{", '{"a": 1}']))
    numbers = pa.array([1.0, float("nan")])
    for column, reason in (
        (doubled, RejectReason.DUPLICATE_KEY),
        (json_text, RejectReason.INVALID_JSON),
        (numbers.take(pa.array([1, 0])), RejectReason.NON_FINITE_NUMBER),
    ):
        records = records_of(pa.table({"a": column}), tmp_path)
        assert [record.reject and record.reject[0] for record in records] == [reason, None]


def test_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    table = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"])
    with pytest.raises(InputError, match=r"in.arrows: columns have the same name: got \['a'\]"):
        records_of(table, tmp_path, "in.arrows")


@pytest.mark.parametrize("name", WRITERS)
def test_a_file_that_is_cut_off_is_corruption(tmp_path: Path, name: str) -> None:
    WRITERS[name](TABLE, tmp_path / name)
    data = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(data[: len(data) * 2 // 3])
    with pytest.raises(CorruptionError, match=rf"{name} after row [\d,]+: the (Parquet|Arrow) (file|stream) cannot"):
        list(read_records(tmp_path / name))


@pytest.mark.parametrize("name", WRITERS)
def test_a_table_without_rows_has_no_records(tmp_path: Path, name: str) -> None:
    assert records_of(TABLE.slice(0, 0), tmp_path, name) == []


def test_batches_follow_the_size_of_rows(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": [str(n) * 400_000 for n in range(100)]}), tmp_path / "in.parquet")
    with (tmp_path / "in.parquet").open("rb") as stream:
        sizes = [batch.num_rows for batch in read_seekable(tmp_path / "in.parquet", stream, "in.parquet")]
    assert sum(sizes) == 100
    assert max(sizes) < 20


@pytest.mark.parametrize(
    ("head", "what"),
    [
        (b"PK\x03\x04", "a ZIP archive or an office document"),
        (b"SQLite format 3\0", "an SQLite database"),
        (b"FEA1", "Feather of version 1"),
        (b"BZh91AY", "compressed with bzip2"),
        (b"\xfd7zXZ\0", "compressed with xz"),
        (b"Obj\x01\x04\x14avro.codec", "an Avro file"),
        (pickle.dumps([{"prompt": "q"}]), "a pickle, which would run code of whoever wrote it"),
        (b"a.jsonl".ljust(257, b"\0") + b"ustar\x0000", "a tar archive"),
        (b"a.jsonl".ljust(257, b"\0") + b"ustar  \x00", "a tar archive"),
    ],
)
def test_what_is_not_read_is_named(tmp_path: Path, head: bytes, what: str) -> None:
    (tmp_path / "in.json").write_bytes(head + b"\0" * 20)
    with pytest.raises(InputError, match=f"in.json: the file is {what}; expected one of .jsonl"):
        list(read_records(tmp_path / "in.json"))


def test_a_word_in_a_text_makes_no_archive(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text('{"q": "'.ljust(256, "x") + 'mustard seeds"}\n', "utf-8")
    (record,) = read_records(tmp_path / "in.jsonl")
    assert record.value is not None


@pytest.mark.parametrize("name", WRITERS)
def test_feedback_in_a_table_is_ingested_with_its_times_as_they_are(tmp_path: Path, name: str) -> None:
    when = datetime(2026, 1, 5, 9, 51, 39)
    table = pa.table(
        {
            "prompt": ["q", "q2", "q3"],
            "completion": ["a", "b", "c"],
            "label": ["up", "down", "maybe"],
            "time": pa.array([when, None, when], pa.timestamp("us")),
        }
    )
    WRITERS[name](table, tmp_path / name)
    source = SourceConfig(path=str(tmp_path / name), format="thumbs")
    result = ingest([source], tmp_path / "out", max_rejected_share=1.0)
    events = pa.concat_tables([pa.ipc.open_file(path).read_all() for path in result.events])
    assert events.column("ts_quality").to_pylist() == ["naive", "missing"]
    assert result.rejected == {"unknown_label": 1}
    assert result.report.rows_in == 3
