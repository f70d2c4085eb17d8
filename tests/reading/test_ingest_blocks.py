"""How files are cut into blocks and who reads them changes nothing but the names of files."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from feedback.config import SourceConfig
from feedback.engine import LocalEngine, StagedEngine, read_rows
from feedback.ingest import IngestResult, SketchSettings, ingest
from schemas.report import StageReport

pytestmark = pytest.mark.usefixtures("rater_key")

SKETCH = SketchSettings(0.8, 3)


def record(number: int, **changes: Any) -> dict[str, Any]:
    label = ["up", "down", "none"][number % 3]
    return {"prompt": f"question {number}", "completion": f"answer {number % 7}", "label": label} | changes


def records(count: int = 40) -> list[bytes]:
    """Plain ones, some of other types, some faulty, and some that are no JSON."""
    rows: list[Any] = [record(n, user=f"u{n % 5}", id=n, time=1767606699 + n) for n in range(count)]
    rows[5] = record(5, reasons=["r"], email="x@example.com")
    rows[11] = record(11, completion=" ")
    rows[17] = record(17, id="named")
    rows[23] = record(23, label="maybe")
    lines = [json.dumps(row, ensure_ascii=False).encode() for row in rows]
    lines[29] = b"{broken"
    return lines


def ingested(folder: Path, files: dict[str, list[bytes]], **options: Any) -> IngestResult:
    (folder / "in").mkdir(parents=True)
    for name, lines in files.items():
        (folder / "in" / name).write_bytes(b"".join(line + b"\n" for line in lines))
    source = SourceConfig(path=str(folder / "in"), format="thumbs")
    return ingest([source], folder / "out", max_rejected_share=1.0, **{"sketch": SKETCH, **options})


def table(paths: tuple[Path, ...]) -> pl.DataFrame:
    return pl.concat([read_rows(path) for path in paths])


def said(result: IngestResult) -> tuple[list[dict[str, Any]], list[dict[str, Any]], list[dict[str, Any]], StageReport]:
    """Everything that a run found, in an order of its own; quarantine without the places in files."""
    events = table(result.events).sort("event_id", "source_record_id")
    keys = table(result.event_keys).sort("text_id")
    refused = table(result.quarantine).drop("file", "line").sort("raw_sha256")
    return events.to_dicts(), keys.to_dicts(), refused.to_dicts(), result.report


@pytest.mark.parametrize("block_bytes", [1, 150, 900, 1 << 20])
@pytest.mark.parametrize("workers", [1, 2])
def test_blocks_of_any_size_give_the_same_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block_bytes: int, workers: int
) -> None:
    """One block, a few, and more than there are records; read one after another or two at once."""
    whole = ingested(tmp_path / "whole", {"a.jsonl": records()})
    monkeypatch.setattr("feedback.records.text_blocks.BLOCK_BYTES", block_bytes)
    parts = ingested(tmp_path / "parts", {"a.jsonl": records()}, engine=LocalEngine(workers))
    assert said(parts) == said(whole)
    assert table(parts.quarantine).sort("line").equals(table(whole.quarantine).sort("line"))
    assert (len(parts.events) > 1) == (block_bytes < 1 << 20)
    assert parts.source_files == whole.source_files


@given(order=st.permutations(range(40)), cuts=st.lists(st.integers(0, 40), max_size=4), size=st.integers(100, 2000))
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_shuffled_records_in_any_number_of_files_give_the_same_rows(
    tmp_path_factory: pytest.TempPathFactory, order: list[int], cuts: list[int], size: int
) -> None:
    whole = records()
    mixed = [whole[place] for place in order]
    bounds = [0, *sorted(cuts), len(mixed)]
    files = {f"{n}.jsonl": mixed[start:end] for n, (start, end) in enumerate(pairwise(bounds))}
    folder = tmp_path_factory.mktemp("mixed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("feedback.records.text_blocks.BLOCK_BYTES", size)
        parts = ingested(folder / "parts", files, engine=LocalEngine(2))
    assert said(parts) == said(ingested(folder / "one", {"a.jsonl": whole}))


def test_a_hundred_files_are_as_one(tmp_path: Path) -> None:
    lines = records(200)
    many = {f"{n:03d}.jsonl": lines[2 * n : 2 * n + 2] for n in range(100)}
    parts = ingested(tmp_path / "many", many)
    assert len(parts.events) > 50
    assert len(parts.source_files) == 100
    assert said(parts) == said(ingested(tmp_path / "one", {"a.jsonl": lines}))


def test_a_stage_that_is_whole_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rerun gives the same result, source files with their digests too, and runs no kernel."""
    (tmp_path / "in.jsonl").write_bytes(b"\n".join(records()))
    sources = [SourceConfig(path=str(tmp_path / "in.jsonl"), format="thumbs")]

    def run() -> IngestResult:
        engine = StagedEngine(LocalEngine(), tmp_path / "staging", "plan")
        return ingest(sources, engine.folder("ingest"), max_rejected_share=1.0, sketch=SKETCH, engine=engine)

    first = run()
    seen: list[int] = []
    monkeypatch.setattr("feedback.records.sources.read_text_blocks", lambda *_: seen.append(1))
    again = run()
    assert again == first
    assert not seen


def test_what_is_not_asked_for_is_not_written(tmp_path: Path) -> None:
    without = ingested(tmp_path / "off", {"a.jsonl": records()}, sketch=None)
    assert without.sketches == ()
    assert not list(without.folder.rglob("*sketch*"))
    assert table(without.event_keys).height == table(without.events).height
    assert ingested(tmp_path / "on", {"a.jsonl": records()}).report == without.report
