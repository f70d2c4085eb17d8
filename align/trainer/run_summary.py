"""The run card of a run, from what the run left behind: inputs, metrics and state."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import torch

from align.artifacts.card import RunCard, describe_dataset, package_versions
from align.artifacts.metrics import read_metrics
from align.batches.inputs import label_ratio
from align.objectives import find_objective
from align.tokens.fixed_date import FIXED_DATE, writes_date
from align.tokens.tokenize import TokenizedSplit
from align.trainer.run import Run, TrainingState
from schemas.manifest import Ratio
from schemas.reasons import DropReason
from schemas.settings import settings_to_dict

__all__ = ["summarize_run"]

_LOST_SHARE: Final = 0.1  # of the rows; above it, the card warns


def summarize_run(
    run: Run,
    state: TrainingState,
    *,
    dataset: Path,
    model: str,
    rows_read: Mapping[str, int],
    seconds_prepared: float,
) -> RunCard:
    """The card of a run whose last step is done.

    Args:
        run: the run.
        state: after its last step.
        dataset: the dataset's folder.
        model: the name of the model it began with.
        rows_read: rows of each split before tokenization.
        seconds_prepared: time spent before the first step, in this session.
    """
    lines = read_metrics(run.out)
    steps = _steps(lines)
    ratio = label_ratio(run.inputs.train.rows, run.config)
    splits = {"train": run.inputs.train, "test": run.inputs.test}
    evaluations = [line for line in lines if line["kind"] == "evaluation"]
    return RunCard(
        model={"name": model, "digest": run.loaded.digest},
        dataset=describe_dataset(dataset, run.inputs.digests["dataset"]),
        digests=run.inputs.digests | {"held_out": run.inputs.held_out.digest()} | _reward_model(run),
        config=settings_to_dict(run.config),
        rows={split: _rows(tokens, rows_read[split]) for split, tokens in splits.items()},
        ratio={
            **asdict(ratio),
            "value": ratio.value if math.isfinite(ratio.value) else None,  # all weights of a label are 0
            "is_in_range": ratio.is_in_range,
        },
        steps=steps,
        evaluation={
            "first": evaluations[0] if len(evaluations) > 1 else None,
            "last": evaluations[-1] if evaluations else None,
        },
        seconds={
            "prepared": seconds_prepared,
            "training": state.seconds,
            "per_step": state.seconds / max(1, state.steps_done),
        },
        device={
            "device": str(run.accelerator.device.type),
            "processes": run.accelerator.num_processes,
            "threads": torch.get_num_threads(),
            "dtype": run.config.dtype,
            "tokens_per_micro_batch": run.scorer.tokens,
            "gradient_checkpointing": run.recomputes_activations,
        },
        versions=package_versions(),
        warnings=tuple(_warnings(run, ratio, steps, rows_read)),
    )


def _steps(lines: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Totals over the step lines."""
    steps = [line for line in lines if line["kind"] == "step"]
    return {
        "steps": len(steps),
        "examples": sum(line["examples"] for line in steps),
        "tokens": sum(line["tokens"] for line in steps),
        "padded_tokens": sum(line["padded_tokens"] for line in steps),
        "skipped": sum(line["is_skipped"] for line in steps),
        "z0_clamped_share": sum(line["z0_clamped"] for line in steps) / max(1, len(steps)),
        "first_loss": steps[0]["loss"] if steps else None,
        "last_loss": steps[-1]["loss"] if steps else None,
        "first_largest_ratio": steps[0]["largest_ratio"] if steps else None,
        **_sampled(steps),
    }


def _sampled(steps: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Of runs that sampled answers: their mean reward and drift in the first and in the last step."""
    if not steps or "answer_reward" not in steps[0]:
        return {}
    ends = (("first", steps[0]), ("last", steps[-1]))
    return {f"{end}_{key}": line[key] for key in ("answer_reward", "answer_drift") for end, line in ends}


def _reward_model(run: Run) -> dict[str, str]:
    return {} if run.judge is None else {"reward_model": run.judge.reward_model.loaded.digest}


def _rows(tokens: TokenizedSplit, read: int) -> dict[str, Any]:
    return {"read": read, "kept": len(tokens.rows), "lost": tokens.dropped, "figures": tokens.figures}


def _warnings(run: Run, ratio: Ratio, steps: Mapping[str, Any], rows_read: Mapping[str, int]) -> list[str]:
    found = []
    if find_objective(run.config.objective.name).learns_from_both and not ratio.is_in_range:
        found.append(
            f"R = {ratio.value:.3f} of the rows trained on lies outside [{ratio.low:.3f}, {ratio.high:.3f}]: rebalance"
            " the dataset, or set objective.desirable_weight and objective.undesirable_weight."
        )
    for split, tokens in (("train", run.inputs.train), ("test", run.inputs.test)):
        lost = rows_read[split] - len(tokens.rows) - tokens.dropped.get(DropReason.UNDESIRABLE.value, 0)
        if lost > _LOST_SHARE * rows_read[split]:
            found.append(f"{lost} of {rows_read[split]} rows of the split {split!r} were lost in tokenization.")
    endless = run.inputs.train.figures.get("without_turn_end", 0)
    if endless:
        found.append(
            f"{endless} completions do not end with the token that ends a turn; the model may not learn to stop."
        )
    redrawn = run.inputs.train.figures.get("redrawn_prompts", 0)
    if redrawn:
        found.append(
            f"The chat template asks the model otherwise than it writes {redrawn} of the answers: it ends the question"
            " with something that does not stand before them, as an opened thought. They were learned behind what the"
            " model is asked with."
        )
    if writes_date(run.loaded.tokenizer):
        found.append(
            f"The chat template writes today's date; {FIXED_DATE:%d %B %Y} stands there in all that was trained on and"
            " measured."
        )
    if not run.inputs.held_out.rows:
        found.append("There is no held-out split, so nothing was evaluated.")
    if steps["skipped"]:
        found.append(f"{steps['skipped']} steps were skipped because their loss or gradient was not finite or 0.")
    return found
