"""Chainlit: feedback beside the steps of its thread, in one record or in two, and what of a thread is a turn."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from feedback.config import SourceConfig
from feedback.formats import EventDraft, find_format
from feedback.formats.sniffing.sniff import find_candidates
from feedback.ingest import ingest
from feedback.ingest.rater_key import ENVIRONMENT_VARIABLE
from schemas.errors import InputError, RecordRejectedError
from schemas.reasons import RejectReason
from tests.format_records import bot, left_out, parse, reason_of, user


def step(name: str, kind: str, minute: int, **fields: Any) -> dict[str, Any]:
    return {
        "id": name,
        "threadId": "t1",
        "parentId": None,
        "type": kind,
        "output": f"text {name}",
        "input": "",
        "createdAt": f"2026-01-05T09:{minute:02d}:00Z",
        **fields,
    }


def thread(**changes: dict[str, Any]) -> list[dict[str, Any]]:
    """A greeting, q1, a run with a call of a tool and a1, then q2 and a2; not in the order of time."""
    steps = [
        step("q2", "user_message", 5),
        step("hi", "assistant_message", 0),
        step("q1", "user_message", 1),
        step("run", "run", 2),
        step("look", "tool", 3, parentId="run"),
        step("a1", "assistant_message", 4, parentId="run"),
        step("a2", "assistant_message", 6),
    ]
    return [{**one, **changes.get(one["id"], {})} for one in steps]


def joined(**changes: Any) -> dict[str, Any]:
    return {"id": "f1", "forId": "a1", "threadId": "t1", "value": 1, "comment": None, "steps": thread(), **changes}


def test_feedback_beside_its_steps_becomes_an_event() -> None:
    assert parse("chainlit", joined(value=0, comment="No.")) == EventDraft(
        prompt=[bot("text hi"), user("text q1")],
        completion=[bot("text a1")],
        signal="thumb",
        raw_value=0,
        label=False,
        record_id="f1",
        conversation_id="t1",
        message_id="a1",
        comment="No.",
        flags=("tool_steps",),
    )


@pytest.mark.parametrize(
    ("value", "label"), [(1, True), (1.0, True), ("1", True), ("1.0", True), (0, False), (0.0, False), ("0", False)]
)
def test_one_is_up_and_zero_down_as_number_and_as_text(value: object, label: bool) -> None:
    assert parse("chainlit", joined(value=value)).label is label


@pytest.mark.parametrize("value", [-1, 2, 0.5, True, False, "up", "", [], {}])
def test_any_other_value_is_unknown(value: object) -> None:
    assert reason_of("chainlit", joined(value=value)) == RejectReason.UNKNOWN_LABEL


def test_a_thread_and_a_step_may_hold_their_feedback() -> None:
    feedback = {"id": "f1", "forId": "a1", "value": 1.0, "comment": "Yes."}
    steps = thread(a1={"feedback": feedback}, a2={"feedback": {"id": "f2", "value": 0}})
    record = {"id": "t1", "name": "n", "userId": "u1", "userIdentifier": "mail@b.example", "steps": steps}
    first, second = find_format("chainlit").parse({**record, "steps": steps[::-1]})
    assert isinstance(first, EventDraft)
    assert isinstance(second, EventDraft)
    by_id = {draft.record_id: draft for draft in (first, second) if isinstance(draft, EventDraft)}
    assert {name: (one.label, one.rater, one.conversation_id) for name, one in by_id.items()} == {
        "f1": (True, "u1", "t1"),
        "f2": (False, "u1", "t1"),
    }
    assert len(by_id["f2"].prompt) == 4
    alone = parse("chainlit", {**steps[5], "steps": steps})
    assert (alone.prompt, alone.completion, alone.comment) == (by_id["f1"].prompt, [bot("text a1")], "Yes.")


def test_feedback_of_a_run_is_about_its_last_message() -> None:
    draft = parse("chainlit", joined(forId=None, stepId="run"))
    assert (draft.message_id, draft.completion) == ("a1", [bot("text a1")])
    steps = [one for one in thread() if one["id"] != "a1"]
    assert reason_of("chainlit", joined(forId="run", steps=steps)) == RejectReason.BROKEN_THREAD


def test_steps_without_times_stand_as_they_came() -> None:
    steps = [{**one, "createdAt": None} for one in sorted(thread(), key=lambda one: str(one["createdAt"]))]
    assert parse("chainlit", joined(steps=steps)) == parse("chainlit", joined())


def test_messages_in_a_row_are_one_answer() -> None:
    steps = [*thread(), step("wait", "assistant_message", 3)]
    assert parse("chainlit", joined(steps=steps)).completion == [bot("text wait"), bot("text a1")]


def test_feedback_without_its_steps_says_which_file_is_needed() -> None:
    with pytest.raises(RecordRejectedError) as caught:
        list(find_format("chainlit").parse(joined(steps=None)))
    assert caught.value.reason == RejectReason.MISSING_FIELD
    assert "the steps of the thread, by 'threadId', lie in another file, which --join FILE names" in caught.value.detail


def test_feedback_of_a_table_without_threads_says_how_to_read_it() -> None:
    """Chainlit's own data layer finds the thread through the step."""
    with pytest.raises(RecordRejectedError, match=r'SELECT f\.\*, s\."threadId" FROM "Feedback" f JOIN "Step" s'):
        list(find_format("chainlit").parse({"id": "f1", "stepId": "a1", "name": "user_feedback", "value": 1.0}))


