"""One field of many JSON lines, against the strict reader of whole lines: never of another opinion."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from feedback.records import json_fields
from feedback.records.json_columns import split_lines
from feedback.records.json_fields import read_fields
from feedback.records.json_lines import decode_lines
from tests.json_text import LINES, NAUGHTY

PATHS = [("a",), ("x", "y"), ("x", "y", "z"), ("",)]
PLAIN = b'{"a": "z", "x": {"y": {"z": 1}}}'
NUMBERS = [
    "1e99",
    "1e+308",
    "1e309",
    "1.5E999",
    "-1e400",
    "1e-999",
    "9" * 299 + "e9",
    "9" * 290 + "e99",
    "0e999",
    "1e1",
]


def at(record: dict[str, Any], keys: tuple[str, ...]) -> Any:
    value: Any = record
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def agree(lines: list[bytes], keys: tuple[str, ...]) -> None:
    split = split_lines(b"".join(line + b"\n" for line in lines))
    spoken = [place for place in range(len(split)) if split.line(place).strip(b" \t\r")]
    values, rejects = read_fields(split, np.array(spoken, np.int64), keys, lambda record: at(record, keys))
    objects, refused = decode_lines([split.line(place).strip(b" \t\r") for place in spoken])
    assert rejects == refused
    wanted = [None if one is None else at(one, keys) for one in objects]
    assert json.dumps(values) == json.dumps(wanted)


@given(st.lists(LINES, max_size=6), st.sampled_from(PATHS))
@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
def test_fields_are_those_of_whole_lines(lines: list[bytes], keys: tuple[str, ...]) -> None:
    agree(lines, keys)
    agree([PLAIN, *lines, PLAIN], keys)


@pytest.mark.parametrize("keys", PATHS)
def test_what_readers_do_not_agree_on_is_seen_beside_the_field(keys: tuple[str, ...]) -> None:
    """Each line alone too, since one that is odd has the others of its block read one by one."""
    others = [line.replace(b'"a"', b'"other"') for line in NAUGHTY]
    numbers = [f'{{"a": 1, "n": [{number}]}}'.encode() for number in NUMBERS]
    for line in (*NAUGHTY, *others, *numbers, b'{"a": 1, "n": "\xff"}', b'{"a": 1, "\xed\xa0\x80": 2}'):
        agree([line], keys)
        agree([PLAIN, line, PLAIN], keys)
    agree([*others, *numbers], keys)


def test_sound_lines_are_not_read_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_fields, "decode_lines", None)
    lines = split_lines(b"\n".join([PLAIN, b'{"n": 1e5, "text": "\\ud83d\\ude00 \xc3\xa9"}', b'{"x": null}', PLAIN]))
    values, rejects = read_fields(lines, np.arange(4), ("x", "y", "z"), lambda record: record)
    assert (values, rejects) == ([1, None, None, 1], {})
