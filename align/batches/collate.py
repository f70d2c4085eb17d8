"""Token ids into padded tensors; the only place that knows where prompt ends and completion begins in a tensor.

Letters: B sequences, T tokens of the longest. Padding is on the right, so positions count from 0 without a mask.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from schemas.errors import ShapeError

__all__ = ["Sequences", "collate"]


@dataclass(frozen=True, slots=True)
class Sequences:
    """Prompts and completions as a padded batch.

    Args:
        input_ids: prompt, completion, padding. [B, T] int64.
        attention_mask: 1 on prompt and completion, 0 on padding. [B, T] int64.
        completion_mask: True on the completion's tokens only. [B, T] bool.
    """

    input_ids: Tensor
    attention_mask: Tensor
    completion_mask: Tensor

    @property
    def tokens(self) -> int:
        """Real tokens, without padding."""
        return int(self.attention_mask.sum())

    @property
    def padded_tokens(self) -> int:
        """B * T: what the model computes on."""
        return self.input_ids.numel()


def collate(
    pairs: Sequence[tuple[Sequence[int], Sequence[int]]], pad_id: int, device: torch.device | str = "cpu"
) -> Sequences:
    """A padded batch of prompt and completion ids.

    Args:
        pairs: prompt ids and completion ids of each sequence; a mismatched pair is the prompt of one row with the
            completion of another.
        pad_id: any token id; masked everywhere.
        device: where the tensors go.

    Raises:
        ShapeError: there is no sequence, or one has no prompt token (nothing predicts the completion's first token) or
            no completion token.
    """
    if not pairs:
        raise ShapeError("there is no sequence to collate")
    for position, (prompt_ids, completion_ids) in enumerate(pairs):
        if not prompt_ids or not completion_ids:
            raise ShapeError(
                "a sequence has no prompt token or no completion token",
                where=f"sequence {position} of the batch",
                received=f"{len(prompt_ids)} prompt and {len(completion_ids)} completion tokens",
            )
    shape = (len(pairs), max(len(prompt_ids) + len(completion_ids) for prompt_ids, completion_ids in pairs))
    input_ids = torch.full(shape, pad_id, dtype=torch.int64)
    attention_mask = torch.zeros(shape, dtype=torch.int64)
    completion_mask = torch.zeros(shape, dtype=torch.bool)
    for row, (prompt_ids, completion_ids) in enumerate(pairs):
        end = len(prompt_ids) + len(completion_ids)
        input_ids[row, :end] = torch.tensor([*prompt_ids, *completion_ids], dtype=torch.int64)
        attention_mask[row, :end] = 1
        completion_mask[row, len(prompt_ids) : end] = True
    return Sequences(input_ids.to(device), attention_mask.to(device), completion_mask.to(device))
