"""What changes with time: the share of up, and how far each period is from the others."""

from __future__ import annotations

from typing import Any, Final

import altair as alt

from feedback.audit.report import Table
from feedback.audit.svg import COLOURS, AnyChart, point_data

__all__ = ["PSI_COLUMNS", "drift_points", "has_values", "share_line"]

PSI_COLUMNS: Final = (("k0", "label_psi", "PSI of labels"), ("k1", "prompt_psi", "PSI of prompts"))
"""The colour, the column of the table `drift` and the meaning of each line."""

_TICKS_WIDTH: Final = 34


def share_line(rows: list[dict[str, Any]], periods: list[str], *, width: int, is_last: bool) -> AnyChart:
    """The share of rows that are up, with its interval.

    Args:
        rows: name, share, low and high of each period.
        periods: the names in order.
        width: width of the chart in pixels.
        is_last: whether the periods' names stand below it.
    """
    base = alt.Chart(point_data(rows)).encode(x=_period_axis(periods, is_last=is_last))
    y_axis = alt.Axis(format="%", title="share up", tickCount=5, minExtent=_TICKS_WIDTH)
    y = alt.Y("share:Q", scale=alt.Scale(domain=[0, 1]), axis=y_axis)
    interval = base.mark_area(color=COLOURS["up"], opacity=0.22).encode(y=alt.Y("low:Q", axis=y_axis), y2="high:Q")
    line = base.mark_line(color=COLOURS["up"], strokeWidth=2, point=alt.OverlayMarkDef(color=COLOURS["up"], size=28))
    return alt.layer(interval, line.encode(y=y)).properties(width=width, height=150)


def drift_points(drift: Table, periods: list[str], most: float, *, width: int) -> AnyChart:
    """PSI of labels and of prompts by period, and the largest that is in order.

    Args:
        drift: the table of that name.
        periods: the names in order.
        most: the largest PSI that is in order.
        width: width of the chart in pixels.
    """
    names = [column.name for column in drift.columns]
    points = [
        {"name": row[0], "psi": row[names.index(column)], "color": COLOURS[colour]}
        for row in drift.rows
        for colour, column, _ in PSI_COLUMNS
        if row[names.index(column)] is not None and row[0] in periods
    ]
    highest = max([1.25 * most, *(1.05 * point["psi"] for point in points)])
    axis = alt.Axis(title="PSI", tickCount=3, minExtent=_TICKS_WIDTH)
    y = alt.Y("psi:Q", scale=alt.Scale(domain=[0, highest]), axis=axis)
    base = alt.Chart(point_data(points)).encode(x=_period_axis(periods, is_last=True), y=y)
    stems = base.mark_line(strokeWidth=1.5, opacity=0.7).encode(color=alt.Color("color:N", scale=None))
    dots = base.mark_point(filled=True, opacity=1, size=34).encode(color=alt.Color("color:N", scale=None))
    limit = alt.Chart(point_data([{"psi": most}])).mark_rule(color=COLOURS["ink"], strokeDash=[4, 3]).encode(y=y)
    return alt.layer(stems, dots, limit).properties(width=width, height=64)


def has_values(drift: Table, column: str) -> bool:
    """Whether the table `drift` has a number in that column."""
    place = [known.name for known in drift.columns].index(column)
    return any(row[place] is not None for row in drift.rows)


def _period_axis(periods: list[str], *, is_last: bool) -> alt.X:
    axis = alt.Axis(
        title=None, labelAngle=0, labelOverlap=True, labelSeparation=10, labelPadding=8, ticks=False, labels=is_last
    )
    return alt.X("name:O", sort=None, scale=alt.Scale(domain=periods), axis=axis)
