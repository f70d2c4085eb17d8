"""What a run takes of a machine: tokens, memory and time, known before it or measured as it starts.

`forecast` counts by the code that a run uses, `dry_run` estimates from the counts, `execution` measures two short
passes (`memory_probe`) and decides how steps are computed. None of them changes what a step means.
"""

__all__: list[str] = []
