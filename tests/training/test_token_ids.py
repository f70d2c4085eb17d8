"""Token ids in four bytes each behave as the tuple of the same ids does."""

from __future__ import annotations

import pickle
from array import array

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from align.tokens.token_ids import TokenIds

IDS = st.lists(st.integers(0, 2**31 - 1), max_size=20)


@given(IDS, st.integers(-25, 25), st.integers(-25, 25))
def test_they_equal_the_tuple_in_all_that_is_read_of_them(ids: list[int], start: int, stop: int) -> None:
    ours, theirs = TokenIds(ids), tuple(ids)
    assert (ours, len(ours), [*ours], hash(ours), bool(ours)) == (theirs, len(theirs), ids, hash(theirs), bool(theirs))
    assert ours[start:stop] == theirs[start:stop]
    assert isinstance(ours[start:stop], TokenIds)
    assert ours == TokenIds(theirs) == TokenIds(ours)
    assert {ours: 1}[theirs] == {theirs: 1}[ours] == 1  # type: ignore[index]
    assert pickle.loads(pickle.dumps(ours)) == ours
    if ids:
        assert ours[-1] == ids[-1]
        assert (torch.tensor([*ours]) == torch.tensor(ids)).all()
        assert array("q", ours) == array("q", ids)


@given(IDS, IDS)
def test_different_ids_are_different(one: list[int], other: list[int]) -> None:
    assert (TokenIds(one) == TokenIds(other)) is (one == other)
    assert (TokenIds(one) == tuple(other)) is (one == other)
    assert TokenIds(one) != one, "a list is no key, so it equals none"


def test_what_is_no_id_is_refused() -> None:
    for ids in ([2**31], [-(2**31) - 1]):
        with pytest.raises(OverflowError):
            TokenIds(ids)
    with pytest.raises(TypeError):
        TokenIds([1.5])  # type: ignore[list-item]
    with pytest.raises(IndexError):
        TokenIds([1])[1]
    assert repr(TokenIds([1, 2])) == "TokenIds((1, 2))"
