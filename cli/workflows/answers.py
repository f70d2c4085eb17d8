"""Answers of two models to the same questions, one model in memory at a time."""

from __future__ import annotations

from collections.abc import Sequence

from schemas.messages import Message
from schemas.progress import Progress, silent

__all__ = ["answer_side_by_side"]


def answer_side_by_side(
    before: str, after: str, questions: Sequence[str], *, max_new_tokens: int = 128, progress: Progress = silent
) -> list[dict[str, str]]:
    """For each question `prompt`, the answers `before` and `after`.

    Args:
        before: name or folder of the first model.
        after: name or folder of the second.
        questions: one user turn each.
        max_new_tokens: longest answer; one that has not ended by then is cut.
        progress: told of every answer.

    Raises:
        ModelError: a model cannot be loaded.
    """
    columns = [_answer(model, questions, max_new_tokens, progress) for model in (before, after)]
    return [
        {"prompt": question, "before": first, "after": second}
        for question, first, second in zip(questions, *columns, strict=True)
    ]


def _answer(model: str, questions: Sequence[str], max_new_tokens: int, progress: Progress) -> list[str]:
    from align.evaluate.generate import generate
    from align.models.loading import load_policy

    prompts = [[Message(role="user", content=question)] for question in questions]
    return generate(load_policy(model), prompts, max_new_tokens=max_new_tokens, progress=progress)
