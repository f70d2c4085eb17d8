"""What a step is given: token ids dealt into steps, the partner of each row, and padded tensors.

`plan` is the order of a run and `inputs` all that a run trains on, before any model is loaded; `collate` alone knows
where a completion begins in a tensor.
"""

__all__: list[str] = []
