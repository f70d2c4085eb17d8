"""Processes of a run: sums over them, and weights shared out over them.

`accelerate_configs/` holds files for `accelerate launch`: one machine, two machines, and sharded weights.
"""

__all__: list[str] = []
