"""Answers of a model to prompts: greedy, or sampled from a seed, so that the same weights give the same answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import torch
from transformers import GenerationConfig

from align.models.loading import LoadedModel
from align.tokens.chat import ChatEncoder
from schemas.errors import InputError
from schemas.messages import Message
from schemas.progress import Progress, silent

__all__ = ["generate", "sample_token_ids", "stop_ids"]

# The encoder wants an answer to find the border; only what stands before it is used.
_ANY_ANSWER: Final[Message] = {"role": "assistant", "content": "-"}


def generate(
    loaded: LoadedModel,
    prompts: Sequence[Sequence[Message]],
    *,
    max_new_tokens: int = 128,
    sample_seed: int | None = None,
    batch_size: int = 8,
    progress: Progress = silent,
) -> list[str]:
    """An answer to each prompt: the most likely one, token by token, or one that is sampled.

    Args:
        loaded: the model, where it is to compute.
        prompts: turns up to the answer, the last one of the user or a tool.
        max_new_tokens: longest answer; one that has not ended by then is cut.
        sample_seed: of answers that are sampled from the model as it is; null takes the most likely one.
        batch_size: prompts that are answered at once, at least 1; sampled answers change with it.
        progress: told of every prompt.

    Returns:
        The answers' texts without control tokens, in the order of the prompts.

    Raises:
        InputError: a prompt has no turn, or not a single token or prompt at once is asked for.
        TemplateError: the chat template refuses a prompt.
    """
    for name, number in (("max_new_tokens", max_new_tokens), ("batch_size", batch_size)):
        if number < 1:
            raise InputError("nothing is asked for", where=name, received=number, expected="at least 1")
    encoder = ChatEncoder(loaded.tokenizer)
    ids: list[tuple[int, ...]] = []
    for position, prompt in enumerate(prompts):
        if not prompt:
            raise InputError("a prompt has no turn", where=f"prompt {position}")
        ids.append(encoder.encode(prompt, _ANY_ANSWER).prompt_ids)
    answers = [""] * len(ids)
    by_length = sorted(range(len(ids)), key=lambda position: len(ids[position]))
    with progress("generate", len(ids)) as advance, torch.random.fork_rng():
        torch.manual_seed(sample_seed or 0)
        for start in range(0, len(ids), batch_size):
            members = by_length[start : start + batch_size]
            texts = _answer_batch(
                loaded, [ids[member] for member in members], max_new_tokens, is_sampled=sample_seed is not None
            )
            for member, text in zip(members, texts, strict=True):
                answers[member] = text
            advance(len(members))
    return answers


def sample_token_ids(
    loaded: LoadedModel,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    seed: int,
    batch_size: int = 64,
) -> list[tuple[int, ...]]:
    """A sampled answer to each prompt as token ids, from the model as it is: no temperature, no cut of the tail.

    Args:
        loaded: the model, where it is to compute.
        prompts: token ids up to and with the generation prompt, at least one each.
        max_new_tokens: longest answer.
        seed: of the samples.
        batch_size: prompts that are answered at once, at least 1; the samples change with it.

    Returns:
        The answers in the order of the prompts, each with the token that ends it, where it ended in time.
    """
    answers: list[tuple[int, ...]] = [()] * len(prompts)
    by_length = sorted(range(len(prompts)), key=lambda position: len(prompts[position]))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for start in range(0, len(prompts), batch_size):
            members = by_length[start : start + batch_size]
            ids = _answer_ids(loaded, [prompts[member] for member in members], max_new_tokens, is_sampled=True)
            for member, answer in zip(members, ids.tolist(), strict=True):
                answers[member] = _up_to_end(answer, stop_ids(loaded))
    return answers


def _answer_batch(
    loaded: LoadedModel, prompts: Sequence[tuple[int, ...]], max_new_tokens: int, *, is_sampled: bool
) -> list[str]:
    """The texts of answers to a batch."""
    ids = _answer_ids(loaded, prompts, max_new_tokens, is_sampled=is_sampled)
    texts: list[str] = loaded.tokenizer.batch_decode(ids, skip_special_tokens=True)
    return [text.strip() for text in texts]


def _answer_ids(
    loaded: LoadedModel, prompts: Sequence[Sequence[int]], max_new_tokens: int, *, is_sampled: bool
) -> torch.Tensor:
    """Answers to a batch, padded on the left so that all of them begin at the same position. [prompts, tokens]."""
    device = next(loaded.model.parameters()).device
    longest = max(len(prompt) for prompt in prompts)
    pad_id = loaded.tokenizer.pad_token_id
    input_ids = torch.tensor([[pad_id] * (longest - len(prompt)) + list(prompt) for prompt in prompts], device=device)
    mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts], device=device)
    config = GenerationConfig(
        do_sample=is_sampled,
        top_k=0 if is_sampled else None,
        max_new_tokens=max_new_tokens,
        eos_token_id=stop_ids(loaded),
        pad_token_id=pad_id,
    )
    with torch.inference_mode():
        output = loaded.model.generate(input_ids=input_ids, attention_mask=mask, generation_config=config)
    answers: torch.Tensor = output[:, longest:]
    return answers


def _up_to_end(ids: Sequence[int], ends: Sequence[int]) -> tuple[int, ...]:
    """The ids up to and with the first that ends an answer; all of them where none does."""
    end = next((place for place, token_id in enumerate(ids) if token_id in ends), len(ids) - 1)
    return tuple(ids[: end + 1])


def stop_ids(loaded: LoadedModel) -> list[int]:
    """Tokens that end an answer: the tokenizer's, and those of the model's own settings, with the turn's end."""
    named: Any = getattr(loaded.model.generation_config, "eos_token_id", None)
    known = named if isinstance(named, list) else [named]
    return sorted({loaded.tokenizer.eos_token_id, *(token_id for token_id in known if token_id is not None)})
