"""Files in a bucket: found and read as those of a folder are, from an S3 server that is really started."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl
import pytest

from cli.main import run
from feedback.config import CurateConfig, SourceConfig
from feedback.records.object_store import StoredObject
from feedback.records.places import Place, input_name, place_name, place_size, place_state
from feedback.records.sources import find_files, read_records, tally_of
from feedback.run_config import is_same_input, plan_key, resolved_config
from schemas.errors import InputError, InputNotFoundError, UnknownChoiceError, UsageError
from schemas.manifest import SourceFile
from tests.servers import s3_server

LINE = b'{"prompt": "q", "completion": "a", "label": "up"}\n'
FILES = {
    "logs/a.jsonl": LINE * 3,
    "logs/2026/b.jsonl.gz": gzip.compress(LINE * 2),
    "logs/2026/notes.txt": b"x",
    "logs/.tmp/c.jsonl": LINE,
    "logs/d[1].jsonl": LINE,
    "set/manifest.json": b"{}",
    "set/data/train.jsonl": LINE,
    "set/stages/kept.jsonl": LINE,
    "other/readme.txt": b"x",
}


@pytest.fixture(scope="module")
def put() -> Iterator[Callable[[str, bytes], None]]:
    with s3_server() as put:
        for path, data in FILES.items():
            put(f"bucket/{path}", data)
        yield put


def paths(places: list[Place]) -> list[str]:
    return [place.path.removeprefix("bucket/") for place in places if isinstance(place, StoredObject)]


@pytest.mark.parametrize("url", ["s3://", "s3:///key", "s3://key:s3cret@bucket/x", "s3://buck*/x"])
def test_a_url_begins_with_a_bucket_and_holds_no_credentials(url: str) -> None:
    with pytest.raises(UsageError, match=r"does not begin with the name of a bucket; expected s3://BUCKET/KEY") as info:
        find_files([url])
    assert "s3cret" not in str(info.value)


def test_an_unknown_kind_of_url_is_told_the_known_ones() -> None:
    with pytest.raises(
        UnknownChoiceError, match=r"unknown kind of URL: got 'gs://b/k'; expected one of .*hf://.*s3://"
    ):
        find_files(["gs://b/k"])


def test_a_file_url_is_a_path(tmp_path: Path) -> None:
    (tmp_path / "a b.jsonl").write_bytes(LINE)
    assert find_files([f"file://{tmp_path}/a%20b.jsonl"]) == [tmp_path / "a b.jsonl"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("logs/a.jsonl", ["logs/a.jsonl"]),
        ("logs", ["logs/2026/b.jsonl.gz", "logs/a.jsonl", "logs/d[1].jsonl"]),
        ("logs/", ["logs/2026/b.jsonl.gz", "logs/a.jsonl", "logs/d[1].jsonl"]),
        ("logs/*.jsonl", ["logs/a.jsonl", "logs/d[1].jsonl"]),
        ("logs/**/*.jsonl*", ["logs/.tmp/c.jsonl", "logs/2026/b.jsonl.gz", "logs/a.jsonl", "logs/d[1].jsonl"]),
        ("*/2026/*", ["logs/2026/b.jsonl.gz", "logs/2026/notes.txt"]),
        ("logs/d[1].jsonl", ["logs/d[1].jsonl"]),
        ("set", ["set/data/train.jsonl"]),
    ],
)
def test_objects_are_found_by_key_folder_and_glob(
    put: Callable[[str, bytes], None], key: str, expected: list[str]
) -> None:
    assert paths(find_files([f"s3://bucket/{key}", f"s3://bucket/{key}"])) == expected


@pytest.mark.slow
@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("s3://bucket/none", "no such object or folder. For keys that begin so, end it with *"),
        ("s3://none/x", "no such object or folder"),
        ("s3://bucket/logs/*.zip", "no object matches the pattern"),
        ("s3://bucket/other", "the folder holds no data file; expected objects ending in .jsonl"),
    ],
)
def test_what_is_not_in_the_bucket_is_an_error(put: Callable[[str, bytes], None], url: str, message: str) -> None:
    with pytest.raises(InputNotFoundError) as info:
        find_files([url])
    assert str(info.value).startswith(f"{url}: {message}")


@pytest.mark.slow
def test_objects_are_read_and_tallied_as_they_are_stored(put: Callable[[str, bytes], None], tmp_path: Path) -> None:
    rows = [{"n": n, "text": "x" * 900} for n in range(20_000)]
    lines = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
    pl.DataFrame(rows).write_parquet(tmp_path / "in.parquet")
    for name, data in {
        "in.jsonl": lines,
        "in.jsonl.gz": gzip.compress(lines),
        "in.json": json.dumps(rows).encode(),
        "in.parquet": (tmp_path / "in.parquet").read_bytes(),
    }.items():
        put(f"bucket/kinds/{name}", data)
        (place,) = find_files([f"s3://bucket/kinds/{name}"])
        records = list(read_records(place))
        assert [record.value for record in records] == rows
        assert (records[0].file, place_name(place), place_size(place)) == (name, name, len(data))
        tally = tally_of(place)
        assert (tally.bytes, tally.sha256) == (len(data), hashlib.sha256(data).hexdigest())


@pytest.mark.slow
def test_an_object_that_went_away_or_a_store_that_refuses_is_an_error(
    put: Callable[[str, bytes], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    put("bucket/gone.jsonl", LINE)
    (place,) = find_files(["s3://bucket/gone.jsonl"])
    assert isinstance(place, StoredObject)
    place.store.delete_file(place.path)
    with pytest.raises(InputNotFoundError, match=r"s3://bucket/gone.jsonl: no such bucket or object"):
        list(read_records(place))
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(InputError, match=r"s3://bucket/x: the object store did not answer .* Check the name, the cred"):
        find_files(["s3://bucket/x"])


@pytest.mark.slow
def test_a_dataset_made_from_a_bucket_is_the_one_made_from_its_files(
    put: Callable[[str, bytes], None], tmp_path: Path
) -> None:
    votes = b"".join(
        json.dumps(
            {"prompt": f"question {n}", "completion": f"answer {n}", "label": "up" if n % 3 else "down"}
        ).encode()
        + b"\n"
        for n in range(40)
    )
    put("bucket/votes/in.jsonl", votes)
    (tmp_path / "in.jsonl").write_bytes(votes)
    for name, source in (("one", "s3://bucket/votes/in.jsonl"), ("two", str(tmp_path / "in.jsonl"))):
        assert run(["curate", source, "--from", "thumbs", "-o", str(tmp_path / name)]) == 0
    assert (tmp_path / "one/manifest.json").read_bytes() == (tmp_path / "two/manifest.json").read_bytes()
    assert run(["audit", "s3://bucket/votes", "--from", "thumbs"]) in (0, 3)


@pytest.mark.slow
def test_a_changed_object_is_another_input(put: Callable[[str, bytes], None]) -> None:
    put("bucket/changing.jsonl", LINE)
    config = CurateConfig(sources=(SourceConfig(path="s3://bucket/changing.jsonl", format="thumbs"),))
    assert resolved_config(config)["sources"][0]["path"] == "changing.jsonl"
    known = [SourceFile("changing.jsonl", "thumbs", hashlib.sha256(LINE).hexdigest(), len(LINE), 1)]
    before = plan_key(config)
    assert is_same_input(config.sources, known)
    put("bucket/changing.jsonl", LINE * 2)
    assert plan_key(config) != before
    assert not is_same_input(config.sources, known)
    (place,) = find_files(["s3://bucket/changing.jsonl"])
    assert place_state(place) is not None
    assert input_name("s3://bucket/logs/a.jsonl") == "a.jsonl"
