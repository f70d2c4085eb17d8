"""Old runs without what is large: datasets, models and checkpoints go, and what was decided and why stays.

Never touched are the newest runs, the champion's and that of the champion before it, runs whose folder holds a file
named `pinned`, runs whose model an adapter of one of these lies on, and runs that were not decided. The run card stays
with its page, so that a later champion can still be traced through it to whom it was trained on.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from align.champion.registry import Registry
from align.models.model_files import adapter_chain
from feedback.store.durable import flush_folder
from feedback.store.faults import faultpoint
from schemas.errors import ModelError

__all__ = ["PINNED", "clear_old_runs", "clear_run"]

PINNED: Final = "pinned"
"""A file of this name in a run's folder keeps all of the run."""

_LARGE: Final = ("dataset", "mixed")
_TRAINING: Final = "training"
_KEPT_OF_TRAINING: Final = frozenset({"needs_retrain.json", "run.json", "run_card.json", "run_card.md"})
_CLEARED: Final = ".cleared.partial"


def clear_old_runs(registry: Registry, keep: int | None) -> tuple[str, ...]:
    """Clear runs that are older than the newest `keep`; whoever calls holds the folder's lock.

    Args:
        registry: the decisions.
        keep: how many of the newest decided runs are kept whole, at least 1; null keeps all.

    Returns:
        Ids of the runs that something was removed of.
    """
    if keep is None:
        return ()
    history = registry.history()
    decided = list(dict.fromkeys(one.run for one in reversed(history) if one.kind != "rollback"))
    latest = history[-1] if history else None
    kept = {*decided[:keep]}
    if latest is not None:
        kept |= {entry.run for entry in (latest.champion, latest.previous) if entry is not None}
    folder = registry.folder / "runs"
    kept |= {run for run in decided if (folder / run / PINNED).exists()}
    kept |= {base for run in kept for base in _bases_of(folder / run)}
    return tuple(run for run in decided if run not in kept and clear_run(folder / run))


def _bases_of(run: Path) -> Iterator[str]:
    """The ids of the runs whose models the adapter of a run lies on; none where it has no adapter."""
    runs, model = run.parent.resolve(), run / _TRAINING / "model"
    with suppress(ModelError):  # what cannot be read has nothing to lose
        for base in adapter_chain(model, needs_weights=False)[1:]:
            if base.resolve().is_relative_to(runs):
                yield base.resolve().relative_to(runs).parts[0]


def clear_run(run: Path) -> bool:
    """Remove what is large of a run, and return whether there was any of it; whoever calls holds the folder's lock.

    Args:
        run: the run's folder.
    """
    large = [run / name for name in _LARGE]
    if (run / _TRAINING).is_dir():
        large += [path for path in sorted((run / _TRAINING).iterdir()) if path.name not in _KEPT_OF_TRAINING]
    large += list(run.rglob(f"*{_CLEARED}"))
    there = [path for path in dict.fromkeys(large) if path.exists()]
    for path in there:
        faultpoint("retrain.clear.before", path)
        # Renamed first, so that what a crash leaves is taken for no dataset and no model.
        gone = path if path.name.endswith(_CLEARED) else path.rename(path.with_name(path.name + _CLEARED))
        flush_folder(path.parent)
        shutil.rmtree(gone) if gone.is_dir() else gone.unlink()
    return bool(there)
