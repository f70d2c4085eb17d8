"""How well a policy tells good answers from bad ones: rewards on held-out rows against its reference.

    reward            beta * (policy_logps - reference_logps) of a row; 0 where nothing was learned
    reward_margin     mean reward of desirable rows - mean reward of undesirable rows
    reward_accuracy   chance that a desirable row's reward exceeds an undesirable row's, over all such pairs, a tie
                      being half (the area under the ROC curve); 0.5 where nothing was learned, whatever the label ratio
    sign_accuracy     share of rows on the right side of z0: log-ratio above it where desirable, below it where
                      undesirable, a tie being half
    loss              mean KTO loss of the rows, with their weights and the objective's

Log-ratios are rounded to thousandths of a nat before they are compared, so that rounding noise is a tie.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import torch
from accelerate import Accelerator

from align.card import RUN_CARD_NAME, RunCard, find_run_card
from align.config import ObjectiveConfig, TrainConfig
from align.dataset import read_split
from align.inputs import HeldOut, held_out_pairs, tokenize_split
from align.metrics import RewardSums
from align.model_files import model_digest, model_folder
from align.models import LoadedModel, load_policy
from align.objectives.kto import kl_estimate, kto_loss
from align.ranks import start_accelerator
from align.reference_pass import known_reference, reference_file, score_reference
from align.scoring import Scorer, TokenPair, build_scorer, score_on_ranks
from schemas.errors import ConfigError, EmptySplitError, ModelError
from schemas.progress import Progress, silent
from schemas.settings import load_settings

__all__ = ["evaluate", "evaluate_held_out", "reward_figures"]

_DIGITS: Final = 3


def reward_figures(
    policy_logps: Sequence[float],
    reference_logps: Sequence[float],
    labels: Sequence[bool],
    weights: Sequence[float],
    mismatched_ratios: Sequence[float],
    objective: ObjectiveConfig,
) -> dict[str, Any]:
    """The figures of the module's docstring, from numbers alone.

    Args:
        policy_logps: log-probability of each row's completion under the policy, in nats. [B].
        reference_logps: the same under the reference. [B].
        labels: True where desirable. [B].
        weights: factor of each row's loss. [B].
        mismatched_ratios: log-ratios of mismatched pairs, for z0; none gives z0 = 0.
        objective: beta and the label weights.

    Returns:
        JSON values; null where a figure needs a label that no row has.
    """
    ratios = [policy - reference for policy, reference in zip(policy_logps, reference_logps, strict=True)]
    z0 = _z0(mismatched_ratios)
    desirable = [ratio for ratio, label in zip(ratios, labels, strict=True) if label]
    undesirable = [ratio for ratio, label in zip(ratios, labels, strict=True) if not label]
    losses = kto_loss(
        torch.tensor(policy_logps, dtype=torch.float64),
        torch.tensor(reference_logps, dtype=torch.float64),
        torch.tensor(labels, dtype=torch.bool),
        z0,
        beta=objective.beta,
        desirable_weight=objective.desirable_weight,
        undesirable_weight=objective.undesirable_weight,
        weight=torch.tensor(weights, dtype=torch.float64),
    )
    right = [_wins(ratio, z0) if label else _wins(z0, ratio) for ratio, label in zip(ratios, labels, strict=True)]
    sums = RewardSums(
        desirable=len(desirable),
        undesirable=len(undesirable),
        desirable_reward=objective.beta * sum(desirable),
        undesirable_reward=objective.beta * sum(undesirable),
    )
    return {
        **sums.to_dict(),
        "reward_accuracy": _ranking_accuracy(desirable, undesirable),
        "sign_accuracy": sum(right) / len(right),
        "loss": float(losses.mean()),
        "z0": z0,
        "mean_kl": sum(mismatched_ratios) / len(mismatched_ratios) if mismatched_ratios else None,
        "largest_ratio": max(abs(ratio) for ratio in ratios),
    }


def evaluate_held_out(
    held_out: HeldOut,
    scorer: Scorer,
    references: dict[TokenPair, float],
    objective: ObjectiveConfig,
    accelerator: Accelerator,
    *,
    progress: Progress = silent,
) -> dict[str, Any]:
    """`reward_figures` of a policy on held-out rows.

    Args:
        held_out: rows and pairs, at least one row.
        scorer: the policy.
        references: reference log-probability of every pair.
        objective: beta and the label weights.
        accelerator: the process's place in the run; the pairs are shared out over the ranks.
        progress: told of every pair.
    """
    pairs = [*held_out.matched, *held_out.mismatched]
    with progress("evaluate", len(pairs)) as advance:
        policy = score_on_ranks(pairs, scorer, accelerator, advance)
    reference = [references[pair] for pair in pairs]
    rows = len(held_out.rows)
    return reward_figures(
        policy[:rows],
        reference[:rows],
        [row.label for row in held_out.rows],
        [row.weight for row in held_out.rows],
        [ours - theirs for ours, theirs in zip(policy[rows:], reference[rows:], strict=True)],
        objective,
    )


def evaluate(
    model: str | Path,
    *,
    dataset: Path,
    split: str = "test",
    reference: str | None = None,
    config: TrainConfig | None = None,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Rewards of a trained run, or of any model, on the rows of a dataset.

    Args:
        model: a run's folder, or a model by name or path.
        dataset: the dataset.
        split: the split to score.
        reference: the model that rewards are relative to; for a run, its base model unless another is named.
        config: token limits, beta, weights, dtype and device; for a run, its own unless given.
        progress: told of every pair that is scored.

    Returns:
        The figures of `reward_figures`, with `policy`, `reference`, `dataset`, `split`, `rows` and `rows_lost`.

    Raises:
        ConfigError: a model that is no run, and no reference was named.
        EmptySplitError: the split has no row, or none that fits.
        ModelError: the run's base model is not what it was trained from.
    """
    card = find_run_card(Path(model))
    config = config or _config_of(card)
    base = reference or _base_of(card, model)
    rows = read_split(dataset, split)
    policy = load_policy(model if card is None else Path(model) / "model")
    tokens = tokenize_split(rows, policy.tokenizer, config.tokens, progress=progress)
    if not tokens.rows:
        raise EmptySplitError(f"the split {split!r} has no row to evaluate", where=dataset, received=tokens.dropped)
    held_out = held_out_pairs(tokens.rows, max_rows=config.evaluation.max_rows)
    accelerator = start_accelerator(config.device)
    digest, references = _references(base, held_out, config, accelerator, progress)
    if card is not None and reference is None and digest != card.model["digest"]:
        raise ModelError("the base model is not the one that the run began with", where=base, received=digest)
    figures = evaluate_held_out(
        held_out, _scorer(policy, config, accelerator), references, config.objective, accelerator, progress=progress
    )
    return {
        "policy": {"name": str(model), "digest": policy.digest},
        "reference": {"name": base, "digest": digest},
        "dataset": dataset.name,
        "split": split,
        "rows": len(held_out.rows),
        "rows_lost": tokens.dropped,
        **figures,
    }


