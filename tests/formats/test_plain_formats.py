"""Every format with plain records: read by column they give what they give one by one, also where they are damaged."""

from __future__ import annotations

import copy
import json
import random
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from bench.reader_logs import READER_LOGS, READER_MAPS, write_reader_log
from feedback.engine import read_rows
from feedback.formats import FORMATS, Format
from feedback.ingest import block
from feedback.ingest.block import ingest_block
from feedback.ingest.block_task import BlockResult, BlockTask
from feedback.ingest.plain.records import PlainSource, read_plain
from feedback.ingest.plain.shapes import choose_shapes, plain_schema
from feedback.records.json_columns import read_columns, split_lines
from feedback.records.text_blocks import TextBlock
from schemas.errors import FormatMismatchError

ONE_BY_ONE = {"ultrafeedback:raw", "librechat:export"}
"""Shapes without plain records of formats that have some in another shape."""
JOINED = {"chatgpt_export", "librechat", "phoenix"}
"""What is joined with a file, see tests/formats/test_plain_threads.py and tests/formats/test_plain_judgements.py."""
SIZE = 150_000
ROUNDS = 25
ODD: list[Any] = [
    *(None, True, False, 0, 1, -1, 2, 7, 0.0, 0.5, -0.0, 1e-7, 1e17, 2**53 + 1, 2**63, -(2**70)),
    *("", " ", "\n", "\x1c", "up", "1", "0", "true", "said \r\n", "é", "e\u0301", "\u2003x", "a\0", "[]", "model_a"),
    *([], {}, [None], [""], ["a"], [[]], [{}], {"a": 1}, {"role": "user", "content": "q"}, {"from": "gpt"}),
    [{"role": "user", "content": "q"}],
    [{"role": "assistant", "content": "a"}],
    [{"role": "user", "content": "q"}, {"role": "assistant", "content": " "}],
    [{"role": "system", "content": ""}, {"role": "developer", "content": "q"}],
    [{"role": "user", "content": "q", "name": "n"}, {"role": "assistant", "content": None}],
    [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}],
    [{"role": "assistant", "content": "a", "tool_calls": [{"id": 1}]}],
]


@cache
def format_of(name: str) -> Format:
    """The format of a log, with the map that it needs."""
    one = FORMATS[name.partition(":")[0]]
    if one.name not in READER_MAPS or one.with_map is None:
        return one
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
        file.write(READER_MAPS[one.name])
        file.flush()
        return one.with_map(Path(file.name))


NAMES = [name for name in READER_LOGS if format_of(name).plain and name not in ONE_BY_ONE | JOINED]


@cache
def records_of(name: str) -> tuple[dict[str, Any], ...]:
    """Sound records of a format, without most of their text, so that many can be tried."""
    folder = Path(__file__).parent / "__pycache__" / f"plain-{name.replace(':', '-')}"
    folder.mkdir(parents=True, exist_ok=True)
    written = write_reader_log(name, folder, size=SIZE, seed=5)
    lines = Path(written.path).read_text("utf-8").splitlines()
    shutil.rmtree(folder)
    return tuple(json.loads(line) for line in lines)


