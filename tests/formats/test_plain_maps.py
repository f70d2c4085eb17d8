"""Maps of many kinds: read by column their records give what they give one by one, also where they are damaged."""

from __future__ import annotations

import copy
import json
import random
from pathlib import Path
from typing import Any

import pytest

from feedback.formats import Format
from feedback.formats.mapped import mapped_format
from feedback.ingest.plain.records import PlainSource, read_plain
from feedback.ingest.plain.shapes import choose_shapes, plain_schema
from feedback.records.json_columns import read_columns, split_lines
from tests.formats.test_plain_formats import ODD, agree_in, change, with_value

Record = dict[str, Any]

VOTES = """
[fields]
id = "id"
prompt = "request.messages"
completion = "response.choices[0].message.content"
label = "feedback.value"
user = "user_id"
time = "feedback.at"
updated = "feedback.changed"
model = "request.model"
conversation = 'ids["chat.id"]'
message = 'ids.all[-1]'
comment = "feedback.note"
reasons = "feedback.tags"
strength = "feedback.weight"
lang = "lang"
consent = "consent"
tools = "tools"
[labels]
up = "up"
down = "down"
null = "none"
1 = "up"
"0.5" = "down"
true = "up"
"""
TEXTS = """
[fields]
prompt = "q"
completion = "a"
label = "stars"
time = "at"
[constants]
id = 7
user = "u"
model = "m"
lang = " "
consent = true
reasons = ["r", " "]
strength = 2
comment = "said"
[thresholds]
up_from = 4
down_to = 2
[labels]
"n/a" = "none"
2 = "up"
[options]
time_unit = "UNIT"
signal = "stars"
rater_kind = "annotator"
"""
CHAT = """
[fields]
conversation_messages = "chat"
label = "vote"
[labels]
good = "up"
bad = "down"
[roles]
human = "user"
bot = "assistant"
[options]
role_key = "from"
content_key = "value"
"""
PAIRS = """
kind = "pairs"
[fields]
prompt = "q"
chosen = "c"
rejected = "r"
margin = "m"
score_a = "scores[0]"
score_b = "scores[1]"
presented_first = "first"
model_a = "models.a"
time = "at"
id = "id"
"""
OUTCOMES = """
kind = "pairs"
[fields]
prompt = "q"
response_a = "left.said"
response_b = "right.said"
outcome = "winner"
presented_first = "winner"
user = "user"
[constants]
model_a = "m1"
time = "2026-01-05T09:51:39Z"
[outcomes]
l = "a"
r = "b"
0 = "tie"
both = "both_bad"
"""


def said(role: str, text: str, **more: Any) -> Record:
    return {"role": role, "content": text, **more}


def vote(number: int) -> Record:
    asked = [said("system", "s"), said("user", f"q{number}"), said("assistant", "p"), said("user", "é\n")]
    return {
        "id": number,
        "app": {"name": "n", "build": number},
        "request": {"messages": asked[: 2 + 2 * (number % 2)], "model": "m"},
        "response": {"choices": [{"index": 0, "message": said("assistant", f"a{number}", refusal=None)}], "n": 1},
        "feedback": {
            "value": ("up", "down", None)[number % 3],
            "at": ("2026-01-05T09:51:39Z", "2026-01-05 09:51:39", None)[number % 5 % 3],
            "changed": None,
            "note": None if number % 3 else " said ",
            "tags": ["t"] * (number % 3),
            "weight": number / 2,
        },
        "user_id": f"u{number % 4}",
        "ids": {"chat.id": "c", "all": [f"m{place}" for place in range(1 + number % 2)]},
        "lang": "de",
        "consent": number % 2 == 0,
        "tools": None,
    }


def texts(number: int) -> Record:
    return {"q": f"q{number}", "a": f"a{number}", "stars": number % 6, "at": 1767606699000 + number, "more": [number]}


def chat(number: int) -> Record:
    turns = [("human", "q"), ("bot", "p"), ("user", "r"), ("bot", f"é{number}")]
    messages = [{"from": role, "value": text} for role, text in turns]
    return {"chat": messages[2 * (number % 2) :], "vote": ("good", "bad")[number % 2]}