def _z0(mismatched_ratios: Sequence[float]) -> float:
    if not mismatched_ratios:
        return 0.0
    return float(kl_estimate(torch.tensor(sum(mismatched_ratios), dtype=torch.float64), len(mismatched_ratios)))


def _wins(left: float, right: float) -> float:
    """1 where left is larger, 0 where right is, a half where they agree to within rounding noise."""
    left, right = round(left, _DIGITS), round(right, _DIGITS)
    return 0.5 if left == right else float(left > right)


def _ranking_accuracy(desirable: Sequence[float], undesirable: Sequence[float]) -> float | None:
    if not desirable or not undesirable:
        return None
    ordered = sorted(round(ratio, _DIGITS) for ratio in undesirable)
    won = 0.0
    for ratio in desirable:
        value = round(ratio, _DIGITS)
        won += (bisect_left(ordered, value) + bisect_right(ordered, value)) / 2
    return won / (len(desirable) * len(undesirable))


def _config_of(card: RunCard | None) -> TrainConfig:
    return TrainConfig() if card is None else load_settings(TrainConfig, card.config, where=RUN_CARD_NAME)


def _base_of(card: RunCard | None, model: str | Path) -> str:
    if card is None:
        raise ConfigError(
            "the model is not a finished run, so its reference is not known",
            where=model,
            todo="Name the model that rewards are relative to with --reference",
        )
    return str(card.model["name"])


def _references(
    base: str, held_out: HeldOut, config: TrainConfig, accelerator: Accelerator, progress: Progress
) -> tuple[str, dict[TokenPair, float]]:
    """Digest of the reference and its numbers; the model is loaded only where the cache lacks one."""
    pairs = list(dict.fromkeys([*held_out.matched, *held_out.mismatched]))
    digest = model_digest(model_folder(base))
    shared = reference_file(digest, config.dtype)
    known = known_reference(pairs, model_digest=digest, dtype=config.dtype, shared=shared)
    if known is not None:
        return digest, known
    scorer = _scorer(load_policy(base), config, accelerator)
    return digest, score_reference(
        pairs, scorer, accelerator, model_digest=digest, own=None, shared=shared, progress=progress
    )


def _scorer(loaded: LoadedModel, config: TrainConfig, accelerator: Accelerator) -> Scorer:
    tokens = config.batch.tokens_per_micro_batch
    return build_scorer(loaded, device=accelerator.device, dtype=config.dtype, tokens=tokens)
