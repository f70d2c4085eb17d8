"""What is written beside the records says of them what is true: LLaMA-Factory and Axolotl find every field by it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from cli.main import run
from feedback.records.sources import read_records
from feedback.transcode import convert_files
from schemas.errors import InputError, OutputExistsError

pytestmark = pytest.mark.usefixtures("rater_key")

UP: dict[str, Any] = {
    "prompt": [{"role": "system", "content": "s"}, {"role": "user", "content": "q"}],
    "completion": "a",
    "label": "up",
    "tools": [{"name": "t"}],
}
DOWN = {"prompt": "q", "completion": "b", "label": "down"}
PAIR = {"prompt": "q", "chosen": "a", "rejected": "b"}


def put(folder: Path, *records: object) -> Path:
    path = folder / "in.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records), "utf-8")
    return path


def records_of(path: Path) -> list[dict[str, Any]]:
    return [record.value or {} for record in read_records(path)]


def info_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "dataset_info.json").read_text("utf-8"))
    return found


def aligned(record: dict[str, Any], entry: dict[str, Any]) -> list[tuple[str, str]]:
    """The turns as LLaMA-Factory's converter reads them by the entry; refuses what it skips."""
    tags = entry["tags"]
    names = {tags[f"{name}_tag"]: name for name in ("user", "assistant", "observation", "system")}
    columns = entry["columns"]
    messages = record[columns["messages"]] + [record[columns[side]] for side in ("chosen",) if side in columns]
    turns = [(names[message[tags["role_tag"]]], message[tags["content_tag"]]) for message in messages]
    spoken = turns[1:] if turns[0][0] == "system" else turns
    assert len(spoken) % 2 == 0
    for place, (name, _) in enumerate(spoken):
        assert name in (("assistant",) if place % 2 else ("user", "observation"))
    return turns


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_llamafactory_finds_labels_turns_and_tools_by_the_entry(tmp_path: Path, suffix: str) -> None:
    out = tmp_path / f"my votes{suffix}"
    report = convert_files([put(tmp_path, UP, DOWN)], "thumbs", "llamafactory", out)
    entry = info_of(tmp_path)["my votes"]
    assert (entry["file_name"], entry["formatting"]) == (out.name, "sharegpt")
    assert entry["columns"] == {"messages": "messages", "kto_tag": "label", "tools": "tools"}
    assert "ranking" not in entry
    first, second = records_of(out)
    assert aligned(first, entry) == [("system", "s"), ("user", "q"), ("assistant", "a")]
    assert (first["label"], second["label"], second.get("tools")) == (True, False, None)
    assert report.notes[-1] == "Beside it: dataset_info.json, in which it is the data set 'my votes'."


def test_llamafactory_finds_both_answers_of_a_pair_by_the_entry(tmp_path: Path) -> None:
    convert_files([put(tmp_path, PAIR)], "trl", "llamafactory", tmp_path / "pairs.jsonl")
    entry = info_of(tmp_path)["pairs"]
    assert (entry["ranking"], entry["formatting"]) == (True, "sharegpt")
    assert entry["columns"] == {"messages": "conversations", "chosen": "chosen", "rejected": "rejected"}
    (record,) = records_of(tmp_path / "pairs.jsonl")
    assert aligned(record, entry) == [("user", "q"), ("assistant", "a")]


def test_entries_of_other_data_sets_stay_and_their_own_is_renewed(tmp_path: Path) -> None:
    other = {"identity": {"file_name": "identity.json"}, "votes": {"file_name": "votes.jsonl", "columns": {}}}
    (tmp_path / "dataset_info.json").write_text(json.dumps(other), "utf-8")
    convert_files([put(tmp_path, DOWN)], "thumbs", "llamafactory", tmp_path / "votes.jsonl")
    info = info_of(tmp_path)
    assert info["identity"] == other["identity"]
    assert info["votes"]["columns"] == {"messages": "messages", "kto_tag": "label"}


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ('{"votes": {"file_name": "another.json"}}', OutputExistsError, "names another data set 'votes'"),
        ('{"votes": 3}', OutputExistsError, "names another data set 'votes'"),
        ("[]", InputError, "not an object of data sets"),
        ("{", InputError, "not JSON"),
    ],
)
def test_an_info_file_that_is_about_something_else_is_left_alone(
    tmp_path: Path, text: str, error: type[Exception], message: str
) -> None:
    (tmp_path / "dataset_info.json").write_text(text, "utf-8")
    with pytest.raises(error, match=message):
        convert_files([put(tmp_path, DOWN)], "thumbs", "llamafactory", tmp_path / "votes.jsonl")
    assert (tmp_path / "dataset_info.json").read_text("utf-8") == text
    assert not (tmp_path / "votes.jsonl").exists()


def test_a_file_that_llamafactory_cannot_open_gets_no_entry(tmp_path: Path) -> None:
    report = convert_files([put(tmp_path, DOWN)], "thumbs", "llamafactory", tmp_path / "votes.jsonl.gz")
    assert report.notes[-1].startswith("LLaMA-Factory reads no .jsonl.gz, so dataset_info.json was not written")
    assert not (tmp_path / "dataset_info.json").exists()


