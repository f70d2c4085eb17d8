"""Thumbs in the cells of a CSV file: the rows are those of the same records in JSON."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from feedback.config import SourceConfig
from feedback.engine import read_rows
from feedback.formats import FORMATS
from feedback.ingest import ingest
from feedback.ingest.rater_key import ENVIRONMENT_VARIABLE
from schemas.errors import RecordRejectedError

SAID = {"prompt": "q", "label": "up"}
RECORDS: list[dict[str, Any]] = [
    {**SAID, "completion": "a", "time": 1767606699, "updated": 1767606799.5, "user": "u", "id": "1"},
    {**SAID, "completion": "b", "time": 1767606700, "user": " ", "model": "", "id": " ", "conversation": "\t"},
    {**SAID, "completion": "c", "time": "2026-01-05T09:51:39Z", "message": "  ", "comment": " ", "lang": ""},
]
OF_THE_BYTES = ("event_id", "source_record_id", "raw_sha256")


def rows(folder: Path, name: str) -> pl.DataFrame:
    result = ingest([SourceConfig(path=str(folder / name), format="thumbs")], folder / f"{name}-out")
    assert result.rejected == {}
    return pl.concat(map(read_rows, result.events)).drop(OF_THE_BYTES)


def test_cells_give_the_rows_of_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seconds since 1970 are text in a cell, and a blank cell is no id."""
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, "a key that is for tests only")
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(record) + "\n" for record in RECORDS), "utf-8")
    with (tmp_path / "in.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(key for record in RECORDS for key in record)))
        writer.writeheader()
        writer.writerows(RECORDS)
    found = rows(tmp_path, "in.csv")
    assert found.to_dicts() == rows(tmp_path, "in.jsonl").to_dicts()
    assert found["event_ts"].dt.epoch("s").to_list() == [1767606699, 1767606700, 1767606699]
    assert [value is None for value in found["rater_key"].to_list()] == [False, True, True]


def test_cells_hold_numbers_and_booleans(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As pandas writes them, and a spreadsheet a boolean."""
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, "a key that is for tests only")
    said = "prompt,completion,label,strength,consent"
    (tmp_path / "in.csv").write_text(f"{said}\nq,a,up,0.5,True\nq,b,up,,FALSE\nq,c,up,1e-1,\n", "utf-8")
    found = rows(tmp_path, "in.csv")
    assert found["strength"].to_list() == [0.5, None, 0.1]
    assert found["consent"].to_list() == [True, False, None]


@pytest.mark.parametrize(("key", "cell"), [("strength", "strong"), ("strength", "nan"), ("consent", "yes")])
def test_other_cells_are_refused(key: str, cell: str) -> None:
    with pytest.raises(RecordRejectedError, match=f"field '{key}' is '{cell}'; expected"):
        list(FORMATS["thumbs"].parse({**SAID, "completion": "a", key: cell}))


def test_ids_among_nulls_are_whole_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A table keeps them as floats, which are the ids of the same whole numbers."""
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, "a key that is for tests only")
    said = {"prompt": ["q"] * 3, "completion": ["a", "b", "c"], "label": ["up"] * 3}
    for name, ids in (("whole", [1, 2, 3]), ("float", [1.0, 2.0, 3.0]), ("gaps", [1.0, None, 3.0])):
        pl.DataFrame({**said, "user": ids, "message": ids}).write_parquet(tmp_path / f"{name}.parquet")
    whole, floats, gaps = (rows(tmp_path, f"{name}.parquet") for name in ("whole", "float", "gaps"))
    assert floats.to_dicts() == whole.to_dicts()
    assert gaps["message_id"].to_list() == ["1", None, "3"]
    with pytest.raises(RecordRejectedError, match=r"field 'id' is 1\.5; expected an id"):
        list(FORMATS["thumbs"].parse({**SAID, "completion": "a", "id": 1.5}))


def test_records_with_blank_ids_are_not_one_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, "a key that is for tests only")
    blank = [{**SAID, "completion": answer, "id": " "} for answer in "ab"]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(record) + "\n" for record in blank), "utf-8")
    result = ingest([SourceConfig(path=str(tmp_path / "in.jsonl"), format="thumbs")], tmp_path / "out")
    ids = pl.concat(map(read_rows, result.events))["source_record_id"]
    assert ids.n_unique() == 2
    assert ids.str.starts_with("sha256:").all()
