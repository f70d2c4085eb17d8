"""What a run trains on: both splits as tokens, the batch plan, and the pairs that need a reference.

dataset ─► read ─► refuse what cannot train ─► tokenize ─► plan ─► pairs (matched, mismatched, held out)

Everything here follows from dataset, tokenizer and config; no weight of the model is used.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from align.config import TokenConfig, TrainConfig
from align.dataset import LabelledRow, dataset_digest, read_split
from align.objectives import find_objective
from align.plan import build_plan
from align.scoring import TokenPair
from align.tokenize import TokenizedRow, TokenizedSplit, tokenize_rows
from schemas.errors import EmptySplitError, OneLabelError, StepPlanError
from schemas.manifest import Ratio
from schemas.progress import Progress, silent

__all__ = [
    "HeldOut",
    "PlannedRow",
    "RunInputs",
    "build_inputs",
    "held_out_pairs",
    "label_ratio",
    "read_labelled_rows",
    "tokenize_split",
]


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
class HeldOut:
    """The rows that evaluation scores.

    Args:
        rows: the rows.
        matched: prompt and completion of each.
        mismatched: pairs for the KL estimate; empty where the rows have no two prompts.
    """

    rows: tuple[TokenizedRow, ...]
    matched: tuple[TokenPair, ...]
    mismatched: tuple[TokenPair, ...]


@dataclass(frozen=True)
class RunInputs:
    """Everything that a run reads, in tokens.

    Args:
        train: the training split.
        test: the held-out split; without rows where the dataset has none.
        held_out: the rows of `test` that evaluation scores.
        plan: the batch plan of `align.plan`.
        steps: the plan by step.
        epochs: the epoch of each step.
        digests: of dataset, tokens and plan.
    """

    train: TokenizedSplit
    test: TokenizedSplit
    held_out: HeldOut
    plan: pa.Table
    steps: tuple[tuple[PlannedRow, ...], ...]
    epochs: tuple[int, ...]
    digests: dict[str, str]

    def matched(self, planned: PlannedRow) -> TokenPair:
        """Prompt and completion of a planned row."""
        row = self.train.rows[planned.row]
        return row.prompt_ids, row.completion_ids

    def mismatched(self, planned: PlannedRow) -> TokenPair | None:
        """Prompt of a planned row with its partner's completion."""
        if planned.partner is None:
            return None
        return self.train.rows[planned.row].prompt_ids, self.train.rows[planned.partner].completion_ids

    def reference_pairs(self) -> list[TokenPair]:
        """All pairs whose reference log-probability the run needs, each once, in a fixed order."""
        pairs: dict[TokenPair, None] = {}
        for step in self.steps:
            pairs.update((self.matched(planned), None) for planned in step)
            pairs.update((pair, None) for planned in step if (pair := self.mismatched(planned)) is not None)
        pairs.update((pair, None) for pair in (*self.held_out.matched, *self.held_out.mismatched))
        return list(pairs)


def read_labelled_rows(dataset: Path) -> dict[str, list[LabelledRow]]:
    """The splits `train` and `test`, refused where nothing can be learned from them.

    Raises:
        EmptySplitError: no row to train on.
        OneLabelError: all rows to train on have the same label.
        InputError: the dataset cannot be read.
    """
    rows = {split: read_split(dataset, split) for split in ("train", "test")}
    _check_labels([row.label for row in rows["train"]], where=dataset, after="")
    return rows


def build_inputs(
    rows: dict[str, list[LabelledRow]],
    tokenizer: Any,
    config: TrainConfig,
    *,
    dataset: Path,
    progress: Progress = silent,
) -> RunInputs:
    """Tokens, plan and pairs of a run.

    Args:
        rows: of `read_labelled_rows`.
        tokenizer: the model's.
        config: the run's.
        dataset: where the rows came from.
        progress: told of every row that is tokenized.

    Raises:
        EmptySplitError: no row fits into the token limits.
        OneLabelError: all rows that fit have the same label.
        StepPlanError: the rows cannot be dealt into steps.
    """
    train = tokenize_split(rows["train"], tokenizer, config.tokens, progress=progress)
    test = tokenize_split(rows["test"], tokenizer, config.tokens, progress=progress)
    _check_labels([row.label for row in train.rows], where=dataset, after=f" after tokenization ({train.dropped})")
    needs_kl = find_objective(config.objective.name).needs_kl and config.objective.z0_scope != "none"
    digest = dataset_digest(dataset)
    plan = build_plan(
        train.rows,
        epochs=config.epochs,
        batch_size=config.batch.batch_size,
        seed=config.seed,
        digest=digest,
        needs_kl=needs_kl,
    )
    if config.max_steps:
        plan = plan.filter(pc.less(plan["step"], config.max_steps))
    steps, epochs = _by_step(plan)
    held_out = held_out_pairs(test.rows, max_rows=config.evaluation.max_rows)
    digests = {"dataset": digest, "tokens": _tokens_digest(train.rows), "plan": _plan_digest(plan)}
    return RunInputs(train, test, held_out, plan, steps, epochs, digests)


def tokenize_split(
    rows: Sequence[LabelledRow], tokenizer: Any, config: TokenConfig, *, progress: Progress = silent
) -> TokenizedSplit:
    """The rows of a split as tokens, within the limits of a config."""
    return tokenize_rows(
        rows,
        tokenizer,
        max_prompt_tokens=config.max_prompt_tokens,
        max_completion_tokens=config.max_completion_tokens,
        long_completions=config.long_completions,
        progress=progress,
    )


def held_out_pairs(rows: Sequence[TokenizedRow], *, max_rows: int = 0) -> HeldOut:
    """The rows to evaluate and their pairs, the same ones whatever their order.

    Args:
        rows: of the held-out split.
        max_rows: at most so many; 0 is all.
    """
    ordered = sorted(rows, key=lambda row: (hashlib.blake2b(row.row_id.encode()).digest(), row.row_id))
    chosen = ordered[: max_rows or None]
    mismatched: list[TokenPair] = []
    try:
        plan = build_plan(chosen, epochs=1, batch_size=max(2, len(chosen)), seed=0, digest="held-out")
        for row, partner in zip(plan["row"].to_pylist(), plan["kl_partner"].to_pylist(), strict=True):
            mismatched.append((chosen[row].prompt_ids, chosen[partner].completion_ids))
    except StepPlanError:  # too few prompts to mismatch; evaluation then reports no z0
        mismatched = []
    return HeldOut(tuple(chosen), tuple((row.prompt_ids, row.completion_ids) for row in chosen), tuple(mismatched))


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


def _check_labels(labels: Sequence[bool], *, where: Path, after: str) -> None:
    desirable = sum(labels)
    if not labels:
        raise EmptySplitError(
            f"no row is left to train on{after}", where=where, todo="Raise the token limits, or curate more feedback"
        )
    if desirable in (0, len(labels)):
        raise OneLabelError(
            f"all rows to train on have the same label{after}",
            where=where,
            received=f"{desirable} desirable and {len(labels) - desirable} undesirable rows",
            expected="both",
            todo="Add feedback of the other label; thumbs down, edits and regenerations are often kept elsewhere",
        )


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
    return digest.hexdigest()


def _plan_digest(plan: pa.Table) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for name in ("epoch", "step", "slot", "row", "kl_partner"):
        values = [-1 if value is None else value for value in plan[name].to_pylist()]
        digest.update(array("q", values).tobytes())
    return digest.hexdigest()
