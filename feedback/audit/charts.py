"""The pictures of a report: what is drawn from which table, and what each shows in words."""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import dataclass
from typing import Any, Final

import altair as alt

from feedback.audit.flow import flow_chart
from feedback.audit.report import AuditReport, Table
from feedback.audit.slices import MOST_PERIODS
from feedback.audit.svg import COLOURS, AnyChart, point_data, render_svg
from feedback.audit.time_charts import PSI_COLUMNS, drift_points, has_values, share_line
from feedback.audit.wording import count, percent, plural

__all__ = ["Picture", "draw"]

_REASON_COLOURS: Final = tuple(name for name in COLOURS if re.fullmatch(r"k[1-9]", name))
_WIDTH: Final = 345
_NAMES_WIDTH: Final = 122
_SHARES_WIDTH: Final = 44
_STAGES_WIDTH: Final = 84
_BAR: Final = 22
_MOST_BARS: Final = 13
_DRIFTS: Final = ("label_drift", "prompt_drift")
# Names of models often differ at their end only.
_SHORT_NAME: Final = "length(datum.label) > 20 ? slice(datum.label, 0, 10) + '…' + slice(datum.label, -8) : datum.label"


@dataclass(frozen=True, slots=True)
class Picture:
    """One chart of the page.

    Args:
        name: the picture's name.
        title: its heading.
        caption: how to read it, one or two sentences.
        alternative: what it shows, in words, for those who do not see it.
        svg: the drawing, an `<svg>` element.
        legend: (theme colour, meaning) of each colour.
    """

    name: str
    title: str
    caption: str
    alternative: str
    svg: str
    legend: tuple[tuple[str, str], ...] = ()


def draw(report: AuditReport, *, prefix: str = "") -> list[Picture]:
    """The pictures that the report has numbers for: balance, time, waterfall, lengths, raters.

    Args:
        report: the audit.
        prefix: begins every id inside the SVGs; different for two reports on one page.
    """
    drawn = (_balance(report, prefix), _time(report, prefix), _flow(report, prefix), _lengths(report, prefix))
    return [picture for picture in (*drawn, _raters(report, prefix)) if picture is not None]


def _balance(report: AuditReport, prefix: str) -> Picture | None:
    share = report.metric("share_up")
    if share is None or share.value is None:
        return None
    groups: list[tuple[str, list[dict[str, Any]]]] = [
        ("", [{"name": "all rows", "share": share.value, "low": share.low, "high": share.high}])
    ]
    for name in ("by_source", "by_origin", "by_model", "by_length"):
        table = report.table(name)
        if table is not None and (len(table.rows) > 1 or name == "by_source"):
            groups.append((table.columns[0].title.split(",")[0], _share_rows(table)))
    band = _wanted_shares(report)
    layers = [_share_bars(title, rows, band, is_last=rows is groups[-1][1]) for title, rows in groups]
    chart = alt.vconcat(*layers, spacing=10).resolve_scale(x="shared")
    listed = "; ".join(f"{row['name']} {percent(row['share'])}" for _, rows in groups for row in rows)
    caption = "Share of rows that are up, with its 95% interval as a line."
    if band is not None:
        caption += f" The framed zone, {percent(band[0])} to {percent(band[1])}, is where R is in range."
    return Picture(
        name="balance",
        title="Label balance",
        caption=caption,
        alternative=f"Bars of the share of rows that are up: {listed}.",
        svg=render_svg(chart, f"{prefix}balance"),
        legend=(("up", "up"), ("down", "down")),
    )


def _share_rows(table: Table, most: int = _MOST_BARS) -> list[dict[str, Any]]:
    """The first rows of a table of labels. Names that look the same are numbered, so that each has a bar of its own."""
    rows: list[dict[str, Any]] = []
    seen: Counter[str] = Counter()
    for row in table.rows[:most]:
        seen[row[0]] += 1
        name = row[0] if seen[row[0]] == 1 else f"{row[0]} ({seen[row[0]]})"
        rows.append({"name": name, "share": row[4], "low": row[5], "high": row[6]})
    return rows


def _wanted_shares(report: AuditReport) -> tuple[float, float] | None:
    """The shares of up rows at which R is at the ends of its range, with the weights as they are."""
    ratio = report.metric("label_ratio")
    if ratio is None or not ratio.details["desirable"] or not ratio.details["undesirable"] or ratio.value is None:
        return None
    scale = ratio.value * ratio.details["undesirable"] / ratio.details["desirable"]
    low, high = report.config["low"], report.config["high"]
    return low / (low + scale), high / (high + scale)


