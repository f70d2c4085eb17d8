"""Files of public data sets through ingest and convert: what becomes of every record, counted and summed."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from feedback.config import ConvertConfig, SourceConfig
from feedback.convert import Keys, convert
from feedback.engine import read_rows
from feedback.ingest import IngestResult, ingest
from feedback.ingest.source_format import open_format
from feedback.stage import StageResult
from schemas.errors import FormatMismatchError, UnknownChoiceError
from tests.format_records import bot, user

pytestmark = pytest.mark.usefixtures("rater_key")


def lines(folder: Path, *records: dict[str, Any]) -> Path:
    path = folder / "in.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records), "utf-8")
    return path


def ingested(path: Path, name: str, ranking: Any = "extremes") -> IngestResult:
    source = SourceConfig(path=str(path), format=name, ranking=ranking)
    result = ingest([source], path.parent / "ingested", max_rejected_share=0.9)
    report = result.report
    assert report.rows_in + report.rows_created == report.rows_kept + sum(report.dropped.values())
    return result


def converted(result: IngestResult, config: ConvertConfig | None = None) -> StageResult:
    pairs = pl.concat([read_rows(path) for path in result.pair_keys])
    return convert(Keys(pairs=pairs), config or ConvertConfig())


def test_a_kaggle_table_gives_pairs_ties_and_a_quarantine(tmp_path: Path) -> None:
    columns = ("id", "model_a", "model_b", "prompt", "response_a", "response_b", "winner_model_a", "winner_model_b")
    rows = [
        ("1", "m", "n", '["q1"]', '["a"]', '["b"]', "1", "0", "0"),
        ("2", "m", "n", '["q2"]', r'["a, with\n\"two\" lines"]', '["b"]', "0", "1", "0"),
        ("3", "m", "n", '["q3"]', '["a"]', '["b"]', "0", "0", "1"),
        ("4", "m", "n", '["q4"]', "[null]", '["b"]', "0", "1", "0"),
        ("5", "m", "n", '["q5"]', '["a"]', '["b"]', "0", "0", "0"),
        ("6", "m", "n", '["q6"]', '["same"]', '["same"]', "0", "0", "1"),
    ]
    with (tmp_path / "train.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([(*columns, "winner_tie"), *rows])
    result = ingested(tmp_path / "train.csv", "arena")
    assert result.rejected == {"empty_completion": 1, "identical_responses": 1, "unknown_label": 1}
    (path,) = result.pairs
    found = read_rows(path).select("source_record_id", "outcome", "rater_kind").rows()
    assert found == [("1", "a", "end_user"), ("2", "b", "end_user"), ("3", "tie", "end_user")]
    labels = converted(result).report
    assert (labels.labels_kept.desirable, labels.labels_kept.undesirable, labels.dropped) == (2, 2, {"tie": 1})


def test_two_bad_answers_are_two_undesirable_rows_and_no_voter_is_named(tmp_path: Path) -> None:
    conversations = {"conversation_a": [user("q"), bot("a")], "conversation_b": [user("q"), bot("b")]}
    record = {"question_id": "1", **conversations, "winner": "tie (bothbad)", "judge": "canary", "tstamp": 1682351591.5}
    result = ingested(lines(tmp_path, record), "arena")
    kept = converted(result).kept
    assert kept["label"].to_list() == [False, False]
    row = read_rows(result.pairs[0]).row(0, named=True)
    assert len(row["rater_key"]) > 8
    assert "canary" not in repr(row)
    assert row["event_ts"].isoformat() == "2023-04-24T15:53:11.500000+00:00"


def test_unsafe_answers_are_never_desirable_by_default(tmp_path: Path) -> None:
    def record(prompt: str, first: bool, second: bool) -> dict[str, Any]:
        safety = {"is_response_0_safe": first, "is_response_1_safe": second}
        return {"prompt": prompt, "response_0": "a", "response_1": "b", **safety, "better_response_id": 1}

    path = lines(tmp_path, record("q1", True, True), record("q2", True, False), record("q3", False, False))
    kept = converted(ingested(path, "pku_safe_rlhf")).kept
    assert (kept["label"].sum(), kept.height) == (2, 6)


def test_a_shp_margin_is_the_ratio_that_its_authors_advise_to_filter_by(tmp_path: Path) -> None:
    answers = {"history": "q", "human_ref_A": "a", "human_ref_B": "b", "labels": 1}
    good, weak = {"score_A": 10, "score_B": 2, "score_ratio": 5.0}, {"score_A": 3, "score_B": 2, "score_ratio": 1.5}
    path = lines(tmp_path, {**answers, **good}, {**answers, **weak, "history": "r"}, {**answers, "labels": 3})
    result = ingested(path, "shp")
    assert result.rejected == {"unknown_label": 1}
    report = converted(result, ConvertConfig(min_margin=2)).report
    assert (report.rows_kept, report.dropped) == (2, {"below_margin": 1})


def test_a_ranking_of_raw_ultrafeedback_can_be_asked_for(tmp_path: Path) -> None:
    answers = [{"response": text, "fine-grained_score": score} for text, score in (("x", 1), ("y", 2), ("z", 3))]
    record = {"instruction": "q", "completions": answers}
    result = ingested(lines(tmp_path, record), "ultrafeedback", "neighbours")
    assert (result.report.rows_in, result.report.rows_created, result.report.rows_kept) == (1, 1, 2)
    kinds = read_rows(result.pairs[0])["rater_kind"].unique().to_list()
    assert kinds == ["llm_judge"]
    with pytest.raises(UnknownChoiceError, match="unknown ranking: got 'off'; expected one of extremes, neighbours"):
        open_format("ultrafeedback", None, "off")


def test_a_helpsteer2_file_of_ratings_gives_events(tmp_path: Path) -> None:
    ratings = [{"prompt": "q", "response": f"a{number}", "helpfulness": number} for number in range(6)]
    result = ingested(lines(tmp_path, *ratings), "helpsteer2")
    assert result.rejected == {"unknown_label": 1}
    events = read_rows(result.events[0])
    assert events["label"].to_list() == [False, False, None, True, True]
    assert events["strength"].to_list() == [0.0, 1.0, 2.0, 3.0, 4.0]


@pytest.mark.parametrize(
    ("record", "stated", "fitting"),
    [
        ({"history": "q", "human_ref_A": "a", "human_ref_B": "b", "labels": 1}, "webgpt", "shp"),
        ({"context": [user("q")], "response1": "a", "response2": "b", "overall_preference": 1}, "shp", "helpsteer3"),
        (
            {"question": {"full_text": "q"}, "answer_0": "a", "answer_1": "b", "score_0": 1, "score_1": -1},
            "summarize",
            "webgpt",
        ),
    ],
)
def test_the_wrong_set_is_told_from_the_right_one(
    tmp_path: Path, record: dict[str, Any], stated: str, fitting: str
) -> None:
    with pytest.raises(FormatMismatchError, match=rf"not in the format '{stated}'.*It looks like the format {fitting}"):
        ingested(lines(tmp_path, record), stated)