def ingested(folder: Path, one: Format, data: bytes, *, is_plain: bool) -> tuple[BlockResult | str, dict[str, Any]]:
    """What the kernel says of one block, or its error, and its tables in their order."""
    shutil.rmtree(folder, ignore_errors=True)
    text = TextBlock("in.jsonl", 1, data)
    task = BlockTask(0, 0, folder, "source", one.name, None, "extremes", b"k" * 16, None, is_first=True, block=text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(block, "open_format", lambda *_: one if is_plain else replace(one, plain=()))
        try:
            result: BlockResult | str = ingest_block(task)
        except FormatMismatchError as error:
            return str(error), {}
    return result, {path.name: read_rows(path) for path in sorted(folder.glob("*-0*"))}


def agree(folder: Path, name: str, records: list[Any]) -> None:
    """Compare both ways of a known format."""
    agree_in(folder, format_of(name), records)


def agree_in(folder: Path, one: Format, records: list[Any]) -> None:
    """Compare both ways; quarantined records are in the order of their lines in both."""
    data = "".join(f"{json.dumps(record, ensure_ascii=place % 2 == 0)}\n" for place, record in enumerate(records))
    encoded = data.encode("utf-8", "surrogatepass")
    fast, fast_tables = ingested(folder / "fast", one, encoded, is_plain=True)
    slow, slow_tables = ingested(folder / "slow", one, encoded, is_plain=False)
    assert fast_tables.keys() == slow_tables.keys(), (fast, slow)
    for table_name, table in slow_tables.items():
        assert fast_tables[table_name].schema == table.schema
        assert in_order(fast_tables[table_name]) == in_order(table), table_name
    assert fast == slow


def in_order(table: pl.DataFrame) -> list[dict[str, Any]]:
    return table.to_dicts()


def damaged(records: tuple[dict[str, Any], ...], name: str, chance: random.Random) -> Iterator[dict[str, Any]]:
    """The records, half of them with a value changed, taken out, or added under a key that the format knows."""
    keys = sorted(format_of(name).keys or records[0])
    for record in chance.sample(records, min(len(records), 12)):
        changed = copy.deepcopy(record)
        for _ in range(chance.choice([0, 0, 1, 1, 2])):
            if chance.random() < 0.25:
                changed[chance.choice(keys)] = chance.choice(ODD)
            else:
                change(changed, chance)
        yield changed


def change(record: dict[str, Any], chance: random.Random) -> None:
    """Change one value somewhere in a record."""
    place: Any = record
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        if not keys:
            return
        key = chance.choice(keys)
        if isinstance(place[key], dict | list) and place[key] and chance.random() < 0.7:
            place = place[key]
            continue
        if chance.random() < 0.25:
            del place[key]
        else:
            place[key] = copy.deepcopy(chance.choice(ODD))
        return


@pytest.mark.parametrize("name", NAMES)
def test_sound_records_are_read_as_columns_and_give_the_same(name: str, tmp_path: Path) -> None:
    """Nearly all are plain, so what the other test compares is not one way with itself."""
    records = list(records_of(name))
    one = format_of(name)
    shapes = choose_shapes(one, records)
    assert shapes
    lines = split_lines("".join(f"{json.dumps(record)}\n" for record in records).encode("utf-8"))
    schema, read = plain_schema(shapes, records), one.keys or frozenset()
    source = PlainSource(shapes=shapes, schema=schema, read=read, name="source", key=b"k" * 16)
    found = read_plain(lines, source, read_columns(lines, schema))
    assert sum(len(rows.records) for rows in found) >= 0.9 * len(records)
    agree(tmp_path, name, records)


@pytest.mark.parametrize("name", ["fastchat_arena", "llamafactory", "trl"])
def test_events_and_pairs_of_one_file_are_both_read_as_columns(name: str, tmp_path: Path) -> None:
    """In turn, and many of one kind behind few of the other, which the sample then hardly has."""
    logs = [one for one in NAMES if one.partition(":")[0] == name]
    records = [record for log in logs for record in records_of(log)[:40]]
    one = format_of(name)
    assert {shape.kind for shape in choose_shapes(one, records)} == {"events", "pairs"}
    chance = random.Random(3)
    for _ in range(4):
        mixed = chance.sample(records, len(records))
        agree(tmp_path, name, mixed + list(damaged(tuple(mixed), name, chance)))
        agree(tmp_path, name, sorted(mixed, key=lambda record: len(str(record.keys()))))


@pytest.mark.parametrize("name", NAMES)
def test_damaged_records_give_the_same_either_way(name: str, tmp_path: Path) -> None:
    for seed in range(ROUNDS):
        agree(tmp_path, name, list(damaged(records_of(name), name, random.Random(seed))))


@pytest.mark.parametrize("name", NAMES)
def test_any_odd_value_in_any_field_gives_the_same_either_way(name: str, tmp_path: Path) -> None:
    """One field of one record at a time, also with what another field of the record holds, as answers that are one."""
    record = records_of(name)[0]
    paths = [(key,) for key in record]
    paths += [(key, inner) for key, value in record.items() if isinstance(value, dict) for inner in value]
    records = [with_value(record, path, value) for path in paths for value in (*ODD, *record.values())]
    agree(tmp_path, name, [record, *records])


def with_value(record: dict[str, Any], path: tuple[str, ...], value: Any) -> dict[str, Any]:
    changed = copy.deepcopy(record)
    place = changed
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = copy.deepcopy(value)
    return changed


@pytest.mark.parametrize(
    ("before", "before_rejected"),
    [("Note", "Note"), (" \n", " \n"), ("", " "), ("\n\nAssistant: Hi.", "\n\nAssistant: Hi.")],
)
def test_what_stands_before_the_first_turn_of_a_transcript(before: str, before_rejected: str, tmp_path: Path) -> None:
    """Text there is no transcript, and white space must be the same in both."""
    turns = "\n\nHuman: q\n\nAssistant: "
    agree(tmp_path, "hh_rlhf", [{"chosen": f"{before}{turns}a", "rejected": f"{before_rejected}{turns}b"}] * 2)


@pytest.mark.parametrize(
    "rejected",
    [
        "\n\nHuman: q\n\nAssistant: a",
        "\n\nHuman: q\n\nAssistant:\x1c a ",
        "\n\nHuman: q\n\nAssistant: b\n\nAssistant: c",
        "\n\nHuman: q\n\nAssistant: b\n\nHuman: c",
        "\n\nHuman: q\n\nAssistant: b\n\nHuman: c\n\nAssistant: d",
        "\n\nHuman: q\n\nHuman: b",
        "\n\nHuman: q\n\nAssistant: b\x1e",
        "\n\nHuman: q\n\nAssistant:",
        "\n\nHuman: é\n\nAssistant: b",
        "\n\nHuman: q\n",
        "",
    ],
)
def test_a_second_transcript_is_cut_where_the_first_one_was(rejected: str, tmp_path: Path) -> None:
    """Only what is behind the prompt of the first is looked at, and it may be anything."""
    record = {"chosen": "\n\nHuman: q\n\nAssistant: a", "rejected": rejected}
    swapped = {"chosen": record["rejected"], "rejected": record["chosen"]}
    sound = {**record, "rejected": "\n\nHuman: q\n\nAssistant: b"}
    agree(tmp_path, "hh_rlhf", [sound, record, swapped, sound])


@pytest.mark.parametrize("kind", ["upvote", "leftvote"])
@pytest.mark.parametrize(
    "changed",
    [
        *({"offset": offset} for offset in (2, 1, 4, 6, 9, -1, -2, None)),
        *({"conv_id": value} for value in (None, " ", 7, "c\n")),
        *({"model_name": value} for value in (None, "", " ", 7)),
        *({"messages": value} for value in (None, [], [["U", "q"]], [["U", "q"], ["A", None]], [["U"], ["A", "a"]])),
        {"messages": [[None, "q"], ["A", "a"], ["U", "q"], ["A", " "]]},
        {"messages": [["U", "q", "x"], ["A", "a"]]},
        {"messages": [["U", ["q", ["image"]]], ["A", "a"]]},
    ],
)
def test_conversations_of_fastchat(kind: str, changed: dict[str, Any], tmp_path: Path) -> None:
    """What a state may hold, in a log where votes on one model, on two and lines that are no vote stand together."""
    texts = [["U", "q1"], ["A", "a1"], ["U", "q2"], ["A", "a2"]]
    state: dict[str, Any] = {"messages": texts, "offset": 0, "conv_id": "c", "model_name": "m"}
    other = {**state, "messages": [*texts[:-1], ["A", "b2"]]}
    odd = {**state, **changed}
    head = {"tstamp": 1767606699.25, "type": kind, "models": ["", "named"], "model": "shown", "ip": "10.0.0.1"}
    battles = [[odd, other], [other, odd], [odd, odd], [other], [other, other, other]]
    records = [{**head, "states": states} for states in battles] + [{**head, "state": odd}]
    sound = [{**head, "type": "upvote", "state": state}, {**head, "type": "leftvote", "states": [state, other]}]
    left_out = [{**head, "type": one, "state": odd} for one in ("chat", "share", "flag")]
    agree(tmp_path, "fastchat_arena", [*sound, *records, *left_out, {**sound[0], "tstamp": 1767606699}, *sound])


def test_votes_on_turns_of_mt_bench_and_who_gave_them(tmp_path: Path) -> None:
    """Every winner, every kind of judge, a turn that is not there, and conversations that part later or never."""
    first, *others = records_of("mt_bench")
    changes: list[dict[str, Any]] = [
        *({"winner": winner} for winner in ("model_a", "model_b", "tie", "tie (inconsistent)", "error")),
        *({"judge": judge} for judge in ("author_1", "gpt-4", "my GPT judge", "an expert", ["gpt-4", "pair"], " ")),
        *({"turn": turn} for turn in (0, 1, 2, 3, 10**12)),
        {"conversation_b": first["conversation_a"]},
        {"conversation_b": [*first["conversation_a"][:2], *first["conversation_b"][2:]]},
        {"conversation_a": first["conversation_a"][:3]},
    ]
    agree(tmp_path, "mt_bench", [{**first, "turn": turn, **one} for turn in (1, 2) for one in changes] + others[:3])


@pytest.mark.parametrize(
    "cell",
    [
        '["q"], "x": ["y"]',
        '["q"]}{"cell": ["p"]',
        '["q", null]',
        '["q", 1]',
        ' ["q"\n] ',
        '["\\ud83d"]',
        '["\\ud83d\\ude00"]',
    ],
)
def test_what_looks_like_a_list_of_texts_in_a_cell(cell: str, tmp_path: Path) -> None:
    """A cell is read as the field of a line: what would end that line, or add to it, is no list."""
    first, *others = records_of("arena:kaggle")
    one = {**first, "prompt": '["q"]', "response_a": '["a"]', "response_b": '["b"]'}
    agree(tmp_path, "arena:kaggle", [{**one, field: cell} for field in ("prompt", "response_a")] + others[:3])
