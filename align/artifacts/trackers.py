"""Where a run's lines go besides its own folder, when asked: W&B, MLflow or Trackio, through accelerate's trackers.

Each is a package of its own (extra `trackers`) and decides itself where it writes; wandb uses the network unless it is
told not to (`WANDB_MODE=offline`).
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from typing import Any

from accelerate import tracking

from schemas.errors import MissingExtraError

__all__ = ["Trackers"]

_PROJECT = "thumbline"


class Trackers:
    """Open trackers; every line is handed to all of them.

    Args:
        names: of `align.config.TrainConfig.trackers`.
        config: the run's settings, as JSON values.

    Raises:
        MissingExtraError: a tracker's package is not installed.
    """

    def __init__(self, names: Sequence[str], config: Mapping[str, Any]) -> None:
        for name in names:
            if not _is_installed(name):
                raise MissingExtraError(name, "trackers")
        self._open = [tracking.LOGGER_TYPE_TO_CLASS[name](_PROJECT) for name in names]
        for tracker in self._open:
            tracker.start()
            tracker.store_init_configuration(_flat(config))

    def write(self, kind: str, step: int, values: Mapping[str, Any]) -> None:
        """Hand a line to the trackers; what is no number stays in the run's own files.

        Args:
            kind: `step` or `evaluation`.
            step: the step.
            values: of `align.artifacts.metrics.MetricsLog.write`.
        """
        numbers = {f"{kind}/{key}": float(value) for key, value in values.items() if isinstance(value, int | float)}
        for tracker in self._open:
            tracker.log(numbers, step=step)

    def close(self) -> None:
        """Tell the trackers that the run is over."""
        for tracker in self._open:
            tracker.finish()


def _is_installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value if isinstance(value, str | int | float | bool) else str(value)
    return found
