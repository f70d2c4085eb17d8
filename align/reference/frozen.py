"""The model that training began with, kept beside the policy for objectives that score new sequences in every step."""

from __future__ import annotations

import copy
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

from torch import nn

from align.models.loading import LoadedModel
from align.scoring.logps import CompletionLogps

__all__ = ["FrozenReference", "freeze_reference"]


@dataclass(frozen=True)
class FrozenReference:
    """A reference that can be computed with at any time.

    Args:
        loaded: the policy.
        module: the frozen copy; None where an adapter of the policy is switched off instead.
    """

    loaded: LoadedModel
    module: CompletionLogps | None

    def beside(self, policy: nn.Module) -> tuple[Any, AbstractContextManager[Any]]:
        """What computes the reference's log-probabilities, and the context that it does so in.

        Args:
            policy: the `CompletionLogps` of the policy.
        """
        if self.module is None:
            return policy, self.loaded.as_reference()
        return self.module, nullcontext()


def freeze_reference(loaded: LoadedModel) -> FrozenReference:
    """The reference of a model that has not been trained yet: a frozen copy, or none with an adapter.

    Args:
        loaded: the policy, on the device where it will compute.
    """
    if loaded.peft_model is not None:
        return FrozenReference(loaded, None)
    return FrozenReference(loaded, CompletionLogps(copy.deepcopy(loaded.model)).requires_grad_(requires_grad=False))
