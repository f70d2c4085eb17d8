"""A model as a scorer of token sequences: log-probabilities of completions, or their rewards.

    scorer ─► logps ─► linear_logps      a head that is streamed over positions and words
       │         └───► tree_attention    attention over trees of sequences with one prompt
       └────► sequence_rewards           a scalar head

What a pass keeps for its gradients is little: `lean_layers`, `computed_again`, `weight_passes`. Where PyTorch's choice
of a matrix product is a slow one, another is taken: `float32_products`.
The same numbers come out for any micro batches, padded or as trees; those change speed and memory only.
"""

__all__: list[str] = []
