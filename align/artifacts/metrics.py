"""What a run tells of itself while it runs: a line of JSON for each step and evaluation, and the same for TensorBoard.

Rewards are beta * (policy_logps - reference_logps), as other libraries report them. Means are made once, from sums and
counts over all micro batches and ranks; the counts stand beside them, so means over many steps can be made exactly.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from torch.utils.tensorboard import SummaryWriter

from schemas.manifest import write_last

__all__ = ["METRICS_NAME", "MetricsLog", "RewardSums", "kept_metrics", "read_metrics"]

METRICS_NAME: Final = "metrics.jsonl"


@dataclass(frozen=True, slots=True)
class RewardSums:
    """Rewards by label, as sums and counts.

    Args:
        desirable: number of desirable rows.
        undesirable: number of undesirable rows.
        desirable_reward: sum of their rewards.
        undesirable_reward: sum of theirs.
    """

    desirable: float = 0.0
    undesirable: float = 0.0
    desirable_reward: float = 0.0
    undesirable_reward: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """Counts, means and margin; null where a label has no row.

        >>> RewardSums(2, 1, 3.0, -1.0).to_dict()["reward_margin"]
        2.5
        """
        desirable = self.desirable_reward / self.desirable if self.desirable else None
        undesirable = self.undesirable_reward / self.undesirable if self.undesirable else None
        return {
            "n_desirable": int(self.desirable),
            "n_undesirable": int(self.undesirable),
            "reward_desirable": desirable,
            "reward_undesirable": undesirable,
            "reward_margin": None if desirable is None or undesirable is None else desirable - undesirable,
        }


class MetricsLog:
    """Appends lines to `metrics.jsonl` and scalars to `tensorboard/`; use as a context.

    A run that goes on from a checkpoint first cuts off what it wrote after that checkpoint, so no step appears twice.

    Args:
        folder: the run's folder.
        steps_done: optimizer steps that the checkpoint holds; 0 for a new run.
    """

    def __init__(self, folder: Path, *, steps_done: int) -> None:
        self._path = folder / METRICS_NAME
        self._keep_first(steps_done)
        self._stream = self._path.open("a", encoding="utf-8")
        self._writer = SummaryWriter(str(folder / "tensorboard"), purge_step=steps_done or None)

    def write(self, kind: str, step: int, values: Mapping[str, Any]) -> None:
        """Append one line, on disk when this returns.

        Args:
            kind: `step` (counted from 0) or `evaluation` (after so many steps).
            step: the step.
            values: numbers, texts and nulls.
        """
        line = {"kind": kind, "step": step, **{key: _finite(value) for key, value in values.items()}}
        self._stream.write(json.dumps(line, allow_nan=False) + "\n")
        self._stream.flush()
        os.fsync(self._stream.fileno())
        for key, value in values.items():
            if isinstance(value, int | float) and math.isfinite(value):
                self._writer.add_scalar(f"{kind}/{key}", float(value), step)

    def __enter__(self) -> MetricsLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stream.close()
        self._writer.close()

    def _keep_first(self, steps_done: int) -> None:
        lines = kept_metrics(self._path.parent, steps_done)
        write_last(self._path, "".join(json.dumps(line) + "\n" for line in lines))


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """The lines of a run's `metrics.jsonl`; a last line that a kill cut off is left out, an absent file gives none."""
    path = folder / METRICS_NAME
    if not path.is_file():
        return []
    complete, _, _ = path.read_text("utf-8").rpartition("\n")
    return [json.loads(line) for line in complete.splitlines()]


def kept_metrics(folder: Path, steps_done: int) -> list[dict[str, Any]]:
    """The lines of a run that its checkpoint of `steps_done` steps covers; a run without a checkpoint keeps none."""
    return [line for line in read_metrics(folder) if _is_before(line, steps_done)]


def _finite(value: Any) -> Any:
    """The value, or null where it is a number that JSON does not have."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _is_before(line: Mapping[str, Any], steps_done: int) -> bool:
    """Whether a line was written before the checkpoint of `steps_done` steps was."""
    if line["kind"] == "evaluation":
        return bool(line["step"] <= steps_done) and steps_done > 0
    return bool(line["step"] < steps_done)
