"""What commands print on stdout for people: tables, and text of strangers made harmless.

Tables fit into 80 columns and need no colour to be understood.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from rich import box
from rich.console import Console, RenderableType
from rich.table import Table

from schemas.report import StageReport

if TYPE_CHECKING:  # the audit loads polars
    from cli.workflows.results import Section
    from feedback.audit.report import AuditReport, Metric

__all__ = ["audit_page", "clean", "page", "print_next", "shorten", "show", "table_of", "waterfall"]

PAGE_COLUMNS: Final = 100
_ESCAPE: Final = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")
_INVISIBLE: Final = {"Cc", "Cf", "Co", "Cs", "Zl", "Zp"}
MARKS: Final = {"fail": "FAIL", "warn": "warn", "info": "", "ok": "ok"}
_SHOWN: Final = ("before", "now", "difference")
_JOINERS: Final = "\u200c\u200d"


def clean(text: str) -> str:
    r"""`text` without terminal commands, control characters and marks that turn the reading direction.

    Newlines and tabs stay, and so do the joiners that some scripts and emoji need.

    >>> clean("a\x1b[31mb\x07\u202ec")
    'abc'
    """
    text = _ESCAPE.sub("", text)
    return "".join(
        char for char in text if char in "\n\t" or char in _JOINERS or unicodedata.category(char) not in _INVISIBLE
    )


def shorten(text: str, width: int) -> str:
    r"""`text`, cleaned, on one line of at most `width` characters.

    >>> shorten("one  two\nthree", 9)
    'one two …'
    """
    line = " ".join(clean(text).split())
    return line if len(line) <= width else line[: width - 1] + "…"


def show(*parts: RenderableType) -> None:
    """Print texts and tables, at most 100 columns wide."""
    console = Console(highlight=False, markup=False, emoji=False)
    console.width = min(console.width, PAGE_COLUMNS)
    for part in parts:
        if isinstance(part, str):
            # An indented line is a command: it is never broken, so that it can be copied.
            console.print(clean(part), soft_wrap=part.startswith("  "))
        else:
            console.print(part)


def print_next(command: str, why: str) -> None:
    """Print the one command to run next."""
    show("", f"Next, {why}:", f"  {command}")


def table_of(columns: Sequence[str], rows: Iterable[Sequence[object]], *, title: str | None = None) -> Table:
    """A plain table; columns whose name ends with `>` are aligned to the right.

    Cells are cleaned; numbers get thousands separators, floats three digits, None is a dash.
    """
    table = Table(
        title=title, box=box.SIMPLE_HEAD, title_justify="left", title_style="bold", pad_edge=False, padding=(0, 1, 0, 0)
    )
    for name in columns:
        table.add_column(name.rstrip(">"), justify="right" if name.endswith(">") else "left", overflow="fold")
    for row in rows:
        table.add_row(*(_cell(value) for value in row))
    return table


def waterfall(stages: Sequence[StageReport], *, ratio: float | None = None) -> Table:
    """Rows through the stages: in, created, dropped by reason, kept, and R where both labels are counted.

    Args:
        stages: reports in order.
        ratio: R of the finished training split, shown in the last line.
    """
    rows: list[Sequence[object]] = []
    for stage in stages:
        reasons = "\n".join(f"{count:,} {reason}" for reason, count in sorted(stage.dropped.items()))
        labels = stage.labels_kept
        upper_by_lower = labels.desirable / labels.undesirable if labels.undesirable else None
        rows.append((stage.stage, stage.rows_in, stage.rows_created or "", reasons, stage.rows_kept, upper_by_lower))
    if ratio is not None:
        rows.append(("R of train", "", "", "", "", ratio))
    return table_of(("stage", "in>", "created>", "dropped", "kept>", "up/down>"), rows)


def audit_page(report: AuditReport) -> list[RenderableType]:
    """What the terminal shows of an audit: verdict, gates, what is wrong in words, what changed, waterfall, advice."""
    gates = [(MARKS[gate.severity], gate.title, _measured(gate), gate.n, gate.threshold) for gate in report.gates]
    wrong = [gate for gate in report.gates if gate.severity in ("fail", "warn")]
    parts: list[RenderableType] = [
        _verdict(report),
        "",
        table_of(("", "what", "value>", "n>", "wanted"), gates),
        *(f"{gate.severity}: {gate.sentence}" for gate in wrong),
    ]
    parts += [*_comparison(report), *_training(report)]
    if report.waterfall:
        read = [stage for stage in report.waterfall if stage.stage == "ingest"]
        parts += ["", waterfall(report.waterfall), *(note for stage in read for note in stage.notes)]
    for advice in report.advice:
        parts += ["", f"{advice.title}. {advice.text}", *([f"  {advice.command}"] if advice.command else [])]
    return parts


def page(sections: Sequence[Section]) -> list[RenderableType]:
    """Sections of a results page, as the terminal shows them."""
    parts: list[RenderableType] = []
    for section in sections:
        parts += ["", section.title, "─" * len(section.title), *section.sentences]
        if section.columns:
            parts.append(table_of(section.columns, section.rows))
    return parts


def _verdict(report: AuditReport) -> str:
    from feedback.audit.wording import plural  # only audits need it

    failed = sum(gate.severity == "fail" for gate in report.gates)
    warned = sum(gate.severity == "warn" for gate in report.gates)
    unjudged = sum(gate.severity == "info" for gate in report.gates)
    more = f", {unjudged} with too few cases to say" if unjudged else ""
    rows = report.rows
    return (
        f"Audit of {report.name}: {plural(rows['total'], 'row')}, {rows['desirable']:,} up and "
        f"{rows['undesirable']:,} down to train on. {plural(len(report.gates), 'gate')}: "
        f"{failed} failed, {warned} with a warning{more}."
    )


def _comparison(report: AuditReport) -> list[RenderableType]:
    """Measures that differ from the other input by more than chance, and what changed, in words."""
    compared = report.table("compared")
    if compared is None:
        return []
    keys = [column.name for column in compared.columns]
    rows = [dict(zip(keys, row, strict=True)) for row in compared.rows]
    changed = [row for row in rows if row["verdict"] == "yes"]
    tested = sum(row["verdict"] is not None for row in rows)
    parts: list[RenderableType] = ["", f"{compared.title}: {len(changed)} of {tested} measures differ beyond chance."]
    if changed:
        cells = [(row["measure"], *(_compared(report, row, key) for key in _SHOWN), _p(row["p"])) for row in changed]
        parts.append(table_of(("what", "before>", "now>", "difference>", "p, adjusted>"), cells))
    told = [metric for metric in report.metrics if "against" in metric.details]
    return [*parts, *(m.sentence for m in told if m.severity != "warn" and m.details.get("is_changed", True))]


def _training(report: AuditReport) -> list[RenderableType]:
    """What training would do, in words; gates that do not hold are said above."""
    from cli.workflows.training_metrics import TRAINING_METRICS

    known = [metric for name in TRAINING_METRICS if (metric := report.metric(name)) is not None]
    told = [metric.sentence for metric in known if metric.severity not in ("fail", "warn")]
    return ["", "Training on it:", *told] if told else []


def _compared(report: AuditReport, row: Mapping[str, Any], key: str) -> str:
    metric = report.metric(row["name"])
    return _value(row[key], "number" if metric is None else metric.kind)


def _p(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _measured(metric: Metric) -> str:
    return _value(metric.value, metric.kind)


def _value(value: float | None, kind: str) -> str:
    if value is None:
        return "–"
    return f"{value:.1%}" if kind == "share" else _cell(value if kind == "number" else int(value))


def _cell(value: object) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{round(value, 3) + 0.0:.3f}"  # no -0.000
    return clean(str(value))
