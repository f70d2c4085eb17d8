"""Usual records are read in a quick way, which gives what the careful one gives, whatever is damaged."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from feedback.config import SourceConfig
from feedback.engine import read_rows
from feedback.formats import FORMATS, chatgpt_export, librechat, phoenix
from feedback.formats.parts import trace_texts
from feedback.formats.parts.attributes import find_attribute, find_attributes
from feedback.ingest import ingest
from feedback.ingest.rater_key import ENVIRONMENT_VARIABLE
from schemas.errors import RecordRejectedError
from tests.formats.test_format_chatgpt_export import mapping
from tests.formats.test_format_chatgpt_export import rated as chatgpt
from tests.reading.test_joins import write

QUICK = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
ODD = st.sampled_from(
    [None, "", " ", "x", 0, 1.5, True, [], ["x"], [None], {}, {"role": "user"}, "all", "tool", "code"]
)
PARTS = st.sampled_from(["a", "b", "0", "1", "00", "-1", "role", "content", "²", ""])
KEYS = st.lists(PARTS, min_size=1, max_size=4).map(".".join)
ATTRIBUTES = st.dictionaries(KEYS, st.one_of(ODD, st.dictionaries(KEYS, ODD, max_size=3)), max_size=7)
NAMES = ("a", "a.b", "b.0", "a.b.role", "1", "b")


def outcome(read: Callable[..., Any], *values: Any) -> str:
    """What came of it, in the order in which it came."""
    try:
        return repr(read(*copy.deepcopy(values)))
    except RecordRejectedError as error:
        return f"{error.reason}: {error.detail}"


@given(ATTRIBUTES)
@settings(QUICK, max_examples=600)
def test_several_attributes_are_found_as_each_alone_is(attributes: dict[str, Any]) -> None:
    found = {name: find_attribute(attributes, name) for name in NAMES}
    assert repr(find_attributes(attributes, NAMES)) == repr(found)
    span = {"attributes": attributes, "name": "x"}
    for record in (span, {**span, "attributes.a.b": 7}, {f"attributes.{key}": one for key, one in attributes.items()}):
        careful = {name: find_attribute(record, f"attributes.{name}") for name in NAMES}
        assert repr(phoenix._below(record, "attributes", NAMES)) == repr(careful)


def test_rows_of_words_are_lists_in_the_order_of_their_numbers() -> None:
    flat = {"m.10.message.role": "c", "m.9.message.role": "b", "m.9.message.content": "t", "m.09.message.role": "d"}
    for more in ({}, {"m.9.message.tool_calls.0.id": "x"}, {"m.9": "value"}, {"m.x.message.role": "y"}):
        assert repr(find_attributes({**flat, **more}, ("m",))["m"]) == repr(find_attribute({**flat, **more}, "m"))


@given(st.dictionaries(st.sampled_from(["message", "message.role", "x"]), ODD), ODD, ODD, st.booleans())
@QUICK
def test_a_message_of_a_span_reads_the_same_quick_or_careful(
    more: dict[str, Any], role: Any, content: Any, is_flat: bool
) -> None:
    message = (
        {"message.role": role, "message.content": content}
        if is_flat
        else {"message": {"role": role, "content": content}}
    )
    one = {**message, **more}
    careful = {
        "role": find_attribute(one, "message.role"),
        "content": find_attribute(one, "message.content"),
        "tool_calls": find_attribute(one, "message.tool_calls"),
    }
    if isinstance(find_attribute(one, "message.contents"), list):
        return
    assert outcome(trace_texts.read_turns, [phoenix._message(one)], "f", "user") == outcome(
        trace_texts.read_turns, [careful], "f", "user"
    )


@given(
    st.sampled_from(["sys", "q1", "a1", "q2", "call", "output", "a2"]),
    st.sampled_from(
        ["author", "content", "metadata", "recipient", "author.role", "content.content_type", "content.parts"]
    ),
    st.one_of(ODD, st.sampled_from(["assistant", "user", "thoughts", "user_editable_context", ["a", "b"], ["a", 1]])),
    st.sampled_from(["a1", "a2", "q2", "output"]),
)
@settings(QUICK, max_examples=400)
def test_a_damaged_conversation_reads_the_same_quick_or_careful(name: str, path: str, value: Any, rated: str) -> None:
    nodes = mapping()
    top, _, inner = path.partition(".")
    message = nodes[name]["message"]
    message[top] = {**message[top], inner: value} if inner else value
    record = chatgpt(rated, mapping=nodes)
    quick = outcome(lambda one: list(chatgpt_export.CHATGPT_EXPORT.parse(one)), record)
    with patch.object(chatgpt_export, "_told_plainly", return_value=None):
        assert quick == outcome(lambda one: list(chatgpt_export.CHATGPT_EXPORT.parse(one)), record)


@given(
    st.sampled_from(["HumanMessage", "AIMessageChunk", "FunctionMessageChunk", "OtherMessage", "x" * 50, 3]),
    st.dictionaries(st.sampled_from(["content", "additional_kwargs", "role", "tool_calls", "parts"]), ODD),
    st.sampled_from([None, "text", [{"type": "text", "text": "t"}]]),
    st.sampled_from([None, {"tool_calls": []}, {"tool_calls": [1]}, {"refusal": None}]),
)
@settings(QUICK, max_examples=400)
def test_a_dumped_message_reads_the_same_quick_or_careful(
    name: Any, kwargs: dict[str, Any], content: Any, more: Any
) -> None:
    told = {
        **({} if content is None else {"content": content}),
        **({} if more is None else {"additional_kwargs": more}),
    }
    value = [{"lc": 1, "type": "constructor", "id": ["langchain", name], "kwargs": {**told, **kwargs}}]
    quick = outcome(trace_texts.read_turns, value, "f", "user")
    with patch.object(trace_texts, "_plainly_dumped", return_value=None):
        assert quick == outcome(trace_texts.read_turns, value, "f", "user")


@given(st.dictionaries(st.sampled_from(["isCreatedByUser", "text", "content"]), ODD))
@settings(QUICK, max_examples=300)
def test_a_message_document_reads_the_same_quick_or_careful(message: dict[str, Any]) -> None:
    quick = librechat._plain_turn(message)
    assert quick is None or repr(quick) == outcome(librechat._turn, message)


def document(name: str, parent: str | None, **fields: Any) -> dict[str, Any]:
    shared = {"messageId": name, "conversationId": "c", "parentMessageId": parent, "text": name, "error": False}
    return {**shared, "isCreatedByUser": name.startswith("q"), "sender": "x", "_id": {"$oid": name}, **fields}


def test_what_is_not_judged_is_counted_the_same_whether_it_is_joined_or_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where its conversation is another, is none, or is larger than is read."""
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, "a key that is for tests only")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("feedback.ingest.partners._MOST_PARTNERS", 8)
    up = {"rating": "thumbsUp"}
    documents = [
        *(
            document("q1", None),
            document("a1", "q1", feedback=up),
            document("q2", "a1"),
            document("a2", "q2", feedback=None),
        ),
        *(document("q3", None, conversationId=None), document("a3", "q3", conversationId="d", feedback=up)),
        *(document(f"q{number}", None, conversationId="large", tokenCount=3) for number in range(10, 20)),
        *(document("q4", 7, text=4, extra=1), document("a4", "q4", feedback=up), {"conversationId": "c", "text": "x"}),
        {**document("q5", None), "messages": [1]},
    ]
    write("m.jsonl", *documents[:16], '{"messageId": "twice", "messageId": "x"}', *documents[16:])
    results = []
    for is_judged in (librechat.LIBRECHAT.join.is_judged, None):
        made = replace(librechat.LIBRECHAT, join=replace(librechat.LIBRECHAT.join, is_judged=is_judged))
        monkeypatch.setattr("feedback.formats.FORMATS", {**FORMATS, "librechat": made})
        result = ingest(
            [SourceConfig(path="m.jsonl", format="librechat")], Path(f"o{len(results)}"), max_rejected_share=1.0
        )
        rows = [read_rows(path).to_dicts() for path in result.events]
        results.append((rows, result.report, result.rejected, pl.read_parquet(result.quarantine[0]).to_dicts()))
    assert results[0] == results[1]
    assert results[0][2]["too_large"] == 10
    assert results[0][1].figures["ignored"]["the message has no feedback"] >= 3
