"""A training run from its first step to its last: the loop, its folder, resuming, and sweeps of several runs.

`train` in `loop` reads top to bottom: rows and plan, model, reference, steps, evaluation, card.
"""

from align.trainer.loop import train

__all__ = ["train"]
