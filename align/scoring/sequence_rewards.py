"""Rewards of answers: a transformer with a scalar head, read where transformers reads it.

Letters: B sequences, T tokens.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from align.scoring.float32_products import use_wide_products
from schemas.errors import ModelError, ShapeError

__all__ = ["SequenceRewards"]


class SequenceRewards(nn.Module):
    """A sequence classifier with one output as a function from sequences to rewards.

    What it gives is what the Hugging Face model gives for the same tokens, so a reward model trained here is one
    everywhere: it is read at the last token that is not the pad token of the model's config, which is the end of the
    answer unless the end token pads (see `align.models.padding`).

    Args:
        model: a Hugging Face model for sequence classification with one label.

    Raises:
        ModelError: the model has no head of one output named `score`.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        head = getattr(model, "score", None)
        if not isinstance(head, nn.Linear) or head.out_features != 1:
            raise ModelError("the model has no scalar head", where=type(model).__name__, expected="a reward model")
        self.model = model
        use_wide_products(model)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, completion_mask: Tensor) -> Tensor:
        """The reward of each sequence.

        Args:
            input_ids: [B, T] int64, padded on the right.
            attention_mask: 1 on real tokens. [B, T] int64.
            completion_mask: True on the completion's tokens; only its shape is read. [B, T] bool.

        Returns:
            [B] float32.

        Raises:
            ShapeError: the inputs differ in shape.
        """
        if not input_ids.shape == attention_mask.shape == completion_mask.shape:
            shapes = [tuple(each.shape) for each in (input_ids, attention_mask, completion_mask)]
            raise ShapeError("ids and masks differ in shape", received=shapes, expected="three times [B, T]")
        backbone = getattr(self.model, self.model.base_model_prefix)
        hidden = backbone(
            input_ids=input_ids, attention_mask=attention_mask, use_cache=False, return_dict=True
        ).last_hidden_state
        pad_id = self.model.config.get_text_config().pad_token_id
        is_read = attention_mask.bool()
        if pad_id is not None:
            is_read = is_read & (input_ids != pad_id)
        places = torch.arange(input_ids.shape[1], device=input_ids.device)
        last = torch.where(is_read, places, 0).amax(dim=1)
        rewards: Tensor = self.model.score(hidden[torch.arange(len(last), device=last.device), last]).squeeze(-1)
        return rewards.float()
