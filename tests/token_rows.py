"""Rows to tokenize, and what became of them."""

from __future__ import annotations

from typing import Any

from align.data.rows import LabelledRow
from align.tokens.tokenize import TokenizedRow, TokenizedSplit, tokenize_rows
from schemas.messages import Message


def turn(role: str, content: str) -> Message:
    return {"role": role, "content": content}


def row(*prompt: Message | str, answer: str | list[Message] = "hello", tools: str | None = None) -> LabelledRow:
    turns = [turn("user", each) if isinstance(each, str) else each for each in prompt]
    completion = [turn("assistant", answer)] if isinstance(answer, str) else answer
    return LabelledRow("row", turns, completion, True, 0.5, "group", tools)


def run(
    tokenizer: Any, *rows: LabelledRow, prompt: int = 10_000, completion: int = 10_000, **more: Any
) -> TokenizedSplit:
    return tokenize_rows(rows, tokenizer, max_prompt_tokens=prompt, max_completion_tokens=completion, **more)


def one(tokenizer: Any, labelled: LabelledRow, **more: Any) -> TokenizedRow:
    [tokenized] = run(tokenizer, labelled, **more).rows
    return tokenized


def ids_of(tokenizer: Any, labelled: LabelledRow, **more: Any) -> list[int]:
    ids: list[int] = tokenizer.apply_chat_template(
        [dict(each) for each in [*labelled.prompt, *labelled.completion]], tokenize=True, return_dict=False, **more
    )
    return ids
