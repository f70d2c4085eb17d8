"""What a run trains on: both splits as tokens, the batch plan, and the pairs that need a reference.

dataset ─► read ─► refuse what cannot train ─► tokenize ─► plan ─► sequences (matched, mismatched, held out)

A row has one sequence, prompt and completion, or two of them where it is a pair. Everything here follows from dataset,
tokenizer and config; no weight of the model is used.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from align.batches.held_out import HeldOut, held_out_pairs
from align.batches.plan import build_plan
from align.config import TokenConfig, TrainConfig, WeightRule
from align.data.dataset import dataset_digest, read_pairs, read_split
from align.data.rows import LabelledRow, PreferenceRow
from align.objectives import Objective, find_objective
from align.objectives.losses import needs_kl, needs_reference
from align.tokens.control_tokens import asked_for_good, with_control_tokens
from align.tokens.model_limits import refuse_beyond
from align.tokens.token_ids import TokenPair
from align.tokens.tokenize import TokenizedRow, TokenizedSplit, tokenize_rows
from align.tokens.tokenize_pairs import tokenize_pairs
from schemas.errors import EmptySplitError, OneLabelError
from schemas.manifest import Ratio
from schemas.progress import Progress, silent
from schemas.reasons import DropReason

__all__ = [
    "PlannedRow",
    "Rows",
    "RunInputs",
    "build_inputs",
    "label_ratio",
    "plan_inputs",
    "read_rows",
    "read_split_for",
    "refuse_rows_beyond",
    "tokenize_split",
    "tokenize_splits",
]

Rows = Sequence[LabelledRow] | Sequence[PreferenceRow]
"""Rows of one split, all of one kind."""


@dataclass(frozen=True, slots=True)
class PlannedRow:
    """A row of a step: positions in the list of training rows.

    Args:
        row: the row.
        partner: the row whose completion its prompt is mismatched with; None without mismatched pairs.
    """

    row: int
    partner: int | None


@dataclass(frozen=True)
class RunInputs:
    """Everything that a run reads, in tokens.

    Args:
        train: the training split.
        test: the held-out split; without rows where the dataset has none.
        held_out: the rows of `test` that evaluation scores.
        plan: the batch plan of `align.batches.plan`.
        steps: the plan by step.
        epochs: the epoch of each step.
        digests: of dataset, tokens and plan.
        has_reference: whether training reads the reference's numbers.
    """

    train: TokenizedSplit
    test: TokenizedSplit
    held_out: HeldOut
    plan: pa.Table
    steps: tuple[tuple[PlannedRow, ...], ...]
    epochs: tuple[int, ...]
    digests: dict[str, str]
    has_reference: bool = True

    def sequences(self, planned: PlannedRow) -> tuple[TokenPair, ...]:
        """Prompt and completion of a planned row, or of both its answers."""
        return self.train.rows[planned.row].sequences

    def mismatched(self, planned: PlannedRow) -> TokenPair | None:
        """Prompt of a planned row with its partner's completion."""
        if planned.partner is None:
            return None
        return self.train.rows[planned.row].prompt_ids, self.train.rows[planned.partner].completion_ids

    def mismatched_pairs(self, step: int) -> list[TokenPair]:
        """The mismatched pairs that a step scores; none in the first one, whose policy is the reference.

        Args:
            step: counted from 0.
        """
        if self.has_reference and not step:
            return []
        return [pair for planned in self.steps[step] if (pair := self.mismatched(planned)) is not None]

    def reference_pairs(self, *, with_first_step: bool = False) -> list[TokenPair]:
        """All pairs that the reference scores before training, each once, in a fixed order.

        In the first step the policy is the reference, so what is learned there gets its number there; only the shortest
        sequence is scored here too, so that the step can check that both are one model. What is held out is always
        measured against the model that training began with.

        Args:
            with_first_step: whether to include what is learned in the first step, as a resumed run has left it behind.
        """
        pairs: dict[TokenPair, None] = {}
        first: list[TokenPair] = []
        for number, step in enumerate(self.steps if self.has_reference else ()):
            learned = [pair for planned in step for pair in self.sequences(planned)]
            first = first if number else learned
            pairs.update((pair, None) for pair in (*learned, *self.mismatched_pairs(number)))
        held_out = dict.fromkeys((*self.held_out.matched, *self.held_out.mismatched))
        if first and not with_first_step:
            checked = min(first, key=lambda pair: len(pair[0]) + len(pair[1]))
            for pair in {*first} - {checked}:
                del pairs[pair]
        return list(pairs | held_out)


