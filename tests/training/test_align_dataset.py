"""Labelled rows from disk: curated datasets, datasets made elsewhere, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from align.data.dataset import dataset_digest, read_pairs, read_split
from align.data.rows import LabelledRow
from schemas.datasets import UNPAIRED_PREFERENCE
from schemas.errors import CorruptionError, EmptySplitError, InputError, InputNotFoundError
from schemas.manifest import Manifest, Shard, file_sha256

USER = {"role": "user", "content": "hi"}
ASSISTANT = {"role": "assistant", "content": "hello"}
PLAIN = {"prompt": "hi", "completion": "hello", "label": True}
CHAT = {"prompt": [USER], "completion": [ASSISTANT], "label": True}


def curated(folder: Path, **changes: Any) -> Path:
    """A dataset of three rows as `export` writes it: two to train on, one to test."""
    shards = []
    for split, names in (("train", ("a", "b")), ("test", ("c",))):
        path = folder / "data" / f"{split}-00000-of-00001.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = [
            {
                "row_id": name * 32,
                "prompt": [USER],
                "completion": [{"role": "assistant", "content": name}],
                "label": name == "a",
                "weight": 0.75,
                "group_id": f"group-{name}",
                "origin": "thumb",
                "source": "thumbs",
                "tools": None,
                "source_event_ids": [name],
                "n_up": 1,
                "n_down": 0,
                "split": split,
            }
            for name in names
        ]
        pq.write_table(pa.Table.from_pylist(rows, schema=UNPAIRED_PREFERENCE), path)
        counts = {"rows": len(rows), "desirable": sum(bool(row["label"]) for row in rows)}
        shards.append(
            Shard(
                path=path.relative_to(folder).as_posix(),
                split=split,
                undesirable=counts["rows"] - counts["desirable"],
                bytes=path.stat().st_size,
                sha256=file_sha256(path),
                **counts,
            )
        )
    manifest = Manifest("d" * 32, "unpaired_preference", "0", (), (), tuple(shards))
    replace(manifest, **changes).write(folder)
    return folder


def jsonl(path: Path, *records: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), "utf-8")
    return path


def test_a_curated_dataset_is_read_as_its_manifest_says(tmp_path: Path) -> None:
    folder = curated(tmp_path)
    first, second = read_split(folder, "train")
    completion = [{"role": "assistant", "content": "a"}]
    assert first == LabelledRow("a" * 32, [USER], completion, True, 0.75, "group-a", None)  # type: ignore[list-item,arg-type]
    assert second.label is False
    assert [row.group_id for row in read_split(folder, "test")] == ["group-c"]
    assert dataset_digest(folder) == "d" * 32


def test_a_changed_shard_is_corruption(tmp_path: Path) -> None:
    folder = curated(tmp_path)
    shard = folder / "data" / "train-00000-of-00001.parquet"
    shard.write_bytes(shard.read_bytes()[:-1] + b"x")
    with pytest.raises(CorruptionError, match="a shard is not what the manifest says"):
        read_split(folder, "train")


def test_a_shard_that_is_no_parquet_is_corruption(tmp_path: Path) -> None:
    """Also where the manifest was written for the bytes that are there."""
    folder = curated(tmp_path)
    manifest = Manifest.read(folder)
    path = folder / manifest.shards[0].path
    path.write_bytes(b"not parquet")
    broken = replace(manifest.shards[0], bytes=path.stat().st_size, sha256=file_sha256(path))
    replace(manifest, shards=(broken,)).write(folder)
    with pytest.raises(CorruptionError, match="a shard cannot be read"):
        read_split(folder, "train")


def test_a_dataset_of_pairs_names_the_way_out(tmp_path: Path) -> None:
    message = (
        "the objective trains on labelled answers, and the dataset holds pairs: got 'preference'; expected "
        r"unpaired_preference\. Convert it with: thumbline convert '.*/data/train-\*\.parquet' --from trl --to trl "
        r"--type unpaired_preference -o NEW/train\.parquet, the same with test"
    )
    with pytest.raises(InputError, match=message):
        read_split(curated(tmp_path, dataset_type="preference"), "train")
    with pytest.raises(InputError, match=r"trains on pairs, and the dataset holds labelled answers.*--type preference"):
        read_pairs(curated(tmp_path / "other"), "train")


@pytest.mark.parametrize("record", [PLAIN, CHAT])
@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_a_single_file_is_the_split_train(tmp_path: Path, record: dict[str, Any], suffix: str) -> None:
    """Texts and lists of turns give the same row; a weight is 1 and a group is a prompt where nothing is said."""
    path = tmp_path / f"rows{suffix}"
    records = [record, {**record, "label": False}, record]
    if suffix == ".jsonl":
        jsonl(path, *records)
    else:
        pq.write_table(pa.Table.from_pylist(records), path)
    rows = read_split(path, "train")
    assert [row.label for row in rows] == [True, False, True]
    assert all((row.prompt, row.completion, row.weight, row.tools) == ([USER], [ASSISTANT], 1.0, None) for row in rows)
    assert len({row.row_id for row in rows}) == 3
    assert len({row.group_id for row in rows}) == 1
    assert read_split(path, "test") == []


def test_rows_with_one_id_are_known_apart(tmp_path: Path) -> None:
    """As where the id is a conversation's: known by it alone, each would be taken for the last."""
    path = jsonl(tmp_path / "rows.jsonl", *({**PLAIN, "row_id": "talk-1", "weight": weight} for weight in (1.0, 2.0)))
    rows = read_split(path, "train")
    assert [(row.row_id, row.weight) for row in rows] == [("talk-1", 1.0), ("talk-1#2", 2.0)]


