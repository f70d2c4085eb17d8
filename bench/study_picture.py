"""The study as a picture: a panel for each condition, a line for each objective."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import altair as alt

from feedback.audit.svg import COLOURS, AnyChart, point_data, render_svg

__all__ = ["draw"]

_TITLE: Final = "How often answers are right after alignment, by objective and feedback"
_COLUMNS: Final = 3


def draw(result: Mapping[str, Any]) -> str:
    """The picture as an `<svg>` element: exact match of sampled answers with its interval, and the model before.

    Args:
        result: what `bench/results/study.json` holds.
    """
    panels = [
        _panel(result, condition, is_left=place % _COLUMNS == 0) for place, condition in enumerate(result["conditions"])
    ]
    rows = [alt.hconcat(*panels[at : at + _COLUMNS], spacing=12) for at in range(0, len(panels), _COLUMNS)]
    head, body = render_svg(alt.vconcat(*rows, spacing=12), "study").split(">", 1)
    body = re.sub(r"-?\d+\.\d{3,}", lambda found: f"{float(found[0]):.2f}", body)
    # The file stands alone: a ground of its own for dark pages, and a name.
    return f'{head} role="img"><title>{_TITLE}</title><rect width="100%" height="100%" fill="#fdfdfd"/>{body}'


def _panel(result: Mapping[str, Any], condition: Mapping[str, str], *, is_left: bool) -> AnyChart:
    rows = [
        {"objective": _short(row["objective"]), **{key: 100 * row["sampled"][key] for key in ("mean", "low", "high")}}
        for row in result["table"]
        if row["condition"] == condition["name"]
    ]
    order = list(dict.fromkeys(_short(row["objective"]) for row in result["table"]))
    x_axis = alt.Axis(values=[0, 25, 50, 75, 100], format="d", grid=True, ticks=False)
    x = alt.X("mean:Q", scale=alt.Scale(domain=[0, 100], clamp=True, nice=False), axis=x_axis, title=None)
    y = alt.Y(
        "objective:N",
        scale=alt.Scale(domain=order),
        axis=alt.Axis(labels=is_left, ticks=False, labelLimit=170),
        title=None,
    )
    data = point_data(rows)
    bars = (
        alt.Chart(data)
        .mark_rule(color=COLOURS["k0"], strokeWidth=2, clip=True)
        .encode(x=x.copy(deep=True), x2="high:Q", y=y)
        .transform_calculate(mean="datum.low")
    )
    dots = alt.Chart(data).mark_point(filled=True, size=42, opacity=1, color=COLOURS["k0"]).encode(x=x, y=y)
    before = (
        alt.Chart(point_data([{"mean": 100 * result["base"]["sampled"]["mean"]}]))
        .mark_rule(color=COLOURS["down"], strokeWidth=1.5, strokeDash=[4, 3])
        .encode(x=x)
    )
    return alt.layer(before, bars, dots).properties(width=190, height=14 * len(order), title=condition["title"])


def _short(objective: str) -> str:
    """The name without Markdown, and of a setting its value alone."""
    head, comma, rest = objective.replace("`", "").partition(", ")
    if not comma:
        return head
    key, _, value = rest.partition(" = ")
    return f"{head}, {'z0 ' if key == 'z0_scope' else ''}{value}"
