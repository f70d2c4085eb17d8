"""The report as one page: verdict first, then what to do, pictures, and every number.

One self-contained file without an outside request, light and dark, readable on a phone and in print. Its content
security policy allows one style sheet and one script, by their hashes; the script sorts and filters tables, and the
page is whole without it. Every value goes through jinja2's autoescape; only our SVG, style sheet and script do not.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from jinja2 import FileSystemLoader
from markupsafe import Markup, escape

from feedback.audit.page_look import FOLDER, content_policy, page_environment, style_sheet
from feedback.audit.report import SEVERITIES, AuditReport, Metric
from feedback.audit.sheets import shown_measure, shown_table, shown_value
from feedback.audit.wording import agree, count, plural
from schemas import __version__

if TYPE_CHECKING:  # charts load Altair, which takes a third of a second
    from feedback.audit.charts import Picture
    from feedback.audit.examples import Examples

__all__ = ["render_html"]

_MARKS: Final = {"fail": "Stop", "warn": "Warning", "info": "Note", "ok": "OK"}
_KINDS: Final = {
    "feedback": "Raw feedback, one row for each judgement",
    "candidates": "Rows under curation",
    "dataset": "Curated dataset",
}
_CAUSES: Final = {
    "across_raters": "Raters disagree",
    "same_rater": "One rater changed their mind",
    "between_pairs": "It won one pair and lost another",
    "across_labels": "Up in one wording, down in another",
    "same_label": "The same label in several wordings",
}
_MOST_OPEN: Final = 14
"""Rows of a table that is not folded away."""
_TILES: Final = (
    "label_ratio",
    "share_up",
    "contradictions",
    "exact_duplicates",
    "top_rater",
    "length_auc",
    "leakage",
    "personal_data",
)


def render_html(report: AuditReport, before: AuditReport | None = None) -> str:
    """The report as one HTML page.

    Args:
        report: the audit to show.
        before: an earlier audit of the same feedback, for example before curation; numbers and pictures of both are
            shown side by side.
    """
    from feedback.audit.charts import draw
    from feedback.audit.svg import COLOURS

    environment = page_environment(FileSystemLoader(FOLDER))
    environment.filters |= {"coded": _coded, "count": count, "plural": plural}
    style, script = style_sheet(COLOURS), FOLDER.joinpath("report.js").read_text("utf-8")
    todo, pictures = list(_todo(report)), _pair(draw(report), [] if before is None else draw(before, prefix="before-"))
    shows_texts = report.examples is not None and bool(report.examples.contradictions or report.examples.near)
    return environment.get_template("report.html").render(
        report=report,
        before=before,
        style=Markup(style),  # noqa: S704 - ours
        script=Markup(script),  # noqa: S704 - ours
        policy=content_policy(style, script),
        verdict=_verdict(report),
        subject=_subject(report),
        parts=_parts(report, todo=todo, before=before, pictures=pictures, examples=shows_texts),
        todo=todo,
        tiles=[metric for name in _TILES if (metric := report.metric(name)) is not None],
        changes=list(_changes(report, before)),
        pictures=pictures,
        shows_texts=shows_texts,
        marks=_MARKS,
        ranks={severity: rank for rank, severity in enumerate(reversed(SEVERITIES))},
        causes=_CAUSES,
        replaced=_replaced(report.examples),
        most_open=_MOST_OPEN,
        measured=shown_measure,
        interval=_interval,
        cell=shown_value,
        shown=shown_table,
        svg=Markup,
        version=__version__,
    )


def _parts(report: AuditReport, **there: object) -> list[tuple[str, str, bool]]:
    """Id and title of each part of the page, and whether this page has it."""
    return [
        ("todo", "What to do", bool(there["todo"])),
        ("glance", "At a glance", True),
        ("changes", "Before and after", there["before"] is not None),
        ("pictures", "Pictures", bool(there["pictures"])),
        ("examples", "Examples", bool(there["examples"])),
        ("measures", "Every measure", True),
        ("tables", "Tables", bool(report.tables)),
    ]


def _replaced(examples: Examples | None) -> str:
    """What was replaced in the examples, in words."""
    from feedback.personal import KINDS  # it loads polars

    if examples is None:
        return ""
    if examples.redacted is None:
        return "Personal data in them is not replaced, since `redact_examples` is off: do not share this page."
    found = ", ".join(f"{count(times)} × {KINDS[kind]}" for kind, times in examples.redacted.items())
    done = f"Personal data in them is replaced by marks ({found})." if found else "No personal data was found in them."
    return f"{done} Names and postal addresses are not recognised."


def _verdict(report: AuditReport) -> tuple[str, str]:
    """The headline, and one sentence under it."""
    by = {name: [gate for gate in report.gates if gate.severity == name] for name in SEVERITIES}
    failed, warned, unjudged, held = (by[name] for name in ("fail", "warn", "info", "ok"))
    if failed:
        headline = "Do not train on this as it is"
        more = f", and {plural(len(warned), 'warning')} ({_titles(warned)})" if warned else ""
        return headline, f"{plural(len(failed), 'gate')} failed ({_titles(failed)}){more}."
    unknown = f"{count(len(unjudged))} {agree(len(unjudged), 'have')} too few cases to say ({_titles(unjudged)})"
    if warned:
        rest = f"{count(len(held))} other{'' if len(held) == 1 else 's'} {agree(len(held), 'hold')}, {unknown}"
        told = rest if unjudged else "the other gates hold"
        return "Worth fixing before training", f"{plural(len(warned), 'warning')} ({_titles(warned)}); {told}."
    if unjudged:
        holding = f"{plural(len(held), 'gate')} {agree(len(held), 'hold')}"
        return "Not everything could be judged", f"{holding}, {unknown}."
    every = "The only gate holds" if len(held) == 1 else f"All {count(len(held))} gates hold"
    return "Nothing here stands in the way of training", f"{every}."


def _titles(metrics: list[Metric]) -> str:
    return ", ".join(metric.title.lower().removesuffix(" r") for metric in metrics)


def _coded(text: str) -> Markup:
    """`text`, escaped, with what stands between backticks as code."""
    parts = text.split("`")
    marked = [Markup("<code>{}</code>").format(part) if place % 2 else escape(part) for place, part in enumerate(parts)]
    return Markup("").join(marked) if len(parts) % 2 else escape(text)


def _subject(report: AuditReport) -> str:
    rows = report.rows
    held_out = f", {count(rows['test'])} held out" if rows.get("test") else ""
    return (
        f"{_KINDS.get(report.kind, report.kind)}: {plural(rows['total'], 'row')}, "
        f"{count(rows['desirable'])} up and {count(rows['undesirable'])} down{held_out}"
    )


def _todo(report: AuditReport) -> Iterator[tuple[Metric, list[Any]]]:
    """Every gate that does not hold, worst first, with the advice on it; then advice on the rest."""
    told = set()
    for metric in report.gates:
        if metric.severity in ("fail", "warn"):
            told.add(metric.name)
            yield metric, [advice for advice in report.advice if advice.metric == metric.name]
    for advice in report.advice:
        metric_found = report.metric(advice.metric)
        if advice.metric not in told and metric_found is not None:
            yield metric_found, [advice]


def _changes(report: AuditReport, before: AuditReport | None) -> Iterator[tuple[str, Metric | None, Metric | None]]:
    """Title, metric before and metric after, of every metric that either report has."""
    if before is None:
        return
    names = list(dict.fromkeys(metric.name for audit in (report, before) for metric in audit.metrics))
    for name in names:
        old, new = before.metric(name), report.metric(name)
        known = new or old
        if known is not None and name != "waterfall" and "against" not in known.details:
            yield known.title, old, new


def _pair(after: list[Picture], before: list[Picture]) -> list[tuple[Picture, Picture | None]]:
    """Each picture with the same one of the earlier report, which has no flow of its own to show."""
    earlier = {picture.name: picture for picture in before if picture.name != "flow"}
    return [(picture, earlier.get(picture.name)) for picture in after]


def _interval(metric: Metric) -> str:
    if metric.low is None:
        return ""
    high = "no bound" if metric.high is None else shown_value(metric.high, metric.kind)
    return f"{shown_value(metric.low, metric.kind)} to {high}"
