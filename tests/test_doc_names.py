"""Modules and files that the documents name: each is there, in the code as it is now."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted(path for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")))
NAME = re.compile(r"`((?:schemas|feedback|align|cli|bench)(?:\.\w+)+)(?:\(.*?\))?`")
FILE = re.compile(r"`((?:schemas|feedback|align|cli|bench|tests|sample_data|docs|deploy)/[\w./-]+\.\w+)`")
FORMER = {"align.models", "align.scoring", "align.metrics"}
"""Named by the changelog as what they were."""


@cache
def is_known(name: str) -> bool:
    """Whether a dotted name is a module, or something in one."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        module = ".".join(parts[:length])
        try:
            if find_spec(module) is None:
                continue
        except ModuleNotFoundError:
            continue
        found: object = import_module(module)
        for part in parts[length:]:
            if part not in getattr(found, "__annotations__", {}) and not hasattr(found, part):
                return False
            found = getattr(found, part, None)
        return True
    return False


def names_in(document: Path) -> Iterator[str]:
    """What a document names that is not there; what a changelog says is removed, is not."""
    section = ""
    for number, line in enumerate(document.read_text("utf-8").splitlines(), start=1):
        section = line if line.startswith("#") else section
        if section == "### Removed":
            continue
        names = [name for name in NAME.findall(line) if name.rsplit(".", 1)[-1] not in ("py", "toml", "json")]
        lost = [name for name in names if name not in FORMER and not is_known(name)]
        lost += [name for name in FILE.findall(line) if not (ROOT / name).exists()]
        yield from (f"{document.name}:{number} {name}" for name in lost)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_what_a_document_names_is_there(document: Path) -> None:
    assert list(names_in(document)) == []


def test_a_name_that_is_not_there_is_seen(tmp_path: Path) -> None:
    document = tmp_path / "page.md"
    document.write_text(
        "`feedback.conflicts.cycles`, `feedback.store.Store`, `feedback/dataset/folders.py`\n"
        "`feedback.cycles`, `feedback.store.Shop`, `feedback/shop.py`\n"
    )
    lost = ["page.md:2 feedback.cycles", "page.md:2 feedback.store.Shop", "page.md:2 feedback/shop.py"]
    assert list(names_in(document)) == lost
