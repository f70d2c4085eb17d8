"""What two trained runs differ in: their configs, what they measured, and how far their weights lie apart.

Weights are compared tensor by tensor, so that two tensors are in memory at a time and no model is built.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from align.artifacts.card import RunCard, find_run_card
from schemas.errors import InputNotFoundError

__all__ = ["diff_configs", "diff_models", "diff_weights"]

_FIGURES: Final = ("reward_accuracy", "reward_margin", "sign_accuracy", "loss")
_LARGEST: Final = 5


def diff_models(before: Path, after: Path) -> dict[str, Any]:
    """What differs between two finished runs, as JSON values.

    Args:
        before: the folder of the earlier run.
        after: the folder of the later one.

    Returns:
        `config` (keys that differ, with both values), `evaluation` (figures of both, where they can be compared),
        `evaluated_on` (what they were measured on, or why they cannot be compared), `datasets` (their digests), `base`
        (digests of the models that they began with) and `weights` (see `diff_weights`).

    Raises:
        InputNotFoundError: a folder holds no finished run.
        CorruptionError: a run card cannot be read.
    """
    old, new = _card(before), _card(after)
    reason = _incomparable(old, new)
    return {
        "config": diff_configs(old.config, new.config),
        "evaluation": {} if reason else {name: [_figure(old, name), _figure(new, name)] for name in _FIGURES},
        "evaluated_on": reason or "Both were measured on the same held-out rows, relative to the same model.",
        "datasets": [old.dataset["digest"], new.dataset["digest"]],
        "base": [old.model["digest"], new.model["digest"]],
        "weights": diff_weights(before / "model", after / "model"),
    }


def diff_configs(before: Mapping[str, Any], after: Mapping[str, Any], prefix: str = "") -> dict[str, list[Any]]:
    """Dotted keys whose values differ, each with both values; null where a side has no such key.

    >>> diff_configs({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}, "d": 4})
    {'a.c': [2, 3], 'd': [None, 4]}
    """
    found: dict[str, list[Any]] = {}
    for key in sorted(before.keys() | after.keys()):
        old, new = before.get(key), after.get(key)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            found |= diff_configs(old, new, f"{prefix}{key}.")
        elif old != new:
            found[f"{prefix}{key}"] = [old, new]
    return found


def diff_weights(before: Path, after: Path) -> dict[str, Any]:
    """How far the weights of two model folders lie apart.

    Args:
        before: a folder with safetensors.
        after: another one.

    Returns:
        `relative`: the L2 norm of the difference over that of the earlier weights, over the tensors of both that agree
        in shape; null where there is none. `largest`: the tensors that moved most, relative to their own norm.
        `tensors`: how many were compared. `only_before`, `only_after` and `other_shape`: names of those that were not.
    """
    old, new = _tensors(before), _tensors(after)
    moved: dict[str, float] = {}
    other_shape, squares, norms = [], 0.0, 0.0
    for name in sorted(old.keys() & new.keys()):
        first, second = _tensor(old[name], name).double(), _tensor(new[name], name).double()
        if first.shape != second.shape:
            other_shape.append(name)
            continue
        distance, norm = float((second - first).norm()), float(first.norm())
        moved[name] = distance / norm if norm else (math.inf if distance else 0.0)
        squares, norms = squares + distance**2, norms + norm**2
    largest = sorted(moved, key=lambda name: (-moved[name], name))[:_LARGEST]
    return {
        "relative": math.sqrt(squares / norms) if norms else None,
        "tensors": len(moved),
        "largest": {name: moved[name] if math.isfinite(moved[name]) else None for name in largest},
        "only_before": sorted(old.keys() - new.keys()),
        "only_after": sorted(new.keys() - old.keys()),
        "other_shape": other_shape,
    }


def _card(folder: Path) -> RunCard:
    card = find_run_card(folder)
    if card is None:
        raise InputNotFoundError("the folder holds no finished run", where=folder, expected="run_card.json in it")
    return card


def _incomparable(old: RunCard, new: RunCard) -> str | None:
    """Why the figures of two runs on their held-out rows say nothing of each other; None where they do."""
    reasons = []
    if old.model["digest"] != new.model["digest"]:
        reasons.append("relative to different models")
    if _held_out(old) != _held_out(new):
        reasons.append("on different rows")
    if not reasons:
        return None
    return f"Figures on held-out rows cannot be compared: the two were measured {' and '.join(reasons)}."


def _held_out(card: RunCard) -> tuple[Any, ...]:
    """What the rows that a run was measured on follow from."""
    if "held_out" in card.digests:
        return (card.digests["held_out"],)
    evaluation = card.config.get("evaluation", {})
    return (card.digests.get("dataset"), card.digests.get("tokens"), evaluation.get("max_rows"))


def _figure(card: RunCard, name: str) -> float | None:
    last = card.evaluation.get("last")
    return None if last is None else last.get(name)


def _tensors(folder: Path) -> dict[str, Path]:
    """The file of each tensor by the tensor's name."""
    from safetensors import safe_open

    found: dict[str, Path] = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            found.update(dict.fromkeys(file.keys(), path))
    return found


def _tensor(path: Path, name: str) -> Any:
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        return file.get_tensor(name)
