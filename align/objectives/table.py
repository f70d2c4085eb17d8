"""The table of all objectives, made from their registry: what `docs/objectives.md` holds."""

from __future__ import annotations

from align.objectives import OBJECTIVES, Objective

__all__ = ["markdown_table"]

_DATA = {"unpaired_preference": "labelled answers", "preference": "pairs"}


def markdown_table() -> str:
    """The table as Markdown, with a line end behind each row.

    Columns: the name, the data, whether a reference is scored, whether a step scores mismatched partners for z0,
    whether it is a human-aware loss (HALO), the source.
    """
    lines = ["| name | data | reference | KL partners | HALO | source |", "|---|---|---|---|---|---|"]
    lines += [
        f"| `{one.name}` | {_data(one)} | {_yes(one.needs_reference)} | {_yes(one.needs_kl)} | {_yes(one.is_halo)} "
        f"| {one.source} |"
        for one in OBJECTIVES.values()
    ]
    return "\n".join(lines) + "\n"


def _data(one: Objective) -> str:
    return f"{_DATA[one.data]}, the desirable ones" if one.only_desirable else _DATA[one.data]


def _yes(is_so: bool) -> str:
    return "yes" if is_so else "no"
