"""What a run would do, without doing it: rows lost, steps, padding and cost, by the code that a run uses.

dataset ─► rows ─► tokens ─► plan ─► passes: forward and backward, mismatched pairs, reference, evaluations

No weight of the model is read. Passes are those of one process on an empty reference cache and of a model that is told
about trees (`align.scoring.trees`), as nearly all are; more processes share the same sequences out, and a filled cache
leaves reference passes out. Answers that a run samples count with their longest length; what a reward model computes
for them is not counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from align.batches.inputs import RunInputs, label_ratio, plan_inputs, read_split_for, tokenize_splits
from align.config import ObjectiveConfig, TrainConfig
from align.data.parts import part_for
from align.distributed.ranks import device_type
from align.objectives import Objective, find_objective
from align.objectives.losses import check_objective
from align.scoring.scorer import FORWARD_FACTOR, batches_within, lengths_of, micro_batch_tokens, pass_tokens
from align.tokens.control_tokens import add_to_tokenizer
from align.tokens.token_ids import TokenPair
from align.tokens.tokenize import TokenizedRow, TokenizedSplit
from schemas.errors import DataGateError
from schemas.manifest import Ratio
from schemas.progress import Progress, silent

__all__ = ["Forecast", "Pass", "Passes", "forecast", "forward_backward_flops", "learned_sequences"]


@dataclass(frozen=True, slots=True)
class Pass:
    """Sequences that go through the model in one way.

    Args:
        sequences: how many, each time they go through it.
        tokens: their tokens.
        padded_tokens: what the model computes on for them: with padding, or fewer where a prompt is computed once.
        flops_per_weight: floating-point operations for each token and weight.
    """

    sequences: int
    tokens: int
    padded_tokens: int
    flops_per_weight: int

    def flops(self, parameters: int) -> int:
        """Floating-point operations on what the model computes on.

        Args:
            parameters: weights of the model.
        """
        return self.flops_per_weight * parameters * self.padded_tokens


@dataclass(frozen=True, slots=True)
class Passes:
    """The passes of a run from its first to its last step.

    Args:
        policy: forward and backward, each planned row; of objectives of tokens forward for its values, too.
        mismatched: forward, the pairs that z0 is taken over; none in a first step that begins with the reference.
        reference: forward, every pair that needs the reference's number, once, but those that the first step learns
            from; in each step what is sampled, and what objectives of tokens learn from. Of reward models nothing.
        evaluation: forward, the held-out pairs at each evaluation.
        whole_steps: tokens with padding, of the policy's pass, where each step is one batch as long as its longest row.
        is_padded: whether the policy's sequences are padded to the longest of their micro batch; else a prompt is
            computed once for all of its answers in a pass.
    """

    policy: Pass
    mismatched: Pass
    reference: Pass
    evaluation: Pass
    whole_steps: int
    is_padded: bool = False


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a run would meet.

    Args:
        rows_read: rows of the training split before tokenization.
        train: the training split in tokens.
        ratio: R of the rows that are left; of pairs it says nothing.
        inputs: what the run would read; None where its steps cannot be built.
        obstacle: why they cannot; empty where they can.
        todo: what can be done about it; empty where nothing is known.
        passes: what goes through the model; None where the steps cannot be built.
        parameters: weights of the model.
    """

    rows_read: int
    train: TokenizedSplit
    ratio: Ratio
    inputs: RunInputs | None
    obstacle: str
    todo: str
    passes: Passes | None
    parameters: int

    @property
    def is_of_pairs(self) -> bool:
        """Whether the rows are pairs, which have no labels."""
        return any(row.rejected is not None for row in self.train.rows)

    def one_label_steps(self) -> int:
        """Steps whose rows all have one label, where the rows that are learned from have both; of pairs none."""
        if self.inputs is None or self.is_of_pairs:
            return 0
        rows = self.inputs.train.rows
        if len({row.label for row in rows}) == 1:
            return 0
        return sum(len({rows[planned.row].label for planned in step}) == 1 for step in self.inputs.steps)


def forecast(
    dataset: Path, tokenizer: Any, config: TrainConfig, *, parameters: int, progress: Progress = silent
) -> Forecast:
    """What `align.trainer.train` would do with a dataset.

    Args:
        dataset: as `train` takes it.
        tokenizer: the model's, see `align.models.loading.load_tokenizer`.
        config: the run's.
        parameters: weights of the model, see `align.models.loading.count_parameters`.
        progress: told of every row that is tokenized.

    Raises:
        ConfigError: the objective does not have a setting, or settings exclude each other.
        InputError: the dataset cannot be read, or is not of the objective's type.
        EmptySplitError: it has no row to train on.
        ModelError: the tokenizer cannot be used, or has no chat template where the objective needs one.
    """
    objective = check_objective(config.objective)
    dataset = part_for(dataset, objective.data)
    rows = {split: read_split_for(objective, dataset, split, config.weights) for split in ("train", "test")}
    if objective.has_control_tokens:
        tokenizer = deepcopy(tokenizer)
        add_to_tokenizer(tokenizer)
    train, test = tokenize_splits(rows, tokenizer, config, progress=progress)
    inputs, passes, obstacle, todo = None, None, "", ""
    try:
        inputs = plan_inputs(train, test, config, dataset=dataset)
        passes = _passes(inputs, config)
    except DataGateError as error:
        obstacle, todo = error.what, error.todo or ""
    return Forecast(
        len(rows["train"]), train, label_ratio(train.rows, config), inputs, obstacle, todo, passes, parameters
    )


