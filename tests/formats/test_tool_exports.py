"""Exports of tools through `ingest`: what is left out is counted, machines are marked, revisions and ids hold."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feedback.config import SourceConfig
from feedback.convert import find_revisions
from feedback.engine import read_rows
from feedback.formats import EventDraft, IgnoredDraft, PairDraft, find_format
from feedback.ingest import IngestResult, ingest
from feedback.ingest.kept_raw import kept_raw
from feedback.records.raw_record import RawRecord
from feedback.transcode import convert_files
from schemas.errors import FormatMismatchError, RecordRejectedError
from schemas.reasons import RejectReason
from tests.formats import test_format_argilla as argilla
from tests.formats import test_format_label_studio as label_studio
from tests.formats import test_format_langfuse as langfuse
from tests.formats import test_format_langsmith as langsmith
from tests.formats import test_format_mlflow as mlflow
from tests.formats import test_format_otel_genai as otel_genai
from tests.formats import test_format_phoenix as phoenix
from tests.scored import mapped

pytestmark = pytest.mark.usefixtures("rater_key")

SAMPLES: dict[str, tuple[str, list[dict[str, Any]]]] = {
    "langfuse": (langfuse.MAP, [langfuse.SCORE, {**langfuse.TRACE, "scores": [langfuse.SCORE]}]),
    "langsmith": (langsmith.MAP, [langsmith.FEEDBACK, {**langsmith.FEEDBACK, "key": "note", "correction": "b"}]),
    "mlflow": (mlflow.MAP, [mlflow.OLD, {**mlflow.TRACE, "info": {"assessments": [mlflow.NEW]}}]),
    "phoenix": (phoenix.MAP, [phoenix.ANNOTATION]),
    "otel_genai": (otel_genai.MAP, [otel_genai.LOG, otel_genai.envelope(otel_genai.SPAN)]),
    "label_studio": (label_studio.MAP, [label_studio.TASK, label_studio.SMALL]),
    "argilla": (argilla.MAP, [argilla.FLAT, argilla.record(order=[argilla.response(argilla.ranking(one=1, two=2))])]),
}


def put(folder: Path, name: str, text: str, *records: Any) -> SourceConfig:
    (folder / f"{name}.toml").write_text(text, "utf-8")
    path = folder / f"{name}.jsonl"
    path.write_text("".join(f"{json.dumps(record)}\n" for record in records), "utf-8")
    return SourceConfig(path=str(path), format=name, map=str(folder / f"{name}.toml"))


def run(folder: Path, name: str, text: str, *records: Any, share: float = 0.2) -> IngestResult:
    return ingest([put(folder, name, text, *records)], folder / "out", max_rejected_share=share)


def rows(paths: tuple[Path, ...]) -> list[dict[str, Any]]:
    return pl.concat([read_rows(path) for path in paths]).to_dicts()


def test_what_the_map_does_not_name_is_left_out_counted_and_no_rejection(tmp_path: Path) -> None:
    """Nine of ten scores are a machine's that nobody asked for: the tenth is kept, and no share is exceeded."""
    others = [{**langfuse.SCORE, "id": f"x{n}", "name": "toxicity" if n % 3 else "cost"} for n in range(9)]
    result = run(tmp_path, "langfuse", langfuse.MAP, langfuse.SCORE, *others, share=0)
    report = result.report
    assert (report.rows_in, report.rows_created, report.rows_kept, report.dropped) == (10, 0, 1, {"ignored": 9})
    assert report.figures["ignored"] == {
        "scores 'cost', which the map does not name": 3,
        "scores 'toxicity', which the map does not name": 6,
    }
    assert report.notes == (
        (
            "Left out, as the sources' maps and formats say: scores 'toxicity', which the map does not name (6), "
            "scores 'cost', which the map does not name (3)."
        ),
    )
    assert result.rejected == {}
    assert not result.quarantine


