"""What `thumbline train --dry-run` prints."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # it loads torch's companions
    from align.config import TrainConfig

__all__ = ["show_dry_run"]

_PASSES = {
    "policy": "forward and backward",
    "mismatched": "mismatched pairs",
    "reference": "reference",
    "evaluation": "evaluations",
}


def show_dry_run(config: TrainConfig, dataset: Path, model: str, *, as_json: bool) -> None:
    """Print what a run would take, as text or as JSON.

    Args:
        config: the run's.
        dataset: to train on.
        model: to train.
        as_json: for machines.
    """
    from align.resources.dry_run import dry_run
    from cli.json_output import print_json
    from cli.progress import shown_progress
    from cli.render import show, table_of

    with shown_progress() as progress:
        found = dry_run(config, dataset=dataset, model=model, progress=progress).to_dict()
    if as_json:
        print_json(found)
        return
    show(*_rows_and_steps(found, config.objective.name))
    if found["passes"] is None:
        return
    lines = [
        (title, one["sequences"], one["tokens"], one["computed_tokens"])
        for name, title in _PASSES.items()
        if (one := found["passes"][name])["sequences"]
    ]
    show("", table_of(("pass", "sequences>", "tokens>", "computed>"), lines))
    if found["is_padded"]:
        show("In a step, sequences are padded to the longest of their micro batch.")
    else:
        show("A prompt is computed once for all of its answers in a pass, and nothing is padded.")
    memory, speed = found["memory_bytes"], found["operations_per_second"]
    parts = ", ".join(f"{name} {size / 2**30:.1f}" for name, size in memory.items() if name != "total")
    show(
        f"Memory of a process: about {memory['total'] / 2**30:.1f} GiB ({parts}), libraries and data apart.",
        f"Time: about {_duration(found['seconds'])} in one process, at {speed / 1e9:,.0f} billion operations a second, "
        f"timed now. Rough: often between half and twice that.",
    )


def _rows_and_steps(found: dict[str, Any], objective: str) -> list[str]:
    from align.objectives import find_objective

    lost = ", ".join(f"{count:,} {reason}" for reason, count in found["lost"].items())
    noun = "Pairs" if found["are_pairs"] else "Rows"
    lines = [f"{noun}: {found['rows']:,} of {found['rows_read']:,}" + (f" (lost: {lost})." if lost else ".")]
    if not found["are_pairs"]:
        known, more = find_objective(objective), ""
        if known.learns_from_both and found["ratio"] is not None:
            more = f", R = {found['ratio']:.3f}"
        elif known.only_desirable:
            more = "; those down are not trained on"
        lines.append(f"Labels: {found['desirable']:,} up, {found['undesirable']:,} down{more}.")
    if found["obstacle"]:
        return [*lines, f"It cannot train: {found['obstacle']}. {found['todo']}".rstrip() + "."]
    alone = f", {found['one_label_steps']:,} of them with one label only" if found["one_label_steps"] else ""
    return [*lines, f"Steps: {found['steps']:,}{alone}."]


def _duration(seconds: float) -> str:
    """Seconds in the unit that fits.

    >>> _duration(42.4), _duration(600.0), _duration(9000.0)
    ('42 s', '10 min', '2.5 h')
    """
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