def test_axolotl_finds_labels_by_what_is_beside_them(tmp_path: Path) -> None:
    out = tmp_path / 'my "votes".parquet'
    report = convert_files([put(tmp_path, UP, DOWN)], "thumbs", "axolotl", out)
    config = yaml.safe_load((tmp_path / 'my "votes".axolotl.yaml').read_text("utf-8"))
    assert (config["rl"], config["remove_unused_columns"]) == ("kto", False)
    (entry,) = config["datasets"]
    assert entry == {"path": str(out), "ds_type": "parquet", "split": "train", "type": "chatml.prompt_pairs"}
    assert records_of(out) == [
        {"system": "s", "prompt": "q", "completion": "a", "label": True},
        {"system": None, "prompt": "q", "completion": "b", "label": False},
    ]
    assert report.figures["lost"] == {"tools": 1}
    assert report.notes[-1] == 'Beside it: my "votes".axolotl.yaml, to be put into a config of Axolotl.'


def test_axolotl_finds_both_answers_of_a_pair_by_what_is_beside_them(tmp_path: Path) -> None:
    out = tmp_path / "pairs.jsonl"
    convert_files([put(tmp_path, PAIR)], "trl", "axolotl", out)
    config = yaml.safe_load((tmp_path / "pairs.axolotl.yaml").read_text("utf-8"))
    (entry,) = config["datasets"]
    assert (config["rl"], entry["type"], entry["ds_type"]) == ("dpo", "chat_template.default", "json")
    (record,) = records_of(out)
    roles = {source: role for role, sources in entry["roles"].items() for source in sources}
    mapping = entry["message_property_mappings"]
    said = [record[entry[f"field_{name}"]] for name in ("messages", "chosen", "rejected")]
    turns = [(roles[message[mapping["role"]]], message[mapping["content"]]) for message in (*said[0], said[1], said[2])]
    assert turns == [("user", "q"), ("assistant", "a"), ("assistant", "b")]


def test_a_config_that_is_not_ours_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "votes.axolotl.yaml"
    path.write_text("base_model: m\n", "utf-8")
    with pytest.raises(OutputExistsError, match="not ours"):
        convert_files([put(tmp_path, DOWN)], "thumbs", "axolotl", tmp_path / "votes.jsonl")
    path.unlink()
    convert_files([tmp_path / "in.jsonl"], "thumbs", "axolotl", tmp_path / "votes.jsonl")
    (tmp_path / "votes.jsonl").unlink()
    convert_files([tmp_path / "in.jsonl"], "thumbs", "axolotl", tmp_path / "votes.jsonl")
    assert path.exists()


def test_what_a_target_cannot_hold_is_told_with_its_rows(tmp_path: Path) -> None:
    turns = [{"role": role, "content": role} for role in ("user", "assistant", "user")]
    path = put(tmp_path, DOWN, {**DOWN, "prompt": turns}, {**DOWN, "prompt": [*turns[:1], turns[0]]})
    report = convert_files([path], "thumbs", "axolotl", tmp_path / "a.jsonl")
    assert (dict(report.dropped), report.rows_kept) == ({"not_expressible": 2}, 1)
    told = "Not written, since axolotl cannot hold them (its loaders for KTO take one question, "
    assert any(note.startswith(told) and note.endswith(": 2 rows.") for note in report.notes)
    report = convert_files([path], "thumbs", "llamafactory", tmp_path / "l.jsonl")
    assert (dict(report.dropped), report.rows_kept) == ({"not_expressible": 1}, 2)


def test_a_rating_by_a_machine_is_not_written_silently_as_a_persons(tmp_path: Path) -> None:
    record = {"prompt": "q", "chosen": "a", "rejected": "b", "score_chosen": 9, "score_rejected": 4}
    report = convert_files([put(tmp_path, record)], "ultrafeedback", "trl", tmp_path / "out.jsonl")
    assert report.figures["lost"] == {"rater_kind": 1}
    report = convert_files([put(tmp_path, DOWN)], "thumbs", "trl", tmp_path / "by-people.jsonl")
    assert report.figures["lost"] == {}


@pytest.mark.parametrize(
    ("target", "command"),
    [
        ("llamafactory", "llamafactory-cli train --stage kto --do_train true --finetuning_type lora --dataset_dir ."),
        ("axolotl", "thumbline audit 'my votes.jsonl' --from axolotl"),
        ("trl", "thumbline audit 'my votes.jsonl' --from trl"),
    ],
)
def test_convert_prints_the_next_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, target: str, command: str
) -> None:
    monkeypatch.chdir(tmp_path)
    put(tmp_path, UP, DOWN)
    assert run(["convert", "in.jsonl", "--from", "thumbs", "--to", target, "-o", "my votes.jsonl"]) == 0
    assert f"\n  {command}" in capsys.readouterr().out
