"""Pairs into token ids: both answers as rows of their own, put together again where both fit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from transformers import PreTrainedTokenizerBase

from align.config import TokenConfig
from align.rows import LabelledRow, PreferenceRow
from align.tokenize import TokenizedSplit, tokenize_rows
from schemas.progress import Progress, silent

__all__ = ["tokenize_pairs"]


def tokenize_pairs(
    rows: Sequence[PreferenceRow],
    tokenizer: PreTrainedTokenizerBase,
    config: TokenConfig,
    *,
    progress: Progress = silent,
) -> TokenizedSplit:
    """Token ids of every pair of which both answers fit; a pair that loses one is left out with that one's reason.

    Args:
        rows: pairs.
        tokenizer: as in `tokenize_rows`.
        config: length limits.
        progress: told of every answer.

    Raises:
        ModelError: the tokenizer cannot be used, or its chat template refuses every answer.
    """
    answers = [answer for row in rows for answer in _answers(row)]
    split = tokenize_rows(
        answers,
        tokenizer,
        max_prompt_tokens=config.max_prompt_tokens,
        max_completion_tokens=config.max_completion_tokens,
        long_completions=config.long_completions,
        progress=progress,
    )
    kept = {row.row_id: row for row in split.rows}
    lost = dict(split.dropped_rows)
    pairs, dropped = [], []
    for row in rows:
        chosen_id, rejected_id = (answer.row_id for answer in _answers(row))
        if chosen_id in kept and rejected_id in kept:
            rejected = kept[rejected_id]
            pair = replace(kept[chosen_id], row_id=row.row_id, rejected=(rejected.prompt_ids, rejected.completion_ids))
            pairs.append(pair)
        else:
            dropped.append((row.row_id, lost[chosen_id] if chosen_id in lost else lost[rejected_id]))
    reasons = Counter(reason for _, reason in dropped)
    return TokenizedSplit(tuple(pairs), dict(reasons), split.figures | {"rows": len(pairs)}, tuple(dropped))


def _answers(row: PreferenceRow) -> tuple[LabelledRow, LabelledRow]:
    """The chosen and the rejected answer as rows."""
    return (
        LabelledRow(f"{row.row_id}/chosen", row.prompt, row.chosen, True, row.weight, row.group_id, row.tools),
        LabelledRow(f"{row.row_id}/rejected", row.prompt, row.rejected, False, row.weight, row.group_id, row.tools),
    )
