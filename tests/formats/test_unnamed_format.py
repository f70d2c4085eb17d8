"""Raw files whose format nobody named: the error proposes what the first file looks like."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cli.main import run
from feedback.audit.sources import audit
from feedback.config import RebalanceConfig
from feedback.formats.sniffing.unnamed import unnamed_format
from feedback.pipeline import rebalance_dataset
from schemas.errors import InputNotFoundError, UsageError

SAMPLES = Path(__file__).parents[2] / "sample_data"


@pytest.mark.parametrize(
    ("name", "proposal"),
    [
        ("thumbs.jsonl", r"thumbs\.jsonl looks like thumbs: add --from thumbs\."),
        ("open_webui.json", r"open_webui\.json looks like open_webui: add --from open_webui\."),
        ("pairs.jsonl", r"pairs\.jsonl looks like trl or axolotl: add --from trl\."),
    ],
)
def test_the_likely_format_is_proposed(name: str, proposal: str) -> None:
    with pytest.raises(UsageError, match=proposal):
        audit([SAMPLES / name])


def test_a_rebalance_of_raw_files_proposes_it_too(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="add --from thumbs"):
        rebalance_dataset([SAMPLES / "thumbs.jsonl"], tmp_path / "out", RebalanceConfig())


def test_curate_proposes_it_or_a_config_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = run(["curate", str(SAMPLES / "thumbs.jsonl"), "-o", str(tmp_path / "out")])
    assert code == UsageError.exit_code
    assert "add --from thumbs. Or write a config file and name that." in capsys.readouterr().err


def test_convert_proposes_it_and_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.jsonl"
    code = run(["convert", str(SAMPLES / "thumbs.jsonl"), "--to", "trl", "-o", str(out)])
    assert code == UsageError.exit_code
    said = capsys.readouterr().err
    assert "no format is given for the input" in said
    assert "thumbs.jsonl looks like thumbs: add --from thumbs." in said
    assert not out.exists()


def test_a_file_in_no_known_format_gets_the_list(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no JSON at all\n")
    error = unnamed_format([tmp_path / "notes.txt"])
    assert "expected --from with one of thumbs, mapped, trl" in str(error)
    assert "formats --sniff FILE" in str(error)


def test_a_missing_file_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(InputNotFoundError, match="no such file or folder"):
        audit([tmp_path / "gone.jsonl"])


@pytest.mark.parametrize("place", ["s3://bucket/key.jsonl", "hf://datasets/owner/name", "sqlite:///x.db", "-"])
def test_what_costs_a_request_or_can_be_read_once_is_not_looked_at(place: str) -> None:
    assert "looks like" not in str(unnamed_format([place]))


def test_votes_that_begin_late_are_told_with_the_format_to_try(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"prompt": f"q{place}", "response": "a", "feedback": None, "user_id": "u"} for place in range(55)]
    rows.append({**rows[0], "feedback": 1})
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    error = unnamed_format([tmp_path / "in.jsonl"])
    assert "None of the first 50 records of in.jsonl is judged: try --from streamlit_feedback" in str(error)
    assert run(["formats", "--sniff", str(tmp_path / "in.jsonl")]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "None of these records is judged" in out
    assert "--from streamlit_feedback" in out
