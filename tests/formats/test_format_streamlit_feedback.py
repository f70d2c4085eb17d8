"""Streamlit: votes of the component and of `st.feedback`, beside question and answer or in a chat; 0 is down."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from feedback.config import SourceConfig
from feedback.engine import read_rows
from feedback.formats import EventDraft, find_format
from feedback.formats.sniffing.sniff import find_candidates
from feedback.ingest import ingest
from feedback.ingest.rater_key import ENVIRONMENT_VARIABLE
from schemas.errors import RecordRejectedError
from schemas.reasons import RejectReason
from tests.format_records import bot, left_out, parse, reason_of, user


def vote(feedback: Any, **fields: Any) -> dict[str, Any]:
    return {"prompt": "q", "response": "a", "feedback": feedback, **fields}


def thumbs(score: Any, text: Any = None, kind: Any = "thumbs") -> dict[str, Any]:
    return {"type": kind, "score": score, "text": text}


def test_the_component_beside_question_and_answer_becomes_an_event() -> None:
    record = vote(thumbs("👎", "No."), id=7, timestamp="2026-01-05T09:51:39", user_id="u1", model="m", session_id="s1")
    assert parse("streamlit_feedback", record) == EventDraft(
        prompt=[user("q")],
        completion=[bot("a")],
        signal="thumb",
        raw_value="👎",
        label=False,
        record_id="7",
        rater="u1",
        event_time="2026-01-05T09:51:39",
        model_id="m",
        conversation_id="s1",
        comment="No.",
    )


@pytest.mark.parametrize(
    ("feedback", "label"),
    [
        *(
            (thumbs("👍"), True),
            (thumbs("👍\ufe0f"), True),
            (thumbs("👎"), False),
            (thumbs(1), True),
            (thumbs(0), False),
        ),
        *((1, True), (0, False), (1.0, True), (0.0, False), ("1", True), ("0", False), ("1.0", True), ("👍", True)),
        *(('{"type": "thumbs", "score": "👎", "text": null}', False), ("{'type': 'thumbs', 'score': '👍'}", True)),
        ("{'type': 'thumbs', 'score': '👎', 'text': None}", False),
    ],
)
def test_thumbs_are_labels_in_every_form_that_a_table_gives_them(feedback: Any, label: bool) -> None:
    assert parse("streamlit_feedback", vote(feedback)).label is label


def test_zero_is_down_and_null_is_no_vote() -> None:
    assert parse("streamlit_feedback", vote(0)).label is False
    for nothing in (None, thumbs(None), ""):
        assert left_out("streamlit_feedback", vote(nothing)) == ["there is no feedback on the answer"]


@pytest.mark.parametrize(
    "record",
    [
        *(vote(2), vote(3), vote(4), vote(-1), vote(0.5), vote(True), vote(False), vote("up"), vote([]), vote("2")),
        *(vote(thumbs("🙂", kind="faces")), vote(thumbs("👍", kind="faces")), vote(thumbs("😀")), vote(thumbs(True))),
        *(vote(1, type="stars"), vote(0, options="faces"), vote(1, feedback_type="stars"), vote({"score": []})),
    ],
)
def test_faces_stars_and_anything_else_need_a_map_and_the_message_says_so(record: dict[str, Any]) -> None:
    with pytest.raises(RecordRejectedError) as caught:
        list(find_format("streamlit_feedback").parse(record))
    assert caught.value.reason == RejectReason.UNKNOWN_LABEL
    assert "Faces and stars need a map and the format mapped" in caught.value.detail


def test_the_component_may_lie_flat() -> None:
    flat = parse("streamlit_feedback", {"question": "q", "answer": "a", **thumbs("👍", "Yes.")})
    assert (flat.prompt, flat.completion, flat.label, flat.comment) == ([user("q")], [bot("a")], True, "Yes.")


def test_a_chat_gives_an_event_for_each_vote_about_its_own_turn() -> None:
    messages: list[dict[str, Any]] = [
        {"role": "assistant", "content": "hi"},
        {"role": "user", "content": "q1"},
        {"role": "ai", "content": "a1", "feedback": 0},
        {"role": "human", "content": "q2"},
        {"role": "assistant", "content": "a2", "feedback": thumbs("👍")},
    ]
    for key in ("messages", "history", "chat_history"):
        first, second = find_format("streamlit_feedback").parse({"id": "r", key: messages})
        assert isinstance(first, EventDraft)
        assert isinstance(second, EventDraft)
        assert (first.record_id, first.prompt, first.completion) == ("r:2", [bot("hi"), user("q1")], [bot("a1")])
        assert (first.label, second.label, len(second.prompt)) == (False, True, 4)
    whole = parse("streamlit_feedback", {"messages": messages[:3], "feedback": 1})
    assert (whole.prompt, whole.completion, whole.label) == ([bot("hi"), user("q1")], [bot("a1")], True)


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"prompt": "q", "response": "a"}, RejectReason.MISSING_FIELD),
        ({"response": "a", "feedback": 1}, RejectReason.MISSING_FIELD),
        ({"prompt": "q", "feedback": 1}, RejectReason.MISSING_FIELD),
        (vote(1, question="q"), RejectReason.RULE_VIOLATION),
        (vote(1, answer="a"), RejectReason.RULE_VIOLATION),
        ({"messages": [], "history": [], "feedback": 1}, RejectReason.RULE_VIOLATION),
        ({"messages": [{"role": "user", "content": "q", "feedback": 1}]}, RejectReason.BAD_ROLES),
        (vote('{"score": '), RejectReason.INVALID_JSON),
        (vote("{'score': open('x')}"), RejectReason.INVALID_JSON),
        (vote("{'score': '\\ud800'}"), RejectReason.INVALID_JSON),
        (vote(thumbs("👍", 3)), RejectReason.WRONG_TYPE),
        (vote(1, user_id=[]), RejectReason.WRONG_TYPE),
        (vote(1, prompt=3), RejectReason.WRONG_TYPE),
    ],
)
def test_a_record_that_breaks_a_rule_is_rejected(record: dict[str, Any], reason: str) -> None:
    assert reason_of("streamlit_feedback", record) == reason


def test_a_table_with_empty_cells_is_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """pandas turns a column of 0, 1 and nothing into floats."""
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, "a key that is for tests only")
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(["question", "answer", "feedback", "username", "timestamp"])
    writer.writerows(
        [f"q{n}", "a", cell, "u-canary", "2026-01-05 09:51:39"] for n, cell in enumerate(["1.0", "0.0", "", "3.0"])
    )
    (tmp_path / "in.csv").write_text(out.getvalue(), encoding="utf-8")
    source = SourceConfig(path=str(tmp_path / "in.csv"), format="streamlit_feedback")
    result = ingest([source], tmp_path / "out", max_rejected_share=0.5)
    assert (result.report.rows_in, result.report.rows_kept) == (4, 2)
    assert result.rejected == {"unknown_label": 1}
    assert result.report.dropped == {"quarantined": 1, "ignored": 1}
    events = pl.concat(map(read_rows, result.events))
    assert events["label"].to_list() == [True, False]
    assert events["ts_quality"].to_list() == ["naive", "naive"]
    assert b"u-canary" not in b"".join(file.read_bytes() for file in (tmp_path / "out").rglob("*") if file.is_file())


def test_a_chat_without_feedback_is_left_out() -> None:
    record = {"messages": [{"role": "user", "content": "q"}]}
    assert left_out("streamlit_feedback", record) == ["no message of the chat has feedback"]


def test_chats_that_could_be_of_anybody_count_as_unjudged_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, "a key that is for tests only")
    chat = {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}
    (tmp_path / "in.jsonl").write_text(json.dumps(chat) + "\n", encoding="utf-8")
    result = ingest([SourceConfig(path=str(tmp_path / "in.jsonl"), format="streamlit_feedback")], tmp_path / "out")
    assert (result.rejected, result.report.dropped) == ({}, {"ignored": 1})
    assert not find_candidates([chat])
