"""Token ids into padded tensors."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from align.batches.collate import collate
from schemas.errors import ShapeError

IDS = st.lists(st.integers(1, 99), min_size=1, max_size=6)


def test_padding_is_on_the_right_and_masked() -> None:
    batch = collate([([1, 2], [3]), ([4], [5, 6, 7])], pad_id=9)
    assert batch.input_ids.tolist() == [[1, 2, 3, 9], [4, 5, 6, 7]]
    assert batch.attention_mask.tolist() == [[1, 1, 1, 0], [1, 1, 1, 1]]
    assert batch.completion_mask.tolist() == [[False, False, True, False], [False, True, True, True]]
    assert (batch.input_ids.dtype, batch.attention_mask.dtype) == (torch.int64, torch.int64)
    assert batch.completion_mask.dtype == torch.bool
    assert (batch.tokens, batch.padded_tokens) == (7, 8)


@given(st.lists(st.tuples(IDS, IDS), min_size=1, max_size=5))
def test_masks_give_back_prompt_and_completion(pairs: list[tuple[list[int], list[int]]]) -> None:
    batch = collate(pairs, pad_id=0)
    for row, (prompt, completion) in enumerate(pairs):
        ids, real, answer = batch.input_ids[row], batch.attention_mask[row].bool(), batch.completion_mask[row]
        assert ids[real & ~answer].tolist() == prompt
        assert ids[answer].tolist() == completion
        assert (ids[~real] == 0).all()


def test_a_pad_id_that_occurs_in_a_text_is_not_padding() -> None:
    batch = collate([([7], [7, 7]), ([7], [7])], pad_id=7)
    assert batch.attention_mask.tolist() == [[1, 1, 1], [1, 1, 0]]


@pytest.mark.parametrize("pairs", [[([1], [])], [([1], [2]), ([], [3])]])
def test_a_sequence_without_prompt_or_completion_is_refused(pairs: list[tuple[list[int], list[int]]]) -> None:
    with pytest.raises(
        ShapeError, match=f"sequence {len(pairs) - 1} of the batch: .* no prompt token or no completion"
    ):
        collate(pairs, pad_id=0)


def test_an_empty_batch_is_refused() -> None:
    with pytest.raises(ShapeError, match="no sequence to collate"):
        collate([], pad_id=0)
