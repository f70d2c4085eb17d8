"""Compressed files: several members, cut off, damaged, and far larger than they look."""

from __future__ import annotations

import base64
import gzip
import json
import random
from pathlib import Path

import pytest

from feedback.records import byte_stream
from schemas.errors import CorruptionError, InputError
from schemas.reasons import RejectReason
from tests.raw_files import LINES, ROWS, read, reasons, values, zst


@pytest.mark.parametrize("pack", [gzip.compress, zst])
@pytest.mark.parametrize("name", ["in.jsonl", "in.json"])
def test_a_cut_off_compressed_stream_gives_what_was_whole_and_one_truncated_record(
    tmp_path: Path, name: str, pack
) -> None:
    noise = [{"n": n, "text": str(hash((n, "x")))} for n in range(20_000)]
    text = "\n".join(map(json.dumps, noise)) if name == "in.jsonl" else json.dumps(noise)
    packed = pack(text.encode())
    records = read(tmp_path, packed[: len(packed) // 2], name)
    assert 0 < len(records) < len(noise)
    assert values(records[:-1]) == noise[: len(records) - 1]
    assert records[-1].reject is not None
    assert records[-1].reject[0] == RejectReason.TRUNCATED
    assert "cut off after" in records[-1].reject[1]


def test_several_compressed_members_are_one_text(tmp_path: Path) -> None:
    for pack in (gzip.compress, zst):
        assert values(read(tmp_path, pack(LINES) + pack(LINES))) == ROWS * 2


@pytest.mark.parametrize("pack", [gzip.compress, zst])
def test_a_missing_trailer_alone_is_truncation_too(tmp_path: Path, pack) -> None:
    assert reasons(read(tmp_path, pack(LINES)[:-1])) in (
        [None, None, None, RejectReason.TRUNCATED],
        [RejectReason.TRUNCATED],
    )


def test_damaged_compressed_bytes_are_refused_with_the_file_named(tmp_path: Path) -> None:
    packed = bytearray(gzip.compress(LINES * 50))
    packed[-5] ^= 1
    with pytest.raises(CorruptionError, match=r"in.jsonl after .* bytes of content: the compressed bytes are damaged"):
        read(tmp_path, bytes(packed))


def test_a_bomb_is_refused_while_it_grows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(byte_stream, "BOMB_BYTES", 1 << 20)
    for pack in (gzip.compress, zst):
        with pytest.raises(InputError, match="grows more than 500 times when it is decompressed"):
            read(tmp_path, pack(b"\n" * (8 << 20)))


def test_a_log_that_is_much_smaller_compressed_is_no_bomb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """400 bytes of content for each that is read, behind the size from which it is looked at."""
    monkeypatch.setattr(byte_stream, "BOMB_BYTES", 1 << 10)
    noise = base64.b64encode(random.Random(7).randbytes(9_000))
    for pack in (gzip.compress, zst):
        packed = pack(b'"' + noise + b'"' + b"\n" * (4 << 20))
        assert 250 < (4 << 20) / len(packed) < 500
        assert len(read(tmp_path, packed)) == 1
