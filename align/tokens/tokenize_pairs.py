"""Pairs into token ids: both answers as rows of their own, put together again where both fit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Final

from transformers import PreTrainedTokenizerBase

from align.config import TokenConfig
from align.data.rows import LabelledRow, PreferenceRow
from align.tokens.tokenize import TokenizedSplit, tokenize_rows
from schemas.progress import Progress, silent
from schemas.reasons import DropReason

__all__ = ["tokenize_pairs"]

_ALIKE: Final = DropReason.TOKENIZED_ALIKE.value


def tokenize_pairs(
    rows: Sequence[PreferenceRow],
    tokenizer: PreTrainedTokenizerBase,
    config: TokenConfig,
    *,
    progress: Progress = silent,
) -> TokenizedSplit:
    """Token ids of every pair of which both answers fit; a pair that loses one is left out with that one's reason.

    So is a pair of which both are the same tokens: it could teach nothing.

    Figures count answers, two of each pair; `rows` alone counts pairs.

    Args:
        rows: pairs.
        tokenizer: as in `tokenize_rows`.
        config: length limits.
        progress: told of every answer.

    Raises:
        ModelError: the tokenizer cannot be used, or its chat template refuses every answer.
    """
    fit = partial(
        tokenize_rows,
        tokenizer=tokenizer,
        max_prompt_tokens=config.max_prompt_tokens,
        max_completion_tokens=config.max_completion_tokens,
        long_completions=config.long_completions,
    )
    # Answers are known by the place of their pair: a caller's pairs may have one id.
    both = [_answers(place, row) for place, row in enumerate(rows)]
    split = fit([answer for answers in both for answer in answers], progress=progress)
    kept = {row.row_id: row for row in split.rows}
    lost = dict(split.dropped_rows)
    pairs, dropped, left_out = [], [], []
    for row, answers in zip(rows, both, strict=True):
        fitting = [kept[answer.row_id].sequences[0] for answer in answers if answer.row_id in kept]
        if len(set(fitting)) == 2:
            pairs.append(replace(kept[answers[0].row_id], row_id=row.row_id, rejected=fitting[1]))
            continue
        left_out += [answer for answer in answers if answer.row_id in kept]
        reason = next((lost[answer.row_id] for answer in answers if answer.row_id in lost), _ALIKE)
        dropped.append((row.row_id, reason))
    reasons = Counter(reason for _, reason in dropped)
    # What was counted of answers that fit, of pairs that are left out, is taken off again.
    figures = Counter(split.figures)
    figures.subtract(fit(left_out).figures if left_out else {})
    return TokenizedSplit(tuple(pairs), dict(reasons), dict(figures) | {"rows": len(pairs)}, tuple(dropped))


def _answers(place: int, row: PreferenceRow) -> tuple[LabelledRow, LabelledRow]:
    """The chosen and the rejected answer of the pair at a place as rows."""
    name, rest = f"{row.row_id}#{place}", (row.weight, row.group_id, row.tools)
    return (
        LabelledRow(f"{name}/chosen", row.prompt, row.chosen, True, *rest),
        LabelledRow(f"{name}/rejected", row.prompt, row.rejected, False, *rest),
    )
