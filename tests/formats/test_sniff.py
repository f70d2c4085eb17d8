"""A file's beginning says which format it is in and why; where none fits, a map is begun that guesses no label."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cli.main import run
from feedback.formats import FORMATS
from feedback.formats.drafts import Format, Join
from feedback.formats.parts.fields import need, optional_text
from feedback.formats.sniffing.shape import is_personal, shape_of
from feedback.formats.sniffing.sniff import FIRST_RECORDS, find_candidates, sniff
from feedback.ingest.rater_key import ENVIRONMENT_VARIABLE
from schemas.errors import InputNotFoundError
from tests.format_records import bot, user, webui
from tests.formats.test_format_chainlit import joined, thread
from tests.formats.test_format_hf_chat_ui import export as chat_ui_export
from tests.formats.test_format_hf_chat_ui import said, tree
from tests.formats.test_format_librechat import chat

SAMPLE = Path(__file__).parents[2] / "sample_data"
TREE_NODE = {"message_id": "m", "role": "prompter", "text": "q", "replies": []}
RECORDS: dict[str, dict[str, Any]] = {
    "thumbs": {"prompt": "q", "completion": "a", "label": "up", "user": "u"},
    "trl": {"prompt": [user("q")], "chosen": [bot("a")], "rejected": [bot("b")]},
    "openai": {"input": {"messages": [user("q")]}, "preferred_output": [bot("a")], "non_preferred_output": [bot("b")]},
    "llamafactory": {"messages": [user("q"), bot("a")], "label": True},
    "hh_rlhf": {"chosen": "\n\nHuman: q\n\nAssistant: a", "rejected": "\n\nHuman: q\n\nAssistant: b"},
    "open_webui": webui(),
    "oasst_tree": {
        "message_tree_id": "t",
        "prompt": {
            **TREE_NODE,
            "replies": [{**TREE_NODE, "message_id": str(rank), "role": "assistant", "rank": rank} for rank in (0, 1)],
        },
    },
}


@pytest.fixture(autouse=True)
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, "a key that is for tests only")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(name: str, *records: Any) -> Path:
    Path(name).write_text("".join(json.dumps(record) + "\n" for record in records), "utf-8")
    return Path(name)


def names(*records: dict[str, Any]) -> list[str]:
    return [one.format for one in find_candidates(records)]


@pytest.mark.parametrize("name", RECORDS)
def test_a_record_of_each_format_is_known(name: str) -> None:
    best = find_candidates([RECORDS[name]])[0]
    assert (best.format, best.accepted, best.is_likely) == (name, 1, True)


@pytest.mark.parametrize(
    ("file", "name"), [("thumbs.jsonl", "thumbs"), ("open_webui.json", "open_webui"), ("pairs.jsonl", "trl")]
)
def test_the_sample_data_is_known(file: str, name: str) -> None:
    assert sniff(SAMPLE / file).candidates[0].format == name


def test_the_fields_that_decided_are_named() -> None:
    (best, *_) = find_candidates([webui()])
    assert {"data.rating", "meta.message_id", "snapshot.chat"} <= set(best.fields)
    (thumb, trl, *_) = find_candidates([{**RECORDS["thumbs"], "extra": 1, "comment": None}])
    assert (thumb.fields, thumb.unread) == (("prompt", "completion", "label", "user"), ("extra",))
    assert (trl.format, trl.accepted, trl.shaped) == ("trl", 0, 1)
    assert trl.refusal == "field 'label' is 'up'; expected true or false"


def test_the_format_that_fits_more_closely_comes_first() -> None:
    assert names(RECORDS["hh_rlhf"]) == ["hh_rlhf", "trl", "axolotl"]
    assert names(RECORDS["trl"]) == ["trl", "axolotl"]


def test_a_label_that_no_format_knows_is_not_guessed() -> None:
    found = find_candidates([{"prompt": "q", "completion": "a", "label": "yes"}] * 3)
    assert {one.format for one in found} == {"thumbs", "trl", "axolotl"}
    assert not any(one.accepted or one.is_likely for one in found)


def test_what_is_none_of_ours_is_said_to_be_none() -> None:
    assert names({"question": "q", "answers": [1]}, {}, {"text": "prompt", "chosen": 3}) == []


SFT = {"messages": [user("q"), bot("a")]}


@pytest.mark.parametrize(
    "more", [{}, {"rating": 1}, {"id": "r", "rating": 1}, {"id": "r", "model": "m", "user": "u"}, {"tools": []}]
)
def test_chats_without_a_vote_are_in_none_of_the_formats(
    more: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    write("in.jsonl", *[{**SFT, **more}] * 3)
    assert run(["formats", "--sniff", "in.jsonl"]) == 0
    out = capsys.readouterr().out
    assert "in.jsonl is in none of the formats, by its first 3 records." in out
    assert "Such a file is read by a map, with the format mapped." in out
    assert "thumbline formats --sniff in.jsonl --map-out map.toml" in out


DIFY = {"conversation_id": "c", "inputs": {}, "query": "q", "answer": "a", "created_at": 1735725600}
LIKED = {**DIFY, "id": "2", "feedback": {"rating": "like"}}


def test_a_log_of_questions_and_answers_is_no_format_of_votes() -> None:
    """Neither where nothing is rated, nor where a vote is written otherwise."""
    silent = {**DIFY, "id": "1", "feedback": None}
    assert names(*[silent] * 9) == names(*[silent] * 9, LIKED) == names(LIKED) == []
    found = find_candidates([*[silent] * 9, {**silent, "feedback": {"type": "thumbs", "score": "👍"}}])
    assert [(one.format, one.accepted) for one in found] == [("streamlit_feedback", 10)]


def test_two_fields_among_many_speak_for_no_format() -> None:
    said = {"prompt": "q", "completion": "a", "label": "yes"}
    assert names(said) != []
    assert names({**said, **{f"own {number}": 1 for number in range(9)}}) == []


STEP = {"streaming": False, "waitForAnswer": False, "isError": False, "metadata": {}, "tags": [], "name": "n"}
STEP |= {"start": "s", "end": "e", "generation": {}, "showInput": "json", "language": "l", "indent": 1, "modes": {}}
DOCUMENT = {"_id": {"$oid": "1"}, "__v": 0, "endpoint": "e", "sender": "s", "tokenCount": 3, "unfinished": False}
CONVERSATION = {"conversationId": "c", "endpoint": "e", "title": "t", "branches": True, "recursive": True}
UNJUDGED: dict[str, tuple[str, list[dict[str, Any]]]] = {
    "hf export": ("hf_chat_ui", [chat_ui_export(said("user", "q"), said("assistant", "a"))]),
    "hf database": (
        "hf_chat_ui",
        [{**tree(), "messages": [{**one, "score": None} for one in tree()["messages"]]}],
    ),
    "librechat conversations": ("librechat", [{**CONVERSATION, "options": {}, "exportAt": "x", "messages": chat()}]),
    "librechat documents": ("librechat", [{**one, **DOCUMENT} for one in chat()]),
    "chainlit threads": ("chainlit", [{"id": "t", "name": "n", "tags": [], "metadata": {}, "steps": thread()}]),
    "chainlit steps": ("chainlit", [{**one, **STEP} for one in thread()]),
}


@pytest.mark.parametrize("what", UNJUDGED)
def test_an_export_that_begins_without_a_vote_is_known_by_its_fields(what: str) -> None:
    name, records = UNJUDGED[what]
    best = find_candidates(records)[0]
    assert (best.format, best.accepted, best.is_likely) == (name, len(records), True)


def test_records_without_a_judgement_speak_for_a_format_beside_those_with_one() -> None:
    """Of few of its keys among many others, which alone would be too few."""
    steps = [{**one, **{f"own {number}": 1 for number in range(40)}} for one in thread(a1={"feedback": {"value": 1}})]
    assert [one.accepted for one in find_candidates([*steps[:5], joined()]) if one.format == "chainlit"] == [6]
    assert not find_candidates(steps[:5])


def test_a_format_with_marks_is_known_by_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Marks make a format known where every record lacks the other file, and unknown where a mark is not there."""

    def parse(record: dict[str, Any]) -> Any:
        need(record, "joined")
        yield from ()

    join = Join(what="traces", key="ref", other="id", into="joined")
    scores = replace(
        FORMATS["thumbs"], name="scores", parse=parse, join=join, plain=(), keys=frozenset({"ref", "value", "joined"})
    )

    def with_format(one: Format) -> None:
        monkeypatch.setattr("feedback.formats.sniffing.sniff.FORMATS", {**FORMATS, one.name: one})

    record = {"ref": "t", "value": 1, "a": 1, "b": 2, "c": 3}
    with_format(scores)
    assert names(record) == []
    (close,) = find_candidates([{"ref": "t", "value": 1}])
    assert (close.format, close.accepted, close.shaped, close.needs) == ("scores", 0, 1, "traces")
    with_format(replace(scores, marks=("ref", "value")))
    assert names(record) == ["scores"]
    with_format(replace(scores, marks=("ref", "source.kind")))
    assert names({"ref": "t", "value": 1}) == []


