"""The commands of the store, from argument to printed result and exit code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cli.main import run
from feedback.store import Store
from tests.store_runs import write_votes


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rater_key: None) -> Path:
    monkeypatch.chdir(tmp_path)
    write_votes(Path("votes.jsonl"), 40)
    return tmp_path


def call(capsys: pytest.CaptureFixture[str], command: str) -> tuple[int, Any, str]:
    """Exit code, stdout (read where it is JSON) and stderr of a command."""
    capsys.readouterr()
    code = run(command.split())
    captured = capsys.readouterr()
    return code, json.loads(captured.out) if captured.out.startswith("{") else captured.out, captured.err


def test_ingest_says_what_became_of_the_rows(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(capsys, "ingest votes.jsonl --from thumbs --store store")
    assert code == 0
    assert "new" in out
    assert "Store: store, version 1\n" in out
    assert "thumbline curate --store store -o dataset" in out
    code, told, _ = call(capsys, "ingest votes.jsonl --from thumbs --store store --json")
    assert (code, told["new"], told["already_there"], told["rows_in"], told["version"]) == (0, 0, 40, 40, 1)


def test_ingest_reads_the_sources_of_a_config_file(capsys: pytest.CaptureFixture[str]) -> None:
    Path("run.toml").write_text('[[sources]]\npath = "votes.jsonl"\nformat = "thumbs"\nname = "app"\n')
    assert call(capsys, "ingest run.toml --store store --json")[1]["new"] == 40
    assert Store.open("store").events().collect()["source"].unique().to_list() == ["app"]
    assert call(capsys, "curate run.toml --store store -o dataset --json")[0] == 0


def test_ingest_without_a_format_proposes_one(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = call(capsys, "ingest votes.jsonl --store store")
    assert code == 2
    assert "--from thumbs" in err
    assert not Path("store").exists()


def test_curate_takes_a_store_or_files_and_not_both(capsys: pytest.CaptureFixture[str]) -> None:
    call(capsys, "ingest votes.jsonl --from thumbs --store store")
    code, told, _ = call(capsys, "curate --store store -o dataset --json")
    assert (code, told["manifest"]["config"]["store"]["version"]) == (0, 1)
    for command, said in {
        "curate votes.jsonl --from thumbs --store store -o d2": "--store is the input",
        "curate --store store --sql SELECT -o d2": "--sql",
        "curate votes.jsonl --from thumbs --version 1 -o d2": "--version goes with --store",
        "curate -o d2": "Missing argument",
        "curate --store store --version 7 -o d2": "no such version",
        "curate --store nowhere -o d2": "no store here",
    }.items():
        code, _, err = call(capsys, command)
        assert code != 0
        assert said in err, command
    assert not Path("d2").exists()


def test_audit_reads_a_store(capsys: pytest.CaptureFixture[str]) -> None:
    call(capsys, "ingest votes.jsonl --from thumbs --store store")
    code, out, _ = call(capsys, "audit store")
    assert code in (0, 3)
    assert "Audit of store (version 1): 40 rows" in out
    assert call(capsys, "audit votes.jsonl --from thumbs --version 1")[0] == 2
    code, _, err = call(capsys, "audit store --model tiny")
    assert (code, "--model looks at raw files" in err) == (2, True)


def test_a_store_is_not_read_as_a_folder_of_files(capsys: pytest.CaptureFixture[str]) -> None:
    call(capsys, "ingest votes.jsonl --from thumbs --store store")
    code, _, err = call(capsys, "convert store --from thumbs --to trl -o out.jsonl")
    assert code == 1
    assert "the folder is a feedback store" in err


def test_a_locked_store_ends_with_75_and_the_holder(capsys: pytest.CaptureFixture[str]) -> None:
    call(capsys, "ingest votes.jsonl --from thumbs --store store")
    with Store.open("store").locked("forget", exclusive=True):
        code, told, err = call(capsys, "ingest votes.jsonl --from thumbs --store store --json")
    assert code == 75
    assert told["error"]["type"] == "LockedError"
    assert "locked by forget (process" in err


def test_doctor_tells_what_it_found_and_did(capsys: pytest.CaptureFixture[str]) -> None:
    call(capsys, "ingest votes.jsonl --from thumbs --store store")
    assert "All is well: 2 files" in call(capsys, "doctor --store store")[1]
    (path,) = Path("store/table/kind=event").iterdir()
    path.write_bytes(path.read_bytes()[:-4])
    (copy,) = Path("store/raw").rglob("votes.jsonl")
    kept = copy.read_bytes()
    copy.unlink()
    code, out, _ = call(capsys, "doctor --store store")
    assert code == 5
    assert path.name in out.replace("\n", "")
    copy.write_bytes(kept)
    code, told, _ = call(capsys, "doctor --store store --optimize --vacuum 0 --json")
    assert (code, told["is_well"], told["findings"][0]["is_healed"]) == (0, True, True)


def test_forget_shows_what_was_erased_and_what_must_be_made_anew(capsys: pytest.CaptureFixture[str]) -> None:
    call(capsys, "ingest votes.jsonl --from thumbs --store store")
    call(capsys, "curate --store store -o dataset --set rebalance.mode=off")
    code, out, _ = call(capsys, "forget --store store --rater u3")
    assert code == 0
    assert "dataset saw it and needs to be made anew" in " ".join(out.split())
    code, told, _ = call(capsys, "forget --store store --rater u4 --json")
    assert (code, told["rows"], told["is_done"]) == (0, {"event": 4}, True)
    assert "Nothing of this" not in out
    code, out, _ = call(capsys, "forget --store store --rater U3")
    assert code == 0
    assert "Nothing of this rater is in the store: look whether the id is spelled" in " ".join(out.split())
    code, _, err = call(capsys, "forget --store store")
    assert code == 2
    assert "--rater ID and --conversation ID" in err
