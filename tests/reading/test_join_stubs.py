"""A stub of the other record: it lacks the texts, so the other record takes its place, and gives it back."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from feedback.config import SourceConfig
from feedback.engine import read_rows
from feedback.formats.drafts import Join
from feedback.formats.mapped import mapped_format
from feedback.ingest import ingest
from feedback.ingest.join_table import JoinTask, make_join_table
from feedback.ingest.partners import Partners
from feedback.ingest.rater_key import ENVIRONMENT_VARIABLE

MAP = """
[join]
key = "trace_id"
other = "id"
into = "trace"
[fields]
id = "id"
prompt = "trace.input"
completion = "trace.output"
label = "value"
user = "trace.user"
[labels]
1 = "up"
"""
STUB = {"user": "u1"}
TRACE = {"id": "t1", "input": "question", "output": "answer", "user": "u1"}
SCORE = {"id": "s1", "trace_id": "t1", "value": 1}


@pytest.fixture(autouse=True)
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, "a key that is for tests only")
    monkeypatch.chdir(tmp_path)
    Path("map.toml").write_text(MAP, "utf-8")
    write("traces.jsonl", TRACE)


def write(name: str, *records: Any) -> None:
    Path(name).write_text("".join(json.dumps(record) + "\n" for record in records), "utf-8")


def join_of_map() -> Join:
    join = mapped_format(Path("map.toml")).join
    assert join is not None
    return join


def test_a_map_looks_up_what_its_record_has_only_a_stub_of() -> None:
    own = {"input": "own question", "output": "own answer"}
    write("scores.jsonl", {**SCORE, "trace": STUB}, {**SCORE, "id": "s2", "trace": own})
    source = SourceConfig(path="scores.jsonl", format="mapped", map="map.toml", join="traces.jsonl")
    (events,) = (read_rows(path) for path in ingest([source], Path("out")).events)
    prompts = {row["source_record_id"]: row["prompt"][0]["content"] for row in events.to_dicts()}
    assert prompts == {"s1": "question", "s2": "own question"}


def test_what_a_map_reads_beside_the_texts_makes_no_whole_record() -> None:
    assert join_of_map().holds == ("input", "output")
    Path("map.toml").write_text(MAP.replace('"trace.input"', '"q"').replace('"trace.output"', '"a"'), "utf-8")
    assert join_of_map().holds == ("user",)


@pytest.mark.parametrize("own", [{}, {"trace": None}, {"trace": STUB}])
def test_the_stub_stands_there_again_when_the_record_was_read(own: dict[str, Any]) -> None:
    table = make_join_table(JoinTask((Path("traces.jsonl"),), "mapped", "id", Path("table"))).table
    partners = Partners(join_of_map(), table)
    record = {**SCORE, **own}
    assert partners.place(record)
    assert record["trace"] == TRACE
    partners.take_back(record)
    assert record == {**SCORE, **own}


@pytest.mark.parametrize("stub", ['{"user": "u1"}', ' {"user": "u1", "input": null}'])
def test_a_stub_in_a_cell_is_a_stub_too(stub: str) -> None:
    join = join_of_map()
    assert join.is_lacking({"trace": stub})
    for whole in ('{"input": "q"}', "{no json", "words"):
        assert not join.is_lacking({"trace": whole})
    with Path("scores.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["id", "trace_id", "value", "trace"], ["s1", "t1", "1", stub]])
    source = SourceConfig(path="scores.csv", format="mapped", map="map.toml", join="traces.jsonl")
    (events,) = (read_rows(path) for path in ingest([source], Path("out")).events)
    assert events["prompt"].to_list()[0][0]["content"] == "question"


def test_a_partner_without_texts_is_told_as_what_it_is() -> None:
    write("traces.jsonl", TRACE, {"id": "t2", "user": "u2"})
    write("scores.jsonl", SCORE, {**SCORE, "id": "s2", "trace_id": "t2"})
    source = SourceConfig(path="scores.jsonl", format="mapped", map="map.toml", join="traces.jsonl")
    result = ingest([source], Path("out"), max_rejected_share=1.0)
    (detail,) = (row["detail"] for path in result.quarantine for row in read_rows(path).to_dicts())
    assert "absent or null" in detail
    assert "--join" not in detail
