"""Tables of drafts, made of whole columns, against rows that are made one by one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feedback.formats import FORMATS, EventDraft, Format, IgnoredDraft, PairDraft
from feedback.formats.drafts import Draft
from feedback.hashing import messages_hash
from feedback.ingest import block_records
from feedback.ingest.block_records import LineRecords, ListRecords, spoken_lines
from feedback.ingest.draft_columns import PAIRS
from feedback.ingest.drafted import Drafted
from feedback.ingest.format_check import FormatCheck
from feedback.ingest.partners import Partners
from feedback.ingest.refused import Refused
from feedback.records.json_columns import split_lines
from feedback.records.raw_record import json_record
from schemas.events import FEEDBACK_EVENT
from schemas.pairs import PREFERENCE_PAIR
from tests.draft_rows import slow_hash, slow_tables

KEY = b"a key that is for tests only"
WORDS = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=6),
    st.sampled_from(
        ["a\r\nb", "a\r", "said \t\n", "e\u0301", "\u00e9", "x\x1f", "x\x85", "\u3000", "x\0y", "😀 ok\u2028", ""]
    ),
)
ROLES = st.sampled_from(["user", "assistant", "system", "tool", "nobody"])
TURNS = st.lists(st.fixed_dictionaries({"role": ROLES, "content": WORDS}), max_size=3)
PROMPTS = st.one_of(TURNS, WORDS.map(lambda text: [{"role": "user", "content": f"q{text}"}]))
ANSWERS = st.one_of(TURNS, WORDS.map(lambda text: [{"role": "assistant", "content": f"a{text}"}]))
MAYBE = st.none() | WORDS
IDS = st.one_of(st.none(), st.sampled_from(["", "1", "same", "é"]))
NUMBERS = st.one_of(st.none(), st.sampled_from([0.0, -0.0, 1.5, -2.5, float("nan"), 3]))
TIMES = st.one_of(
    st.none(),
    st.integers(631_151_999, 4_102_444_801),
    st.floats(6e8, 4.2e9),
    st.sampled_from(
        [0, -1, 2**70, True, float("nan"), "2026-01-05T09:51:39Z", "2026-01-05T09:51:39", "2026-01-05", ""]
    ),
    st.sampled_from(["yesterday", "1980-01-01T00:00:00Z", "2026-01-05T09:51:39.123+02:00", ["x"]]),
    st.just(datetime(2026, 1, 5, tzinfo=UTC)),
)
VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-2, 2), WORDS, st.sampled_from([0.0, -0.0, 1.0, [1, "é"], {"a": None}])
)
LISTS = st.lists(WORDS, max_size=2).map(tuple)
SHARED = {
    "raw_value": VALUES,
    "record_id": IDS,
    "rater": st.one_of(st.none(), st.sampled_from(["u1", "é", ""])),
    "rater_kind": st.sampled_from(["end_user", "annotator", "somebody"]),
    "event_time": TIMES,
    "tools": MAYBE,
    "flags": LISTS,
    "prompt": PROMPTS,
}
EVENTS = st.builds(
    EventDraft,
    **SHARED,
    completion=ANSWERS,
    signal=WORDS,
    label=st.none() | st.booleans(),
    op=st.sampled_from(["create", "update", "retract"]),
    updated_time=TIMES,
    model_id=MAYBE,
    conversation_id=MAYBE,
    message_id=MAYBE,
    strength=NUMBERS,
    reason_codes=LISTS,
    comment=MAYBE,
    lang=MAYBE,
    consent=st.none() | st.booleans(),
)
PAIR_DRAFTS = st.builds(
    PairDraft,
    **SHARED,
    response_a=ANSWERS,
    response_b=ANSWERS,
    outcome=st.sampled_from(["a", "b", "tie", "neither"]),
    margin=NUMBERS.map(lambda number: number if number is None else float(number)),
    score_a=NUMBERS,
    score_b=NUMBERS,
    presented_first=st.sampled_from([None, "a", "b"]),
    model_a=MAYBE,
    model_b=MAYBE,
)
IGNORED = st.sampled_from(["x", "y"]).map(lambda what: IgnoredDraft(what=what))
RECORDS = st.lists(st.lists(st.one_of(EVENTS, PAIR_DRAFTS, IGNORED), max_size=3), max_size=8)


def read(records: Sequence[Sequence[Draft]], *, as_lines: bool = True) -> tuple[list[bytes], Drafted, Refused, Any]:
    """What becomes of records whose format gives these drafts."""
    raws = [b'{"n": %d}' % number for number in range(len(records))]
    own = Format(
        name="own",
        kind="both",
        summary="",
        label_rule="",
        fields="",
        keys=frozenset({"n"}),
        parse=lambda record: iter(records[record["n"]]),
    )
    lines = split_lines(b"\n".join([*raws, b""]) if raws else b"")
    places = spoken_lines(lines, np.ones(len(lines), dtype=np.bool_))
    rows = [json_record("f", number, raw) for number, raw in enumerate(raws, start=1)]
    refused = Refused("s", own, KEY)
    drafted = Drafted(
        LineRecords("f", 1, lines, places) if as_lines else ListRecords(rows),
        own,
        Partners(None, None),
        FormatCheck(own),
        refused,
    )
    drafted.read(0, len(raws))
    return raws, drafted, refused, drafted.tables("s", KEY)


@pytest.mark.parametrize("as_lines", [True, False])
@given(RECORDS)
@settings(deadline=None, max_examples=150)
def test_rows_are_those_made_one_by_one(as_lines: bool, records: list[list[Draft]]) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(block_records, "_PIECE_BYTES", 20)
        patched.setattr(block_records, "_PIECE_RECORDS", 2)
        raws, drafted, refused, tables = read(records, as_lines=as_lines)
    kept, broken = slow_tables(list(zip(raws, records, strict=True)), "s", KEY)
    for name, schema in (("events", FEEDBACK_EVENT), ("pairs", PREFERENCE_PAIR)):
        assert tables[name].table.schema == schema
        assert repr(tables[name].table.to_pylist()) == repr(kept[name])
    rows = refused.table().to_pylist()
    assert sorted((row["line"] - 1, row["reason"], row["detail"]) for row in rows) == sorted(broken)
    assert all(row["raw"] == raws[row["line"] - 1] for row in rows)
    told = [f"f line {owner + 1}: {reason}, {detail}" for owner, reason, detail in broken]
    assert refused.first_cases() == tuple(told[:3])
    gone = {owner for owner, _, _ in broken}
    left_out = (
        draft.what
        for owner, drafts in enumerate(records)
        if owner not in gone
        for draft in drafts
        if isinstance(draft, IgnoredDraft)
    )
    assert drafted.ignored() == Counter(left_out)


@given(TURNS)
def test_a_hash_of_turns_is_a_chain_of_seeds(turns: Any) -> None:
    assert messages_hash(turns) == slow_hash(turns)


def test_a_margin_is_looked_at_before_a_time() -> None:
    draft = PairDraft(
        prompt=[{"role": "user", "content": "q"}],
        response_a=[{"role": "assistant", "content": "a"}],
        response_b=[{"role": "assistant", "content": "b"}],
        outcome="a",
        raw_value=1,
        margin=-1.0,
        event_time="never",
    )
    _, _, refused, tables = read([[draft]])
    assert refused.first_cases() == ("f line 1: rule_violation, the margin is -1.0; expected 0 or more",)
    assert tables[PAIRS.name].table.num_rows == 0


def test_half_of_a_surrogate_pair_refuses_its_record_alone() -> None:
    """JSON in a text of a record can hold one, though the record's own JSON cannot."""
    drafts = [
        EventDraft(
            prompt=[{"role": "user", "content": text}],
            completion=[{"role": "assistant", "content": "a"}],
            signal="thumb",
            raw_value=True,
            label=True,
        )
        for text in ("q", "\ud800", "r")
    ]
    _, _, refused, tables = read([[drafts[0]], [drafts[1], drafts[0]], [drafts[2]]])
    detail = "the text holds '\\ud800', half of a surrogate pair"
    assert refused.first_cases() == (f"f line 2: lone_surrogate, {detail}",)
    assert [row["prompt"][0]["content"] for row in tables["events"].table.to_pylist()] == ["q", "r"]


def test_what_no_format_reads_is_noted_of_records_that_can_be_read() -> None:
    """A record with a time that cannot be read does not count, and neither does a field without a value."""
    bad = b'{"prompt": "q", "completion": "a", "label": "up", "time": "never", "odd": 1}'
    good = b'{"prompt": "q", "completion": "a", "label": "up", "more": 1, "none": null}'
    rows = [json_record("f", number, raw) for number, raw in enumerate((bad, good), start=1)]
    own = FORMATS["thumbs"]
    drafted = Drafted(ListRecords(rows), own, Partners(None, None), FormatCheck(own), Refused("s", own, KEY))
    drafted.read(0, 2)
    drafted.tables("s", KEY)
    assert drafted.unread() == [("more",)]


def test_lines_that_are_blank_are_no_records() -> None:
    lines = split_lines(b'\n{"a": 1}\r\n \t\n {}\n\x0b\n')
    assert spoken_lines(lines, np.ones(len(lines), dtype=np.bool_)).tolist() == [1, 3, 4]
