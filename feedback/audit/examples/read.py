"""The texts of the chosen examples: read, redacted, then shortened. Redaction comes first: a cut address hides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import polars as pl

from feedback.audit.balance import training_rows
from feedback.audit.config import AuditConfig
from feedback.audit.examples.choose import choose_examples
from feedback.audit.examples.words import Part, compare_texts, shorten
from feedback.audit.wording import safe_name
from feedback.export.text_files import TextTable
from feedback.export.texts import find_texts, id_keys, read_texts
from feedback.personal import Redactor

__all__ = ["Example", "Examples", "Said", "read_examples"]

_LOOKED_AT: Final = 6_000
"""Characters of a text that are redacted and compared."""
_MARGIN: Final = 200
"""Characters at a cut that are not shown: half an address is not recognised."""


@dataclass(frozen=True, slots=True)
class Said:
    """One text of an example.

    Args:
        prompt: its prompt; empty where it is that of the text before.
        answer: its answer.
        up: judgements that called it good.
        down: judgements that called it bad.
        source: where it comes from.
    """

    prompt: tuple[Part, ...]
    answer: tuple[Part, ...]
    up: int
    down: int
    source: str


@dataclass(frozen=True, slots=True)
class Example:
    """One contradicted answer, or two wordings of nearly the same.

    Args:
        why: `same_rater`, `across_raters` or `between_pairs` of a contradiction, `across_labels` or `same_label` of
            near-duplicates.
        texts: the texts.
        size: different texts of its cluster.
    """

    why: str
    texts: tuple[Said, ...]
    size: int


@dataclass(frozen=True, slots=True)
class Examples:
    """What the page shows of texts.

    Args:
        contradictions: answers with both labels.
        near: near-duplicates.
        contradicted: how many answers have both labels.
        clusters: how many clusters of near-duplicates there are.
        redacted: personal data that was replaced, by kind; null where nothing was looked for.
    """

    contradictions: tuple[Example, ...] = ()
    near: tuple[Example, ...] = ()
    contradicted: int = 0
    clusters: int = 0
    redacted: Mapping[str, int] | None = None


def read_examples(frame: pl.DataFrame, tables: Sequence[TextTable], config: AuditConfig) -> Examples | None:
    """Examples of contradictions and near-duplicates; null where none are wanted.

    Args:
        frame: rows of `schemas.datasets.CANDIDATE` with their clusters of near-duplicates.
        tables: where their texts lie.
        config: how many examples, and whether they are redacted.

    Raises:
        CorruptionError: a text is in none of the tables.
    """
    if not config.examples:
        return None
    choice = choose_examples(training_rows(frame), config.examples)
    prompts, answers, redacted = _texts(choice.texts, tables, config)
    found: dict[tuple[str, int], list[int]] = {}
    for place, key in enumerate(choice.texts.select("kind", "example").iter_rows()):
        found.setdefault(key, []).append(place)
    told = choice.texts.to_dicts()
    made = {
        key: _example([told[place] for place in places], *_of(places, prompts, answers))
        for key, places in found.items()
    }
    return Examples(
        contradictions=tuple(example for (kind, _), example in made.items() if kind == "contradiction"),
        near=tuple(example for (kind, _), example in made.items() if kind == "near"),
        contradicted=choice.contradicted,
        clusters=choice.clusters,
        redacted=redacted,
    )


def _of(places: list[int], prompts: list[str], answers: list[str]) -> tuple[list[str], list[str]]:
    return [prompts[place] for place in places], [answers[place] for place in places]


def _example(told: list[dict[str, Any]], prompts: list[str], answers: list[str]) -> Example:
    shown = list(zip(_shown(prompts), _shown(answers), strict=True))
    return Example(
        why=told[0]["why"],
        texts=tuple(
            Said(prompt, answer, row["up"], row["down"], safe_name(row["source"]))
            for row, (prompt, answer) in zip(told, shown, strict=True)
        ),
        size=told[0]["size"],
    )


def _shown(texts: list[str]) -> list[tuple[Part, ...]]:
    """Each text; of two that are the same the second is empty, of two that differ the difference is marked."""
    if len(texts) == 1:
        return [shorten(texts[0])]
    return [shorten(texts[0]), ()] if texts[0] == texts[1] else list(compare_texts(*texts))


def _texts(
    wanted: pl.DataFrame, tables: Sequence[TextTable], config: AuditConfig
) -> tuple[list[str], list[str], Mapping[str, int] | None]:
    """Prompts and answers in the order of `wanted`, and what was replaced in them."""
    asked = wanted.with_row_index("place").select(*id_keys("text_id"), "text_side", pl.col("place").cast(pl.Int64))
    prompts, answers = [""] * wanted.height, [""] * wanted.height
    for chunk in find_texts(tables, asked) if wanted.height else ():
        batch = read_texts(chunk)
        both = zip(batch.column("prompt").to_pylist(), batch.column("completion").to_pylist(), strict=True)
        for place, (prompt, answer) in zip(chunk.places.tolist(), both, strict=True):
            prompts[place], answers[place] = _said(prompt), _said(answer)
    texts = pl.Series("text", [text[:_LOOKED_AT] for text in (*prompts, *answers)], dtype=pl.String)
    redactor = Redactor(config.phone_regions)
    seen = redactor.texts(texts).to_list() if config.redact_examples else texts.to_list()
    # What stands at the cut may be half of something that would have been replaced.
    whole = [
        text if len(before) <= _LOOKED_AT else text[:-_MARGIN] + " …"
        for text, before in zip(seen, (*prompts, *answers), strict=True)
    ]
    counts = dict(sorted(redactor.counts.items())) if config.redact_examples else None
    return whole[: wanted.height], whole[wanted.height :], counts


def _said(turns: Sequence[Mapping[str, str]]) -> str:
    """The words of a single turn, or all turns with their roles."""
    if len(turns) == 1:
        return turns[0]["content"].strip()
    return "\n".join(f"[{turn['role']}] {turn['content'].strip()}" for turn in turns)
