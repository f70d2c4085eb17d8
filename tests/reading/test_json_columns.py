"""Readers of many JSON lines at once, against the strict reader of one: fast, and never of another opinion."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from feedback.records.json_columns import read_columns, split_lines
from feedback.records.json_lines import decode_lines, long_numbers
from feedback.records.json_scan import find_ambiguous
from feedback.records.strict_json import MAX_DEPTH, MAX_DIGITS, decode_object
from schemas.errors import RecordRejectedError
from tests.json_text import LINES, NAUGHTY, SOUND

SCHEMA = pa.schema([("a", pa.string()), ("b", pa.int64()), ("c", pa.float64()), ("d", pa.bool_()), ("e", pa.string())])
PLAIN = b'{"a": "z", "b": 3, "c": 0.5, "d": true}'
NO_ONE_TYPE = [b'{"a": "z", "other": 1}', b'{"a": "z", "other": "x"}', b'{"a": "z", "other": {"b": [1]}}']
QUICK = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))


def strictly(line: bytes) -> tuple[dict[str, Any] | None, tuple[str, str] | None]:
    """The object of a line, or reason and detail of its rejection."""
    try:
        return decode_object(line), None
    except RecordRejectedError as error:
        return None, (error.reason, error.detail)


def columns_of(lines: list[bytes], seen: tuple[str, ...] | None = None) -> dict[int, dict[str, Any]]:
    """Row by place of the lines that were read, each read once; a field of a table is null where the line lacks it."""
    found: dict[int, dict[str, Any]] = {}
    for places, table in read_columns(split_lines(b"".join(line + b"\n" for line in lines)), SCHEMA, seen):
        assert table.schema.names[: len(SCHEMA)] == SCHEMA.names
        assert [table.schema.field(field.name).type for field in SCHEMA] == SCHEMA.types
        assert len(places) == table.num_rows
        rows = dict(zip(places.tolist(), table.to_pylist(), strict=True))
        assert found.keys().isdisjoint(rows)
        found |= rows
    return found


def as_strictly(line: bytes, row: dict[str, Any]) -> dict[str, Any]:
    """The object of a line, whose known fields are those of the row."""
    value, reject = strictly(line)
    assert value is not None, (line, reject)
    known = {name: value.get(name) for name in SCHEMA.names}
    assert {name: row[name] for name in SCHEMA.names} == known, line
    assert all(type(row[name]) is type(known[name]) or name == "c" for name in known), line
    return value


def agree(lines: list[bytes]) -> int:
    """Check both readers on the lines; how many were read as columns."""
    lines = [line.rstrip(b"\r") for line in lines]
    columns = columns_of(lines)
    for place, row in columns.items():
        value = as_strictly(lines[place], row)
        others = {name for name in value.keys() - row.keys() if value[name] is not None}
        assert not others, lines[place]
    for place, row in columns_of([*lines, *NO_ONE_TYPE], ("seen",)).items():
        as_strictly([*lines, *NO_ONE_TYPE][place], row)
    texts = [line for line in lines if line.strip(b" \t\r")]
    values, rejects = decode_lines(texts)
    wanted = [strictly(line) for line in texts]
    assert [repr(value) for value in values] == [repr(value) for value, _ in wanted]
    assert rejects == {place: reject for place, (_, reject) in enumerate(wanted) if reject is not None}
    return len(columns)


@pytest.mark.parametrize("line", NAUGHTY, ids=range(len(NAUGHTY)))
def test_no_line_is_read_in_another_way_than_strictly(line: bytes) -> None:
    """Alone, beside good lines, and in the middle of so many that they are parted."""
    agree([line])
    agree([PLAIN, line, PLAIN])
    assert agree([*[PLAIN] * 40, line, *[PLAIN] * 40]) >= 80 - 24


@given(st.lists(LINES, max_size=20))
@QUICK
def test_on_any_lines_both_readers_agree_with_the_strict_one(lines: list[bytes]) -> None:
    agree([line for line in lines if b"\n" not in line])


@given(st.lists(st.one_of(SOUND, SOUND, SOUND, LINES), min_size=30, max_size=90))
@settings(QUICK, max_examples=40)
def test_on_many_lines_with_few_bad_ones_too(lines: list[bytes]) -> None:
    agree([line for line in lines if b"\n" not in line])


def test_what_has_the_types_is_read_as_columns() -> None:
    """Blank lines, white space, carriage returns and other fields do not stop the others from being read."""
    lines = [PLAIN, b"", b"  ", PLAIN + b"\r", b' {"a": "z"}', b'{"x": [{"y": "z"}], "a": null}', b'{"a": 1}', b"{}"]
    found = columns_of(lines)
    assert sorted(found) == [0, 3, 5, 7]
    assert found[0] == found[3] == {"a": "z", "b": 3, "c": 0.5, "d": True, "e": None, "x": None}
    assert found[5]["x"] == [{"y": "z"}]


@pytest.mark.parametrize("depth", [MAX_DEPTH, MAX_DEPTH + 1, MAX_DEPTH + 2])
@pytest.mark.parametrize("beside", [[], [b"null"], [b"{}"], [b"1"] * 300, [b"null"] * 3 + [b"{}"] * 3])
def test_depth_counts_in_each_line_whatever_stands_beside_it(depth: int, beside: list[bytes]) -> None:
    deep = b'{"x": ' + b'{"a": ' * (depth - 1) + b"null" + b"}" * depth
    assert (strictly(deep)[0] is None) is (depth > MAX_DEPTH + 1)  # levels below the record itself
    agree([*beside, deep])
    agree([deep, *beside])


@pytest.mark.parametrize("items", [b'[null, "0"]', b"[null, null]", b"[[null, 1], null]", b'[null, {"y": null}]'])
def test_lists_of_nulls_in_fields_that_nobody_reads_do_no_harm(items: bytes) -> None:
    """Arrow makes arrays of them that reach beyond their own values: such lines are read in another way."""
    for lines in (
        [b"{}", b"{}", b'{"d": null, "a": "", "x": ' + items + b"}"],
        [b'{"x": ' + items + b"}", PLAIN, b"{}"],
    ):
        agree(lines)


def test_bad_lines_cost_only_their_neighbours() -> None:
    """What Arrow refuses and msgspec does not is found by parting: here a key that is there twice."""
    twice = b'{"a": "1", "a": "2"}'
    lines = [PLAIN] * 500 + [twice] + [PLAIN] * 500
    found = columns_of(lines)
    assert 500 not in found
    assert len(found) >= 1000 - 24


def test_of_no_lines_nothing_is_read() -> None:
    assert columns_of([]) == {}
    assert columns_of([b"", b" "]) == {}
    assert decode_lines([]) == ([], {})


def test_a_block_need_not_end_with_a_line_end() -> None:
    ((places, table),) = read_columns(split_lines(b'{"a": "1"}\n{"a": "2"}'), SCHEMA)
    assert places.tolist() == [0, 1]
    assert table.column("a").to_pylist() == ["1", "2"]


@given(st.integers(0, 400), st.integers(MAX_DIGITS, MAX_DIGITS + 200), st.integers(0, 400))
@settings(max_examples=60, deadline=None)
def test_a_long_number_is_never_missed(before: int, digits: int, after: int) -> None:
    """Three lines, the second with the number: wherever it stands, that line is found."""
    lines = [b"x" * before, b"ab" + b"7" * digits + b"c", b"y" * after]
    split = split_lines(b"\n".join(lines) + b"\n")
    assert long_numbers(np.frombuffer(split.data, np.uint8), split.ends).tolist() == [False, True, False]


def test_keys_that_occur_once_in_each_object_are_no_reason_to_look_twice() -> None:
    """Objects beside and within each other share keys; texts hold what looks like keys."""
    lines = [
        b'{"a": [{"a": 1}, {"a": 2}], "b": {"a": {"b": 0}}, "c": "\\"a\\": {"}',
        b'{"a": "a", "b": ["a", "a"], "c" : {}}',
        b'{"a": {"x": 1}, "b": 2, "c": {"x": {"x": {"x": 3}}}}',
    ]
    assert ambiguous(lines) == [0, 0, 0]
    assert ambiguous([b'{"a": {"b": 1, "c": 2, "b": 3}}', b'{"a": [], "a": []}', b'{"\\u0061": 1}']) == [1, 1, 1]
    assert ambiguous([b'{"a": ' + b"[" * 199 + b"]" * 199 + b"}", b'{"a": ' + b"[" * 200 + b"]" * 200 + b"}"]) == [0, 1]


@given(st.lists(st.tuples(st.text('ab"\\\\{}:,é ', max_size=40), st.text("ab", min_size=1, max_size=40)), max_size=9))
@settings(max_examples=300, deadline=None)
def test_texts_of_any_length_with_quotes_and_escapes_hide_no_key(values: list[tuple[str, str]]) -> None:
    """A line is found where one of its keys occurs twice, and only there, wherever its texts end."""
    line = "{" + ", ".join(f"{json.dumps(key)}: {json.dumps(text)}" for text, key in values) + "}"
    keys = [key for _, key in values]
    is_found = int(len(set(keys)) < len(keys))
    assert ambiguous([b'{"first": "line"}', line.encode(), b'{"last": 1}']) == [0, is_found, 0]
    assert ambiguous([line.encode()]) == [is_found]


@pytest.mark.parametrize("key", [b"a", b"ab", b"abc", b"abcdefgh", b"abcdefghij"])
def test_a_key_at_the_very_end_of_a_text_is_found_again(key: bytes) -> None:
    """Behind it stand fewer bytes than are looked at together."""
    assert ambiguous([b'{"%s":1,"x%s":1}' % (key, key), b'{"%s":1,"%s":1}' % (key, key)]) == [0, 1]


def ambiguous(lines: list[bytes]) -> list[int]:
    text = np.frombuffer(b"".join(line + b"\n" for line in lines), dtype=np.uint8)
    ends = np.flatnonzero(text == ord("\n"))
    found = np.empty(len(lines), np.uint8)
    find_ambiguous(text, np.concatenate(([0], ends[:-1] + 1)), ends, MAX_DEPTH, found)
    return found.tolist()


def test_what_has_no_one_type_is_passed_over_where_nobody_reads_it() -> None:
    """But not in lines with a key that is read, at any depth and however it is written, nor what is no sound JSON."""
    odd = [
        *(b'{"a": "s", "seen": 1}', b'{"a": "s", "x": [{"seen": null}]}', b'{"a": "s", "s\\u0065en": 1}'),
        *(
            b'{"a": "s", "x": NaN}',
            b'{"a": "s", "x": -Infinity}',
            b'{"a": "s", "x": 1e999}',
            b'{"a": "s", "x": "\\ud800"}',
        ),
        *(b'{"a": "s", "x": 1, "x": 2}', b'{"a": "s", "x": {"y": 1, "y": 1}}', b'{"a": "s", "x": "\xff"}'),
        b'{"a": "s", "x": ' + b"[" * (MAX_DEPTH + 2) + b"]" * (MAX_DEPTH + 2) + b"}",
        b'{"a": "s", "x": ' + b"9" * (MAX_DIGITS + 1) + b"}",
    ]
    sound = [PLAIN, *NO_ONE_TYPE] * 20
    found = columns_of(sound, ("seen",))
    assert len(found) == len(sound)
    assert "other" not in found[0]
    assert len(columns_of(sound)) < len(sound)
    for line in odd:
        read = columns_of([*sound, line, *sound], ("seen",))
        assert len(sound) not in read, line
        assert len(read) >= 2 * len(sound) - 24, line
    assert len(columns_of([*sound, *odd[:3], *sound], ("seen",))) == 2 * len(sound)