@pytest.mark.parametrize("ids", [["a", "a#2", "a", "a"], ["a", "a", "a#2", "a"], [0, 0, "0", 1]])
def test_an_id_that_looks_like_a_numbered_one_is_not_taken_twice(tmp_path: Path, ids: list[Any]) -> None:
    pair = {"prompt": "hi", "chosen": "a", "rejected": "b"}
    rows = read_split(jsonl(tmp_path / "rows.jsonl", *({**PLAIN, "row_id": one} for one in ids)), "train")
    pairs = read_pairs(jsonl(tmp_path / "pairs.jsonl", *({**pair, "row_id": one} for one in ids)), "train")
    assert [row.row_id for row in rows] == [row.row_id for row in pairs]
    assert len({row.row_id for row in rows}) == len(ids)
    assert rows[0].row_id == str(ids[0])


def test_a_folder_that_datasets_can_open_is_read_by_split(tmp_path: Path) -> None:
    jsonl(tmp_path / "train.jsonl", PLAIN, {**PLAIN, "label": False})
    jsonl(tmp_path / "test.jsonl", PLAIN)
    assert (len(read_split(tmp_path, "train")), len(read_split(tmp_path, "test"))) == (2, 1)


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
@pytest.mark.parametrize("as_folder", [False, True])
def test_signs_of_a_pattern_in_a_path_are_signs_of_its_name(tmp_path: Path, suffix: str, as_folder: bool) -> None:
    """`rows[1]` read as a pattern is `rows1`, where other rows lie."""
    for name, answer in (("rows[1]", "mine"), ("rows1", "theirs")):
        path = tmp_path / name / f"train{suffix}" if as_folder else tmp_path / f"{name}{suffix}"
        path.parent.mkdir(exist_ok=True)
        if suffix == ".jsonl":
            jsonl(path, {**PLAIN, "completion": answer})
        else:
            pq.write_table(pa.Table.from_pylist([{**PLAIN, "completion": answer}]), path)
    (row,) = read_split(tmp_path / ("rows[1]" if as_folder else f"rows[1]{suffix}"), "train")
    assert row.completion[0]["content"] == "mine"