def read_rows(dataset: Path, objective: Objective, weights: Sequence[WeightRule] = ()) -> dict[str, Rows]:
    """The splits `train` and `test`, refused where nothing can be learned from them.

    Args:
        dataset: the dataset.
        objective: what it is read for: labelled answers or pairs.
        weights: rules that multiply the weights of rows.

    Raises:
        EmptySplitError: no row to train on.
        OneLabelError: all rows to train on have the same label.
        InputError: the dataset cannot be read, or is of the other type.
    """
    rows = {split: read_split_for(objective, dataset, split, weights) for split in ("train", "test")}
    _check_rows(rows["train"], objective, where=dataset, after="")
    return rows


def read_split_for(objective: Objective, dataset: Path, split: str, weights: Sequence[WeightRule] = ()) -> Rows:
    """The rows of a split that an objective trains on or is measured on.

    Raises:
        InputError: the dataset cannot be read, or is of the other type.
        EmptySplitError: there is no row in the split `train`.
    """
    read = read_pairs if objective.data == "preference" else read_split
    return read(dataset, split, weights)


def build_inputs(
    rows: dict[str, Rows],
    tokenizer: Any,
    config: TrainConfig,
    *,
    dataset: Path,
    progress: Progress = silent,
) -> RunInputs:
    """Tokens, plan and pairs of a run.

    Args:
        rows: of `read_rows`.
        tokenizer: the model's, with the control tokens where the objective has them.
        config: the run's.
        dataset: where the rows came from.
        progress: told of every row that is tokenized.

    Raises:
        EmptySplitError: no row fits into the token limits.
        OneLabelError: all rows that fit have the same label.
        StepPlanError: the rows cannot be dealt into steps.
    """
    train, test = tokenize_splits(rows, tokenizer, config, progress=progress)
    return plan_inputs(train, test, config, dataset=dataset)


def tokenize_splits(
    rows: dict[str, Rows], tokenizer: Any, config: TrainConfig, *, progress: Progress = silent
) -> tuple[TokenizedSplit, TokenizedSplit]:
    """Training and held-out split of a run as tokens, with the control tokens of its objective.

    Args:
        rows: of the splits `train` and `test`.
        tokenizer: as in `build_inputs`.
        config: the run's.
        progress: told of every row.
    """
    train = tokenize_split(rows["train"], tokenizer, config.tokens, progress=progress)
    test = tokenize_split(rows["test"], tokenizer, config.tokens, progress=progress)
    if find_objective(config.objective.name).has_control_tokens:
        return with_control_tokens(train, tokenizer), asked_for_good(test, tokenizer)
    return train, test


def plan_inputs(train: TokenizedSplit, test: TokenizedSplit, config: TrainConfig, *, dataset: Path) -> RunInputs:
    """Plan and pairs of a run whose splits are tokens already.

    Args:
        train: the training split.
        test: the held-out split.
        config: the run's.
        dataset: where the rows came from.

    Raises:
        EmptySplitError: no row fits into the token limits.
        OneLabelError: all rows that fit have the same label.
        StepPlanError: the rows cannot be dealt into steps.
    """
    objective = find_objective(config.objective.name)
    _check_rows(train.rows, objective, where=dataset, after=f" after tokenization ({train.dropped})")
    if objective.only_desirable:
        train = _desirable(train)
    digest = dataset_digest(dataset)
    plan = build_plan(
        train.rows,
        epochs=config.epochs,
        batch_size=config.batch.batch_size,
        seed=config.seed,
        digest=digest,
        needs_kl=needs_kl(config.objective),
        answers_together=config.batch.answers_together,
    )
    if config.max_steps:
        plan = plan.filter(pc.less(plan["step"], config.max_steps))
    steps, epochs = _by_step(plan)
    held_out = held_out_pairs(
        test.rows, objective, takes_kl=needs_kl(config.objective), max_rows=config.evaluation.max_rows
    )
    digests = {"dataset": digest, "tokens": _tokens_digest(train.rows), "plan": _plan_digest(plan)}
    return RunInputs(train, test, held_out, plan, steps, epochs, digests, needs_reference(config.objective))


def tokenize_split(rows: Rows, tokenizer: Any, config: TokenConfig, *, progress: Progress = silent) -> TokenizedSplit:
    """The rows of a split as tokens, within the limits of a config."""
    pairs = [row for row in rows if isinstance(row, PreferenceRow)]
    if pairs:
        return tokenize_pairs(pairs, tokenizer, config, progress=progress)
    return tokenize_rows(
        [row for row in rows if isinstance(row, LabelledRow)],
        tokenizer,
        max_prompt_tokens=config.max_prompt_tokens,
        max_completion_tokens=config.max_completion_tokens,
        long_completions=config.long_completions,
        progress=progress,
    )


