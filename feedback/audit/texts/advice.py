"""What to do about what was found in texts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from feedback.audit.report import Advice, Metric
from feedback.audit.wording import plural

__all__ = ["ON_TEXTS"]


def _on_personal_data(metric: Metric, source: str) -> Advice:
    return Advice(
        metric=metric.name,
        title="Replace personal data by marks",
        text=f"`--redact` puts `[EMAIL]`, `[PHONE]`, ... in its place in "
        f"{plural(metric.details['rows'], 'row')}; no row is lost. Names and postal addresses stay.",
        command=f"thumbline curate {source} -o OUT --redact",
    )


def _on_consent(metric: Metric, source: str) -> Advice:
    del source
    return Advice(
        metric=metric.name,
        title="Leave these users' records out of the export",
        text="No stage drops them yet: take them out where the log is made, and read it again.",
    )


def _on_broken(title: str, text: str) -> Callable[[Metric, str], Advice]:
    def advise(metric: Metric, source: str) -> Advice:
        del source
        return Advice(metric=metric.name, title=title, text=text)

    return advise


def _on_style(metric: Metric, source: str) -> Advice:
    del source
    return Advice(
        metric=metric.name,
        title="Watch these marks in the trained model's answers",
        text="No stage corrects this. Look at rows with the mark and the other label, add some where there are few, "
        "and count the mark in answers before and after training. Refusals that are down teach a model "
        "never to refuse.",
    )


_LOGGING: Final = "Mend it where the log is made, and read it again: a label says nothing of a text that is not whole."

ON_TEXTS: Final[Mapping[str, Callable[[Metric, str], Advice]]] = {
    "personal_data": _on_personal_data,
    "consent": _on_consent,
    "style_lift": _on_style,
    "empty_answers": _on_broken("Leave empty answers out of the log", _LOGGING),
    "truncated_answers": _on_broken("Log answers whole", _LOGGING),
    "error_texts": _on_broken("Keep error messages out of the log", "They are no answers; log them as errors."),
    "role_order": _on_broken(
        "Put the turns in order",
        "Join turns of one role, and put the system turn first, where the log is made; or train a model whose chat "
        "template takes such turns.",
    ),
    "special_tokens": _on_broken(
        "Log texts before the chat template",
        "Training encodes control tokens in texts as plain text, so that nobody can forge a turn; but a model learns "
        "to write them.",
    ),
    "naive_times": _on_broken("Log times with their zone", "For example 2026-01-05T09:51:39Z."),
    "missing_times": _on_broken("Log the time of every vote", "For example 2026-01-05T09:51:39Z."),
}
"""Advice for each gate on texts that warns: from the metric and what stands for the raw files."""