def _share_bars(title: str, rows: list[dict[str, Any]], band: tuple[float, float] | None, *, is_last: bool) -> AnyChart:
    axis = alt.Axis(format="%", values=[0, 0.5, 1], labels=is_last, ticks=False, domain=False, title=None)
    x = alt.X("share:Q", scale=alt.Scale(domain=[0, 1]), axis=axis)
    y = alt.Y(
        "name:N",
        sort=None,
        title=title or None,
        axis=alt.Axis(
            minExtent=_NAMES_WIDTH,
            maxExtent=_NAMES_WIDTH,
            labelLimit=_NAMES_WIDTH - 8,
            labelExpr=_SHORT_NAME,
            ticks=False,
            domain=False,
            titleAngle=0,
            titleAlign="left",
            titleAnchor="start",
            titleX=-_NAMES_WIDTH,
            titleY=-5,
            titleFontWeight="bold",
        ),
    )
    base = alt.Chart(point_data(rows)).encode(y=y)
    whole = base.transform_calculate(share="1").mark_bar(height=_BAR - 6, color=COLOURS["down"]).encode(x=x)
    up = base.mark_bar(height=_BAR - 6, color=COLOURS["up"]).encode(x=x)
    interval = base.mark_rule(color=COLOURS["ink"], strokeWidth=2).encode(x=alt.X("low:Q"), x2="high:Q")
    width = _WIDTH - _NAMES_WIDTH - _SHARES_WIDTH
    text = base.mark_text(align="right", x=width + _SHARES_WIDTH - 6, color=COLOURS["ink"]).encode(
        text=alt.Text("share:Q", format=".0%")
    )
    layers: list[Any] = [whole, up, interval, text]
    if band is not None:
        zone = alt.Chart(point_data([{"from": band[0], "to": band[1]}]))
        frame = zone.mark_rect(filled=False, stroke=COLOURS["ink"], strokeWidth=1.5, strokeDash=[3, 2])
        layers.append(frame.encode(x=alt.X("from:Q"), x2="to:Q"))
    return alt.layer(*layers).properties(width=width, height=_BAR * len(rows))


def _time(report: AuditReport, prefix: str) -> Picture | None:
    table = report.table("by_time")
    if table is None or len(table.rows) < 3:
        return None
    rows = [row for row in _share_rows(table, MOST_PERIODS) if row["name"] != "(others)"]
    periods, drift = [row["name"] for row in rows], report.table("drift")
    panels: list[Any] = [share_line(rows, periods, width=_WIDTH - 60, is_last=drift is None)]
    period = table.columns[0].title.lower()
    caption = "The line is the share of rows that are up, the area its 95% interval."
    words = (
        f"Share of rows that are up in {plural(len(rows), period)}, from {percent(rows[0]['share'])} in "
        f"{rows[0]['name']} to {percent(rows[-1]['share'])} in {rows[-1]['name']}."
    )
    legend: tuple[tuple[str, str], ...] = ()
    if drift is not None:
        panels.append(drift_points(drift, periods, report.config["max_psi"], width=_WIDTH - 60))
        caption += f" Below, how far each {period} is from all others (PSI); above the dashed line it may have drifted."
        words += "".join(f" {metric.sentence}" for name in _DRIFTS if (metric := report.metric(name)))
        legend = tuple((colour, what) for colour, column, what in PSI_COLUMNS if has_values(drift, column))
    chart = alt.vconcat(*panels, spacing=8).resolve_scale(x="shared")
    svg = render_svg(chart, f"{prefix}time")
    return Picture("time", f"Share of up by {period}", caption, words, svg, legend)


def _flow(report: AuditReport, prefix: str) -> Picture | None:
    stages = report.waterfall
    if not stages:
        return None
    names = _name_reasons(report)
    colours = {"kept": "k0"} | dict(zip(dict.fromkeys(names.values()), _REASON_COLOURS, strict=False))
    chart = flow_chart(stages, names, colours, width=_WIDTH - _STAGES_WIDTH - 12, names_width=_STAGES_WIDTH)
    return Picture(
        name="flow",
        title="Where the rows went",
        caption="The band is as wide as the rows that a stage took in and made. What it kept runs on, what it dropped "
        "leaves to the right.",
        alternative=" ".join(_flow_words(report)),
        svg=render_svg(chart, f"{prefix}flow"),
        legend=tuple((colour, what) for what, colour in colours.items()),
    )


