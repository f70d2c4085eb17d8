"""Pages for people: a verdict, and sections of tables and drawings, as one HTML file without an outside request.

The look is that of the audit's page, see `feedback.audit.page_look`; a page has no script.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from jinja2 import PackageLoader
from markupsafe import Markup

from feedback.audit.page_look import content_policy, page_environment, style_sheet
from schemas import __version__

__all__ = ["TONES", "Cell", "Drawing", "Page", "Sheet", "cells", "render_page"]

TONES: Final = {"promote": "ok", "keep": "warn", "stop": "fail", "rollback": "info"}
"""The colour of each kind of decision."""

_FIGURES: Final = "section > figure { margin-bottom: .9rem; } .ink svg { max-width: 46rem; }\n"


@dataclass(frozen=True, slots=True)
class Cell:
    """A value in a table.

    Args:
        text: as it is shown.
        tone: `ok`, `info`, `warn` or `fail` for a coloured mark; empty for plain text.
        target: a page beside this one that it leads to; empty for none.
    """

    text: str
    tone: str = ""
    target: str = ""


@dataclass(frozen=True, slots=True)
class Drawing:
    """A picture: our SVG, what it shows in words, and a sentence below it."""

    svg: str
    alternative: str
    caption: str


@dataclass(frozen=True, slots=True)
class Sheet:
    """A part of a page: a title, a sentence, drawings and a table."""

    title: str
    note: str = ""
    headings: tuple[str, ...] = ()
    rows: tuple[tuple[Cell, ...], ...] = ()
    drawings: tuple[Drawing, ...] = ()


@dataclass(frozen=True, slots=True)
class Page:
    """A whole page.

    Args:
        title: its heading.
        subject: one line under it.
        sections: its parts, in order.
        tone: `ok`, `info`, `warn` or `fail`: the colour of the verdict.
        headline: the verdict; empty where there is none.
        sentences: what follows it.
        links: texts and places of pages beside this one.
    """

    title: str
    subject: str
    sections: tuple[Sheet, ...]
    tone: str = "info"
    headline: str = ""
    sentences: tuple[str, ...] = ()
    links: tuple[tuple[str, str], ...] = ()


def cells(*values: object) -> tuple[Cell, ...]:
    """A row of plain values: numbers with thousands apart, floats with three digits, nothing as a dash.

    >>> [cell.text for cell in cells("a", 12345, 0.5, None)]
    ['a', '12,345', '0.500', '–']
    """
    return tuple(value if isinstance(value, Cell) else Cell(_shown(value)) for value in values)


def render_page(page: Page) -> str:
    """The page as HTML."""
    environment = page_environment(PackageLoader("cli.workflows", "."))
    style = style_sheet(_colours(page.sections), _FIGURES)
    return environment.get_template("page.html").render(
        page=page,
        style=Markup(style),  # noqa: S704 - ours
        policy=content_policy(style),
        svg=Markup,
        version=__version__,
    )


def _shown(value: object) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _colours(sections: Sequence[Sheet]) -> Mapping[str, str]:
    """The disguised colours of the drawings, if there are any."""
    if not any(section.drawings for section in sections):
        return {}
    from feedback.audit.svg import COLOURS  # it loads Altair

    return COLOURS
