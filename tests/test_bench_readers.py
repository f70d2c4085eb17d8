"""Readers are measured on what they read whole: every record accepted, the same bytes again, shares that add up."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from bench import readers
from bench.reader_logs import LEFT_OUT, READER_LOGS, Written, write_reader_log
from bench.reader_run import AS_TEXT, Reading, read_floor, read_ours
from bench.readers import Measured, chosen_names, reader_row, reader_targets
from bench.tables import reader_tables
from feedback.formats import FORMATS

pytestmark = pytest.mark.usefixtures("rater_key")

ROOT = Path(__file__).parents[1]
SIZE = 150_000


def test_every_format_is_measured_or_left_out_with_a_reason() -> None:
    assert {name.partition(":")[0] for name in READER_LOGS} == set(FORMATS) - set(LEFT_OUT)
    assert all(LEFT_OUT.values())


@pytest.mark.parametrize("name", READER_LOGS)
def test_every_record_is_accepted(name: str, tmp_path: Path) -> None:
    """Both sides read all records: nothing is in quarantine, no row is missing or too many."""
    written = write_reader_log(name, tmp_path, size=SIZE, seed=3)
    ours = read_ours(written, tmp_path)
    assert (ours.case, ours.records, ours.rows) == ("", written.records, written.rows)
    floor = read_floor(written, tmp_path)
    assert (floor.records, floor.rows) == (written.records, written.records + written.other_records)
    assert floor.note == (f"{AS_TEXT[written.format]} as text" if written.format in AS_TEXT else "")
    assert written.rows > 10


@pytest.mark.parametrize("name", READER_LOGS)
def test_the_same_seed_gives_the_same_bytes(name: str, tmp_path: Path) -> None:
    files = []
    for seed, place in ((1, "a"), (1, "b"), (2, "c")):
        folder = tmp_path / place
        folder.mkdir()
        written = write_reader_log(name, folder, size=SIZE, seed=seed)
        files.append([Path(one).read_bytes() for one in (written.path, written.join) if one is not None])
        assert sum(map(len, files[-1])) == written.bytes >= SIZE
    assert files[0] == files[1] != files[2]


def test_records_of_one_turn_are_about_a_kilobyte_and_ids_are_distinct(tmp_path: Path) -> None:
    written = write_reader_log("thumbs", tmp_path, size=1_000_000)
    records = [json.loads(line) for line in Path(written.path).read_text("utf-8").splitlines()]
    assert written.bytes / written.records == pytest.approx(1250, rel=0.1)
    assert len({one["id"] for one in records}) == len(records)
    assert len({one["user"] for one in records}) > len(records) / 2
    assert [one["time"] for one in records] == sorted(one["time"] for one in records)
    foreign = sum(not (one["prompt"] + one["completion"]).isascii() for one in records)
    assert foreign / len(records) == pytest.approx(0.03, abs=0.02)


def test_a_record_that_is_not_accepted_is_named_with_its_reason(tmp_path: Path) -> None:
    written = write_reader_log("thumbs", tmp_path, size=SIZE)
    with Path(written.path).open("a", encoding="utf-8") as stream:
        stream.write('{"prompt": "q", "completion": "a", "label": "meh"}\n')
    reading = read_ours(written, tmp_path)
    assert reading.records == written.records + 1
    assert reading.case.startswith(f"line {reading.records}: unknown_label, field 'label' is 'meh'")


def test_a_file_whose_types_come_late_is_read_by_the_floor_with_all_of_it_looked_at(tmp_path: Path) -> None:
    """By default polars looks at the first 100 records."""
    path = tmp_path / "records.jsonl"
    path.write_text("".join(f'{{"a": {value}}}\n' for value in [*range(200), '"x"']), "utf-8")
    reading = read_floor(Written("trl", str(path), None, None, 201, 0, 201, 0), tmp_path)
    assert (reading.rows, reading.note) == (201, "infer_schema_length=None")


def _measured(name: str, floor: list[float], ours: list[float]) -> Measured:
    written = Written(name, "p", None, None, records=10, other_records=0, rows=12, bytes=60_000_000)
    return Measured(name, written, {"floor": floor, "ours": ours})


def test_the_share_of_a_reader_is_the_median_of_its_rounds() -> None:
    """Shares 0.8, 0.5 and 0.4 in three rounds; medians 2 s and 3 s."""
    row = reader_row(_measured("trl", [2.0, 2.0, 1.6], [2.5, 4.0, 4.0]))
    assert (row["share_of_floor"], row["is_met"]) == (0.5, True)
    assert (row["floor_seconds"], row["seconds"], row["bytes_per_second"]) == (2.0, 4.0, 15_000_000)
    assert not reader_row(_measured("trl", [1.0], [2.1]))["is_met"]


def test_the_target_is_that_of_the_slowest() -> None:
    rows = [reader_row(_measured(*one)) for one in (("trl", [1.0], [1.0]), ("shp", [1.0], [2.5]))]
    claim = "the slowest reader reaches at least 0.5 of the floor's throughput; it is shp"
    assert reader_targets(rows) == [{"claim": claim, "value": 0.4, "is_met": False}]
    assert reader_targets(rows[:1])[0]["is_met"]


def test_the_table_says_what_was_read_and_how() -> None:
    rows = [{**reader_row(_measured("trl", [1.0], [2.0])), "floor_note": "x as text", "files": 2}]
    result: dict[str, Any] = {"table": rows, "rounds": 1, "machine": "m", "absent": LEFT_OUT}
    text = reader_tables({**result, "targets": reader_targets(rows)})
    assert "| `trl` | 10 | 60 | 1.00 | 2.00 | 30 | 0.50 |" in text
    assert "reached by 1 of 1." in text
    assert "- The floor reads `trl` with x as text." in text
    assert "- Two files that are joined: `trl`." in text
    assert "- Left out, `gradio_flagged`: exists as CSV only" in text
    assert "- Reached: the slowest reader" in text


def test_a_format_stands_for_all_its_shapes() -> None:
    assert chosen_names(["langfuse", "trl:pairs"]) == ("trl:pairs", "langfuse", "langfuse:joined")
    assert chosen_names(None) == READER_LOGS


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Readings without processes of their own; the folder of the results."""

    def run(contestant: str, written: Sequence[Written], out: Path) -> Reading:
        out.mkdir()
        reading = {"floor": read_floor, "ours": read_ours}[contestant](written[1], out)
        shutil.rmtree(out)
        return reading

    monkeypatch.setattr(readers, "_run", run)
    monkeypatch.setenv("BENCH_RESULTS", str(tmp_path))
    monkeypatch.setenv("BENCH_DATE", "2026-01-02")
    return tmp_path


