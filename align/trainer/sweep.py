"""Several runs over one dataset and model that differ in a few settings: their plan and reference numbers are shared.

    settings to vary ─► every combination ─► a run each, in OUT/KEY=VALUE,... ─► sweep.json

The shared cache of `align.reference.reference_cache` keeps the reference's numbers by content, so only the first run
computes them.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

from align.artifacts.card import RunCard
from align.config import ObjectiveConfig, TrainConfig
from align.trainer.loop import train
from schemas.errors import ConfigError
from schemas.manifest import write_last
from schemas.paths import AnyPath, path_of
from schemas.progress import Progress, silent
from schemas.settings import apply_overrides, load_settings

__all__ = ["SWEEP_NAME", "SweptRun", "sweep"]

SWEEP_NAME: Final = "sweep.json"


@dataclass(frozen=True, slots=True)
class SweptRun:
    """A run of a sweep.

    Args:
        settings: what it was told of the settings that vary, by key, as texts.
        folder: where it lies.
        card: its card.
    """

    settings: Mapping[str, str]
    folder: Path
    card: RunCard

    def to_dict(self) -> dict[str, Any]:
        """As JSON values: settings, folder, and what the run's last evaluation found."""
        return {
            "settings": dict(self.settings),
            "folder": self.folder.name,
            "evaluation": self.card.evaluation.get("last"),
            "seconds": self.card.seconds["training"],
        }


def sweep(
    values: Mapping[str, Any],
    varied: Sequence[str],
    *,
    dataset: AnyPath,
    model: AnyPath,
    out: AnyPath,
    resume: bool = True,
    progress: Progress = silent,
) -> list[SweptRun]:
    """A run for every combination of the varied settings, one after the other; finished ones are left alone.

    Args:
        values: what the runs have in common, as a config file holds it.
        varied: `KEY=V1,V2,...`; a key without a dot is one of `ObjectiveConfig`.
        dataset: as in `align.trainer.train`.
        model: likewise.
        out: folder of all runs.
        resume: whether unfinished runs are gone on with.
        progress: told of every run.

    Returns:
        The runs, the first setting varying slowest; `out/sweep.json` holds them too.

    Raises:
        ConfigError: a setting does not exist, has no two values, or one out of its range; nothing was trained.
        Exception: what `align.trainer.train` raises.
    """
    out = path_of(out, name="out")
    settings = dict(_parse(text) for text in varied)
    combinations = [dict(zip(settings, chosen, strict=True)) for chosen in itertools.product(*settings.values())]
    configs = [_config(values, combination) for combination in combinations]
    runs = []
    for combination, config in zip(combinations, configs, strict=True):
        folder = out / ",".join(f"{key}={value}" for key, value in combination.items())
        card = train(config, dataset=dataset, model=model, out=folder, resume=resume, progress=progress)
        runs.append(SweptRun(combination, folder, card))
    write_last(out / SWEEP_NAME, json.dumps([one.to_dict() for one in runs], indent=2) + "\n")
    return runs


def _parse(text: str) -> tuple[str, list[str]]:
    key, equals, listed = text.partition("=")
    values = list(dict.fromkeys(value.strip() for value in listed.split(",") if value.strip()))
    if not equals or len(values) < 2 or "/" in listed:
        raise ConfigError(
            "a sweep is not KEY=V1,V2,...", where="--sweep", received=text, expected="a setting and two values or more"
        )
    return key.strip(), values


def _config(values: Mapping[str, Any], combination: Mapping[str, str]) -> TrainConfig:
    of_objective = {field.name for field in fields(ObjectiveConfig)}
    overrides = [
        f"objective.{key}={value}" if key in of_objective else f"{key}={value}" for key, value in combination.items()
    ]
    return load_settings(TrainConfig, apply_overrides(values, overrides), where="--sweep")