@pytest.mark.parametrize("count", [3, 30])
@pytest.mark.parametrize("is_joined", [True, False])
def test_a_whole_table_without_threads_is_known_and_refused_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int, *, is_joined: bool
) -> None:
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, "a key that is for tests only")
    row = {"createdAt": "2026-01-05T09:51:39Z", "name": "user_feedback", "value": 1.0, "comment": None}
    rows = [{"id": f"f{place}", "stepId": f"s{place}", **row} for place in range(count)]
    (candidate,) = find_candidates(rows)
    assert (candidate.format, candidate.shaped, candidate.needs) == ("chainlit", count, "")
    assert "SELECT" in candidate.refusal
    (tmp_path / "votes.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows), "utf-8")
    (tmp_path / "steps.jsonl").write_text(json.dumps(step("s1", "user_message", 1)) + "\n", "utf-8")
    steps = str(tmp_path / "steps.jsonl") if is_joined else None
    source = SourceConfig(path=str(tmp_path / "votes.jsonl"), format="chainlit", join=steps)
    with pytest.raises(InputError, match=r"read it with the thread of its step, SELECT f\.\*"):
        ingest([source], tmp_path / "out")


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"id": "x"}, RejectReason.MISSING_FIELD),
        (joined(forId=None), RejectReason.MISSING_FIELD),
        (joined(steps=None, threadId=None), RejectReason.MISSING_FIELD),
        (joined(forId="zz"), RejectReason.BROKEN_THREAD),
        (joined(forId="q1"), RejectReason.BAD_ROLES),
        (joined(forId="look"), RejectReason.BAD_ROLES),
        (joined(steps=thread(a1={"isError": True})), RejectReason.RULE_VIOLATION),
        (joined(steps=thread(a1={"output": 3})), RejectReason.WRONG_TYPE),
        (joined(comment=3), RejectReason.WRONG_TYPE),
        (joined(steps=[3]), RejectReason.WRONG_TYPE),
        ({**thread()[5], "feedback": 1, "steps": thread()}, RejectReason.WRONG_TYPE),
        ({**thread()[5], "feedback": {"id": "f"}, "steps": thread()}, RejectReason.MISSING_FIELD),
    ],
)
def test_a_record_that_breaks_a_rule_is_rejected(record: dict[str, Any], reason: str) -> None:
    assert reason_of("chainlit", record) == reason


def test_steps_without_feedback_are_left_out() -> None:
    assert left_out("chainlit", thread()[5]) == ["the step has no feedback"]
    assert left_out("chainlit", {"id": "t1", "steps": thread()}) == ["no step of the thread has feedback"]
