"""How good a model is: rewards and loss on held-out rows, its answers, and the best of several by a reward model."""

from align.evaluate.held_out_rewards import evaluate, evaluate_held_out, reward_figures

__all__ = ["evaluate", "evaluate_held_out", "reward_figures"]