def test_reading_does_not_change_what_a_format_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    def parse(record: dict[str, Any]) -> Any:
        optional_text(record, "text")
        seen.append(record)
        yield from ()

    monkeypatch.setattr("feedback.formats.sniffing.sniff.FORMATS", {"x": replace(FORMATS["thumbs"], parse=parse)})
    record = {"text": "a", "inner": {"deep": {"list": [{}]}}}
    find_candidates([record])
    assert seen == [record]
    assert json.dumps(seen[0]) == json.dumps(record)
    assert isinstance(seen[0]["inner"], dict)


@pytest.mark.parametrize("kind", ["jsonl", "json", "csv", "parquet", "jsonl.gz", "folder", "glob"])
def test_only_the_first_records_of_any_source_are_read(kind: str, in_folder: Path) -> None:
    rows = [{"prompt": f"q {number}", "completion": "a", "label": "up"} for number in range(200)]
    path = Path(f"in.{kind}")
    if kind == "json":
        path.write_text(json.dumps(rows), "utf-8")
    elif kind == "csv":
        path.write_text("prompt,completion,label\n" + "q,a,up\n" * 200, "utf-8")
    elif kind == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif kind == "jsonl.gz":
        path.write_bytes(gzip.compress("\n".join(map(json.dumps, rows)).encode()))
    elif kind == "jsonl":
        write(path.name, *rows)
    else:
        Path("d").mkdir()
        write("d/1.jsonl", *rows)
        write("d/2.jsonl", {"x": 1})
        path = Path("d" if kind == "folder" else "d/*.jsonl")
    found = sniff(path)
    assert (len(found.values), found.files) == (
        FIRST_RECORDS,
        2 if "." not in kind and kind in ("folder", "glob") else 1,
    )
    assert found.candidates[0].format == "thumbs"


