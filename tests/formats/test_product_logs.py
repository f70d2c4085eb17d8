"""What holds of all formats of product logs: siblings become pairs, and no record ends in any other error."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feedback.formats import FORMATS
from feedback.ingest.rater_key import ENVIRONMENT_VARIABLE
from feedback.transcode import convert_files
from schemas.errors import RecordRejectedError
from schemas.reasons import RejectReason
from tests.formats.test_format_chainlit import joined
from tests.formats.test_format_chainlit import thread as chainlit_thread
from tests.formats.test_format_chatgpt_export import rated as chatgpt
from tests.formats.test_format_fastchat_arena import LEFT, RIGHT, battle
from tests.formats.test_format_fastchat_arena import vote as fastchat
from tests.formats.test_format_gradio_flagged import row as gradio
from tests.formats.test_format_hf_chat_ui import tree
from tests.formats.test_format_librechat import rated as librechat
from tests.formats.test_format_streamlit_feedback import thumbs
from tests.formats.test_format_streamlit_feedback import vote as streamlit

RECORDS: dict[str, list[dict[str, Any]]] = {
    "librechat": [librechat("a2"), {"conversationId": "c1", "messages": librechat("a1")["messages"]}],
    "chainlit": [joined(), {"id": "t1", "steps": chainlit_thread(a1={"feedback": {"id": "f", "value": 1}})}],
    "hf_chat_ui": [tree()],
    "gradio_flagged": [gradio(), gradio(index="[0, 1]", conversation=[["q", "a"]])],
    "streamlit_feedback": [
        streamlit(thumbs("👍")),
        {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a", "feedback": 1}]},
    ],
    "fastchat_arena": [fastchat("upvote", "q", "a"), battle("leftvote", LEFT, RIGHT)],
    "chatgpt_export": [chatgpt("a2")],
}


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place within a record."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inner:
        yield (*path, key)
        yield from places(item, (*path, key))


def put(record: dict[str, Any], path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    made = copy.deepcopy(record)
    target: Any = made
    for key in path[:-1]:
        target = target[key]
    target[path[-1]] = value
    return made


@pytest.mark.parametrize("name", RECORDS)
def test_a_sound_record_gives_drafts(name: str) -> None:
    for record in RECORDS[name]:
        assert list(FORMATS[name].parse(record))


odd = st.one_of(
    st.sampled_from([None, True, False, 0, 1, -1, 1.5, 10**30, "", " ", "x", "{", "[", "[]", '{"a": 1}', "a1", "q1"]),
    st.sampled_from([[], {}, [[]], [{}], [None], ["x"], {"a": None}, {"$date": 3}, {"$oid": []}, {"role": "user"}]),
)


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_whatever_stands_in_a_place_of_a_record_it_gives_drafts_or_a_reason(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(RECORDS)))
    record = data.draw(st.sampled_from(RECORDS[name]))
    for _ in range(data.draw(st.integers(1, 2))):
        path = data.draw(st.sampled_from(sorted(places(record), key=repr)))
        record = put(record, path, data.draw(odd))
    try:
        outcome: object = list(FORMATS[name].parse(record))
    except RecordRejectedError as error:
        outcome = error.reason in set(RejectReason) and error.detail
    assert outcome


SIBLINGS: dict[str, list[dict[str, Any]]] = {
    "librechat": [librechat("a1"), librechat("b1", {"rating": "thumbsDown"})],
    "hf_chat_ui": [
        {
            "messages": [
                {"from": "user", "content": "q1"},
                {"from": "assistant", "content": "a1", "score": 1},
                {"from": "assistant", "content": "b1", "score": -1},
            ]
        }
    ],
    "chatgpt_export": [chatgpt("a1"), chatgpt("b1", "thumbsDown")],
}


@pytest.mark.parametrize("name", SIBLINGS)
def test_answers_to_one_prompt_that_were_voted_up_and_down_become_a_pair(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, "a key that is for tests only")
    path = tmp_path / "in.jsonl"
    path.write_text("".join(json.dumps(one) + "\n" for one in SIBLINGS[name]), encoding="utf-8")
    convert_files([path], name, "openai", tmp_path / "out.jsonl")
    (line,) = (tmp_path / "out.jsonl").read_text("utf-8").splitlines()
    pair = json.loads(line)
    assert pair["input"]["messages"] == [{"role": "user", "content": "q1"}]
    assert [pair[side][0]["content"] for side in ("preferred_output", "non_preferred_output")] == ["a1", "b1"]
