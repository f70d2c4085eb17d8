"""The table of all formats, made from the code: what `thumbline formats` prints and `docs/formats.md` holds."""

from __future__ import annotations

from dataclasses import dataclass

from feedback.formats import FORMATS
from feedback.formats.drafts import Format
from feedback.formats.writers import WRITERS

__all__ = ["FormatRow", "format_rows", "markdown_table"]


@dataclass(frozen=True, slots=True)
class FormatRow:
    """A format, in words.

    Args:
        name: its name.
        direction: `read`, `write` or `read, write`.
        holds: `events`, `pairs` or `both`.
        summary: what it is.
        needs: the fields that a record needs and may have, and what it needs from another file.
        label_rule: how a raw value becomes a label.
    """

    name: str
    direction: str
    holds: str
    summary: str
    needs: str
    label_rule: str


def format_rows() -> list[FormatRow]:
    """Every format that can be read or written, in the order of their registry."""
    written = {name for name, _ in WRITERS}
    rows = [
        FormatRow(
            name=one.name,
            direction="read, write" if one.name in written else "read",
            holds=one.kind,
            summary=one.summary,
            needs=_needs(one),
            label_rule=one.label_rule,
        )
        for one in FORMATS.values()
    ]
    only_written = sorted(written - set(FORMATS))
    return [*rows, *(FormatRow(name, "write", _written_kind(name), "Only written.", "", "") for name in only_written)]


def markdown_table() -> str:
    """The table as Markdown, with a line end behind each row."""
    lines = ["| name | direction | needs | label rule |", "|---|---|---|---|"]
    lines += [
        f"| `{row.name}` | {row.direction} | {_cell(row.needs)} | {_cell(row.label_rule)} |" for row in format_rows()
    ]
    return "\n".join(lines) + "\n"


def _needs(one: Format) -> str:
    join = one.join
    if join is None:
        return one.fields
    where = "the same file, or in another one with --join FILE" if join.is_itself else "another file, with --join FILE"
    return f"{one.fields}; {join.what} from {where} (its `{join.other}` is the `{join.key}` here)"


def _written_kind(name: str) -> str:
    kinds = {kind for known, kind in WRITERS if known == name}
    return kinds.pop() if len(kinds) == 1 else "both"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