def test_large_records_end_the_reading_early(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("feedback.formats.sniffing.sniff.FIRST_BYTES", 100)
    assert len(sniff(write("in.jsonl", *[{"text": "x" * 60}] * 9)).values) == 2


def test_records_that_cannot_be_read_are_counted() -> None:
    Path("in.jsonl").write_text('{"a": 1\n[1]\n{"prompt": "q", "completion": "a", "label": "up"}\n', "utf-8")
    found = sniff("in.jsonl")
    assert found.unreadable == {"invalid_json": 1, "not_an_object": 1}
    assert found.candidates[0].format == "thumbs"
    with pytest.raises(InputNotFoundError):
        sniff("none.jsonl")


def test_what_is_shown_of_a_record_holds_no_text_and_no_person() -> None:
    record = {
        "rating": "up",
        "text": "two words",
        "userId": 7,
        "author": {"nick": "bob"},
        "from": "a@b.org",
        "client": "10.0.0.1",
        "model_name": "m-1",
        "list": [{"deep": {"deeper": {"deepest": 1}}}, 2],
        "odd\x1bkey": "x\x1b[31m",
    }
    shown = repr(shape_of(record))
    for private in ("two words", "7", "bob", "a@b.org", "10.0.0.1", "\x1b"):
        assert private not in shown
    assert "'rating': 'up'" in shown
    assert "'model_name': 'm-1'" in shown
    assert len(repr(shape_of({f"key {number}": "x" * 999 for number in range(999)}))) < 700


def test_names_that_tell_who_are_told_from_those_that_do_not() -> None:
    assert all(
        map(is_personal, ("user", "user_id", "userEmail", "ip", "ip_address", "name", "authorName", "user-agent"))
    )
    assert not any(map(is_personal, ("user_feedback", "model_name", "rating", "message", "trip", "description")))


def test_the_command_says_what_a_file_is_and_why(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["formats", "--sniff", str(SAMPLE / "thumbs.jsonl")]) == 0
    out = capsys.readouterr().out
    assert out.startswith("thumbs.jsonl is in the format thumbs, by its first 50 records.\n")
    assert "fields that decided: prompt, completion, label" in out
    assert "50 records more with its fields, refused: field 'label' is 'down'; expected true or false" in out
    write("own.jsonl", {"question": "secret words", "vote": 1})
    assert run(["formats", "--sniff", "own.jsonl"]) == 0
    out = capsys.readouterr().out
    assert "own.jsonl is in none of the formats, by its first 1 record." in out
    assert "thumbline formats --sniff own.jsonl --map-out map.toml" in out
    assert "secret" not in out
    write("label.jsonl", {"prompt": "q", "completion": "a", "label": "yes"})
    assert run(["formats", "--sniff", "label.jsonl"]) == 0
    assert "label.jsonl has the fields of the format trl, but values that it refuses." in capsys.readouterr().out
    write("empty.jsonl")
    assert run(["formats", "--sniff", "empty.jsonl"]) == 0
    assert "holds no record at its beginning that could be read" in capsys.readouterr().out


def test_a_page_of_an_interface_is_told_from_its_records(capsys: pytest.CaptureFixture[str]) -> None:
    write("page.json", {"data": [{"id": 1, "value": 1}, {"id": 2, "value": 0}], "meta": {"page": 1}})
    assert run(["formats", "--sniff", "page.json"]) == 0
    out = capsys.readouterr().out
    assert "If the 2 objects in 'data' are the records" in out
    assert "  jq -c '.data[]' page.json > records.jsonl\n" in out
    write("odd.json", {"a b": [{"id": 1}]})
    assert run(["formats", "--sniff", "odd.json"]) == 0
    assert """jq -c '.["a b"][]' odd.json""" in capsys.readouterr().out
    write("two.json", {"a": [{"id": 1}], "b": [{"id": 1}]})
    write("rows.jsonl", {"a": [{"id": 1}]}, {"a": [{"id": 1}]})
    for name in ("two.json", "rows.jsonl"):
        assert run(["formats", "--sniff", name]) == 0
        assert "jq" not in capsys.readouterr().out


def test_the_command_speaks_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["formats", "--sniff", str(SAMPLE / "thumbs.jsonl"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["format"], found["records"], found["map"]) == ("thumbs", 50, None)
    assert found["candidates"][0]["fields"][:3] == ["prompt", "completion", "label"]
    assert "values" not in found
    assert run(["formats", "--map-out", "x.toml"]) == 2
    assert run(["formats", "--sniff", "none.jsonl", "--json"]) == 1