def test_a_part_of_the_readers_leaves_the_whole_result_alone(
    in_process: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    readers.main(["--megabytes", "0.1", "--rounds", "2", "--only", "trl:pairs", "langfuse:joined"])
    result = json.loads((in_process / "readers.partial.json").read_text("utf-8"))
    assert [path.name for path in in_process.iterdir()] == ["readers.partial.json"]
    assert [(row["name"], row["files"]) for row in result["table"]] == [("trl:pairs", 1), ("langfuse:joined", 2)]
    assert [len(row["seconds_by_round"]["ours"]) for row in result["table"]] == [2, 2]
    assert (result["date"], result["absent"]) == ("2026-01-02", LEFT_OUT)
    assert "| `trl:pairs` |" in capsys.readouterr().out


def test_a_reading_that_loses_records_stops_the_run(in_process: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "_run", lambda *_: Reading(1.0, 1, 1, case="line 1: wrong_type, field 'a'"))
    with pytest.raises(SystemExit, match=r"floor gave 1 rows for 1 records of shp.*line 1: wrong_type, field 'a'"):
        readers.main(["--megabytes", "0.1", "--only", "shp"])
    assert list(in_process.iterdir()) == []


@pytest.mark.slow
def test_each_reading_is_a_process_of_its_own(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bench.readers", "--megabytes", "1", "--rounds", "2", "--only", "trl"]
    env = {**os.environ, "BENCH_RESULTS": str(tmp_path)}
    printed = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=True).stdout
    assert "| `trl` |" in printed
    assert "| `trl:pairs` |" in printed