def _name_reasons(report: AuditReport) -> dict[str, str]:
    """What the picture calls each reason, most rows first; where colours do not suffice, the smallest share a name."""
    totals: dict[str, int] = {}
    for stage in report.waterfall:
        for reason, rows in stage.dropped.items():
            totals[reason] = totals.get(reason, 0) + rows
    ordered = sorted(totals, key=lambda reason: (-totals[reason], reason))
    shown = len(ordered) if len(ordered) <= len(_REASON_COLOURS) else len(_REASON_COLOURS) - 1
    return {
        reason: reason.replace("_", " ") if place < shown else "other reasons" for place, reason in enumerate(ordered)
    }


def _flow_words(report: AuditReport) -> list[str]:
    words = []
    for stage in report.waterfall:
        dropped = ", ".join(
            f"{count(rows)} {reason.replace('_', ' ')}" for reason, rows in sorted(stage.dropped.items())
        )
        words.append(f"{stage.stage}: {count(stage.rows_kept)} kept" + (f", dropped {dropped}." if dropped else "."))
    return words


def _lengths(report: AuditReport, prefix: str) -> Picture | None:
    table, auc = report.table("length_histogram"), report.metric("length_auc")
    if table is None or auc is None:
        return None
    values = [
        {"from": row[0], "to": row[1], "share": sign * share, "label": label}
        for row in table.rows
        for label, share, sign in (("up", row[2], 1), ("down", row[3], -1))
    ]
    highest = max(abs(value["share"]) for value in values)
    shares = alt.Axis(title="share of label", labelExpr="format(abs(datum.value), '.0%')", tickCount=5)
    chart = (
        alt.Chart(point_data(values))
        .mark_bar(binSpacing=1)
        .encode(
            x=alt.X("from:Q", scale=alt.Scale(type="log", nice=False), axis=_length_axis(table)),
            x2="to:Q",
            y=alt.Y("share:Q", scale=alt.Scale(domain=[-highest, highest]), axis=shares),
            y2=alt.datum(0),
            color=alt.Color(
                "label:N",
                scale=alt.Scale(domain=["up", "down"], range=[COLOURS["up"], COLOURS["down"]]),
                legend=None,
            ),
        )
        .properties(width=_WIDTH - 60, height=190)
    )
    return Picture(
        name="lengths",
        title="Answer length by label",
        caption="Up answers stand above the line, down answers hang below it. "
        "Where the two halves mirror each other, length says nothing about the label.",
        alternative=f"Two histograms of the answers' length. {auc.sentence}",
        svg=render_svg(chart, f"{prefix}lengths"),
        legend=(("up", "up"), ("down", "down")),
    )


def _length_axis(table: Table) -> alt.Axis:
    first, last = table.rows[0][0], table.rows[-1][1]
    decades = range(math.floor(math.log10(first)), math.ceil(math.log10(last)) + 1)
    ticks = [step * 10**decade for decade in decades for step in (1, 3) if first <= step * 10**decade <= last]
    return alt.Axis(title="characters", values=ticks, format=",d", grid=False)


def _raters(report: AuditReport, prefix: str) -> Picture | None:
    table, top, inequality = (report.table("rater_curve"), report.metric("top_rater"), report.metric("rater_gini"))
    if table is None or top is None or inequality is None or top.value is None:
        return None
    points = [{"raters": raters, "judgements": judgements} for raters, judgements in table.rows]
    shares: dict[str, Any] = {"format": "%", "values": [0, 0.25, 0.5, 0.75, 1]}
    base = alt.Chart(point_data(points)).encode(
        x=alt.X("raters:Q", axis=alt.Axis(title="raters, least active first", **shares)),
        y=alt.Y("judgements:Q", axis=alt.Axis(title="judgements", **shares)),
    )
    equal = alt.Chart(point_data([{"x": 0, "y": 0}, {"x": 1, "y": 1}])).mark_line(
        color=COLOURS["muted"], strokeDash=[4, 3], strokeWidth=1.5
    )
    area = base.mark_area(color=COLOURS["k0"], opacity=0.18)
    line = base.mark_line(color=COLOURS["k0"], strokeWidth=2.5)
    chart = alt.layer(equal.encode(x="x:Q", y="y:Q"), area, line).properties(width=_WIDTH - 60, height=230)
    return Picture(
        name="raters",
        title="Who gave the feedback",
        caption="If all raters judged equally often, the curve would lie on the dashed line. "
        "The deeper it hangs, the more comes from a few.",
        alternative=f"Lorenz curve of judgements by rater. {top.sentence} {inequality.sentence}",
        svg=render_svg(chart, f"{prefix}raters"),
    )
