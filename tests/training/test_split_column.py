"""A column that names splits, where files do not: it is heeded, and refused where it contradicts the files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from align.data.dataset import read_any, read_pairs, read_split
from schemas.errors import EmptySplitError, InputError

SPLITS = ("train", "test", "train", "validation", "test", "train")


def rows(*splits: Any) -> list[dict[str, Any]]:
    return [
        {"row_id": f"r{n}", "prompt": "hi", "completion": f"a{n}", "label": n % 2 == 0, "split": split}
        for n, split in enumerate(splits)
    ]


def jsonl(path: Path, records: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def ids(dataset: Path, split: str) -> list[str]:
    return [row.row_id for row in read_split(dataset, split)]


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.parquet", "folder/rows.jsonl", "folder/rows.csv"])
def test_column_says_which_rows_are_trained_on(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    table = pa.Table.from_pylist(rows(*SPLITS))
    if path.suffix == ".jsonl":
        jsonl(path, rows(*SPLITS))
    elif path.suffix == ".csv":
        pyarrow.csv.write_csv(table, path)
    else:
        pq.write_table(table, path)
    dataset = path.parent if path.parent.name == "folder" else path
    assert ids(dataset, "train") == ["r0", "r2", "r5"]
    assert ids(dataset, "test") == ["r1", "r4"]
    assert [row.row_id for row in read_any(dataset, "test")] == ["r1", "r4"]


@pytest.mark.parametrize("as_files", [False, True])
def test_rows_for_validation_are_held_out_where_none_are_for_a_test(tmp_path: Path, as_files: bool) -> None:
    records = rows("train", "validation", "train")
    if as_files:
        for name in ("train", "validation"):
            jsonl(tmp_path / f"{name}.jsonl", [one for one in records if one["split"] == name])
    dataset = tmp_path if as_files else jsonl(tmp_path / "rows.jsonl", records)
    assert (ids(dataset, "train"), ids(dataset, "test")) == (["r0", "r2"], ["r1"])


def test_pairs_are_filtered_too(tmp_path: Path) -> None:
    pairs = [{"prompt": f"q{n}", "chosen": "a", "rejected": "b", "split": split} for n, split in enumerate(SPLITS)]
    path = jsonl(tmp_path / "pairs.jsonl", pairs)
    assert [row.prompt[0]["content"] for row in read_pairs(path, "test")] == ["q1", "q4"]


def test_column_without_values_says_nothing(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "rows.jsonl", rows(None, None))
    assert (ids(path, "train"), ids(path, "test")) == (["r0", "r1"], [])


def test_file_that_is_all_test_has_nothing_to_train_on(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "rows.jsonl", rows("test", "test"))
    assert ids(path, "test") == ["r0", "r1"]
    with pytest.raises(EmptySplitError, match="no rows in the split 'train'"):
        read_split(path, "train")


@pytest.mark.parametrize("value", ["math", None, 3, ["test"]])
def test_column_of_something_else_is_refused(tmp_path: Path, value: Any) -> None:
    other = value if isinstance(value, int) else "train"
    path = jsonl(tmp_path / "rows.jsonl", rows(other, value))
    message = (
        r"rows\.jsonl, column 'split': the column does not say which split each row is of.*"
        r"expected train, test or validation in every row\. Correct it, or rename the column"
    )
    with pytest.raises(InputError, match=message):
        read_split(path, "train")


def test_files_may_not_hold_rows_of_another_split(tmp_path: Path) -> None:
    """Where the files name the splits, a column may say the same, or mean something else, but not contradict them."""
    jsonl(tmp_path / "test.jsonl", rows("test", "easy"))
    jsonl(tmp_path / "train.jsonl", rows("train", "hard"))
    assert (len(ids(tmp_path, "train")), len(ids(tmp_path, "test"))) == (2, 2)
    jsonl(tmp_path / "train.jsonl", rows("train", "test"))
    with pytest.raises(InputError, match=r"files of the split 'train' hold rows of another: got \['test'\]"):
        read_split(tmp_path, "train")
