"""The waterfall as a flow: a band as wide as its rows runs down through the stages, and what is dropped leaves it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import altair as alt

from feedback.audit.svg import COLOURS, AnyChart, point_data
from feedback.audit.wording import count
from schemas.report import StageReport

__all__ = ["flow_chart"]

KEPT: Final = "kept"
_STEPS: Final = 12
"""Points of a curve."""
_NODE: Final = 0.14
"""Half the height of a stage, where the distance of two is 1."""
_LANDING: Final = 0.66
"""How far below its stage a dropped part ends."""
_ASIDE: Final = 0.1
"""How far to the right, as a share of the widest stage."""
_STAGE_HEIGHT: Final = 54


def flow_chart(
    stages: Sequence[StageReport], names: Mapping[str, str], colours: Mapping[str, str], *, width: int, names_width: int
) -> AnyChart:
    """The chart: stages from top to bottom, kept rows at the left, dropped rows leaving to the right.

    Args:
        stages: the reports, in order; at least one.
        names: what each drop reason is called.
        colours: the theme's colour of `kept` and of each such name.
        width: width of the flow in pixels.
        names_width: width of the stages' names beside it.
    """
    widest = max(map(_width, stages)) or 1
    asides = _asides(stages, widest)
    # What is beyond is for the numbers.
    right = max(_width(stage) + aside for stage, aside in zip(stages, asides, strict=True)) / (1 - 88 / width)
    order = list(colours)
    scale = alt.Scale(domain=order, range=[COLOURS[colour] for colour in colours.values()])
    bottom = len(stages) - 1 + (_LANDING if stages[-1].rows_dropped else 0.4)
    y_scale = alt.Scale(domain=[-_NODE, bottom], reverse=True, nice=False, zero=False)
    base = alt.Chart().encode(
        x=alt.X("from:Q", scale=alt.Scale(domain=[0, right], nice=False), axis=None),
        x2="to:Q",
        color=alt.Color("what:N", scale=scale, legend=None),
    )
    y = alt.Y("y:Q", scale=y_scale, axis=_stage_axis(stages, names_width))
    bands = base.mark_area(orient="horizontal", opacity=0.5).encode(y=y, detail="band:N")
    nodes = base.mark_rect(strokeWidth=1).encode(
        y=y, y2="below:Q", stroke=alt.Stroke("what:N", scale=scale, legend=None)
    )
    layers: list[Any] = [
        bands.properties(data=point_data(list(_bands(stages, names, asides)))),
        nodes.properties(data=point_data(list(_nodes(stages, names)))),
    ]
    lost = [
        {
            "x": _width(stage) + asides[place],
            "y": place + _LANDING - 0.14,
            "text": f"{count(stage.rows_dropped)} dropped",
        }
        for place, stage in enumerate(stages)
        if stage.rows_dropped
    ]
    if lost:
        text = alt.Chart(point_data(lost)).mark_text(align="left", dx=5, color=COLOURS["muted"], fontSize=12)
        layers.append(text.encode(x=alt.X("x:Q", axis=None), y=alt.Y("y:Q", scale=y_scale), text="text:N"))
    return alt.layer(*layers).properties(width=width, height=int(_STAGE_HEIGHT * (bottom + _NODE)))


def _width(stage: StageReport) -> int:
    return stage.rows_in + stage.rows_created


def _asides(stages: Sequence[StageReport], widest: int) -> list[float]:
    """How far to the right what each stage drops ends: beyond this stage and the next one, which may be wider."""
    after = [*stages[1:], stages[-1]]
    return [_ASIDE * widest + max(0, _width(then) - _width(now)) for now, then in zip(stages, after, strict=True)]


def _stage_axis(stages: Sequence[StageReport], names_width: int) -> alt.Axis:
    labels = [[stage.stage, f"{count(stage.rows_kept)} kept"] for stage in stages]
    return alt.Axis(
        title=None,
        values=list(range(len(stages))),
        labelExpr=f"{json.dumps(labels)}[datum.value]",
        labelLimit=names_width - 8,
        labelLineHeight=14,
        labelOverlap=False,
        minExtent=names_width,
        maxExtent=names_width,
        ticks=False,
        domain=False,
        grid=False,
    )


def _parts(stage: StageReport, names: Mapping[str, str]) -> Iterator[tuple[str, int, int]]:
    """What a stage kept and dropped, each with where it begins and ends."""
    yield KEPT, 0, stage.rows_kept
    totals: dict[str, int] = {}
    for reason in sorted(stage.dropped, key=list(names).index):
        totals[names[reason]] = totals.get(names[reason], 0) + stage.dropped[reason]
    begin = stage.rows_kept
    for what, rows in totals.items():
        if rows:
            yield what, begin, begin + rows
            begin += rows


def _nodes(stages: Sequence[StageReport], names: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    for place, stage in enumerate(stages):
        for what, begin, end in _parts(stage, names):
            yield {"what": what, "from": begin, "to": end, "y": place - _NODE, "below": place + _NODE}


def _bands(
    stages: Sequence[StageReport], names: Mapping[str, str], asides: Sequence[float]
) -> Iterator[dict[str, Any]]:
    """Points of the band from each stage to the next, and of what leaves it."""
    for place, stage in enumerate(stages):
        below = place + _NODE
        for what, begin, end in _parts(stage, names):
            if what != KEPT:
                ends = ((begin, begin + asides[place]), (end, end + asides[place]))
                yield from _curve(f"{place} {what}", what, ends, (below, place + _LANDING))
        if place + 1 < len(stages):
            after = stages[place + 1]
            ends = ((0, 0), (stage.rows_kept, _width(after)))
            yield from _curve(f"{place}", KEPT, ends, (below, place + 1 - _NODE))


def _curve(
    band: str, what: str, ends: tuple[tuple[float, float], tuple[float, float]], heights: tuple[float, float]
) -> Iterator[dict[str, Any]]:
    """Points of a band whose left and right edge each run from one place to another, as smooth steps."""
    for step in range(_STEPS + 1):
        share = step / _STEPS
        smooth = share * share * (3 - 2 * share)
        left, right = (begin + (end - begin) * smooth for begin, end in ends)
        height = heights[0] + (heights[1] - heights[0]) * share
        yield {"band": band, "what": what, "from": left, "to": right, "y": height}
