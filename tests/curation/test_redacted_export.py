"""`--redact`: no find is left in shards and converted files; figures, notes, digest and manifest say what was done."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cli.main import run
from feedback.config import ExportConfig
from feedback.export import TextTable, export
from feedback.personal import find_personal
from feedback.pipeline import curate, default_config
from feedback.transcode import convert_files
from schemas.errors import UnknownChoiceError
from schemas.manifest import Manifest
from tests.audit.test_personal import PLANTED
from tests.audit.test_redacted_texts import around
from tests.exported_rows import exported, read_back, some_events
from tests.feedback_tables import candidate, event, table, turns, write_events

TOOLS = json.dumps([{"type": "function", "owner": "ann@site.example", "line": 4111111111111111}])


def texts_of(frame: pl.DataFrame) -> pl.Series:
    """Every text of a dataset: the content of all turns, and the leaves of the tools."""
    said = [frame[name].explode(empty_as_null=False).struct.field("content") for name in ("prompt", "completion")]
    tools = [frame["tools"].drop_nulls().rename("content")] if "tools" in frame.columns else []
    return pl.concat([*said, *tools])


@settings(max_examples=10, deadline=None)
@given(st.lists(st.tuples(around, st.sampled_from(PLANTED), around, st.sampled_from(PLANTED)), min_size=1, max_size=6))
def test_a_scan_of_redacted_shards_finds_nothing(tmp_path_factory: pytest.TempPathFactory, drawn: list) -> None:
    folder = tmp_path_factory.mktemp("redacted")
    events = [
        event(record=str(n), tools=TOOLS)
        | {
            "prompt": [*turns("system", f"{before}\n{one}"), *turns("user", f"Q\n{other}\n{after}")],
            "completion": turns("assistant", f"Answer: \n{one}\n{other}\n{before}"),
        }
        for n, (before, (_, one), after, (_, other)) in enumerate(drawn)
    ]
    texts = [TextTable(tuple(write_events(folder, events)), "event_id", {"completion": "completion"})]
    rows = table(*(candidate(str(n), text_id=one["event_id"], split="train") for n, one in enumerate(events)))
    result = export(rows, texts, folder / "out", ExportConfig(redact=True))
    frame = read_back(folder)
    assert find_personal(texts_of(frame)).height == 0
    assert all(json.loads(tools) for tools in frame["tools"])
    assert sum(result.report.figures["redacted"].values()) >= 6 * len(events)
    roles = frame["prompt"].list.eval(pl.element().struct.field("role")).to_list()
    assert roles == [["system", "user"]] * len(events)


def personal_events(count: int = 60) -> list[dict]:
    """Every third answer gives an address, every fifth prompt a telephone number."""
    return [
        event(f"question {n}" + " of +49 30 901820" * (n % 5 == 0), f"answer {n}" + " to a@b.example" * (n % 3 == 0))
        for n in range(count)
    ]


def test_what_was_replaced_is_counted_noted_and_in_the_digest(tmp_path: Path) -> None:
    plain = exported(tmp_path / "a", events=personal_events())
    redacted = exported(tmp_path / "b", events=personal_events(), redact=True)
    assert redacted.report.figures["redacted"] == {"email": 20, "phone": 12}
    assert redacted.report.notes[1] == (
        "32 finds of personal data replaced by marks (e-mail addresses: 20, telephone numbers: 12)."
    )
    assert "stages/ingest keeps the texts as they came: do not share it." in redacted.report.notes[2]
    assert redacted.report.digest_out != plain.report.digest_out
    assert "redacted" not in plain.report.figures
    before, after = (read_back(tmp_path / name).sort("row_id") for name in "ab")
    assert before.drop("prompt", "completion").equals(after.drop("prompt", "completion"))
    said = after["completion"].list.first().struct.field("content").str.ends_with("to [EMAIL]")
    assert said.sum() == 20


def test_redaction_is_the_same_whatever_the_memory_and_twice(tmp_path: Path) -> None:
    results = [
        exported(tmp_path / str(place), events=personal_events(), redact=True, shard_mb=0.002, memory_mb=memory)
        for place, memory in enumerate((256, 0, 0))
    ]
    assert len({result.shards for result in results}) == 1
    assert len({result.report.digest_out for result in results}) == 1


def test_without_finds_a_redacted_dataset_has_the_same_shards_and_says_so(tmp_path: Path) -> None:
    plain = exported(tmp_path / "a", events=some_events())
    redacted = exported(tmp_path / "b", events=some_events(), redact=True)
    assert redacted.shards == plain.shards
    assert redacted.report.notes[1] == "No personal data was found to replace."


def test_settings_that_redact_nothing_leave_the_digest_alone(tmp_path: Path) -> None:
    plain = exported(tmp_path / "a")
    assert exported(tmp_path / "b", phone_regions=("JP",)).report.digest_out == plain.report.digest_out


def test_a_region_that_there_is_not_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownChoiceError, match="unknown region of telephone numbers: got 'XX'"):
        exported(tmp_path, redact=True, phone_regions=("XX",))


# --- commands -----------------------------------------------------------------------------------------------------

CANARY = "canary.bird@site.example"


def log(folder: Path) -> Path:
    rows = [
        {
            "prompt": f"question {n} from {CANARY}",
            "completion": f"answer {n}, call +49 30 901820",
            "label": "up" if n % 2 else "down",
            "comment": f"wrong, says {CANARY}",
            "tools": [{"owner": CANARY}],
        }
        for n in range(60)
    ]
    path = folder / "thumbs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_curate_with_redact_leaves_the_canary_in_no_shard_and_the_manifest_says_so(tmp_path: Path) -> None:
    assert run(["curate", str(log(tmp_path)), "--from", "thumbs", "--redact", "-o", str(tmp_path / "out")]) == 0
    frame = pl.concat(pl.read_parquet(path) for path in (tmp_path / "out" / "data").glob("*.parquet"))
    assert frame.height > 20
    assert "canary" not in str(frame.to_dicts())
    manifest = Manifest.read(tmp_path / "out")
    assert manifest.config["export"]["redact"] is True
    assert set(manifest.stages[-1].figures["redacted"]) == {"email", "phone"}
    card = (tmp_path / "out" / "README.md").read_text("utf-8")
    assert "of personal data replaced by marks" in card
    plain = curate(default_config([tmp_path / "thumbs.jsonl"], "thumbs"), tmp_path / "plain").manifest
    assert plain.digest != manifest.digest


@pytest.mark.parametrize("target", ["trl", "thumbs"])
def test_convert_with_redact_leaves_the_canary_nowhere(tmp_path: Path, target: str) -> None:
    out = tmp_path / "out.jsonl.gz"
    report = convert_files([log(tmp_path)], "thumbs", target, out, redact=True)
    text = gzip.decompress(out.read_bytes()).decode()
    assert "canary" not in text
    assert "[EMAIL]" in text
    assert "[PHONE]" in text
    assert report.figures["redacted"]["email"] >= 60
    assert any(note.endswith("finds of personal data were replaced by marks.") for note in report.notes)


def test_convert_into_pairs_is_redacted_too(tmp_path: Path) -> None:
    rows = [
        {"prompt": f"q{n // 2} {CANARY}", "completion": f"a{n} {CANARY}", "label": "up" if n % 2 else "down"}
        for n in range(20)
    ]
    path = tmp_path / "in.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    out = tmp_path / "out.jsonl"
    report = convert_files([path], "thumbs", "trl", out, dataset_type="preference", redact=True)
    assert report.figures["rows_written"] == 10
    assert "canary" not in out.read_text("utf-8")


def test_convert_writes_no_pair_of_one_text_twice(tmp_path: Path) -> None:
    """Two answers that differ by an address only, in votes and in pairs."""
    votes = [
        {
            "prompt": f"q{n // 2}",
            "completion": f"ask jo{n}@a.example" * (n < 4) or f"a{n}",
            "label": ("up", "down")[n % 2],
        }
        for n in range(10)
    ]
    pairs = [{"prompt": "q", "chosen": f"ask al{n}@a.example", "rejected": f"ask bo{n}@a.example"} for n in range(3)]
    for name, rows, left_out in (("thumbs", votes, 4), ("trl", pairs, 3)):
        path = tmp_path / f"{name}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        out = tmp_path / f"{name}.out.jsonl"
        report = convert_files([path], name, "trl", out, dataset_type="preference", redact=True)
        written = [json.loads(line) for line in out.read_text("utf-8").splitlines()]
        assert dict(report.dropped) == {"redacted_alike": left_out}
        assert not [row for row in written if row["chosen"] == row["rejected"]]


def test_convert_without_redact_changes_no_text(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    assert run(["convert", str(log(tmp_path)), "--from", "thumbs", "--to", "trl", "-o", str(out)]) == 0
    assert out.read_text("utf-8").count(CANARY) >= 60