def test_rows_in_are_accepted_quarantined_or_left_out_also_within_one_record(tmp_path: Path) -> None:
    inner = {key: value for key, value in langfuse.SCORE.items() if key != "trace"}
    named, down, unnamed = inner, {**inner, "id": "s2", "value": 0}, {**inner, "id": "s3", "name": "cost"}
    whole = {**langfuse.TRACE, "scores": [named, unnamed, down]}
    broken = {**langfuse.TRACE, "id": "t2", "scores": [unnamed, {**inner, "value": 7}]}
    blank = {**langfuse.TRACE, "id": "t3", "output": " ", "scores": [unnamed, named]}
    result = run(tmp_path, "langfuse", langfuse.MAP, whole, broken, blank, langfuse.TRACE, share=0.5)
    report = result.report
    assert report.rows_in + report.rows_created == report.rows_kept + sum(report.dropped.values())
    assert (report.rows_in, report.rows_created, report.rows_kept) == (4, 2, 2)
    assert report.dropped == {"ignored": 2, "quarantined": 2}
    assert report.figures["ignored"] == {
        "scores 'cost', which the map does not name": 1,
        "traces without a score": 1,
    }
    assert result.rejected == {"empty_completion": 1, "unknown_label": 1}
    assert [(row["source_record_id"], row["label"]) for row in rows(result.events)] == [("s1", True), ("s2", False)]


def test_a_file_in_which_nothing_counts_is_read_and_says_so(tmp_path: Path) -> None:
    result = run(tmp_path, "langfuse", langfuse.MAP, langfuse.TRACE, langfuse.TRACE)
    assert (result.report.rows_in, result.report.rows_kept, result.report.dropped) == (2, 0, {"ignored": 2})
    assert not result.events


def test_scores_without_their_traces_say_what_they_lack(tmp_path: Path) -> None:
    alone = {key: value for key, value in langfuse.SCORE.items() if key != "trace"}
    with pytest.raises(FormatMismatchError, match=r"traces.*--join FILE"):
        run(tmp_path, "langfuse", langfuse.MAP, alone, share=1)


def test_a_wrong_format_is_told_which_tool_its_file_is_from(tmp_path: Path) -> None:
    with pytest.raises(
        FormatMismatchError, match=r"not in the format 'langsmith'.*It looks like the format phoenix\.$"
    ):
        run(tmp_path, "langsmith", langsmith.MAP, phoenix.ANNOTATION, share=1)


def test_a_score_of_a_trace_has_one_id_wherever_it_stands(tmp_path: Path) -> None:
    """The later export of a trace, with more scores in it, revises the earlier one."""
    inner = {key: value for key, value in langfuse.SCORE.items() if key != "trace"}
    later = {**inner, "value": 0, "updatedAt": "2026-02-01T00:00:00Z"}
    earlier, again = langfuse.TRACE | {"scores": [inner]}, langfuse.TRACE | {"scores": [{**inner, "id": "s0"}, later]}
    result = run(tmp_path, "langfuse", langfuse.MAP, earlier, again)
    assert [row["source_record_id"] for row in rows(result.events)] == ["s1", "s0", "s1"]
    revisions = find_revisions(result.event_keys)
    (latest,) = [row for row in rows(result.events) if row["event_id"] in revisions["latest_id"].to_list()]
    assert (latest["source_record_id"], latest["label"]) == ("s1", False)


def test_machines_are_marked_in_the_tables_and_raw_ids_are_not_in_them(tmp_path: Path) -> None:
    machine = {**langfuse.SCORE, "id": "s2", "source": "EVAL"}
    result = run(tmp_path, "langfuse", langfuse.MAP, langfuse.SCORE, machine)
    assert [row["rater_kind"] for row in rows(result.events)] == ["end_user", "llm_judge"]
    for name, (text, records) in SAMPLES.items():
        folder = tmp_path / name
        folder.mkdir()
        made = run(folder, name, text, *records, share=1)
        for path in (*made.events, *made.pairs):
            data = path.read_bytes()
            assert b"canary" not in data
            keys = read_rows(path)["rater_key"].drop_nulls()
            assert keys.str.len_chars().eq(32).all(), name


def test_times_without_a_zone_are_marked(tmp_path: Path) -> None:
    naive = {**langfuse.SCORE, "id": "s2", "timestamp": "2026-01-05 09:51:39.000", "updatedAt": None}
    result = run(tmp_path, "langfuse", langfuse.MAP, langfuse.SCORE, naive, {**naive, "id": "s3", "timestamp": None})
    assert [row["ts_quality"] for row in rows(result.events)] == ["exact", "naive", "exact"]