def forward_backward_flops(config: TrainConfig) -> int:
    """Floating-point operations of a forward and backward pass for each token and weight.

    Two for the forward pass, two for the gradient of activations, two for that of weights, which frozen weights under
    an adapter do not have, and two more where activations are computed again. Attention to earlier tokens, which grows
    with the length, is left out.

    Args:
        config: whether adapters are trained and activations recomputed; `auto` counts as not.

    Source: Kaplan et al. 2020, arXiv:2001.08361, section 2.1 (6N a token).
    """
    return 4 + (0 if config.adapter.enabled else 2) + (2 if config.gradient_checkpointing is True else 0)


def learned_sequences(row: TokenizedRow, objective: ObjectiveConfig) -> Sequence[TokenPair]:
    """The sequences of a row that are learned from; of sampled answers as many, each as long as it may be.

    Args:
        row: of the training split.
        objective: the run's.
    """
    if not find_objective(objective.name).is_online:
        return row.sequences
    # No token of an answer is known yet, and each answer is another one.
    return [
        (row.prompt_ids, tuple(range(-1 - number, -1 - number - objective.max_answer_tokens, -1)))
        for number in range(objective.answers_per_prompt)
    ]


def _passes(inputs: RunInputs, config: TrainConfig) -> Passes:
    objective = find_objective(config.objective.name)
    budget = micro_batch_tokens(config.batch.tokens_per_micro_batch, device_type(config.device), config.dtype)
    has_trees = objective.head == "logps"
    planned_rows = [[inputs.train.rows[planned.row] for planned in step] for step in inputs.steps]
    matched = [[pair for row in rows for pair in learned_sequences(row, config.objective)] for rows in planned_rows]
    width = 1 if objective.is_online else len(inputs.train.rows[0].sequences)
    is_padded = not has_trees or objective.is_of_tokens
    mismatched = [inputs.mismatched_pairs(step) for step in range(len(inputs.steps))]
    held_out = [*inputs.held_out.matched, *inputs.held_out.mismatched, *inputs.held_out.learned]
    times = _evaluations(len(inputs.steps), config) if held_out else 0
    return Passes(
        policy=_pass(matched, budget, _learning_flops(config), has_trees=not is_padded, width=width),
        mismatched=_pass(mismatched, FORWARD_FACTOR * budget, 2, has_trees=has_trees),
        reference=_reference_pass(inputs, matched, objective, budget),
        evaluation=_pass([held_out] * times, FORWARD_FACTOR * budget, 2, has_trees=has_trees),
        whole_steps=sum(max(lengths_of(step)) * len(step) for step in matched),
        is_padded=is_padded,
    )


def _learning_flops(config: TrainConfig) -> int:
    """Operations of the policy for each token and weight of what is learned from."""
    objective = find_objective(config.objective.name)
    # Sampled answers are written, token by token, and scored before they are learned from; values are taken before.
    before = 4 if objective.is_online else 2 if objective.is_of_tokens else 0
    return forward_backward_flops(config) + before


def _reference_pass(
    inputs: RunInputs, matched: Sequence[Sequence[TokenPair]], objective: Objective, budget: int
) -> Pass:
    """What the reference scores: once, and with objectives that keep it beside the policy in each step."""
    if objective.head == "rewards":
        return Pass(0, 0, 0, 2)
    groups = [inputs.reference_pairs(), *(matched if objective.is_online else ())]
    once = _pass(groups, FORWARD_FACTOR * budget, 2, has_trees=True)
    if not objective.is_of_tokens:
        return once
    again = _pass(matched, budget, 2, has_trees=False)
    return Pass(
        once.sequences + again.sequences, once.tokens + again.tokens, once.padded_tokens + again.padded_tokens, 2
    )


def _pass(
    groups: Sequence[Sequence[TokenPair]], budget: int, flops_per_weight: int, *, has_trees: bool, width: int = 1
) -> Pass:
    """One pass over groups of sequences, each of which makes its own micro batches.

    Args:
        groups: the sequences, `width` of them for each row, side by side.
        budget: tokens of a micro batch.
        flops_per_weight: see `Pass`.
        has_trees: whether prompts are computed once and nothing is padded.
        width: sequences of a row, which stay in one micro batch.
    """
    sequences, tokens, computed = 0, 0, 0
    for pairs in groups:
        sequences, tokens = sequences + len(pairs), tokens + sum(lengths_of(pairs))
        rows = [pairs[start : start + width] for start in range(0, len(pairs), width)]
        for batch in batches_within(budget, rows, has_trees=has_trees):
            computed += pass_tokens([pair for at in batch for pair in rows[at]], has_trees=has_trees)
    return Pass(sequences, tokens, computed, flops_per_weight)


def _evaluations(steps: int, config: TrainConfig) -> int:
    """How often a run evaluates: at its start, at the cadence and at its end, never twice after one step."""
    wanted = config.evaluation
    every = set(range(wanted.every_steps, steps, wanted.every_steps)) if wanted.every_steps else set()
    return len(every | {steps} | ({0} if wanted.at_start else set()))
