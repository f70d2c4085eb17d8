"""An audit that also says what training on its input would do: the only room of the audit that knows `align`.

dataset ────────────────────────────┐
raw files ──no stage but the shape──┴─► rows, or pairs ─► tokens of the model ─► plan ─► metrics beside the others
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import Field

from align.config import TrainConfig
from feedback.audit.report import AuditReport
from feedback.audit.subjects import RawReading, raw_sources
from schemas.errors import DataGateError, UsageError
from schemas.manifest import MANIFEST_NAME
from schemas.progress import Progress, silent
from schemas.settings import apply_overrides, load_settings, settings

__all__ = ["TrainingAsked", "TrainingSettings", "ask_training", "audit_training", "split_overrides"]

_TRAIN: Final = "train."
_SPEED: Final = "tokens_per_second"
_LAMBDAS: Final = ("desirable_weight", "undesirable_weight")


@settings
class TrainingSettings:
    """What may be set where a model is named.

    Args:
        train: the run's settings.
        tokens_per_second: `tokens` over `seconds` of a step in a run's `metrics.jsonl`, greater than 0;
            null says no hours.
    """

    train: TrainConfig = TrainConfig()
    tokens_per_second: Annotated[float, Field(gt=0)] | None = None


@dataclass(frozen=True, slots=True)
class TrainingAsked:
    """A model, as far as its files say without weights, and the settings of a run on it.

    Args:
        tokenizer: the model's.
        parameters: its weights.
        overrides: `train.KEY=VALUE` and `tokens_per_second=VALUE`.
    """

    tokenizer: Any
    parameters: int
    overrides: tuple[str, ...]


def split_overrides(overrides: Iterable[str], *, has_model: bool) -> tuple[list[str], list[str]]:
    """The overrides of the audit, and those of the training: `train.KEY=VALUE` and `tokens_per_second=VALUE`.

    Args:
        overrides: `KEY=VALUE`, as given with `--set`.
        has_model: whether a model is named, without which there is no training to set.

    Raises:
        UsageError: an override of the training without a model.
    """
    mine: list[str] = []
    training: list[str] = []
    for override in overrides:
        key = override.partition("=")[0].strip()
        (training if key.startswith(_TRAIN) or key == _SPEED else mine).append(override)
    if training and not has_model:
        raise UsageError(
            "a setting of the training is given and no model",
            where="--set",
            received=training[0],
            todo="Name the model with --model",
        )
    return mine, training


def ask_training(model: str, overrides: Iterable[str] = ()) -> TrainingAsked:
    """What is asked of a model and its settings, before anything long is done.

    Args:
        model: a local folder, a builtin name or a name on the hub; its weights are not read.
        overrides: `train.KEY=VALUE` for any key of `align.config.TrainConfig`, and `tokens_per_second=VALUE`.

    Raises:
        ConfigError: an override that is not allowed.
        ModelError: no tokenizer or config can be loaded under that name.
    """
    from align.models.loading import count_parameters, load_tokenizer

    overrides = tuple(overrides)
    load_settings(TrainingSettings, apply_overrides({}, overrides), where="--set")
    return TrainingAsked(load_tokenizer(model), count_parameters(model), overrides)


def audit_training(
    report: AuditReport,
    inputs: Sequence[str | Path],
    asked: TrainingAsked,
    reading: RawReading,
    *,
    progress: Progress = silent,
) -> AuditReport:
    """The report with what a training run on the inputs would do.

    Raw files are read once more, and their rows are taken as they are, but a record that is there twice counts once.
    Where the objective trains on pairs, they are the pairs that `convert` writes of the raw files. R has the audit's
    range and lambdas where no override says otherwise.

    Args:
        report: the audit of the inputs.
        inputs: the folder of a dataset, or raw files.
        asked: the model and the settings.
        reading: how raw files are read.
        progress: told about every stage and every row that is tokenized.

    Raises:
        InputError: a file is missing or not in its format, or a dataset is not of the objective's type.
        ModelError: the tokenizer cannot be used.
    """
    from align.objectives import find_objective

    given = _settings_of(report, asked)
    if len(inputs) == 1 and (Path(inputs[0]) / MANIFEST_NAME).is_file():
        return _with_forecast(report, Path(inputs[0]), asked, given, progress)
    is_pairs = find_objective(given.train.objective.name).data == "preference"
    with tempfile.TemporaryDirectory(prefix="thumbline-") as folder:
        dataset = Path(folder) / "dataset"
        try:
            (_write_pairs if is_pairs else _write_as_it_is)(inputs, reading, dataset, progress)
        except DataGateError as error:
            return _without_steps(report, error)
        return _with_forecast(report, dataset, asked, given, progress)


def _settings_of(report: AuditReport, asked: TrainingAsked) -> TrainingSettings:
    """The settings of the training; what nobody set of R is as the audit has it, if the objective knows it."""
    from align.objectives import find_objective

    plain = load_settings(TrainingSettings, apply_overrides({}, asked.overrides), where="--set")
    known = find_objective(plain.train.objective.name).settings
    names = {"ratio_low": "low", "ratio_high": "high", **{name: name for name in _LAMBDAS}}
    of_audit = {"objective": {name: report.config[key] for name, key in names.items() if name in known}}
    return load_settings(TrainingSettings, apply_overrides({"train": of_audit}, asked.overrides), where="--set")


def _write_pairs(inputs: Sequence[str | Path], reading: RawReading, out: Path, progress: Progress) -> None:
    """A folder with the pairs that the raw files give, in the split `train`."""
    from feedback.transcode import convert_files

    out.mkdir()
    convert_files(
        inputs,
        raw_sources(inputs, reading)[0].format,
        "trl",
        out / "train.jsonl",
        map_path=None if reading.map is None else Path(reading.map),
        ranking=reading.ranking,
        join=reading.join,
        sql=reading.sql,
        dataset_type="preference",
        max_rejected_share=1.0,
        progress=progress,
    )


def _write_as_it_is(inputs: Sequence[str | Path], reading: RawReading, out: Path, progress: Progress) -> None:
    """A dataset of the rows that the raw files give, in the split `train`, as `rebalance` would write it."""
    from feedback.config import (
        CapsConfig,
        ConflictConfig,
        CurateConfig,
        DedupConfig,
        IngestConfig,
        RebalanceConfig,
        SplitConfig,
    )
    from feedback.pipeline import curate

    config = CurateConfig(
        sources=tuple(raw_sources(inputs, reading)),
        ingest=IngestConfig(max_rejected_share=1.0),
        dedup=DedupConfig(match="off"),
        conflicts=ConflictConfig(policy="off"),
        caps=CapsConfig(max_rater_share=1.0),
        split=SplitConfig(test_fraction=0.0),
        rebalance=RebalanceConfig(mode="off"),
    )
    curate(config, out, progress=progress)


def _with_forecast(
    report: AuditReport, dataset: Path, asked: TrainingAsked, given: TrainingSettings, progress: Progress
) -> AuditReport:
    from align.resources.forecast import forecast
    from cli.workflows.training_metrics import advise_on_training, measure_training, tabulate_training

    try:
        found = forecast(dataset, asked.tokenizer, given.train, parameters=asked.parameters, progress=progress)
    except DataGateError as error:
        return _without_steps(report, error)
    metrics = measure_training(found, tokens_per_second=given.tokens_per_second)
    return replace(
        report,
        metrics=(*report.metrics, *metrics),
        tables=(*report.tables, *tabulate_training(found)),
        advice=(*report.advice, *advise_on_training(found, metrics)),
    )


def _without_steps(report: AuditReport, error: DataGateError) -> AuditReport:
    from cli.workflows.training_metrics import cannot_train

    return replace(report, metrics=(*report.metrics, cannot_train(error.what)))