def pair(number: int) -> Record:
    return {
        "id": f"p{number}",
        "q": f"q{number}",
        "c": [said("assistant", "a", name="n")],
        "r": [said("assistant", f"b{number}", name=None)],
        "m": float(number) / 4,
        "scores": [2.5, 0.5],
        "first": ("chosen", "b", None)[number % 3],
        "models": {"a": "m"},
        "at": 1767606699.25,
    }


def outcome(number: int) -> Record:
    sides = {"left": {"said": f"a{number}"}, "right": {"said": "b"}}
    return {"q": [said("user", f"q{number}")], **sides, "winner": "lr"[number % 2], "user": number}


def scaled(unit: str, factor: int) -> Any:
    def record(number: int) -> Record:
        return {**texts(number), "at": (1767606699 + number) * factor + number % 7}

    return TEXTS.replace("UNIT", unit), record


CASES = {
    "votes": (VOTES, vote),
    "seconds": scaled("s", 1),
    "milliseconds": scaled("ms", 1_000),
    "microseconds": scaled("us", 1_000_000),
    "nanoseconds": scaled("ns", 1_000_000_000),
    "chat": (CHAT, chat),
    "pairs": (PAIRS, pair),
    "outcomes": (OUTCOMES, outcome),
}
TRIES: list[Any] = [
    *ODD,
    *("1767606699", "1767606699000", "1767606699000.5", "-1767606699", "20260105", "٣٣٣٣٣٣٣٣٣٣"),
    *(4, 4.0, 4.5, 0.25, 1767606699, 1767606699123, 1767606699123456, 1767606699123456789, 1767606699.123456),
    *("good", "n/a", "null", "chosen", "rejected", "b", "l", "both", "tie", '{"a": 1}', '["a"]'),
    [said("assistant", "a", tool_calls=[])],
    [said("assistant", "a", tool_calls=None, function_call=None), said("tool", "t")],
    [said("assistant", "a", function_call={"name": "f"})],
    [said("user", "q", name="n"), said("user", "r")],
    [said("user", "q0"), said("assistant", "a")],
    [{"from": "human", "value": "q"}, {"from": "bot", "value": "a", "tool_calls": [1]}],
    [{"from": "human", "value": "q"}, {"from": "human", "value": "a"}],
    [{"from": "bot", "value": "a", "weight": 1}],
    [{"message": said("assistant", "a")}, {"message": said("assistant", "b")}],
    [{"message": None}],
    said("assistant", "a"),
]


def format_of(folder: Path, text: str) -> Format:
    path = folder / "map.toml"
    path.write_text(text, "utf-8")
    return mapped_format(path)


def count_plain(one: Format, records: list[Record]) -> int:
    """How many records are read by column."""
    shapes = choose_shapes(one, records[:20])
    lines = split_lines("".join(f"{json.dumps(record)}\n" for record in records).encode("utf-8"))
    schema = plain_schema(shapes, records[:20])
    source = PlainSource(shapes=shapes, schema=schema, read=frozenset(), name="source", key=b"k" * 16)
    tables = read_columns(lines, schema, source.seen)
    return sum(len(rows.records) for rows in read_plain(lines, source, tables))


@pytest.mark.parametrize("case", CASES)
def test_sound_records_of_a_map_are_read_as_columns_and_give_the_same(case: str, tmp_path: Path) -> None:
    text, make = CASES[case]
    one, records = format_of(tmp_path, text), [make(number) for number in range(60)]
    assert count_plain(one, records) == len(records)
    agree_in(tmp_path, one, records)


@pytest.mark.parametrize("case", CASES)
def test_damaged_records_of_a_map_give_the_same_either_way(case: str, tmp_path: Path) -> None:
    text, make = CASES[case]
    one = format_of(tmp_path, text)
    for seed in range(10):
        chance = random.Random(seed)
        records = [copy.deepcopy(make(number)) for number in range(12)]
        for record in records:
            for _ in range(chance.choice([0, 0, 1, 1, 2])):
                change(record, chance)
        agree_in(tmp_path, one, records)


