"""The course of the learning rate: a pure function of the step, so that resume needs no state of it."""

from __future__ import annotations

import math
from typing import Literal

__all__ = ["learning_rate_factor"]


def learning_rate_factor(
    step: int, total_steps: int, *, warmup_steps: int, schedule: Literal["cosine", "linear", "constant"]
) -> float:
    """Factor of the peak learning rate at a step.

    The warm-up rises from 1 / warmup_steps at step 0 to 1 at its last step, so no step is spent on a rate of 0; after
    it `cosine` and `linear` fall from 1 towards 0, which they would reach one step after the last.

    >>> [round(learning_rate_factor(s, 6, warmup_steps=2, schedule="linear"), 2) for s in range(6)]
    [0.5, 1.0, 1.0, 0.75, 0.5, 0.25]

    Args:
        step: index of the optimizer step, from 0.
        total_steps: steps of the whole run.
        warmup_steps: steps of the warm-up.
        schedule: course after the warm-up.

    Returns:
        A factor in (0, 1] for 0 <= step < total_steps.
    """
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    if schedule == "constant":
        return 1.0
    done = (step - warmup_steps) / max(1, total_steps - warmup_steps)
    return 1.0 - done if schedule == "linear" else 0.5 * (1.0 + math.cos(math.pi * done))
