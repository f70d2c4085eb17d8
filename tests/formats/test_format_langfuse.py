"""Langfuse: scores with their trace or observation, in the API's two versions, in a trace, and from blob storage."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from feedback.config import SourceConfig
from feedback.engine import read_rows
from feedback.formats import FORMATS, EventDraft, PairDraft
from feedback.formats.drafts import FoundPartner, Join
from feedback.formats.sniffing.sniff import find_candidates
from feedback.ingest import ingest
from feedback.ingest.rater_key import ENVIRONMENT_VARIABLE
from schemas.errors import InputError
from schemas.reasons import RejectReason
from tests.format_records import bot, user
from tests.scored import draft, drafts, ignored, mapped, reason_of, rejection

MAP = """
[scores.user-thumb]
labels = { true = "up", false = "down" }
rater_kind = "end_user"
[scores.helpfulness]
up_from = 0.8
down_to = 0.3
[scores.tone]
labels = { friendly = "up", rude = "down", neutral = "none" }
"""
TRACE: dict[str, Any] = {
    "id": "t1",
    "timestamp": "2026-01-05T09:51:30.000Z",
    "name": "chat",
    "input": {"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "q"}]},
    "output": {"role": "assistant", "content": "a"},
    "sessionId": "c1",
    "userId": "u1",
    "tags": [],
    "observations": [
        {"id": "o1", "type": "SPAN", "input": None, "output": None},
        {
            "id": "o2",
            "type": "GENERATION",
            "model": "m-1",
            "input": [{"role": "user", "content": "inner"}],
            "output": "b",
        },
    ],
    "scores": [],
}
SCORE: dict[str, Any] = {
    "id": "s1",
    "traceId": "t1",
    "observationId": None,
    "name": "user-thumb",
    "source": "API",
    "dataType": "BOOLEAN",
    "value": 1,
    "stringValue": "True",
    "comment": "nice",
    "authorUserId": None,
    "timestamp": "2026-01-05T09:51:39.000Z",
    "createdAt": "2026-01-05T09:51:40.000Z",
    "updatedAt": "2026-01-05T10:00:00.000Z",
    "environment": "production",
    "metadata": {},
    "trace": TRACE,
}


def test_a_trace_that_was_found_without_texts_is_not_told_to_be_missing() -> None:
    found = FoundPartner(id="t1", userId="u1")
    assert rejection("langfuse", MAP, {**SCORE, "trace": found})[1] == "field 'input' is absent or null"
    assert "--join FILE" in rejection("langfuse", MAP, {**SCORE, "trace": dict(found)})[1]


def score(**changes: Any) -> dict[str, Any]:
    return {**SCORE, **changes}


def test_a_score_and_its_trace_are_one_event() -> None:
    assert draft("langfuse", MAP, SCORE) == EventDraft(
        prompt=[{"role": "system", "content": "s"}, user("q")],
        completion=[bot("a")],
        signal="user-thumb",
        raw_value=True,
        label=True,
        record_id="s1",
        rater="u1",
        rater_kind="end_user",
        event_time="2026-01-05T09:51:39.000Z",
        updated_time="2026-01-05T10:00:00.000Z",
        conversation_id="c1",
        message_id="t1",
        comment="nice",
    )


@pytest.mark.parametrize(
    ("value", "text", "label"),
    [
        (1, "True", True),
        (1.0, None, True),
        (True, None, True),
        (0, "False", False),
        (False, None, False),
        ("1", "True", True),
        ("0.0", None, False),
        (None, "False", False),
    ],
)
@pytest.mark.parametrize("keys", ['true = "up", false = "down"', '1 = "up", 0 = "down"', 'True = "up", False = "down"'])
def test_a_boolean_is_read_whatever_the_version_of_the_api_and_the_map_call_it(
    value: Any, text: str | None, label: bool, keys: str
) -> None:
    known = f"[scores.user-thumb]\nlabels = {{ {keys} }}\n"
    assert draft("langfuse", known, score(value=value, stringValue=text)).label is label


def test_numbers_have_thresholds_and_categories_their_names() -> None:
    number = score(name="helpfulness", dataType="NUMERIC", stringValue=None)
    labels = [draft("langfuse", MAP, {**number, "value": value}).label for value in (1, 0.8, 0.5, 0.3)]
    assert labels == [True, True, None, False]
    category = score(name="tone", dataType="CATEGORICAL", value=0)
    for text, label in (("friendly", True), ("rude", False), ("neutral", None)):
        assert draft("langfuse", MAP, {**category, "stringValue": text}).label is label
        assert draft("langfuse", MAP, {**category, "value": text, "stringValue": None}).label is label


def test_the_number_of_a_category_is_never_its_value() -> None:
    """It is 0 where no config gives it another."""
    known = '[scores.tone]\nlabels = { 0 = "down" }\n'
    unnamed = score(name="tone", dataType="CATEGORICAL", value=0, stringValue="curt")
    assert reason_of("langfuse", known, unnamed) == RejectReason.UNKNOWN_LABEL
    for value in (2, "2", "yes", [1]):
        assert reason_of("langfuse", MAP, score(value=value)) == RejectReason.UNKNOWN_LABEL
    assert reason_of("langfuse", MAP, score(value=None, stringValue=None)) == RejectReason.MISSING_FIELD


@pytest.mark.parametrize(
    ("source", "author", "kind", "rater"),
    [
        ("API", None, "end_user", "u1"),
        ("ANNOTATION", "staff-1", "annotator", "staff-1"),
        ("EVAL", None, "llm_judge", None),
    ],
)
def test_a_machine_is_no_person_and_the_user_of_the_trace_no_annotator(
    source: str, author: str | None, kind: str, rater: str | None
) -> None:
    event = draft("langfuse", MAP, score(source=source, authorUserId=author))
    assert (event.rater_kind, event.rater) == (kind, rater)


def test_nobody_is_the_rater_where_the_map_does_not_say_who_is_behind_the_api() -> None:
    event = draft("langfuse", MAP, score(name="helpfulness", dataType="NUMERIC"))
    assert (event.rater_kind, event.rater) == ("unknown", None)


def test_a_score_of_an_observation_is_about_that_one() -> None:
    event = draft("langfuse", MAP, score(observationId="o2"))
    assert (event.prompt, event.completion, event.model_id) == ([user("inner")], [bot("b")], "m-1")
    assert (event.message_id, event.conversation_id) == ("o2", "c1")
    alone = score(observationId="o2", trace=TRACE["observations"][1])
    assert draft("langfuse", MAP, alone).completion == [bot("b")]
    reason, detail = rejection("langfuse", MAP, score(observationId="o9"))
    assert reason == RejectReason.MISSING_FIELD
    assert '[join] key = "observationId"' in detail
    ids_only = score(observationId="o2", trace={**TRACE, "observations": ["o1", "o2"]})
    assert reason_of("langfuse", MAP, ids_only) == RejectReason.MISSING_FIELD
    assert reason_of("langfuse", MAP, score(observationId="o1")) == RejectReason.MISSING_FIELD


def test_scores_inside_a_trace_are_read_one_by_one() -> None:
    """Their ids stay theirs; one that the map does not name is left out beside them."""
    inner = {key: value for key, value in SCORE.items() if key != "trace"}
    toxic = {**inner, "id": "s2", "name": "toxicity", "dataType": "NUMERIC", "value": 0.1}
    down = {**inner, "id": "s3", "value": 0}
    record = {**TRACE, "scores": [inner, toxic, down]}
    first, second, third = drafts("langfuse", MAP, record)
    assert (first.record_id, first.label, first.completion) == ("s1", True, [bot("a")])
    assert second.what == "scores 'toxicity', which the map does not name"
    assert (third.record_id, third.label) == ("s3", False)
    assert ignored("langfuse", MAP, TRACE) == ["traces without a score"]
    reason, detail = rejection("langfuse", MAP, {**TRACE, "scores": ["s1"]})
    assert reason == RejectReason.WRONG_TYPE
    assert "--join the traces" in detail


def test_columns_of_the_export_to_blob_storage_are_the_same_fields() -> None:
    row = {
        "id": "s1",
        "timestamp": "2026-01-05 09:51:39.000",
        "project_id": "p",
        "environment": "default",
        "trace_id": "t1",
        "observation_id": None,
        "name": "tone",
        "value": 0,
        "source": "EVAL",
        "comment": None,
        "data_type": "CATEGORICAL",
        "string_value": "rude",
        "created_at": "2026-01-05 09:51:40.000",
        "updated_at": "2026-01-05 09:51:41.000",
        "trace": {
            "id": "t1",
            "session_id": "c1",
            "user_id": "u1",
            "input": "q",
            "output": '{"content": "a", "role": "ai"}',
        },
    }
    event = draft("langfuse", MAP, row)
    assert (event.label, event.rater_kind, event.updated_time) == (False, "llm_judge", "2026-01-05 09:51:41.000")
    assert (event.prompt, event.completion, event.conversation_id) == ([user("q")], [bot("a")], "c1")


def test_a_correction_is_preferred_to_the_output_where_the_map_says_so() -> None:
    known = "[scores.output]\ncorrections = true\n"
    corrected = score(name="output", dataType="CORRECTION", value="better", stringValue=None, source="ANNOTATION")
    pair = draft("langfuse", known, corrected)
    assert isinstance(pair, PairDraft)
    assert (pair.response_a, pair.response_b, pair.outcome) == ([bot("better")], [bot("a")], "a")
    assert (pair.rater_kind, pair.event_time) == ("annotator", "2026-01-05T10:00:00.000Z")
    older = {**corrected, "value": 0, "stringValue": "better"}
    assert draft("langfuse", known, older).response_a == [bot("better")]
    assert ignored("langfuse", known, {**corrected, "value": ""}) == ["scores 'output' without a correction"]


def test_scores_of_sessions_are_of_no_answer() -> None:
    session = score(traceId=None, sessionId="c1", trace=None)
    assert ignored("langfuse", MAP, session) == ["scores of sessions or dataset runs"]
    assert reason_of("langfuse", MAP, score(traceId=None, trace=None)) == RejectReason.MISSING_FIELD


def test_a_map_says_where_a_question_lies_in_an_input_of_another_shape() -> None:
    odd = {**TRACE, "input": {"question": "q", "k": 3}, "output": '{"answer": "a"}'}
    assert reason_of("langfuse", MAP, score(trace=odd)) == RejectReason.WRONG_TYPE
    known = f'{MAP}[texts]\nprompt = "input.question"\ncompletion = "output.answer"\n'
    event = draft("langfuse", known, score(trace=odd))
    assert (event.prompt, event.completion) == ([user("q")], [bot("a")])
    assert reason_of("langfuse", known, score(trace={**odd, "input": {}})) == RejectReason.MISSING_FIELD


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"name": None}, RejectReason.MISSING_FIELD),
        ({"source": None}, RejectReason.MISSING_FIELD),
        ({"dataType": None}, RejectReason.MISSING_FIELD),
        ({"source": "BOT"}, RejectReason.RULE_VIOLATION),
        ({"dataType": "EMOJI"}, RejectReason.RULE_VIOLATION),
        ({"id": 1.5}, RejectReason.WRONG_TYPE),
        ({"comment": 3}, RejectReason.WRONG_TYPE),
        ({"trace": None}, RejectReason.MISSING_FIELD),
        ({"trace": [TRACE]}, RejectReason.WRONG_TYPE),
        ({"trace": {**TRACE, "input": None}}, RejectReason.MISSING_FIELD),
        ({"scores": 3}, RejectReason.WRONG_TYPE),
    ],
)
def test_a_score_that_is_not_in_the_format_is_rejected(change: dict[str, Any], reason: str) -> None:
    assert reason_of("langfuse", MAP, score(**change)) == reason


def test_a_score_alone_says_which_file_it_lacks() -> None:
    _, detail = rejection("langfuse", MAP, score(trace=None))
    assert detail == "field 'trace' is absent or null: the texts are in the export of the traces; --join FILE names it"
    holds = ("input", "output", "observations")
    join = Join(what="traces", key="traceId", other="id", into="trace", holds=holds, whole=("scores",))
    assert FORMATS["langfuse"].join == join
    assert mapped("langfuse", f'{MAP}[join]\nkey = "observationId"\n').join == replace(join, key="observationId")


STUB = {"userId": "u1", "tags": [], "environment": "default"}
"""What the API gives of a score's trace beside its id."""


