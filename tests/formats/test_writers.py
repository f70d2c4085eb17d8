"""Every writer: what it claims is read back as it was, for any row, and what it refuses is known before.

The rows here have all that an ingested row can have, so that a claim that does not hold is found.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feedback.formats import FORMATS
from feedback.formats.writers import WRITERS
from feedback.ingest.event_time import read_time

words = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8).filter(str.strip)
turn = st.builds(lambda role, text: {"role": role, "content": text}, st.sampled_from(["user", "tool"]), words)
reply = words.map(lambda text: {"role": "assistant", "content": text})
prompts = st.builds(
    lambda system, exchanges, last: [*system, *(message for pair in exchanges for message in pair), last],
    st.lists(words.map(lambda text: {"role": "system", "content": text}), max_size=1),
    st.lists(st.one_of(st.tuples(turn, reply), st.tuples(turn, turn), st.tuples(reply)), max_size=2),
    turn,
)
answers = st.builds(
    lambda exchanges, last: [*(message for pair in exchanges for message in pair), last],
    st.lists(st.tuples(reply, turn), max_size=1),
    reply,
)
numbers = st.none() | st.floats(0, 1e6)
texts = st.none() | words
tools = st.none() | st.just('[{"type": "function", "function": {"name": "look"}}]')
times = st.none() | st.datetimes(datetime(1990, 1, 2), datetime(2099, 1, 1), timezones=st.just(UTC))

events = st.fixed_dictionaries(
    {
        "prompt": prompts,
        "completion": answers,
        "tools": tools,
        "label": st.sampled_from([True, False]),
        "source_record_id": words | st.just("sha256:00"),
        "op": st.sampled_from(["create", "update"]),
        "rater_key": texts,
        "event_ts": times,
        "updated_ts": times,
        "ts_quality": st.just("exact"),
        "model_id": texts,
        "conversation_id": texts,
        "message_id": texts,
        "strength": numbers,
        "reason_codes": st.lists(words, max_size=2),
        "comment": texts,
        "lang": texts,
        "consent": st.none() | st.booleans(),
    }
)
pairs = st.fixed_dictionaries(
    {
        "prompt": prompts,
        "chosen": answers,
        "rejected": answers,
        "tools": tools,
        "margin": numbers,
        "score_chosen": numbers,
        "score_rejected": numbers,
        "model_chosen": texts,
        "model_rejected": texts,
    }
).filter(lambda row: row["chosen"] != row["rejected"])

ALWAYS = {"events": ("prompt", "completion", "label"), "pairs": ("prompt", "chosen", "rejected")}
"""What every writer claims beside its columns."""
DRAFT_FIELDS = {
    "chosen": "response_a",
    "rejected": "response_b",
    "score_chosen": "score_a",
    "score_rejected": "score_b",
    "source_record_id": "record_id",
    "rater_key": "rater",
    "event_ts": "event_time",
    "updated_ts": "updated_time",
}


def is_taken(target: str, row: dict[str, Any]) -> bool:
    """Whether the target can hold the row, said in other words than the writers'."""
    roles = [message["role"] for message in row["prompt"]]
    after_system = roles[1:] if roles[0] == "system" else roles
    spoken = "".join("A" if role == "assistant" else "U" for role in after_system)
    has_one_turn = all(len(row[name]) == 1 for name in ("completion", "chosen", "rejected") if name in row)
    if target == "openai":
        return all(message["role"] != "user" for side in ("chosen", "rejected") for message in row[side])
    if target == "llamafactory":
        return has_one_turn and spoken == ("UA" * len(spoken))[: len(spoken)] and spoken.endswith("U")
    if target == "axolotl":
        return has_one_turn and ("chosen" in row or after_system == ["user"])
    return True


def read_back(target: str, record: dict[str, Any], schema: pa.Schema | None) -> list[Any]:
    """The record's draft, through JSON and through a table."""
    found = [json.loads(json.dumps(record))]
    if schema is not None:
        found.append(pa.Table.from_pylist([record], schema=schema).to_pylist()[0])
    return [draft for value in found for draft in FORMATS[target].parse(value)]


def claimed(draft: Any, name: str) -> Any:
    value = getattr(draft, DRAFT_FIELDS.get(name, name))
    if name in ("event_ts", "updated_ts"):
        return read_time(value)[0]
    return list(value) if name == "reason_codes" else value


@pytest.mark.parametrize(("target", "kind"), sorted(WRITERS), ids=str)
def test_what_a_writer_claims_is_read_as_it_was(target: str, kind: str) -> None:
    writer = WRITERS[target, kind]

    @given(events if kind == "events" else pairs)
    @settings(max_examples=60, deadline=None)
    def there_and_back(row: dict[str, Any]) -> None:
        record = writer.record(row)
        assert (record is not None) == is_taken(target, row)
        if record is None:
            return
        drafts = read_back(target, record, writer.schema)
        assert len(drafts) == 1 + (writer.schema is not None)
        is_made_up = row.get("source_record_id", "").startswith("sha256:")
        for name in (*ALWAYS[kind], *writer.columns):
            expected = row[name]
            if is_made_up and name in ("source_record_id", "op"):
                expected = None if name == "source_record_id" else "create"
            for draft in drafts:
                assert claimed(draft, name) == expected, name

    there_and_back()


@pytest.mark.parametrize(("target", "kind"), sorted(WRITERS), ids=str)
def test_a_writer_that_refuses_rows_says_which(target: str, kind: str) -> None:
    writer = WRITERS[target, kind]
    turns = [{"role": role, "content": "x"} for role in ("user", "user", "assistant", "user")]
    several = [{"role": role, "content": "x"} for role in ("assistant", "user", "assistant")]
    row = {"prompt": turns, "completion": several, "chosen": several, "rejected": several[:1], "label": True}
    refused = writer.record({**row, "source_record_id": "1", "op": "create"}) is None
    assert refused == bool(writer.refuses)
    assert writer.columns <= {"tools"} or not refused