def test_our_columns_are_used_where_a_file_has_them(tmp_path: Path) -> None:
    more = {"row_id": "r", "group_id": "g", "weight": 0.0, "tools": "[]"}
    [row] = read_split(jsonl(tmp_path / "rows.jsonl", {**CHAT, **more}), "train")
    assert (row.row_id, row.group_id, row.weight, row.tools) == ("r", "g", 0.0, "[]")


@pytest.mark.parametrize("label", ["up", 1, 0.5, "true"])
def test_a_label_that_is_not_boolean_is_refused(tmp_path: Path, label: object) -> None:
    path = jsonl(tmp_path / "rows.jsonl", {**PLAIN, "label": label})
    with pytest.raises(InputError, match=r"'label' is not boolean; labels are never guessed.*expected bool"):
        read_split(path, "train")


def test_a_label_that_is_null_is_refused(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "rows.jsonl", PLAIN, {**PLAIN, "label": None})
    with pytest.raises(InputError, match="row 1: label is null"):
        read_split(path, "train")


def test_a_missing_column_lists_the_known_ones(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "rows.jsonl", {"prompt": "hi", "chosen": "a", "label": True})
    with pytest.raises(InputError, match=r"no column 'completion': got \['chosen', 'label', 'prompt'\]"):
        read_split(path, "train")
    with pytest.raises(InputError, match=r"no column 'rejected': .*expected prompt, chosen and rejected"):
        read_pairs(path, "train")
    pairs = jsonl(tmp_path / "pairs.jsonl", {"prompt": "hi", "chosen": "a", "rejected": "b"})
    with pytest.raises(InputError, match=r"convert \S*pairs\.jsonl --from trl --to trl --type unpaired_preference"):
        read_split(pairs, "train")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prompt": []}, "column 'prompt': not a text or a list of turns"),
        ({"completion": "  "}, "column 'completion': not a text or a list of turns"),
        (
            {"prompt": [{"role": "robot", "content": "x"}]},
            "not a role and a text.*role of system, user, assistant, tool",
        ),
        ({"prompt": [{"role": "user", "content": None}]}, "not a role and a text"),
        ({"prompt": [USER, ASSISTANT]}, "the prompt does not end with user or tool: got 'assistant'"),
        ({"completion": [USER]}, "the completion is not the assistant's"),
        ({"completion": [ASSISTANT, USER, ASSISTANT]}, "the completion is not the assistant's"),
        ({"weight": -1.0}, "weight is not a number: got -1.0"),
    ],
)
def test_a_row_that_is_not_a_labelled_answer_is_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=f"rows.jsonl, split 'train', row 0.*{message}"):
        read_split(jsonl(tmp_path / "rows.jsonl", {**CHAT, **changes}), "train")


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputNotFoundError, match="no such dataset"):
        read_split(tmp_path / "nothing", "train")
    with pytest.raises(InputNotFoundError, match="no data file in the folder"):
        dataset_digest(tmp_path)
    with pytest.raises(InputError, match="the dataset cannot be read"):
        read_split(tmp_path, "train")


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows.txt"
    path.write_text("x")
    with pytest.raises(InputError, match=r"not a dataset file: got '\.txt'; expected .*\.parquet, \.jsonl"):
        read_split(path, "train")


def test_an_empty_train_split_is_refused(tmp_path: Path) -> None:
    folder = curated(tmp_path)
    manifest = Manifest.read(folder)
    replace(manifest, shards=manifest.shards[1:]).write(folder)
    with pytest.raises(EmptySplitError, match="no rows in the split 'train'"):
        read_split(folder, "train")


def test_the_digest_of_files_follows_their_names_and_bytes(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "train.jsonl", PLAIN)
    first = dataset_digest(tmp_path)
    assert first == dataset_digest(tmp_path)
    assert len(first) == 32
    jsonl(path, PLAIN, PLAIN)
    assert dataset_digest(tmp_path) != first
    assert dataset_digest(path) == dataset_digest(tmp_path)