def test_a_score_with_a_stub_of_its_trace_lacks_the_traces() -> None:
    _, detail = rejection("langfuse", MAP, score(trace=STUB))
    assert detail == "field 'trace' is absent or null: the texts are in the export of the traces; --join FILE names it"
    (found, *_) = find_candidates([score(trace=STUB)])
    assert (found.format, found.needs) == ("langfuse", "traces")


def test_scores_of_the_api_find_their_traces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever voted is the user of the trace, and a score that is refused is kept as it came."""
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, "a key that is for tests only")
    own = {"tags": [], "environment": "default"}
    scores = [score(trace=own), score(id="s2", traceId="t9", trace=own), score(id="s3", value=7, trace=own)]
    for name, records in (("scores.jsonl", scores), ("traces.jsonl", [TRACE])):
        (tmp_path / name).write_text("".join(json.dumps(one) + "\n" for one in records), "utf-8")
    (tmp_path / "map.toml").write_text(MAP, "utf-8")
    path, known, join = (str(tmp_path / name) for name in ("scores.jsonl", "map.toml", "traces.jsonl"))
    source = SourceConfig(path=path, format="langfuse", map=known, join=join)
    result = ingest([source], tmp_path / "out", max_rejected_share=1.0)
    event = read_rows(result.events[0]).row(0, named=True)
    assert (event["prompt"][-1]["content"], event["completion"][0]["content"]) == ("q", "a")
    assert event["rater_key"] is not None
    assert result.rejected == {RejectReason.MISSING_FIELD: 1, RejectReason.UNKNOWN_LABEL: 1}
    kept = [json.loads(raw)["trace"] for raw in pl.read_parquet(result.quarantine[0])["raw"]]
    assert kept == [own, own]


SNAKE: dict[str, Any] = {
    "id": "s1",
    "trace_id": "t1",
    "project_id": "p1",
    "name": "helpfulness",
    "source": "API",
    "data_type": "NUMERIC",
    "value": 1,
    "string_value": None,
    "observation_id": None,
    "session_id": None,
    "created_at": "2026-01-05 09:51:40.000",
    "updated_at": "2026-01-05 09:51:41.000",
    "timestamp": "2026-01-05 09:51:39.000",
}


def test_the_fields_of_a_score_from_blob_storage_are_known() -> None:
    (found, *_) = find_candidates([SNAKE])
    assert (found.format, found.is_likely, found.unread, found.needs) == ("langfuse", True, (), "traces")
    assert {"id", "trace_id", "name", "source", "data_type", "value", "timestamp"} <= set(found.fields)
    assert "project_id" not in found.fields


def test_scores_whose_trace_id_has_another_name_are_refused_with_what_the_map_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, "a key that is for tests only")
    for name, record in (("scores.jsonl", SNAKE), ("traces.jsonl", TRACE)):
        (tmp_path / name).write_text(json.dumps(record) + "\n", "utf-8")
    (tmp_path / "map.toml").write_text(MAP, "utf-8")
    source = SourceConfig(
        path=str(tmp_path / "scores.jsonl"),
        format="langfuse",
        map=str(tmp_path / "map.toml"),
        join=str(tmp_path / "traces.jsonl"),
    )
    with pytest.raises(InputError, match=r"none of 1 records has an id at 'traceId'.*key = \"trace_id\""):
        ingest([source], tmp_path / "out")
    (tmp_path / "map.toml").write_text(f'{MAP}[join]\nkey = "trace_id"\n', "utf-8")
    result = ingest([source], tmp_path / "out")
    assert (result.report.rows_kept, [note for note in result.report.notes if "does not read" in note]) == (1, [])
