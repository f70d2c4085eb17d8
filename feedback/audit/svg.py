"""Charts into SVG: drawn by Vega-Altair, rendered by vl-convert without a browser or a network.

Colours in the SVG are names in disguise: the page's style sheet maps each of `COLOURS` to a colour of the light or the
dark theme. The parts of a drawing have no roles of their own: the page gives the whole one a text alternative.
"""

from __future__ import annotations

import re
from typing import Any, Final

import altair as alt
import vl_convert

__all__ = ["COLOURS", "AnyChart", "point_data", "render_svg"]

AnyChart = alt.Chart | alt.LayerChart | alt.FacetChart | alt.VConcatChart

COLOURS: Final = {
    "up": "#1f7a6c",
    "down": "#c8553d",
    "ink": "#1d2530",
    "muted": "#68717d",
    "line": "#d9dee4",
    "k0": "#3f6ea8",
    "k1": "#d98e2b",
    "k2": "#8a63ad",
    "k3": "#b8475f",
    "k4": "#5f9e4a",
    "k5": "#4aa3b5",
    "k6": "#9c7a54",
    "k7": "#97a0ab",
}
"""Colours of the light theme: `up` and `down` for labels, `k0` for kept rows, `k1` and on for reasons."""


def point_data(rows: list[dict[str, Any]]) -> alt.Data:
    """Rows as the inline data of a chart."""
    return alt.Data(values=rows)  # type: ignore[no-untyped-call]


def render_svg(chart: AnyChart, name: str) -> str:
    """The drawing as an `<svg>` element that the page scales.

    Args:
        chart: what to draw.
        name: begins every id in it, so that two drawings on one page share none.
    """
    themed = (
        chart.configure(background="transparent", aria=False, font="sans-serif", padding=2)
        .configure_view(stroke=None)
        .configure_axis(
            labelFontSize=12,
            titleFontSize=12,
            titleFontWeight="normal",
            labelColor=COLOURS["muted"],
            titleColor=COLOURS["muted"],
            gridColor=COLOURS["line"],
            domainColor=COLOURS["line"],
            tickColor=COLOURS["line"],
        )
        .configure_text(fontSize=12)
    )
    svg: str = vl_convert.vegalite_to_svg(themed.to_dict())
    head, body = svg.split(">", 1)
    head = re.sub(r' (?:class|width|height|xmlns:xlink|version)="[^"]*"', "", head)
    body = re.sub(r' (?:role="graphics-[a-z]+"|aria-roledescription="[^"]*"|aria-hidden="true")', "", body)
    return head + ">" + re.sub(r'(id="|url\(#)(?=[a-z]+\d)', rf"\1{name}-", body)
