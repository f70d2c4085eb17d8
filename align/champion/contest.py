"""A contest of two models: the champion that serves and the challenger that was just trained.

    frozen set ─► log-ratios to the base model ─► reward accuracy of both ─┐
    its prompts ─► answers ─► length, refusals ────────────────────────────┼─► measures ─► a verdict with its reasons
    facts, safety list ─► sycophancy, failures ────────────────────────────┘

What counts as a loss is in `align.champion.verdict`. One model is in memory at a time. A result holds numbers and
names, no text.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from align.batches.inputs import tokenize_split
from align.champion.config import ContestConfig
from align.champion.paired import paired_auc
from align.champion.probes import Probed, probe
from align.champion.safety import SafetyItem
from align.champion.verdict import Contest, judge
from align.config import TrainConfig
from align.data.rows import LabelledRow
from align.distributed.ranks import measuring_device, start_accelerator
from align.models.loading import load_policy
from align.reference.reference_pass import reference_file, score_reference
from align.scoring.scorer import build_scorer
from schemas.errors import EmptySplitError
from schemas.messages import Message
from schemas.progress import Progress, silent

__all__ = ["contest"]

_DIGITS: Final = 3


@dataclass(frozen=True, slots=True)
class _Measured:
    """Log-probability of each row that fits, by its id, and what the probes found."""

    logps: dict[str, float]
    probed: Probed


def contest(
    champion: str | Path,
    challenger: str | Path,
    *,
    base: str | Path,
    rows: Sequence[LabelledRow],
    safety: Sequence[SafetyItem] = (),
    config: ContestConfig | None = None,
    training: TrainConfig | None = None,
    progress: Progress = silent,
) -> Contest:
    """Measure both models on the same rows and prompts, and say which of them should serve.

    Args:
        champion: folder or name of the model that serves.
        challenger: the model that may take its place.
        base: the model that rewards are relative to.
        rows: the frozen set.
        safety: the user's list.
        config: limits.
        training: token limits, dtype and device; for `cuda` a GPU where there is one.
        progress: told of every row and answer.

    Raises:
        EmptySplitError: no row of both labels fits both models.
        ModelError: a model cannot be loaded.
    """
    config, training = config or ContestConfig(), training or TrainConfig()
    training = replace(training, device=measuring_device(training.device))
    chosen = _chosen(rows, config.max_rows)
    prompts = _ordinary(chosen, config.probes.prompts)
    old, new = (
        _measure(str(model), chosen, prompts, safety, config, training, progress) for model in (champion, challenger)
    )
    reference = _reference(base, chosen, training, progress)
    scored = [row for row in chosen if all(row.row_id in one for one in (old.logps, new.logps, reference))]
    if len({row.label for row in scored}) < 2:
        raise EmptySplitError(
            "the frozen evaluation set has no rows of both labels that fit the models",
            received=f"{len(scored)} of {len(chosen)} rows",
            todo="Raise the token limits, or freeze a larger set",
        )
    ratios = [[round(one.logps[row.row_id] - reference[row.row_id], _DIGITS) for row in scored] for one in (old, new)]
    labels, groups = [row.label for row in scored], [row.group_id for row in scored]
    accuracy = paired_auc(ratios[0], ratios[1], labels, groups)
    return judge(accuracy, old.probed, new.probed, [item.name for item in safety], config)


def _chosen(rows: Sequence[LabelledRow], most: int) -> list[LabelledRow]:
    """At most so many rows, the same ones whatever their order."""
    return sorted(rows, key=lambda row: (_hash(row.row_id), row.row_id))[: most or None]


def _ordinary(rows: Sequence[LabelledRow], most: int) -> list[list[Message]]:
    """Different prompts of the frozen set, one of each group."""
    first = {row.group_id: row.prompt for row in reversed(rows)}
    groups = sorted(first, key=lambda group: (_hash(group), group))
    return [first[group] for group in groups[:most]]


def _hash(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=8).digest()


def _measure(
    model: str,
    rows: Sequence[LabelledRow],
    prompts: Sequence[Sequence[Message]],
    safety: Sequence[SafetyItem],
    config: ContestConfig,
    training: TrainConfig,
    progress: Progress,
) -> _Measured:
    loaded = load_policy(model)
    tokens = tokenize_split(rows, loaded.tokenizer, training.tokens, progress=progress)
    scorer = build_scorer(
        loaded,
        device=start_accelerator(training.device).device,
        dtype=training.dtype,
        tokens=training.batch.tokens_per_micro_batch,
    )
    with progress("evaluate", len(tokens.rows)) as advance:
        scores = scorer.score([row.sequences[0] for row in tokens.rows], advance)
    logps = {row.row_id: score for row, score in zip(tokens.rows, scores, strict=True)}
    return _Measured(logps, probe(loaded, scorer, prompts, safety, config.probes, progress=progress))


def _reference(
    base: str | Path, rows: Sequence[LabelledRow], training: TrainConfig, progress: Progress
) -> dict[str, float]:
    """Log-probability of each row under the base model, from the shared cache where it is known."""
    loaded = load_policy(base)
    tokens = tokenize_split(rows, loaded.tokenizer, training.tokens, progress=progress)
    accelerator = start_accelerator(training.device)
    scorer = build_scorer(
        loaded,
        device=accelerator.device,
        dtype=training.dtype,
        tokens=training.batch.tokens_per_micro_batch,
    )
    pairs = list(dict.fromkeys(row.sequences[0] for row in tokens.rows))
    known = score_reference(
        pairs,
        scorer,
        accelerator,
        model_digest=loaded.digest,
        own=None,
        shared=reference_file(loaded.digest, training.dtype),
        progress=progress,
    )
    return {row.row_id: known[row.sequences[0]] for row in tokens.rows}
