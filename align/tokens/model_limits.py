"""What a model can read: as many tokens as it has positions for, and only tokens that it has an embedding of."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from align.tokens.token_ids import TokenPair
from schemas.errors import InputError, ModelError

__all__ = ["position_limit", "refuse_beyond"]

_WITH_POSITION_TABLE: Final = frozenset(
    {"biogpt", "codegen", "gpt2", "gpt_bigcode", "gpt_neo", "gptj", "openai-gpt", "opt"}
)
"""Decoders of transformers 5.23 that look positions up in a table, by `model_type`; others compute them as they go."""


def position_limit(model_config: Any) -> int | None:
    """The longest sequence in tokens that a model can read at all, or None where only its training sets a limit.

    Args:
        model_config: of transformers.
    """
    text = model_config.get_text_config()
    return int(text.max_position_embeddings) if text.model_type in _WITH_POSITION_TABLE else None


def refuse_beyond(
    named: Iterable[tuple[str, TokenPair]],
    model_config: Any,
    *,
    where: object,
    limits: str = "tokens.max_prompt_tokens and tokens.max_completion_tokens",
) -> None:
    """Refuse sequences that a model cannot read, before it fails in the midst of them.

    Args:
        named: what each sequence is called, and its prompt and completion ids.
        model_config: of the model, of transformers, after tokens were added to it.
        where: the dataset, for errors.
        limits: the keys of the config that hold the longest sequence down.

    Raises:
        InputError: a sequence has more tokens than the model has positions.
        ModelError: a sequence has a token that the model has no embedding of.
    """
    most, known = position_limit(model_config), int(model_config.get_text_config().vocab_size)
    longest, length = "", 0
    for name, (prompt, completion) in named:
        if len(prompt) + len(completion) > length:
            longest, length = name, len(prompt) + len(completion)
        largest = max(max(prompt, default=0), max(completion, default=0))
        if largest >= known:
            raise ModelError(
                "the tokenizer writes a token that the model has no embedding of",
                where=f"{where}, {name}",
                received=largest,
                expected=f"ids below {known}",
                todo="Name a model with the tokenizer that it was trained with, or enlarge its embeddings",
            )
    if most is not None and length > most:
        raise InputError(
            "the longest sequence has more tokens than the model has positions",
            where=f"{where}, {longest}",
            received=length,
            expected=f"at most {most}",
            todo=f"Set {limits} so that their sum is at most {most}",
        )
