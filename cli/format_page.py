"""What is shown of formats: the table of all, and what a file looks like."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cli.json_output import print_json
from cli.render import print_next, show, table_of

if TYPE_CHECKING:  # both load polars
    from feedback.formats.sniffing.sniff import Candidate, Sniffed

__all__ = ["show_formats", "show_sniffed"]

_SHOWN: Final = 8


def show_formats(as_json: bool) -> None:
    """Print every format with its direction, what it needs and its label rule."""
    from feedback.formats.table import format_rows

    rows = format_rows()
    if as_json:
        print_json({"formats": [asdict(row) for row in rows]})
        return
    cells = [(row.name, row.direction, f"{row.summary}\nneeds: {row.needs}\nlabels: {row.label_rule}") for row in rows]
    show(table_of(("format", "direction", "what it is, what it needs, and its label rule"), cells))
    print_next("thumbline formats --sniff FILE", "see which of them a file is in")


def show_sniffed(path: str, map_out: Path | None, as_json: bool) -> None:
    """Print which format a file is in and why, and write a map to begin with where one is wanted.

    Raises:
        InputError: the file is missing or cannot be read, or holds no record to make a map from.
        OutputExistsError: the map is there already.
    """
    from feedback.formats.sniffing.sniff import sniff, write_starting_map

    found = sniff(path)
    if map_out is not None:
        write_starting_map(found, map_out)
    if as_json:
        print_json({**found.to_dict(), "map": None if map_out is None else str(map_out)})
        return
    show(*_verdict(found))
    if map_out is not None:
        show("", f"A map to begin with: {map_out}. Every label in it is to be decided by you.")
    print_next(*_next(found, shlex.quote(path), None if map_out is None else shlex.quote(str(map_out))))


def _next(found: Sniffed, path: str, map_out: str | None) -> tuple[str, str]:
    """The command that comes next, and what for."""
    best = found.best
    if map_out is None and (best is None or best.needs_map):
        return f"thumbline formats --sniff {path} --map-out map.toml", "begin a map for it"
    if best is None:
        return f"thumbline audit {path} --from mapped --map {map_out}", "read it by the map, when that is decided"
    join = " --join FILE" if best.needs else ""
    if best.needs_map:
        read = f"thumbline audit {path} --from {best.format} --map {map_out}{join}"
        return read, "read it by the map, when that is decided"
    return f"thumbline audit {path} --from {best.format}{join}", "see what is in it"


def _verdict(found: Sniffed) -> Iterator[str]:
    where = found.file if found.files == 1 else f"{found.file}, the first of {found.files:,} files,"
    best = found.candidates[0] if found.candidates else None
    if not found.values:
        yield f"{where} holds no record at its beginning that could be read."
    elif best is None:
        yield f"{where} is in none of the formats, by its first {_records(len(found.values))}."
        if found.unjudged:
            named = " or ".join(f"--from {name}" for name in found.unjudged)
            yield f"None of these records is judged, so that a format cannot be told; judged ones may be read: {named}"
    elif best.is_likely:
        yield f"{where} is in the format {best.format}, by its first {_records(best.records)}."
    elif best.accepted:
        yield f"{where} may be in the format {best.format}, by its first {_records(best.records)}; most are not."
    else:
        why = f"which needs {best.needs} from another file" if best.needs else "but values that it refuses"
        yield f"{where} has the fields of the format {best.format}, {why}."
    if found.unreadable:
        listed = ", ".join(f"{reason} {count:,}" for reason, count in found.unreadable.items())
        yield f"Further records at its beginning cannot be read: {listed}."
    for one in found.candidates:
        yield ""
        yield from _reasons(one)
    if not found.candidates and found.values:
        yield "Its first record:"
        yield from (f"  {name!r}: {value!r}" for name, value in found.shape.items())
        yield from _whole_page(found)
        yield "Such a file is read by a map, with the format mapped."


def _whole_page(found: Sniffed) -> Iterator[str]:
    """What to do with a file that is one object around a list of records, as interfaces answer page by page."""
    lists = [
        (key, len(value))
        for key, value in found.values[0].items()
        if isinstance(value, list) and value and all(isinstance(item, dict) for item in value)
    ]
    if len(found.values) == 1 and len(lists) == 1:
        key, count = lists[0]
        path = f".{key}[]" if key.isidentifier() and key.isascii() else f".[{json.dumps(key)}][]"
        yield f"If the {count:,} objects in {key!r} are the records, write each on a line of its own, and look at that:"
        yield f"  jq -c {shlex.quote(path)} {shlex.quote(found.file)} > records.jsonl"


def _reasons(one: Candidate) -> Iterator[str]:
    yield f"{one.format}: {one.accepted:,} of {_records(one.records)} can be read as it."
    yield f"  fields that decided: {', '.join(one.fields) or 'none'}"
    if one.shaped:
        yield f"  {_records(one.shaped)} more with its fields, refused: {one.refusal}"
    if one.unread:
        more = f" and {len(one.unread) - _SHOWN} more" if len(one.unread) > _SHOWN else ""
        yield f"  keys that it does not read: {', '.join(one.unread[:_SHOWN])}{more}"
    if one.needs:
        yield f"  it needs {one.needs} from another file: --join FILE"
    if one.needs_map:
        yield "  it needs a map that says what its scores mean: --map FILE"


def _records(count: int) -> str:
    return f"{count:,} record" if count == 1 else f"{count:,} records"
