"""What a step cost: tokens, time by phase, speed and memory, for the metrics of a run.

Phases add up to `seconds`: the mismatched pairs of z0, forward and backward passes, and the update (gradients summed
over ranks, clipped, the optimizer). Times and memory are of the main process.
"""

from __future__ import annotations

import sys
from typing import Any

import torch

from align.step.outcome import StepOutcome

__all__ = ["peak_memory_mib", "step_cost"]


def step_cost(outcome: StepOutcome, seconds: float, seconds_backward: float, device: torch.device) -> dict[str, Any]:
    """The part of a step's line that says what it cost.

    Args:
        outcome: what the step found.
        seconds: of the whole step.
        seconds_backward: of mismatched pairs, forward and backward passes.
        device: that it computed on.
    """
    return {
        "tokens": outcome.tokens,
        "padded_tokens": outcome.padded_tokens,
        "seconds": seconds,
        "seconds_mismatched": outcome.seconds_mismatched,
        "seconds_gradient": seconds_backward - outcome.seconds_mismatched,
        "seconds_update": seconds - seconds_backward,
        "tokens_per_second": outcome.tokens / seconds,
        "padded_tokens_per_second": outcome.padded_tokens / seconds,
        "peak_memory_mib": peak_memory_mib(device),
    }


def peak_memory_mib(device: torch.device) -> float | None:
    """Most memory that this process has had so far, in MiB: of its GPU, or of the machine; None where nobody knows."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10  # bytes there, KiB here
