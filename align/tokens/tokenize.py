"""Labelled rows into token ids, within the limits, with every row that is left out or changed counted.

The completion is kept whole. A prompt that is too long loses its oldest turns after the system turn, always up to a
user turn, so that what is left is a conversation; the newest user turn and what follows it stay. A completion of
several turns (a tool call, its result, an answer) is trained on its last turn alone: a thumb rates one answer, and the
tool's words are not the model's. The turns before it become prompt.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from jinja2.exceptions import TemplateError
from transformers import PreTrainedTokenizerBase

from align.data.rows import LabelledRow
from align.tokens.chat import ChatEncoder, Encoded
from align.tokens.token_ids import TokenIds
from schemas.errors import ModelError
from schemas.messages import Message
from schemas.progress import Progress, silent
from schemas.reasons import DropReason

__all__ = ["TokenizedRow", "TokenizedSplit", "tokenize_rows"]


@dataclass(frozen=True, slots=True)
class TokenizedRow:
    """A labelled row as the trainer sees it.

    Args:
        row_id: of the dataset.
        prompt_ids: up to and with the generation prompt.
        completion_ids: up to and with the token that ends the turn.
        label: True where desirable; of a pair True.
        weight: factor of the row's loss, at least 0.
        group_id: rows of one group count as having the same prompt.
        rejected: of a pair, prompt and completion of the rejected answer; `completion_ids` is the chosen one.
        learned: prompt and completion that the loss is taken of, where they are not those that rewards are of.
    """

    row_id: str
    prompt_ids: TokenIds
    completion_ids: TokenIds
    label: bool
    weight: float
    group_id: str
    rejected: tuple[TokenIds, TokenIds] | None = None
    learned: tuple[TokenIds, TokenIds] | None = None

    @property
    def sequences(self) -> tuple[tuple[TokenIds, TokenIds], ...]:
        """Prompt and completion of the answer, or of the chosen and of the rejected one."""
        own = (self.prompt_ids, self.completion_ids)
        return (own,) if self.rejected is None else (own, self.rejected)


@dataclass(frozen=True)
class TokenizedSplit:
    """The rows that fit, and what became of the others.

    Args:
        rows: in the order of the dataset.
        dropped: rows left out, by `DropReason`; no zeros.
        figures: counts over the rows that are kept: `rows`, `prompt_tokens`, `completion_tokens`, and the rows in which
            something happened: `truncated_prompts` (and their `dropped_turns`), `truncated_completions`,
            `without_turn_end`, `border_merges`, `redrawn_prompts`, `trimmed_completions`, `control_texts`,
            `multi_turn_completions`.
        dropped_rows: id and reason of every row left out.
    """

    rows: tuple[TokenizedRow, ...]
    dropped: dict[str, int]
    figures: dict[str, Any]
    dropped_rows: tuple[tuple[str, str], ...] = field(default=(), repr=False)


def tokenize_rows(
    rows: Sequence[LabelledRow],
    tokenizer: PreTrainedTokenizerBase,
    *,
    max_prompt_tokens: int,
    max_completion_tokens: int,
    long_completions: Literal["drop", "truncate"] = "drop",
    progress: Progress = silent,
) -> TokenizedSplit:
    """Token ids of every row that fits.

    Args:
        rows: labelled rows.
        tokenizer: a fast tokenizer with the model's chat template, or that of a base model without one.
        max_prompt_tokens: of the prompt with its generation prompt, at least 1.
        max_completion_tokens: of the completion with its turn end, at least 1.
        long_completions: leave a row out whose completion is longer, or cut it; a cut completion has no turn end.
        progress: told of every row.

    Raises:
        ModelError: the tokenizer cannot be used, or its chat template refuses every row.
    """
    encoder = ChatEncoder(tokenizer)
    kept: list[TokenizedRow] = []
    dropped: list[tuple[str, str]] = []
    figures: Counter[str] = Counter(dict.fromkeys(_FIGURES, 0))
    refusal = ""
    with progress("tokenize", len(rows)) as advance:
        for row in rows:
            try:
                fitted = _fit(row, encoder, max_prompt_tokens, max_completion_tokens, long_completions)
            except TemplateError as error:
                fitted, refusal = DropReason.TEMPLATE_REFUSED, str(error)
            if isinstance(fitted, DropReason):
                dropped.append((row.row_id, fitted.value))
            else:
                kept.append(_tokenized(row, fitted[0]))
                figures.update(fitted[1])
            advance(1)
    reasons = Counter(reason for _, reason in dropped)
    if rows and reasons[DropReason.TEMPLATE_REFUSED] == len(rows):
        raise ModelError(f"the chat template refuses every row ({refusal})", where=rows[0].row_id)
    return TokenizedSplit(tuple(kept), dict(reasons), dict(figures), tuple(dropped))


_FIGURES = (
    "rows",
    "prompt_tokens",
    "completion_tokens",
    "truncated_prompts",
    "dropped_turns",
    "truncated_completions",
    "without_turn_end",
    "border_merges",
    "redrawn_prompts",
    "trimmed_completions",
    "control_texts",
    "multi_turn_completions",
)


def _fit(
    row: LabelledRow,
    encoder: ChatEncoder,
    max_prompt_tokens: int,
    max_completion_tokens: int,
    long_completions: str,
) -> tuple[Encoded, dict[str, int]] | DropReason:
    prompt, completion = [*row.prompt, *row.completion[:-1]], row.completion[-1]
    for dropped_turns, turns in _ever_shorter(prompt):
        encoded = encoder.encode(turns, completion, row.tools)
        if encoder.is_only_turn_end(encoded.completion_ids):
            return DropReason.EMPTY_AFTER_TOKENIZATION
        is_long = len(encoded.completion_ids) > max_completion_tokens
        if is_long and long_completions == "drop":
            break
        if len(encoded.prompt_ids) <= max_prompt_tokens:
            if is_long:
                ids = encoded.completion_ids[:max_completion_tokens]
                encoded = replace(encoded, completion_ids=ids, is_turn_ended=False)
            counts = _counts(encoded, dropped_turns, is_cut=is_long)
            return encoded, counts | {"multi_turn_completions": int(len(row.completion) > 1)}
    return DropReason.TOO_LONG


def _ever_shorter(prompt: list[Message]) -> Iterator[tuple[int, list[Message]]]:
    """The prompt, then without its oldest turns: the system turn and everything from a later user turn on."""
    yield 0, prompt
    head = prompt[:1] if prompt[0]["role"] == "system" else []
    for start in range(len(head) + 1, len(prompt)):
        if prompt[start]["role"] == "user":
            yield start - len(head), head + prompt[start:]


def _counts(encoded: Encoded, dropped_turns: int, *, is_cut: bool) -> dict[str, int]:
    return {
        "rows": 1,
        "prompt_tokens": len(encoded.prompt_ids),
        "completion_tokens": len(encoded.completion_ids),
        "truncated_prompts": int(dropped_turns > 0),
        "dropped_turns": dropped_turns,
        "truncated_completions": int(is_cut),
        "without_turn_end": int(not encoded.is_turn_ended),
        "border_merges": int(encoded.is_border_merged),
        "redrawn_prompts": int(encoded.is_prompt_redrawn),
        "trimmed_completions": int(encoded.is_trimmed),
        "control_texts": int(encoded.has_control_text),
    }


def _tokenized(row: LabelledRow, encoded: Encoded) -> TokenizedRow:
    return TokenizedRow(
        row_id=row.row_id,
        prompt_ids=TokenIds(encoded.prompt_ids),
        completion_ids=TokenIds(encoded.completion_ids),
        label=row.label,
        weight=row.weight,
        group_id=row.group_id,
    )
