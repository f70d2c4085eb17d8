"""Checkpoints: what a run needs to go on as if nothing had happened, whole or absent.

checkpoints/step-000123/    after 123 optimizer steps
    weights.safetensors     the trainable parameters
    optimizer.safetensors   the optimizer's state of each of them
    state.json              step, identity of the run, size and digest of both files; written last

A checkpoint is written into a hidden folder, flushed to disk and renamed: a kill at any moment leaves the one before.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from safetensors.torch import load_file, save_file
from torch import Tensor

from schemas.errors import CheckpointMismatchError
from schemas.manifest import flush_to_disk, write_last

__all__ = ["Checkpoint", "check_identity", "load_newest_checkpoint", "save_checkpoint"]

_STATE: Final = "state.json"
_WEIGHTS: Final = "weights.safetensors"
_OPTIMIZER: Final = "optimizer.safetensors"
_JUDGE: Final = "reward_model"
_JUDGE_NAME: Final = "config.objective.reward_model"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Checkpoint:
    """A run between two steps.

    Args:
        step: optimizer steps done.
        identity: what the run follows from: digests of model, dataset, tokens and plan, and the config.
        seconds: time spent in training so far.
        weights: trainable parameters by name.
        optimizer: state of the optimizer, see `align.step.optimizer`.
    """

    step: int
    identity: Mapping[str, Any]
    seconds: float
    weights: Mapping[str, Tensor]
    optimizer: Mapping[str, Tensor]


def save_checkpoint(folder: Path, checkpoint: Checkpoint, *, keep: int) -> Path:
    """Write a checkpoint below `folder`, delete all but the newest `keep`, and return its folder."""
    final = folder / f"step-{checkpoint.step:06d}"
    partial = folder / f".{final.name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    _save_tensors(checkpoint.weights, partial / _WEIGHTS)
    _save_tensors(checkpoint.optimizer, partial / _OPTIMIZER)
    state = {
        "step": checkpoint.step,
        "identity": dict(checkpoint.identity),
        "seconds": checkpoint.seconds,
        "files": {name: _fingerprint(partial / name) for name in (_WEIGHTS, _OPTIMIZER)},
    }
    write_last(partial / _STATE, json.dumps(state, indent=2, sort_keys=True) + "\n")
    shutil.rmtree(final, ignore_errors=True)
    partial.rename(final)
    flush_to_disk(folder)
    for old in _checkpoints(folder)[keep:]:
        shutil.rmtree(old)
    return final


def load_newest_checkpoint(folder: Path) -> Checkpoint | None:
    """The newest whole checkpoint below `folder`; None where there is none. Damaged ones are passed over and logged."""
    for path in _checkpoints(folder):
        state = _read_whole(path)
        if state is None:
            _log.warning("checkpoint %s is damaged; going back to the one before", path)
            continue
        return Checkpoint(
            step=state["step"],
            identity=state["identity"],
            seconds=state["seconds"],
            weights=load_file(path / _WEIGHTS),
            optimizer=load_file(path / _OPTIMIZER),
        )
    return None


def check_identity(found: Mapping[str, Any], wanted: Mapping[str, Any], *, where: object) -> None:
    """Check that what was found on disk belongs to the run that wants to go on.

    A reward model is known by its digest, wherever it lies.

    Args:
        found: identity of the run that wrote it.
        wanted: identity of this run.
        where: the folder, for the message.

    Raises:
        CheckpointMismatchError: they differ; the message names the keys and both values of the first.
    """
    before, now = _flat(found), _flat(wanted)
    if _JUDGE in before and _JUDGE in now:
        before, now = ({key: flat[key] for key in flat if key != _JUDGE_NAME} for flat in (before, now))
    differing = sorted(key for key in before.keys() | now.keys() if before.get(key) != now.get(key))
    if differing:
        first = differing[0]
        raise CheckpointMismatchError(
            f"the folder holds another run, with another {', '.join(differing)}",
            where=where,
            received=now.get(first),
            expected=f"{before.get(first)!r} for {first}, as in that run",
            todo="Give the same model, dataset and config to go on with that run, or another folder for a new one",
        )


def _save_tensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, path)
    flush_to_disk(path)


def _fingerprint(path: Path) -> dict[str, Any]:
    with path.open("rb") as stream:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(stream, "sha256").hexdigest()}


def _checkpoints(folder: Path) -> list[Path]:
    """Checkpoint folders, newest first."""
    found = [path for path in folder.glob("step-*") if path.is_dir() and path.name[5:].isdigit()]
    return sorted(found, key=lambda path: int(path.name[5:]), reverse=True)


def _read_whole(path: Path) -> dict[str, Any] | None:
    try:
        state: dict[str, Any] = json.loads((path / _STATE).read_text("utf-8"))
        whole = all(_fingerprint(path / name) == known for name, known in state["files"].items())
    except (OSError, ValueError, KeyError):
        return None
    return state if whole else None


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat.update(_flat(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = list(value) if isinstance(value, tuple) else value
    return flat