@pytest.mark.parametrize("name", SAMPLES)
def test_every_tool_goes_the_whole_way_and_its_rows_add_up(tmp_path: Path, name: str) -> None:
    text, records = SAMPLES[name]
    result = run(tmp_path, name, text, *records, share=0)
    report = result.report
    assert report.rows_in == len(records)
    assert report.rows_in + report.rows_created == report.rows_kept + sum(report.dropped.values())
    assert report.rows_kept >= 1
    assert not [note for note in report.notes if "does not read" in note]


def test_the_runs_of_a_comparison_become_a_pair_when_asked(tmp_path: Path) -> None:
    won = {**langsmith.FEEDBACK, "id": "f1", "key": "preference", "feedback_group_id": "g", "score": 1}
    lost = {**won, "id": "f2", "score": 0, "run": {**langsmith.RUN, "id": "r2", "outputs": "b"}}
    source = put(tmp_path, "langsmith", langsmith.MAP, won, lost)
    convert_files(
        [source.path],
        "langsmith",
        "trl",
        tmp_path / "p.jsonl",
        map_path=Path(str(source.map)),
        dataset_type="preference",
    )
    (line,) = (tmp_path / "p.jsonl").read_text("utf-8").splitlines()
    pair = json.loads(line)
    assert (pair["chosen"][0]["content"], pair["rejected"][0]["content"]) == ("a", "b")


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=4,
)


def places(value: Any, where: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a record, from its top down."""
    items: Any = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [where, *(place for key, item in items for place in places(item, (*where, key)))]


def changed(record: dict[str, Any], place: tuple[Any, ...], value: Any) -> dict[str, Any]:
    made = copy.deepcopy(record)
    target: Any = made
    for key in place[:-1]:
        target = target[key]
    target[place[-1]] = value
    return made


PARSERS: dict[str, Callable[[dict[str, Any]], Any]] = {
    name: mapped(name, text).parse for name, (text, _) in SAMPLES.items()
}


@given(st.data())
@settings(max_examples=400, deadline=None)
def test_whatever_stands_at_any_place_of_a_record_is_a_draft_or_a_rejection(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(SAMPLES)))
    record = data.draw(st.sampled_from(SAMPLES[name][1]))
    place = data.draw(st.sampled_from([one for one in places(record) if one]))
    with suppress(RecordRejectedError):
        made = list(PARSERS[name](changed(record, place, data.draw(anything))))
        assert made
        assert all(isinstance(one, EventDraft | PairDraft | IgnoredDraft) for one in made)


def test_no_label_comes_of_a_value_that_no_map_names() -> None:
    """The values that mean something in a tool, or would be guessed to, mean nothing without a map that says so."""
    for name, field in (("langfuse", "value"), ("langsmith", "score")):
        text, records = SAMPLES[name]
        for value in ("thumbs-up", "👍", "positive", 5, -1, "yes"):
            with pytest.raises(RecordRejectedError) as caught:
                list(mapped(name, text).parse({**records[0], field: value, "stringValue": None}))
            assert caught.value.reason == RejectReason.UNKNOWN_LABEL


@pytest.mark.parametrize(
    ("name", "record"),
    [
        ("langfuse", {"id": "s", "traceId": "t", "name": 3, "authorUserId": "u-canary", "dataType": "NUMERIC"}),
        ("langsmith", {"key": 3, "run_id": "r", "feedback_source": {"type": "app", "user_id": "u-canary"}}),
        ("phoenix", {"span_id": "s", "name": 3, "annotator_kind": "HUMAN", "user_id": "u-canary"}),
        (
            "label_studio",
            {"data": {}, "annotations": [{"id": 1, "result": 3, "completed_by": {"id": 7, "email": "u-canary"}}]},
        ),
        ("argilla", {"fields": {}, "responses": {"q": [{"value": 3, "user_id": "u-canary"}, 3]}}),
        (
            "mlflow",
            {"name": 3, "trace_id": "t", "source": {"source_type": "HUMAN", "source_id": "u-canary"}, "feedback": {}},
        ),
    ],
)
def test_quarantine_keeps_no_user_of_a_tool(name: str, record: dict[str, Any]) -> None:
    raw = json.dumps(record).encode()
    kept = kept_raw(RawRecord("in.jsonl", 1, raw, record), find_format(name), b"k" * 32)
    assert b"u-canary" in raw
    assert b"u-canary" not in kept