def refuse_rows_beyond(inputs: RunInputs, config: TrainConfig, model_config: Any, *, dataset: Path) -> None:
    """Refuse rows that the model of a run cannot read, before anything is computed.

    Args:
        inputs: of the run.
        config: the run's.
        model_config: of the model, of transformers, with the control tokens where the objective has them.
        dataset: where the rows came from.

    Raises:
        InputError: a sequence has more tokens than the model has positions.
        ModelError: a row has a token that the model has no embedding of.
    """
    refuse_beyond(_named_sequences(inputs), model_config, where=dataset)
    if find_objective(config.objective.name).is_online:
        answer = (0,) * config.objective.max_answer_tokens
        sampled = ((f"row {row.row_id!r} with a sampled answer", (row.prompt_ids, answer)) for row in inputs.train.rows)
        limits = "tokens.max_prompt_tokens and objective.max_answer_tokens"
        refuse_beyond(sampled, model_config, where=dataset, limits=limits)


def label_ratio(rows: Sequence[TokenizedRow], config: TrainConfig) -> Ratio:
    """R = lambda_D n_D / (lambda_U n_U) of the rows that are trained on; row weights are part of the lambdas."""
    by_label = {label: [row.weight for row in rows if row.label is label] for label in (True, False)}
    mean = {label: sum(weights) / len(weights) if weights else 1.0 for label, weights in by_label.items()}
    return Ratio(
        desirable=len(by_label[True]),
        undesirable=len(by_label[False]),
        desirable_weight=config.objective.desirable_weight * mean[True],
        undesirable_weight=config.objective.undesirable_weight * mean[False],
        low=config.objective.ratio_low,
        high=config.objective.ratio_high,
    )


def _check_rows(rows: Sequence[Any], objective: Objective, *, where: Path, after: str) -> None:
    """Refuse rows that hold nothing to learn from: none, or of labelled answers one label only."""
    if not rows:
        raise EmptySplitError(
            f"no row is left to train on{after}", where=where, todo="Raise the token limits, or curate more feedback"
        )
    if objective.data == "preference":
        return
    desirable = sum(row.label for row in rows)
    if objective.only_desirable and not desirable:
        raise EmptySplitError(
            f"no desirable row is left to train on{after}",
            where=where,
            received=f"{len(rows)} undesirable rows",
            todo="Add answers that were liked, or name an objective that learns from both labels",
        )
    if desirable in (0, len(rows)) and not objective.only_desirable:
        raise OneLabelError(
            f"all rows to train on have the same label{after}",
            where=where,
            received=f"{desirable} desirable and {len(rows) - desirable} undesirable rows",
            expected="both",
            todo="Add feedback of the other label; thumbs down, edits and regenerations are often kept elsewhere",
        )


def _named_sequences(inputs: RunInputs) -> Iterator[tuple[str, TokenPair]]:
    """Every sequence that is in the data, with what errors call it."""
    for row in (*inputs.train.rows, *inputs.held_out.rows):
        for pair in row.sequences:
            yield f"row {row.row_id!r}", pair
    for step in inputs.steps:
        for planned in step:
            mismatched = inputs.mismatched(planned)
            if planned.partner is not None and mismatched is not None:
                rows = inputs.train.rows[planned.row], inputs.train.rows[planned.partner]
                yield f"row {rows[0].row_id!r} with the answer of row {rows[1].row_id!r}", mismatched
    for mismatched in inputs.held_out.mismatched:
        yield "a held-out row with the answer of another one", mismatched


def _desirable(split: TokenizedSplit) -> TokenizedSplit:
    """The split without its undesirable rows, which are counted as left out."""
    left_out = [(row.row_id, DropReason.UNDESIRABLE.value) for row in split.rows if not row.label]
    dropped = split.dropped | ({DropReason.UNDESIRABLE.value: len(left_out)} if left_out else {})
    kept = tuple(row for row in split.rows if row.label)
    return replace(split, rows=kept, dropped=dropped, dropped_rows=(*split.dropped_rows, *left_out))


def _by_step(plan: pa.Table) -> tuple[tuple[tuple[PlannedRow, ...], ...], tuple[int, ...]]:
    steps: list[list[PlannedRow]] = []
    epochs: list[int] = []
    for line in plan.to_pylist():
        if line["step"] == len(steps):
            steps.append([])
            epochs.append(line["epoch"])
        steps[line["step"]].append(PlannedRow(line["row"], line["kl_partner"]))
    return tuple(tuple(step) for step in steps), tuple(epochs)


def _tokens_digest(rows: Sequence[TokenizedRow]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for row in rows:
        head = f"{row.row_id}\0{row.label}\0{row.weight!r}\0{len(row.prompt_ids)}\0{len(row.completion_ids)}\n"
        digest.update(head.encode())
        digest.update(array("q", (*row.prompt_ids, *row.completion_ids)).tobytes())
        if row.rejected is not None:
            digest.update(array("q", (len(row.rejected[0]), *row.rejected[0], *row.rejected[1])).tobytes())
    return digest.hexdigest()


def _plan_digest(plan: pa.Table) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for name in ("epoch", "step", "slot", "row", "kl_partner"):
        values = [-1 if value is None else value for value in plan[name].to_pylist()]
        digest.update(array("q", values).tobytes())
    return digest.hexdigest()
