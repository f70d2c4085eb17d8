"""The pages on formats are true: their table is the code's, and every example of a map gives what it says."""

from __future__ import annotations

import dataclasses
import json
import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from feedback.formats import FORMATS
from feedback.formats.mapping import map_config
from feedback.formats.table import format_rows, markdown_table
from feedback.formats.writers import WRITERS
from feedback.ingest.rater_key import ENVIRONMENT_VARIABLE
from feedback.transcode import convert_files

DOCS = Path(__file__).parents[2] / "docs"
MAPPED = (DOCS / "mapped.md").read_text("utf-8")
BLOCK = re.compile(r"```(?:toml|jsonl|csv) (\S+)\n(.*?)```", re.DOTALL)
TABLES = {
    "thresholds": "MapThresholds",
    "options": "MapOptions",
    "join": "MapJoin",
    "each": "MapEach",
    "tree": "MapTree",
}


@dataclass(frozen=True)
class Example:
    """Files by name, the format that is written, and what is written."""

    title: str
    files: dict[str, str]
    target: str
    expected: list[dict[str, object]]


def _examples() -> list[Example]:
    found: list[Example] = []
    files: dict[str, str] = {}
    for match in BLOCK.finditer(MAPPED):
        name, text = match.groups()
        if "." in name:
            files[name] = text
            continue
        title = re.findall(r"^## (.+)$", MAPPED[: match.start()], re.MULTILINE)[-1]
        found.append(Example(title, files, name, [json.loads(line) for line in text.splitlines()]))
        files = {}
    return found


@pytest.mark.parametrize("example", _examples(), ids=lambda example: example.title)
def test_an_example_of_a_map_gives_what_the_page_says(
    example: Example, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, "a key that is for tests only")
    for name, text in example.files.items():
        (tmp_path / name).write_text(text, "utf-8")
    source = next(tmp_path / name for name in example.files if name.startswith("in."))
    other = tmp_path / "other.jsonl"
    report = convert_files(
        [source],
        "mapped",
        example.target,
        tmp_path / "out.jsonl",
        map_path=tmp_path / "map.toml",
        join=str(other) if other.exists() else None,
    )
    written = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text("utf-8").splitlines()]
    assert written == example.expected
    assert not report.dropped


def test_every_feature_of_maps_has_an_example() -> None:
    maps = "\n".join(example.files["map.toml"] for example in _examples())
    for words in (
        "[-1]",
        '["gen.ai"]',
        "[[each]]",
        "[tree]",
        "[join]",
        "many",
        "[thresholds]",
        "time_unit",
        "[constants]",
    ):
        assert words in maps
    assert maps.count("[[each]]") == 3


def test_every_key_of_a_map_is_documented_with_its_meaning() -> None:
    for table, name in TABLES.items():
        cls = getattr(map_config, name)
        meanings = dict(re.findall(r"^ {8}(\w+): ((?:.+\n)(?: {12}.+\n)*)", cls.__doc__, re.MULTILINE))
        for field in dataclasses.fields(cls):
            assert f"| `[{table}]` | `{field.name}` |" in MAPPED
            assert f"| {' '.join(meanings[field.name].split())} |" in MAPPED
    for field in dataclasses.fields(map_config.MapFields):
        assert f"`{field.name}`" in MAPPED


@pytest.mark.parametrize("path", [DOCS / "formats.md", DOCS.parent / "README.md"], ids=lambda path: path.name)
def test_the_table_of_formats_is_the_codes(path: Path) -> None:
    """Where it fails, `markdown_table()` of `feedback.formats.table` has the new text."""
    page = path.read_text("utf-8")
    assert page.partition("<!-- formats -->\n")[2].partition("<!-- end -->")[0] == markdown_table()


def test_the_table_says_what_can_be_written() -> None:
    rows = {row.name: row for row in format_rows()}
    assert set(rows) == set(FORMATS) | {name for name, _ in WRITERS}
    for name, row in rows.items():
        assert ("write" in row.direction, "read" in row.direction) == (
            name in {one for one, _ in WRITERS},
            name in FORMATS,
        )
        assert row.needs.startswith(FORMATS[name].fields)


def test_the_readme_names_every_format() -> None:
    listed = (
        (Path(__file__).parents[2] / "README.md").read_text("utf-8").split("| kind | formats |")[1].split("\n\n")[0]
    )
    assert re.findall(r"`(\w+)`", listed) == list(FORMATS)
