"""Columns of several types: texts beside lists of turns, turns with different keys, and texts that are JSON."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from align.config import WeightRule
from align.data.dataset import read_pairs, read_split
from schemas.errors import InputError
from tests.training.test_align_dataset import ASSISTANT, CHAT, PLAIN, USER, jsonl

NAMED = {"role": "user", "content": "hi", "name": "bob"}
RESULT = {"role": "tool", "content": "sunny", "tool_call_id": "c1"}
JSON_TEXTS = ["42", "null", "true", '"quoted"', "[1, 2]", '{"a": 1}', '[{"role": "user", "content": "x"}]', "not JSON"]


def parquet(path: Path, *records: dict[str, Any]) -> Path:
    pq.write_table(pa.Table.from_pylist(list(records)), path)
    return path


def test_packed_lines_in_a_folder_are_read(tmp_path: Path) -> None:
    lines = "".join(json.dumps(row) + "\n" for row in (CHAT, {**CHAT, "prompt": PLAIN["prompt"]}))
    (tmp_path / "train.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    (tmp_path / "train.jsonl.zst").write_bytes(zstandard.compress(lines.encode()))
    assert [row.prompt for row in read_split(tmp_path, "train")] == [[USER]] * 4


@pytest.mark.parametrize("column", ["prompt", "completion"])
def test_texts_and_lists_of_turns_in_one_column_are_each_themselves(tmp_path: Path, column: str) -> None:
    rows = read_split(jsonl(tmp_path / "rows.jsonl", CHAT, {**CHAT, column: PLAIN[column]}, CHAT), "train")
    assert [row.prompt for row in rows] == [[USER]] * 3
    assert [row.completion for row in rows] == [[ASSISTANT]] * 3


def test_a_text_that_is_json_stays_a_text_beside_lists_of_turns(tmp_path: Path) -> None:
    rows = [{**CHAT, "prompt": text, "completion": text} for text in JSON_TEXTS]
    read = read_split(jsonl(tmp_path / "rows.jsonl", CHAT, *rows), "train")[1:]
    assert [row.prompt[0]["content"] for row in read] == JSON_TEXTS
    assert [row.completion for row in read] == [[{"role": "assistant", "content": text}] for text in JSON_TEXTS]


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
@pytest.mark.parametrize("texts", [JSON_TEXTS, JSON_TEXTS[:-1]])
def test_a_column_of_texts_is_never_taken_for_json(tmp_path: Path, suffix: str, texts: list[str]) -> None:
    rows = [{**PLAIN, "completion": text} for text in texts]
    path = tmp_path / f"rows{suffix}"
    read = read_split(jsonl(path, *rows) if suffix == ".jsonl" else parquet(path, *rows), "train")
    assert [row.completion[0]["content"] for row in read] == texts


def test_a_second_file_may_have_lists_where_the_first_has_texts(tmp_path: Path) -> None:
    """And another split may, and turns with other keys: types are of no file alone."""
    jsonl(tmp_path / "train-0.jsonl", PLAIN)
    jsonl(tmp_path / "train-1.jsonl", CHAT, PLAIN)
    jsonl(tmp_path / "test.jsonl", {**CHAT, "prompt": [NAMED]})
    assert [row.prompt for row in read_split(tmp_path, "train")] == [[USER]] * 3
    assert read_split(tmp_path, "test")[0].prompt == [NAMED]


def test_turns_may_differ_in_their_keys(tmp_path: Path) -> None:
    prompts = [[NAMED], [USER], [USER, ASSISTANT, RESULT]]
    rows = read_split(jsonl(tmp_path / "rows.jsonl", *({**CHAT, "prompt": prompt} for prompt in prompts)), "train")
    assert [row.prompt for row in rows] == prompts


def test_a_json_list_of_records_is_read_like_lines(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_text(json.dumps([CHAT, PLAIN], indent=1), "utf-8")
    assert [row.prompt for row in read_split(path, "train")] == [[USER]] * 2


def test_parquet_that_datasets_wrote_of_such_columns_is_read(tmp_path: Path) -> None:
    records = [CHAT, {**CHAT, "prompt": "hi"}, {**CHAT, "completion": [{**ASSISTANT, "name": "bob"}]}]
    made = datasets.Dataset.from_list(records, on_mixed_types="use_json")
    assert "Json" in str(made.features)
    made.to_parquet(tmp_path / "rows.parquet")
    rows = read_split(tmp_path / "rows.parquet", "train")
    assert [row.prompt for row in rows] == [[USER]] * 3
    assert rows[2].completion == [{**ASSISTANT, "name": "bob"}]


def test_parquet_of_json_that_is_none_names_the_row(tmp_path: Path) -> None:
    stored = pa.ExtensionArray.from_storage(pa.json_(), pa.array(['"hi"', "{torn"]))
    table = pa.table({"prompt": stored, "completion": ["a", "b"], "label": [True, False]})
    pq.write_table(table, tmp_path / "rows.parquet")
    with pytest.raises(InputError, match=r"split 'train', row 1, column 'prompt': not JSON: got '\{torn'"):
        read_split(tmp_path / "rows.parquet", "train")


@pytest.mark.parametrize("blank", ["", "  ", [], 42])
def test_what_is_no_answer_is_refused_beside_lists_of_turns(tmp_path: Path, blank: object) -> None:
    path = jsonl(tmp_path / "rows.jsonl", CHAT, {**CHAT, "completion": blank})
    with pytest.raises(InputError, match="row 1, column 'completion': not a text or a list of turns"):
        read_split(path, "train")


def test_pairs_may_mix_texts_and_turns(tmp_path: Path) -> None:
    first = {"prompt": [USER], "chosen": [ASSISTANT], "rejected": "no"}
    second = {"prompt": "hi", "chosen": "hello", "rejected": [{**ASSISTANT, "content": "no"}]}
    one, other = read_pairs(jsonl(tmp_path / "rows.jsonl", first, second), "train")
    assert (one.prompt, one.chosen, one.rejected) == (other.prompt, other.chosen, other.rejected)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{torn", "rows.jsonl line 2: the dataset cannot be read"),
        ("[1]", r"rows.jsonl line 2: a record is no object: got \[1\]"),
        (json.dumps({**PLAIN, "prompt": "\ud800"}), "column 'prompt': a text holds half of a surrogate pair"),
        (json.dumps({**CHAT, "prompt": [{**USER, "content": "\ud800"}]}), "column 'prompt': a text holds half of a"),
    ],
)
def test_a_line_that_is_no_record_is_named(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(PLAIN) + "\n" + line + "\n", "utf-8")
    with pytest.raises(InputError, match=message):
        read_split(path, "train")


def test_a_label_of_several_types_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="column 'label' is not boolean"):
        read_split(jsonl(tmp_path / "rows.jsonl", PLAIN, {**PLAIN, "label": "up"}), "train")


def test_a_rule_of_weights_needs_single_values_of_one_type(tmp_path: Path) -> None:
    rules = [WeightRule(column="segment", value="a", weight=2.0)]
    same = jsonl(tmp_path / "same.jsonl", {**CHAT, "segment": "a"}, {**CHAT, "segment": "b"}, CHAT)
    assert [row.weight for row in read_split(same, "train", rules)] == [2.0, 1.0, 1.0]
    mixed = jsonl(tmp_path / "mixed.jsonl", {**CHAT, "segment": "a"}, {**CHAT, "segment": 5})
    with pytest.raises(InputError, match="a column that holds no single values: got 'segment'"):
        read_split(mixed, "train", rules)


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_tools_are_a_text_or_a_list_and_have_their_own_keys_only(tmp_path: Path, suffix: str) -> None:
    """In a column of objects Arrow gives every tool the parameters of all."""
    tools = [[{"name": "find", "parameters": {"city": {"type": "string"}}}], [{"name": "now"}], None]
    records = [{**CHAT, "tools": each} for each in tools]
    path = tmp_path / f"rows{suffix}"
    rows = read_split(jsonl(path, *records) if suffix == ".jsonl" else parquet(path, *records), "train")
    assert [row.tools and json.loads(row.tools) for row in rows] == tools
    mixed = jsonl(tmp_path / "mixed.jsonl", records[0], {**CHAT, "tools": json.dumps(tools[1])})
    assert [json.loads(row.tools or "") for row in read_split(mixed, "train")] == tools[:2]


@pytest.mark.parametrize("tools", ["not json", "{}", '["find"]', "5"])
def test_tools_that_are_no_list_of_objects_name_their_row(tmp_path: Path, tools: str) -> None:
    path = jsonl(tmp_path / "rows.jsonl", CHAT, {**CHAT, "tools": tools})
    message = "rows.jsonl, split 'train', row 1, column 'tools': the tools are not a JSON list of objects: got"
    with pytest.raises(InputError, match=message):
        read_split(path, "train")


def test_tools_of_the_json_text_null_are_none(tmp_path: Path) -> None:
    [row] = read_split(jsonl(tmp_path / "rows.jsonl", {**CHAT, "tools": "null"}), "train")
    assert row.tools is None
