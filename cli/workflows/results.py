"""The page of results that the demo ends with: sections made from plain numbers, as a terminal page or as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from schemas.report import StageReport

__all__ = ["Section", "results_sections", "to_markdown"]


_FIGURES: Final = (
    ("reward accuracy", "reward_accuracy"),
    ("reward margin", "reward_margin"),
    ("reward of answers voted up", "reward_desirable"),
    ("reward of answers voted down", "reward_undesirable"),
)
_FILES: Final = (
    ("this page", "results.md"),
    ("its numbers", "results.json"),
    ("audit before", "audit_before.html"),
    ("audit after, beside before", "audit_after.html"),
    ("dataset", "dataset"),
    ("model", "run/model"),
    ("run card", "run/run_card.md"),
)


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the page: a title, sentences, and a table (columns whose name ends with `>` are aligned right)."""

    title: str
    sentences: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()


def results_sections(results: Mapping[str, Any], folder: Path) -> list[Section]:
    """The page's sections.

    Args:
        results: what `cli.workflows.demo.run_demo` found, as in `results.json`.
        folder: where the demo lies.
    """
    return [
        _rows_section(results),
        _ratio_section(results),
        _reward_section(results),
        _answers_section(results),
        _files_section(folder, results["seconds"]),
    ]


def to_markdown(title: str, sections: Sequence[Section]) -> str:
    """The sections as a Markdown page."""
    lines = [f"# {title}", ""]
    for section in sections:
        lines += [f"## {section.title}", ""]
        lines += [line for sentence in section.sentences for line in (_inline(sentence), "")]
        if section.columns:
            lines.append(_line(name.rstrip(">") for name in section.columns))
            lines.append(_line("---:" if name.endswith(">") else "---" for name in section.columns))
            lines += [_line(_inline(cell) for cell in row) for row in section.rows]
            lines.append("")
    return "\n".join(lines)


def _line(cells: Any) -> str:
    return f"| {' | '.join(cells)} |"


def _inline(text: str) -> str:
    """Text that Markdown shows as it is, on one line."""
    flat = " ".join(text.split())
    for sign in ("\\", "|", "<", "*", "_", "`", "[", "]", "#"):
        flat = flat.replace(sign, "&lt;" if sign == "<" else f"\\{sign}")
    return flat


def _rows_section(results: Mapping[str, Any]) -> Section:
    stages = [StageReport.from_dict(stage) for stage in results["waterfall"]]
    rows = []
    for stage in stages:
        dropped = ", ".join(f"{count:,} {reason}" for reason, count in sorted(stage.dropped.items()))
        rows.append((stage.stage, f"{stage.rows_in:,}", f"{stage.rows_created:,}", dropped, f"{stage.rows_kept:,}"))
    sentence = (
        f"{stages[0].rows_in:,} records came in from {', '.join(results['files'])}; "
        f"{stages[-1].rows_kept:,} rows were kept, and every other one has a reason."
    )
    return Section(
        "From raw logs to a dataset", (sentence,), ("stage", "in>", "created>", "dropped", "kept>"), tuple(rows)
    )


def _ratio_section(results: Mapping[str, Any]) -> Section:
    ratio = results["ratio"]
    low, high = ratio["wanted"]
    rows = tuple(
        (title, f"{ratio[when]['desirable']:,}", f"{ratio[when]['undesirable']:,}", _number(ratio[when]["value"]))
        for title, when in (("all raw votes", "before"), ("rows trained on", "after"))
    )
    sentences = [f"R is up / down. KTO wants it in [{low:.2f}, {high:.2f}], so that neither label drowns the other."]
    for when in ("before", "after"):
        found = results["warnings"][when]
        sentences.append(f"The audit {when} curation warns of: {', '.join(found) or 'nothing'}.")
    return Section("Up against down", tuple(sentences), ("", "up>", "down>", "R>"), rows)


def _reward_section(results: Mapping[str, Any]) -> Section:
    before, after, training = results["evaluation"]["before"], results["evaluation"]["after"], results["training"]
    rows = tuple((title, _number(before.get(key)), _number(after.get(key))) for title, key in _FIGURES)
    how = f"{training['dtype']} on {training['device']} with {training['threads']} threads"
    held_out = f"{after['n_desirable']} rows up and {after['n_undesirable']} down were held out"
    sentences = (
        f"{results['model']}: {training['steps']} steps of KTO over {training['examples']} examples, in {how}.",
        f"{held_out}. Accuracy: the chance that a good one gets a higher reward than a bad one; 0.5 is a coin.",
    )
    return Section("Rewards on held-out rows", sentences, ("", "before>", "after>"), rows)


def _answers_section(results: Mapping[str, Any]) -> Section:
    rows = tuple(
        tuple(" ".join(one[key].split()) for key in ("prompt", "before", "after")) for one in results["answers"]
    )
    return Section(
        "Three answers",
        ("The questions are not in the data; long answers are cut off.",),
        ("question", "before", "after"),
        rows,
    )


def _files_section(folder: Path, seconds: Mapping[str, float]) -> Section:
    rows = tuple((title, str(folder / name)) for title, name in _FILES)
    times = ", ".join(f"{part} {spent:.0f} s" for part, spent in seconds.items())
    return Section("Where things lie", (f"Time: {times}.",), ("what", "where"), rows)


def _number(value: float | None) -> str:
    # Rounded before 0.0 is added, which turns -0.0 into 0.0.
    return "–" if value is None else f"{round(value, 3) + 0.0:.3f}"
