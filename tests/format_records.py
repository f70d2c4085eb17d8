"""What the tests of formats share: turns, a record as its one draft or its reason, any values, Open WebUI's record."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feedback.formats import IgnoredDraft, find_format
from schemas.errors import RecordRejectedError
from schemas.messages import Message
from schemas.reasons import RejectReason


def user(text: str) -> Message:
    return {"role": "user", "content": text}


def bot(text: str) -> Message:
    return {"role": "assistant", "content": text}


def parse(name: str, record: dict[str, Any]) -> Any:
    drafts = list(find_format(name).parse(record))
    assert len(drafts) == 1
    return drafts[0]


def reason_of(name: str, record: dict[str, Any]) -> str:
    with pytest.raises(RecordRejectedError) as caught:
        list(find_format(name).parse(record))
    assert caught.value.detail
    return caught.value.reason


def left_out(name: str, record: dict[str, Any]) -> list[str]:
    """What a record holds that judges nothing; it holds nothing else."""
    drafts = list(find_format(name).parse(record))
    assert drafts
    assert all(isinstance(draft, IgnoredDraft) for draft in drafts)
    return [draft.what for draft in drafts if isinstance(draft, IgnoredDraft)]


_KEYS = st.sampled_from(["role", "content", "from", "value", "text", "Rating", "response"])
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=3),
    max_leaves=6,
)


def check_any_values(name: str, record: dict[str, Any]) -> None:
    """Whatever values the known fields of a sound record get, it is a draft or a rejection, and never another error."""
    one = find_format(name)

    @given(st.dictionaries(st.sampled_from(sorted(one.keys or record)), _VALUES, min_size=1, max_size=3))
    @settings(max_examples=60, deadline=None)
    def is_draft_or_rejection(changes: dict[str, Any]) -> None:
        try:
            outcome: object = list(one.parse({**record, **changes}))
        except RecordRejectedError as error:
            outcome = error.reason in set(RejectReason)
        assert outcome

    assert list(one.parse(record))
    is_draft_or_rejection()


def webui(**changes: Any) -> dict[str, Any]:
    """A chat of q1 -> (a1, b1), a1 -> q2 -> a2, of which a1 is rated."""
    turns = [("q1", None, "user"), ("a1", "q1", "assistant"), ("b1", "q1", "assistant"), ("q2", "a1", "user")]
    messages = {
        name: {"id": name, "parentId": parent, "role": role, "content": f"text {name}", "model": f"model-{name}"}
        for name, parent, role in [*turns, ("a2", "q2", "assistant")]
    }
    record = {
        "id": "f1",
        "user_id": "u1",
        "type": "rating",
        "data": {
            "rating": 1,
            "model_id": "model-a1",
            "sibling_model_ids": ["model-b1"],
            "reason": "good",
            "tags": ["t"],
        },
        "meta": {"chat_id": "c1", "message_id": "a1", "arena": False},
        "snapshot": {"chat": {"chat": {"history": {"messages": messages}, "messages": list(messages.values())}}},
        "created_at": 1767606699,
        "updated_at": 1767606799,
    }
    for path, value in changes.items():
        *parents, last = path.split("__")
        target: dict[str, Any] = record
        for parent in parents:
            target = target[parent]
        target[last] = value
    return record
