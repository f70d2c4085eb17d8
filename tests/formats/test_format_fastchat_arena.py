"""FastChat's logs: votes on an answer, votes between two models, lines that are no votes, and no address anywhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from feedback.config import SourceConfig
from feedback.formats import EventDraft, PairDraft
from feedback.ingest import ingest
from feedback.ingest.rater_key import ENVIRONMENT_VARIABLE
from schemas.reasons import RejectReason
from tests.format_records import bot, left_out, parse, reason_of, user

IP = "10.9.8.7"


def state(*texts: Any, **fields: Any) -> dict[str, Any]:
    messages = [["USER" if place % 2 == 0 else "ASSISTANT", text] for place, text in enumerate(texts)]
    return {
        "template_name": "one_shot",
        "system_message": "A chat.",
        "roles": ["USER", "ASSISTANT"],
        "messages": messages,
        "offset": 0,
        "conv_id": "c1",
        "model_name": "model-a",
        **fields,
    }


def vote(kind: Any, *texts: Any, **fields: Any) -> dict[str, Any]:
    return {"tstamp": 1767606699.1234, "type": kind, "model": "shown", "state": state(*texts), "ip": IP, **fields}


def battle(kind: str, left: dict[str, Any], right: dict[str, Any], **fields: Any) -> dict[str, Any]:
    right = {"conv_id": "c2", **right} | {"model_name": right.get("model_name", "model-b")}
    return {"tstamp": 1767606699.5, "type": kind, "models": ["", ""], "states": [left, right], "ip": IP, **fields}


LEFT, RIGHT = state("q", "a"), state("q", "b", conv_id="c2", model_name="model-b")


def test_a_vote_on_one_model_is_about_its_last_answer() -> None:
    assert parse("fastchat_arena", vote("downvote", "q1", "a1", "q2", "a2")) == EventDraft(
        prompt=[user("q1"), bot("a1"), user("q2")],
        completion=[bot("a2")],
        signal="thumb",
        raw_value="downvote",
        label=False,
        record_id="c1@1767606699.1234",
        event_time=1767606699.1234,
        model_id="model-a",
        conversation_id="c1",
    )
    assert parse("fastchat_arena", vote("upvote", "q", "a")).label is True


def test_a_flag_says_something_and_gives_no_label() -> None:
    draft = parse("fastchat_arena", vote("flag", "q", "a"))
    assert (draft.signal, draft.label, draft.raw_value) == ("flag", None, "flag")


@pytest.mark.parametrize(
    ("kind", "outcome"), [("leftvote", "a"), ("rightvote", "b"), ("tievote", "tie"), ("bothbad_vote", "both_bad")]
)
def test_a_vote_between_two_models_is_a_pair(kind: str, outcome: str) -> None:
    assert parse("fastchat_arena", battle(kind, LEFT, RIGHT)) == PairDraft(
        prompt=[user("q")],
        response_a=[bot("a")],
        response_b=[bot("b")],
        outcome=outcome,
        raw_value=kind,
        record_id="c1@1767606699.5",
        rater_kind="end_user",
        event_time=1767606699.5,
        presented_first="a",
        model_a="model-a",
        model_b="model-b",
        conversation_id="c1",
    )


def test_conversations_of_several_turns_part_at_the_first_answer_that_differs() -> None:
    left, right = state("q", "a", "r", "c"), state("q", "b", "r", "d")
    draft = parse("fastchat_arena", battle("leftvote", left, right))
    assert draft.prompt == [user("q")]
    assert draft.response_a == [bot("a"), user("r"), bot("c")]
    same_start = parse("fastchat_arena", battle("leftvote", state("q", "a", "r", "c"), state("q", "a", "r", "d")))
    assert (same_start.prompt, same_start.response_b) == ([user("q"), bot("a"), user("r")], [bot("d")])


def test_examples_of_the_template_are_no_turns() -> None:
    left = {**state("example", "answer", "q", "a"), "offset": 2}
    assert parse("fastchat_arena", battle("tievote", left, RIGHT)).prompt == [user("q")]


def test_models_are_named_by_the_page_where_the_state_does_not() -> None:
    left, right = ({key: one[key] for key in one if key != "model_name"} for one in (LEFT, RIGHT))
    record = {**battle("leftvote", left, right, models=["x", "y"]), "states": [left, right]}
    draft = parse("fastchat_arena", record)
    assert (draft.model_a, draft.model_b) == ("x", "y")


@pytest.mark.parametrize("kind", ["chat", "share"])
def test_a_line_that_is_no_vote_is_left_out(kind: str) -> None:
    assert left_out("fastchat_arena", vote(kind, "q", "a")) == [f"a line of type {kind!r} is no vote"]


@pytest.mark.parametrize("kind", ["Upvote", "vote", "", 1, True, [], {}])
def test_any_other_type_is_unknown(kind: object) -> None:
    assert reason_of("fastchat_arena", vote(kind, "q", "a")) == RejectReason.UNKNOWN_LABEL


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"tstamp": 1}, RejectReason.MISSING_FIELD),
        (vote("upvote", state=None), RejectReason.MISSING_FIELD),
        (vote("upvote", state=[]), RejectReason.WRONG_TYPE),
        (vote("upvote", state={"messages": "x"}), RejectReason.WRONG_TYPE),
        (vote("upvote", state={"messages": [["USER"]]}), RejectReason.WRONG_TYPE),
        (vote("upvote", state=state("q", "a", offset="0")), RejectReason.WRONG_TYPE),
        (vote("upvote", state=state("q", "a", offset=2)), RejectReason.EMPTY_PROMPT),
        (vote("upvote", "q", None), RejectReason.EMPTY_COMPLETION),
        (vote("upvote", "q"), RejectReason.BAD_ROLES),
        (vote("upvote", ["q", ["image"]], "a"), RejectReason.WRONG_TYPE),
        (battle("leftvote", LEFT, RIGHT, states=[LEFT]), RejectReason.RULE_VIOLATION),
        (battle("leftvote", LEFT, RIGHT, states=[LEFT, None]), RejectReason.WRONG_TYPE),
        (battle("leftvote", LEFT, RIGHT, models=[1, 2]), RejectReason.WRONG_TYPE),
        (battle("leftvote", LEFT, state("other", "b")), RejectReason.PROMPTS_DIFFER),
        (battle("leftvote", LEFT, state("q", "a")), RejectReason.IDENTICAL_RESPONSES),
        (battle("leftvote", LEFT, state("q", "a", "r", "c")), RejectReason.EMPTY_COMPLETION),
    ],
)
def test_a_line_that_breaks_a_rule_is_rejected(record: dict[str, Any], reason: str) -> None:
    assert reason_of("fastchat_arena", record) == reason


def test_no_address_is_kept_of_a_log_and_every_line_is_accounted_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Votes, chats that are most of a log, a type that is unknown, and a line that was cut off."""
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, "a key that is for tests only")
    records = [
        *(vote("chat", f"q{n}", "a", start=1, finish=2) for n in range(6)),
        vote("upvote", "q1", "a"),
        vote("downvote", "q2", "a"),
        battle("leftvote", LEFT, RIGHT),
        battle("bothbad_vote", LEFT, RIGHT),
        vote("unheard_of", "q", "a"),
    ]
    text = "".join(json.dumps(one) + "\n" for one in records) + json.dumps(records[0])[:-3]
    path = tmp_path / "2026-01-05-conv.json"
    path.write_text(text, encoding="utf-8")
    result = ingest([SourceConfig(path=str(path), format="fastchat_arena")], tmp_path / "out", max_rejected_share=0.4)
    assert (result.report.rows_in, result.report.rows_kept) == (12, 4)
    assert result.report.figures["events"] == result.report.figures["pairs"] == 2
    assert result.rejected == {"truncated": 1, "unknown_label": 1}
    assert result.report.dropped == {"quarantined": 2, "ignored": 6}
    assert result.report.rows_in == result.report.rows_kept + sum(result.report.dropped.values())
    rows = [row for file in result.quarantine for row in pq.read_table(file).to_pylist()]
    assert len(rows) == 2
    assert {json.loads(row["raw"])["ip"] for row in rows if row["reason"] != "truncated"} == {"[cut out]"}
    written = b"".join(file.read_bytes() for file in (tmp_path / "out").rglob("*") if file.is_file())
    assert b"10.9.8" not in written
    assert "10.9.8" not in result.report.to_json()