@pytest.mark.parametrize("case", CASES)
def test_any_odd_value_in_any_field_of_a_map_gives_the_same_either_way(case: str, tmp_path: Path) -> None:
    """One field of one record at a time, behind a sound record and without one, so that types are told by others."""
    text, make = CASES[case]
    one, record = format_of(tmp_path, text), make(1)
    paths = [(key,) for key in record]
    paths += [(key, inner) for key, value in record.items() if isinstance(value, dict) for inner in value]
    records = [with_value(record, path, value) for path in paths for value in TRIES]
    agree_in(tmp_path, one, [record, *records])
    for path in paths:
        agree_in(tmp_path, one, [with_value(record, path, value) for value in reversed(TRIES)])


@pytest.mark.parametrize(
    "change_map",
    [
        ('tools = "tools"', 'tools = "feedback.tools"'),
        ('tools = "tools"', 'system = "system"'),
        ('tools = "tools"', 'outcome = "feedback.outcome"'),
        ('comment = "feedback.note"', 'comment = "feedback"'),
        ('comment = "feedback.note"', 'comment = "feedback.weight"'),
        ('id = "id"', 'id = \'a["\\""]\''),
        ('lang = "lang"', ""),
    ],
)
def test_maps_that_do_more_than_name_paths_are_read_one_by_one(change_map: tuple[str, str], tmp_path: Path) -> None:
    """What would have to be of two types, lies in another field, or is read beyond its path."""
    text = VOTES.replace(*change_map) + ("" if change_map[1] else "[constants]\nlang = 7\n")
    assert text != VOTES
    one = format_of(tmp_path, text)
    assert not one.plain
    agree_in(tmp_path, one, [vote(number) for number in range(4)])


@pytest.mark.parametrize(
    "table", ['[join]\nkey = "id"\nother = "id"\ninto = "more"\n', '[each]\nlist = "request.messages"\n']
)
def test_maps_with_further_tables_are_read_one_by_one(table: str, tmp_path: Path) -> None:
    assert not format_of(tmp_path, VOTES + table).plain


def test_roles_of_a_map_are_named_in_columns_too(tmp_path: Path) -> None:
    """Names of the map beside the usual ones, and one that the map turns around."""
    text = TEXTS.replace("UNIT", "ms")
    asked = [said("human", "q"), said("assistant", "p"), said("developer", "r"), said("user", "s")]
    records = [{**texts(number), "q": asked[number % 3 :]} for number in range(9)]
    for roles in ('human = "user"', 'human = "user"\nuser = "tool"', 'human = "tool"\nassistant = "user"'):
        one = format_of(tmp_path, f"{text}[roles]\n{roles}\n")
        assert count_plain(one, records) == len(records)
        agree_in(tmp_path, one, records)
    assert count_plain(format_of(tmp_path, text), records) == 6


def test_fields_that_a_map_does_not_name_may_have_any_types(tmp_path: Path) -> None:
    """Beside the fields, in the objects around them and in messages; but no message may call a tool, nor be a tool."""
    one = format_of(tmp_path, VOTES)
    records = [{key: value for key, value in vote(number).items() if key != "tools"} for number in range(60)]
    odd: list[Any] = [1, "x", {"a": 1}, [1, "x"], None, 2.5, [[]]]
    for number, record in enumerate(records):
        record["more"] = odd[number % len(odd)]
        record["request"]["kept"] = odd[number % 3]
        record["request"]["messages"][0]["at"] = odd[number % 4]
    assert count_plain(one, records) == len(records)
    agree_in(tmp_path, one, records)
    for number, (key, value) in enumerate(
        [("tool_calls", [{"id": 1}]), ("tool_calls", None), ("function_call", {"n": 1})]
    ):
        records[7 * number + 3]["request"]["messages"][1][key] = value
    records[50]["tools"] = [{"name": "t"}]
    records[51]["tools"] = None
    assert count_plain(one, records) == len(records) - 5
    agree_in(tmp_path, one, records)
