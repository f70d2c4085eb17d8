"""How well a policy tells good answers from bad ones: rewards on held-out rows against its reference.

    reward            beta * (policy_logps - reference_logps) of a row; 0 where nothing was learned
    reward_margin     mean reward of desirable rows - mean reward of undesirable rows
    reward_accuracy   chance that a desirable row's reward exceeds an undesirable row's, over all such pairs, a tie
                      being half (the area under the ROC curve); 0.5 where nothing was learned, whatever the label ratio
    sign_accuracy     share of rows on the right side of z0: log-ratio above it where desirable, below it where
                      undesirable, a tie being half
    loss              mean loss of the rows under the objective, with their weights; for objectives of tokens the mean
                      of a token; with control tokens each answer stands behind its own label's, as in training, while
                      rewards are of answers to a model that is asked for good ones

Of pairs, chosen answers are the desirable ones and rejected ones the undesirable ones; `reward_accuracy` compares the
answers of one pair with each other, and there is no sign accuracy. The reference is the model that training began with,
also for objectives that do without one; a reward model's own rewards are measured, relative to nothing.

Log-ratios are rounded to thousandths of a nat before they are compared, so that rounding noise is a tie.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import replace
from os import fspath
from pathlib import Path
from typing import Any, Final

from accelerate import Accelerator

from align.artifacts.card import RUN_CARD_NAME, RunCard, find_run_card
from align.artifacts.metrics import RewardSums
from align.batches.held_out import HeldOut, held_out_pairs
from align.batches.inputs import read_split_for, tokenize_split
from align.config import ObjectiveConfig, TrainConfig
from align.data.parts import dataset_name, part_for
from align.distributed.ranks import measuring_device, start_accelerator
from align.evaluate.held_out_loss import Scored, estimated_z0, loss_of_learned, mean_loss
from align.models.loading import LoadedModel, load_policy
from align.models.model_files import model_digest, model_folder
from align.objectives import find_objective
from align.objectives.losses import check_objective, needs_kl, reward_scale
from align.reference.reference_pass import known_reference, reference_file, score_reference
from align.scoring.scorer import Scorer, build_scorer, score_on_ranks
from align.tokens.control_tokens import add_control_tokens, asked_for_good
from align.tokens.model_limits import refuse_beyond
from align.tokens.token_ids import TokenPair
from schemas.errors import ConfigError, EmptySplitError, ModelError
from schemas.paths import AnyPath, path_of
from schemas.progress import Progress, silent
from schemas.settings import load_settings

__all__ = ["evaluate", "evaluate_held_out", "reward_figures"]

_DIGITS: Final = 3


def reward_figures(
    policy_logps: Scored,
    reference_logps: Scored,
    labels: Sequence[bool],
    weights: Sequence[float],
    mismatched_ratios: Sequence[float],
    objective: ObjectiveConfig | None,
    *,
    tokens: Sequence[Sequence[int]],
    mismatched_logps: Sequence[float] = (),
) -> dict[str, Any]:
    """The figures of the module's docstring, from numbers alone.

    Args:
        policy_logps: log-probability of each row's completion, or of its chosen and its rejected one, under the policy,
            in nats. [B, S].
        reference_logps: the same under the reference. [B, S].
        labels: True where desirable. [B].
        weights: factor of each row's loss. [B].
        mismatched_ratios: log-ratios of mismatched pairs, for z0; none gives z0 = 0.
        objective: beta, the label weights and whatever else its loss reads; None for rewards as they are, and no loss.
        tokens: of each completion. [B, S].
        mismatched_logps: log-probabilities of mismatched pairs under the policy: z0 of a uniform reference.

    Returns:
        JSON values; null where a figure needs a label that no row has.
    """
    ratios = [
        tuple(ours - theirs for ours, theirs in zip(*row, strict=True))
        for row in zip(policy_logps, reference_logps, strict=True)
    ]
    z0 = estimated_z0(mismatched_ratios)
    beta = 1.0 if objective is None else reward_scale(objective)
    is_pairs = len(ratios[0]) == 2
    if is_pairs:
        desirable, undesirable = [row[0] for row in ratios], [row[1] for row in ratios]
        accuracy: float | None = sum(_wins(*row) for row in ratios) / len(ratios)
        right = None
    else:
        desirable = [row[0] for row, label in zip(ratios, labels, strict=True) if label]
        undesirable = [row[0] for row, label in zip(ratios, labels, strict=True) if not label]
        accuracy = _ranking_accuracy(desirable, undesirable)
        sides = [_wins(row[0], z0) if label else _wins(z0, row[0]) for row, label in zip(ratios, labels, strict=True)]
        right = sum(sides) / len(sides)
    sums = RewardSums(
        desirable=len(desirable),
        undesirable=len(undesirable),
        desirable_reward=beta * sum(desirable),
        undesirable_reward=beta * sum(undesirable),
    )
    return {
        **sums.to_dict(),
        "reward_accuracy": accuracy,
        "sign_accuracy": right,
        "loss": None
        if objective is None
        else mean_loss(
            policy_logps,
            reference_logps,
            labels,
            weights,
            objective,
            z0=z0 if objective.reference == "model" else estimated_z0(mismatched_logps, is_clamped=False),
            tokens=tokens,
        ),
        "z0": z0,
        "mean_kl": sum(mismatched_ratios) / len(mismatched_ratios) if mismatched_ratios else None,
        "largest_ratio": max(abs(ratio) for row in ratios for ratio in row),
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
    mismatched = held_out.mismatched if needs_kl(objective) else ()
    pairs, learned = [*held_out.matched, *mismatched], held_out.learned
    with progress("evaluate", len(pairs) + len(learned)) as advance:
        policy = score_on_ranks([*pairs, *learned], scorer, accelerator, advance)
    policy, of_learned = policy[: len(pairs)], policy[len(pairs) :]
    reference = [references[pair] for pair in pairs]
    count, width = len(held_out.matched), len(held_out.rows[0].sequences)

    def by_row(values: Sequence[float]) -> list[Sequence[float]]:
        """The values of matched sequences, those of a row together."""
        return [values[start : start + width] for start in range(0, count, width)]

    figures = reward_figures(
        by_row(policy),
        by_row(reference),
        [row.label for row in held_out.rows],
        [row.weight for row in held_out.rows],
        [ours - theirs for ours, theirs in zip(policy[count:], reference[count:], strict=True)],
        objective,
        tokens=[[len(completion) for _, completion in row.sequences] for row in held_out.rows],
        mismatched_logps=policy[count:],
    )
    if find_objective(objective.name).has_control_tokens:
        figures["loss"] = loss_of_learned(held_out, of_learned, objective)
    return figures


def evaluate(
    model: AnyPath,
    *,
    dataset: AnyPath,
    split: str = "test",
    reference: AnyPath | None = None,
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
        InputError: the dataset is not of the objective's type.
        ModelError: the run's base model is not what it was trained from.
    """
    model = fspath(model)
    card = find_run_card(Path(model))
    config = config or _config_of(card)
    base = _base_of(card, model) if reference is None else fspath(reference)
    objective = check_objective(config.objective)
    dataset = part_for(path_of(dataset, name="dataset"), objective.data)
    rows = read_split_for(objective, dataset, split, config.weights)
    policy = load_policy(model if card is None else Path(model) / "model", head=objective.head)
    tokens = tokenize_split(rows, policy.tokenizer, config.tokens, progress=progress)
    if objective.has_control_tokens:
        tokens = asked_for_good(tokens, policy.tokenizer)
    if not tokens.rows:
        raise EmptySplitError(f"the split {split!r} has no row to evaluate", where=dataset, received=tokens.dropped)
    named = ((f"row {row.row_id!r}", pair) for row in tokens.rows for pair in row.sequences)
    refuse_beyond(named, policy.model.config, where=dataset)
    held_out = held_out_pairs(
        tokens.rows, objective, takes_kl=needs_kl(config.objective), max_rows=config.evaluation.max_rows
    )
    accelerator = start_accelerator(config.device)
    if objective.head == "rewards":
        digest, references = model_digest(model_folder(base)), dict.fromkeys(held_out.matched, 0.0)
    else:
        digest, references = _references(base, held_out, config, accelerator, progress)
    if card is not None and reference is None and digest != card.model["digest"]:
        raise ModelError("the base model is not the one that the run began with", where=base, received=digest)
    figures = evaluate_held_out(
        held_out, _scorer(policy, config, accelerator), references, config.objective, accelerator, progress=progress
    )
    return {
        "policy": {"name": model, "digest": policy.digest},
        "reference": {"name": base, "digest": digest},
        "dataset": dataset_name(dataset),
        "split": split,
        "rows": len(held_out.rows),
        "rows_lost": tokens.dropped,
        **figures,
    }


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
    """Of a run its own, but for a GPU that this machine need not have."""
    if card is None:
        return TrainConfig()
    config = load_settings(TrainConfig, card.config, where=RUN_CARD_NAME)
    return replace(config, device=measuring_device(config.device))


def _base_of(card: RunCard | None, model: str) -> str:
    if card is None:
        if not Path(model).expanduser().exists():
            model_folder(model, needs_weights=False)  # where there is no such model, that is what is wrong
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
    loaded = load_policy(base)
    if find_objective(config.objective.name).has_control_tokens:
        add_control_tokens(loaded.model, loaded.tokenizer)
    scorer = _scorer(loaded, config, accelerator)
    return digest, score_reference(
        pairs, scorer, accelerator, model_digest=digest, own=None, shared=shared, progress=progress
    )


def _scorer(loaded: LoadedModel, config: TrainConfig, accelerator: Accelerator) -> Scorer:
    tokens = config.batch.tokens_per_micro_batch
    head = find_objective(config.objective.name).head
    return build_scorer(loaded, device=accelerator.device, dtype=config.dtype, tokens=tokens, head=head)
