"""Lines of JSON for tests: sound records, and every way that we know of to make a line that readers do not agree on."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

KEYS = ["a", "b", "c", "d", "e", 'q"', "s\\", "é", "\0", ""]
TEXTS = st.one_of(
    st.text(max_size=6),
    st.sampled_from(
        ["NaN", "Infinity", '":', '\\":', "}{", "\\", "\\\\", "2025-01-01T00:00:00Z", "😀", "\x7f\x85\u2028"]
    ),
)
NUMBERS = st.one_of(
    st.integers(-5, 5),
    st.integers(-(2**70), 2**70),
    st.sampled_from([2**53 + 1, 2**63 - 1, 2**63, -(2**63), 10**299, 10**300, -(10**299)]),
    st.floats(allow_nan=False, allow_infinity=False),
)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(KEYS) | TEXTS, inner, max_size=3)
    ),
    max_leaves=6,
)
TYPED: dict[str, st.SearchStrategy[Any]] = {
    "a": TEXTS,
    "b": st.integers(-(2**63), 2**63 - 1),
    "c": st.floats(allow_nan=False, allow_infinity=False),
    "d": st.booleans(),
    "e": TEXTS,
}
"""Fields of one type each: most records have them right, or a reader of columns would read nothing."""

RECORDS = st.one_of(
    st.fixed_dictionaries({}, optional=TYPED),
    st.fixed_dictionaries({}, optional={**{key: value | st.none() for key, value in TYPED.items()}, "x": VALUES}),
    st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=4),
)
NAUGHTY = [
    b'{"a": "1", "a": "2"}',
    b'{"a": "1", "\\u0061": "2"}',
    b'{"x": {"y": 1, "y": 2}}',
    b'{"x": [{"y": 1, "y": 1}]}',
    b'{"x": {"y": {"z": 1, "z": 1}, "w": 2}}',
    b'{"a":"1","b":2,"a" :"3"}',
    b'{"s\\\\":1,"s\\\\":2}',
    b'{"x": NaN}',
    b'{"x": Inf}',
    b'{"c": NaN}',
    b'{"a": NaN}',
    b'{"b": Infinity}',
    b'{"d": NaN}',
    b'{"a":"1","a":"2","b" :3}',
    b'{"a":"1","a":"2","b"' + b" " * 30 + b":3}",
    b'{"x": 0.' + b"1" * 400 + b"}",
    b'{"x": "' + b"1" * 400 + b'"}',
    b'{"x":{"y\\":1,"z":2,"z":3}}',
    b'{"x":"\\":","a":"1","a":"2"}',
    b'{"c": Infinity}',
    b'{"c": -Infinity}',
    b'{"c": -Inf}',
    b'{"c": inf}',
    b'{"c": 1e999}',
    b'{"x": 1e999}',
    b'{"x": [1e999]}',
    b'{"x": {"y": -1e999}}',
    b'{"x": [NaN]}',
    b'{"x": [Inf]}',
    b'{"x": {"y": [[-Inf]]}}',
    b'{"x": ' + b"9" * 301 + b"}",
    b'{"x": -' + b"9" * 299 + b"}",
    b'{"x": -' + b"9" * 300 + b"}",
    b'{"c": ' + b"9" * 305 + b"}",
    b'{"c": ' + b"9" * 400 + b"}",
    b'{"b": ' + b"9" * 25 + b"}",
    b'{"x": [' + b"9" * 305 + b"]}",
    b'{"a": "\\ud800"}',
    b'{"a": "\\udc00"}',
    b'{"a": "\\ud800\\ud800"}',
    b'{"a": "\\udc00\\ud800"}',
    b'{"x": ["\\udfff"]}',
    b'{"\\ud800": 1}',
    b'{"a": "\\uD83D\\uDE00"}',
    b'{"a": "\xff"}',
    b'{"\xff": 1}',
    b'{"a": "\xed\xa0\x80"}',
    b'{"a": "\xc0\x80"}',
    b'{"a": "\xf4\x90\x80\x80"}',
    b'{"a": "\x00"}',
    b'{"a": "\x01"}',
    b'{"a": "\t"}',
    b'{"a": "\\u0000"}',
    b'{"a": "\\x41"}',
    b'{"a": "\\u00g0"}',
    b'{"a": "\\u00"}',
    b"{'a': '1'}",
    b'{a: "1"}',
    b'{"a": "1",}',
    b'{,"a": "1"}',
    b'{"a": "1" "b": 2}',
    b'{"a" "1"}',
    b'{"b": 01}',
    b'{"b": +1}',
    b'{"c": .5}',
    b'{"c": 1.}',
    b'{"c": 1e}',
    b'{"c": 0x10}',
    b'{"b": -0}',
    b'{"c": -0.0}',
    b'{"c": 1}',
    b'{"b": 1.0}',
    b'{"b": 1e2}',
    b'{"d": 1}',
    b'{"d": "true"}',
    b'{"d": True}',
    b'{"a": None}',
    b'{"a": 1}',
    b'{"a": "1"} {"a": "2"}',
    b'{"a": "1"}{"a": "2"}',
    b'{"a": "1"}, {"a": "2"}',
    b'{"a": "1"} // said',
    b'{"a": "1" /* said */}',
    b'{"a": "1"}\x00',
    b'{"a": "1"} trailing',
    b'{"a": "1"}}',
    b'{{"a": "1"}',
    b'{"a": {"b": 1}',
    b'{"a": "1"',
    b'"a"}',
    b"{}",
    b"{ }",
    b"[]",
    b'["a"]',
    b"null",
    b"1",
    b'"text"',
    b"\xef\xbb\xbf" + b'{"a": "1"}',
    b'{\xef\xbb\xbf"a": "1"}',
    b'{"a": "1"}\xef\xbb\xbf',
    b'\x0b{"a": "1"}',
    b'{"a":\x0c"1"}',
    b'{"a":\xc2\xa0"1"}',
    b'{"a":\r"1"}',
    b'{"x": ' + b"[" * 199 + b"]" * 199 + b"}",
    b'{"x": ' + b"[" * 200 + b"]" * 200 + b"}",
    b'{"x": ' + b"[" * 201 + b"]" * 201 + b"}",
    b'{"x": ' + b'{"y":' * 250 + b"1" + b"}" * 250 + b"}",
    b'{"x": ' + b"[" * 5000 + b"]" * 5000 + b"}",
    b'{"x": ' + b"[]," * 3 + b"}",
    b'{"x": [' + b"[]," * 300 + b"[]]}",
    b'{"x": [1, "a", null]}',
    b'{"x": [[1], {"y": 2}]}',
    b'{"x": "' + b"[" * 300 + b'"}',
]


def _double_key(line: bytes) -> bytes:
    return line[:-1] + b"," + line[1:] if line.endswith(b"}") and len(line) > 2 else line


MUTATIONS: list[Callable[[bytes], bytes]] = [
    lambda line: line,
    lambda line: b" " + line,
    lambda line: line + b" \t",
    lambda line: line + line,
    lambda line: line + b" x",
    lambda line: b"\xef\xbb\xbf" + line,
    lambda line: line[:-1],
    lambda line: line[1:],
    lambda line: line.replace(b":", b" : "),
    lambda line: line.replace(b'"', b"'"),
    lambda line: line.replace(b"0", b"NaN"),
    lambda line: line.replace(b"1", b"1e999"),
    lambda line: line.replace(b"e", b"\xff"),
    lambda line: line.replace(b"u00", b"ud8"),
    lambda line: line.replace(b"[", b"[["),
    _double_key,
]


def _dumped(record: Any, is_ascii: bool, is_tight: bool) -> bytes:
    separators = (",", ":") if is_tight else None
    text = json.dumps(record, ensure_ascii=is_ascii, separators=separators)
    return text.encode("utf-8", "surrogatepass")


SOUND = st.builds(_dumped, RECORDS, st.booleans(), st.booleans())
"""Lines with one JSON object each."""

CUT = st.builds(
    lambda line, place, piece: line[: place % (len(line) + 1)] + piece + line[place % (len(line) + 1) :],
    SOUND,
    st.integers(0, 200),
    st.sampled_from(
        [b"\\", b'"', b"{", b"}", b"[", b"]", b",", b":", b"0", b"\x00", b"\xff", b"\\ud800", b"\r", b"NaN"]
    ),
)
LINES = st.one_of(
    SOUND,
    st.sampled_from(NAUGHTY),
    st.builds(lambda line, change: change(line), SOUND, st.sampled_from(MUTATIONS)),
    CUT,
)
"""Lines of all kinds, without line feeds; some are blank to JSON, none is empty."""
