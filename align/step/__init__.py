"""One optimizer step: loss and gradient, AdamW, the learning rate, and what the step cost.

`gradient` is the step of objectives whose data is given; `actor_critic` that of offline PPO, and `rlhf` that of answers
which are sampled in the loop.
"""

__all__: list[str] = []
