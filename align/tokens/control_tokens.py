"""Control tokens of conditional SFT: a token that tells whether the answer behind it is good or bad.

In training, each answer begins with its label's token, which is learned too. Afterwards the chat template writes the
good one behind the generation prompt, so whoever asks the model asks for a good answer without knowing of it.

Source: Korbak et al. 2023, arXiv:2302.08582; Ethayarajh et al. 2024, arXiv:2402.01306, who put it before the answer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import torch

from align.tokens.token_ids import TokenIds
from align.tokens.tokenize import TokenizedRow, TokenizedSplit
from schemas.errors import ModelError

__all__ = [
    "CONTROL_TOKENS",
    "add_control_tokens",
    "add_to_tokenizer",
    "ask_for_good",
    "asked_for_good",
    "with_control_tokens",
]

CONTROL_TOKENS: Final = {True: "<|good|>", False: "<|bad|>"}
"""By label."""

_WISH: Final = "{% if add_generation_prompt %}{{ '" + CONTROL_TOKENS[True] + "' }}{% endif %}"
"""What `ask_for_good` adds to a chat template."""


def add_control_tokens(model: Any, tokenizer: Any) -> None:
    """Give tokenizer and model the control tokens, where they do not have them; new embeddings are the mean of all.

    Args:
        model: a causal language model; its embeddings grow where they must.
        tokenizer: its tokenizer, see `add_to_tokenizer`.

    Raises:
        ModelError: the tokenizer has no chat template, which asks for good answers later.
    """
    new = add_to_tokenizer(tokenizer)
    if not new:
        return
    rows = [matrix.weight for matrix in (model.get_input_embeddings(), model.get_output_embeddings())]
    means = [weight.detach().float().mean(dim=0) for weight in rows]
    if len(tokenizer) > rows[0].shape[0]:
        model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    ids = tokenizer.convert_tokens_to_ids(new)
    with torch.no_grad():
        for matrix, mean in zip((model.get_input_embeddings(), model.get_output_embeddings()), means, strict=True):
            matrix.weight[ids] = mean.to(matrix.weight.dtype)


def add_to_tokenizer(tokenizer: Any) -> list[str]:
    """Give a tokenizer the control tokens, and return those that it did not have.

    A chat template that asks for good answers by itself, since the model was trained so before, no longer does: tokens
    are added to rows here, and once is enough. `ask_for_good` lets it ask again.

    Args:
        tokenizer: with a chat template.

    Raises:
        ModelError: it has none, which asks for good answers later.
    """
    if tokenizer.chat_template is None:
        raise ModelError(
            "the model has no chat template, so nothing could ask it for good answers",
            where=tokenizer.name_or_path,
            expected="a chat model",
            todo="Name a model that was tuned for chat, or the objective sft",
        )
    _change_template(tokenizer, lambda template: template.replace(_WISH, ""))
    known = set(tokenizer.get_vocab())
    new = [token for token in CONTROL_TOKENS.values() if token not in known]
    tokenizer.add_tokens(new, special_tokens=True)
    return new


def with_control_tokens(split: TokenizedSplit, tokenizer: Any) -> TokenizedSplit:
    """Each completion behind its label's token; one that begins with such a token already stays as it is.

    Args:
        split: labelled rows.
        tokenizer: with the control tokens.
    """
    ids = _ids_by_label(tokenizer)
    return replace(split, rows=tuple(_with_token(row, ids) for row in split.rows))


def asked_for_good(split: TokenizedSplit, tokenizer: Any) -> TokenizedSplit:
    """Each prompt as the model is asked after training, with the good token at its end: rewards are of that.

    The loss is of what is learned, the prompt and the completion behind its own label's token: `TokenizedRow.learned`.

    Args:
        split: rows to evaluate.
        tokenizer: with the control tokens, whether its chat template writes the good one or not; without them the rows
            stay as they are.
    """
    if not set(CONTROL_TOKENS.values()) <= set(tokenizer.get_vocab()):
        return split
    ids, asked = _ids_by_label(tokenizer), []
    for row in split.rows:
        prompt = row.prompt_ids[:-1] if row.prompt_ids[-1] == ids[True] else row.prompt_ids
        learned = prompt, _with_token(row, ids).completion_ids
        asked.append(replace(row, prompt_ids=TokenIds((*prompt, ids[True])), learned=learned))
    return replace(split, rows=tuple(asked))


def ask_for_good(tokenizer: Any) -> None:
    """Let the chat template end the generation prompt with the good token; once is enough."""
    _change_template(tokenizer, lambda template: template if _WISH in template else template + _WISH)


def _ids_by_label(tokenizer: Any) -> dict[bool, int]:
    return {label: tokenizer.convert_tokens_to_ids(token) for label, token in CONTROL_TOKENS.items()}


def _with_token(row: TokenizedRow, ids: dict[bool, int]) -> TokenizedRow:
    """The row with its label's token before its completion, unless there is one already."""
    if row.completion_ids[0] in ids.values():
        return row
    return replace(row, completion_ids=TokenIds((ids[row.label], *row.completion_ids)))


def _change_template(tokenizer: Any, change: Callable[[str], str]) -> None:
    """Change the chat template, or each of them where the tokenizer has several by name."""
    template = tokenizer.chat_template
    is_one = not isinstance(template, dict)
    tokenizer.chat_template = change(template) if is_one else {name: change(one) for name, one in template.items()}
