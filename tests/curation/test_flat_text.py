"""Conversations as one text: the words of one turn, or several turns behind their roles, in any part of a table."""

from __future__ import annotations

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from feedback.flat_text import flat_text
from schemas.messages import MESSAGES, ROLES

TURN = st.fixed_dictionaries({"role": st.sampled_from(ROLES), "content": st.text(max_size=40)})


def joined(turns: list[dict[str, str]]) -> str:
    """The definition, turn by turn."""
    if len(turns) == 1:
        return turns[0]["content"]
    return "\x1e".join(f"{turn['role']}\x1f{turn['content']}" for turn in turns)


@settings(deadline=None)
@given(st.lists(st.lists(TURN, max_size=4), max_size=8), st.integers(0, 8), st.integers(0, 8))
def test_lists_of_turns_are_joined_as_defined(lists: list[list[dict[str, str]]], first: int, count: int) -> None:
    """Also lists without turns, and slices, whose turns do not begin where those of the table do."""
    part = pa.array(lists, MESSAGES).slice(first, count)
    made = flat_text(part)
    made.validate(full=True)
    assert made.to_pylist() == [joined(one) for one in lists[first : first + count]]
