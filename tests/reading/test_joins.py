"""What a record lacks comes from another file: by its id, in any kind of file, counted, and never lost."""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cli.main import run
from feedback.config import SourceConfig
from feedback.engine import read_rows
from feedback.formats import FORMATS, EventDraft, Format
from feedback.formats.drafts import Join
from feedback.ingest import IngestResult, ingest
from feedback.ingest.join_table import JoinTask, make_join_table
from feedback.ingest.partners import Partners
from feedback.ingest.rater_key import ENVIRONMENT_VARIABLE
from feedback.pipeline import curate, default_config
from schemas.errors import (
    ConfigError,
    FormatMismatchError,
    InputError,
    InputNotFoundError,
    RecordRejectedError,
    UsageError,
)
from schemas.manifest import Manifest
from schemas.reasons import RejectReason
from tests.format_records import bot, user

MAP = """
[join]
what = "traces"
key = "trace.ref"
other = "id"
into = "joined"

[fields]
id = "score_id"
prompt = "joined.input"
completion = "joined.output"
label = "value"

[labels]
1 = "up"
0 = "down"
"""


@pytest.fixture(autouse=True)
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, "a key that is for tests only")
    monkeypatch.chdir(tmp_path)
    Path("map.toml").write_text(MAP, "utf-8")
    return tmp_path


def trace(name: Any, text: str = "") -> dict[str, Any]:
    return {"id": name, "input": f"question {text or name}", "output": f"answer {text or name}"}


def score(number: int, ref: Any, value: int = 1) -> dict[str, Any]:
    return {"score_id": f"s{number}", "trace": {"ref": ref}, "value": value}


def write(name: str, *records: Any) -> str:
    text = "".join(f"{record if isinstance(record, str) else json.dumps(record)}\n" for record in records)
    Path(name).write_text(text, "utf-8")
    return name


def read(path: str = "scores.jsonl", join: str | None = "traces.jsonl", *, out: str = "out") -> IngestResult:
    source = SourceConfig(path=path, format="mapped", map="map.toml", join=join)
    return ingest([source], Path(out), max_rejected_share=1.0)


def prompts(result: IngestResult) -> dict[str, str]:
    """Question by record id."""
    rows = [row for path in result.events for row in read_rows(path).to_dicts()]
    return {row["source_record_id"]: row["prompt"][0]["content"] for row in rows}


def test_records_find_their_partners_and_those_without_one_are_rejected_and_counted() -> None:
    write("scores.jsonl", score(1, "b"), score(2, "a", 0), score(3, "gone"), score(4, None), score(5, "b", 0))
    write("traces.jsonl", trace("a"), trace("b"), "no json", {"input": "without id"}, trace("unrated"))
    result = read()
    assert prompts(result) == {"s1": "question b", "s2": "question a", "s5": "question b"}
    assert result.rejected == {RejectReason.MISSING_FIELD: 2}
    assert (result.report.rows_in, result.report.rows_kept, dict(result.report.dropped)) == (5, 3, {"quarantined": 2})
    assert result.report.notes == (
        "Source 'mapped': 3 records found their traces in traces.jsonl, and 2 did not; there are 3 with an id.",
        "Records of traces.jsonl that cannot be read, and so nobody found: invalid_json 1.",
        "Records of traces.jsonl without an id at 'id': 1.",
    )
    quarantine = pl.read_parquet(result.quarantine[0])
    assert quarantine["line"].to_list() == [3, 4]
    assert quarantine["detail"][0] == (
        "the traces of 'trace.ref' are not there; they lie in another file, which --join FILE names"
    )
    assert json.loads(quarantine["raw"][0]) == score(3, "gone")
    assert [(file.name, file.format, file.records) for file in result.source_files] == [
        ("scores.jsonl", "mapped", 5),
        ("traces.jsonl", "mapped, joined", 5),
    ]
    assert not Path("out/join").exists()


@pytest.mark.parametrize("kind", ["array", "gzip", "parquet", "csv", "folder", "glob"])
def test_the_other_file_may_be_of_any_kind(kind: str) -> None:
    rows = [trace("a"), trace("b")]
    Path("t").mkdir()
    name = {"array": "t/1.json", "gzip": "t/1.jsonl.gz", "parquet": "t/1.parquet", "csv": "t/1.csv"}.get(kind, "t")
    if kind == "array":
        Path(name).write_text(json.dumps(rows, indent=1), "utf-8")
    elif kind == "gzip":
        Path(name).write_bytes(gzip.compress("\n".join(map(json.dumps, rows)).encode()))
    elif kind == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), name)
    elif kind == "csv":
        Path(name).write_text("id,input,output\na,question a,answer a\nb,question b,answer b\n", "utf-8")
    else:
        write("t/1.jsonl", rows[0])
        write("t/2.jsonl", rows[1])
        name = {"folder": "t", "glob": "t/*.jsonl"}[kind]
    write("scores.jsonl", score(1, "a"), score(2, "b"))
    assert prompts(read(join=name)) == {"s1": "question a", "s2": "question b"}


def test_ids_may_be_text_or_whole_numbers_and_one_finds_the_other() -> None:
    write("traces.jsonl", trace(7), trace("8"), trace(9.0), trace(2**60), trace(True), trace(1.5), trace(" "))
    refs = ["7", 8, 9, 2**60, True, 1.5, " ", [7], {"id": 7}]
    write("scores.jsonl", *(score(number, ref) for number, ref in enumerate(refs)))
    assert list(prompts(read())) == ["s0", "s1", "s2", "s3"]


def test_the_same_partner_twice_is_one_and_different_ones_are_refused() -> None:
    write("traces.jsonl", trace("a"), trace("a"), trace("b"), trace("b", "other"))
    write("scores.jsonl", score(1, "a"), score(2, "b"))
    result = read()
    assert prompts(result) == {"s1": "question a"}
    assert result.rejected == {RejectReason.RULE_VIOLATION: 1}
    detail = pl.read_parquet(result.quarantine[0])["detail"][0]
    assert detail == "several different traces have the id in 'trace.ref', and one is wanted"


def test_what_is_in_the_record_already_is_not_looked_up() -> None:
    write("traces.jsonl", trace("a"))
    write("scores.jsonl", {**score(1, "a"), "joined": trace("own")}, score(2, "a"))
    assert prompts(read()) == {"s1": "question own", "s2": "question a"}


def test_another_joined_text_is_another_event_and_another_dataset() -> None:
    write("scores.jsonl", *(score(number, f"t{number % 40}", int(number % 40 % 3 > 0)) for number in range(120)))
    write("traces.jsonl", *(trace(f"t{number}") for number in range(40)))
    write("changed.jsonl", *(trace(f"t{number}", "x" if number == 3 else "") for number in range(40)))
    write("reversed.jsonl", *(trace(f"t{number}") for number in reversed(range(40))))
    first, changed, turned = (
        read(join=f"{name}.jsonl", out=name).report.digest_out for name in ("traces", "changed", "reversed")
    )
    assert (first == turned, first == changed) == (True, False)

    def made(join: str) -> Any:
        config = default_config(["scores.jsonl"], "mapped", map="map.toml", join=join, overrides=["rebalance.mode=off"])
        return curate(config, Path("dataset"), overwrite=True)

    manifest = made("traces.jsonl").manifest
    assert [source.name for source in manifest.sources] == ["scores.jsonl", "traces.jsonl"]
    assert manifest.config["sources"][0]["join"] == "traces.jsonl"
    assert made("traces.jsonl").was_done
    write("traces.jsonl", *(trace(f"t{number}", "x" if number == 3 else "") for number in range(40)))
    again = made("traces.jsonl")
    assert (again.was_done, again.manifest.digest != manifest.digest) == (False, True)
    assert not list(Path("dataset").rglob("*.joined"))


def test_what_is_found_is_part_of_what_a_record_without_an_id_is_known_by() -> None:
    """Of one with an id it is not: the id tells it, and what the source says in it is its revision."""
    line = write("scores.jsonl", score(1, "a"), score(2, "unread"))
    digest = hashlib.sha256(Path(line).read_bytes().splitlines()[0]).hexdigest()
    found: dict[str, list[tuple[str, str]]] = {}
    for has_id in (True, False):
        Path("map.toml").write_text(MAP if has_id else MAP.replace('id = "score_id"\n', ""), "utf-8")
        for number, (text, more) in enumerate([("", {}), ("", {"cost": 1}), ("other", {})]):
            write("traces.jsonl", trace("a", text) | more)
            result = read(out=f"out {has_id} {number}")
            (row,) = read_rows(result.events[0]).to_dicts()
            assert row["raw_sha256"] == digest
            found.setdefault(str(has_id), []).append((row["source_record_id"], row["event_id"]))
    with_id, without = found["True"], found["False"]
    assert ([one for one, _ in with_id], len(set(without))) == (["s1"] * 3, 3)
    assert with_id[0][1] == with_id[1][1] != with_id[2][1]
    assert len({one for one, _ in without}) == 3
    assert f"sha256:{digest[:32]}" not in {one for one, _ in without}


def test_what_is_found_is_not_hashed_for_records_with_an_id(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is most of what a file joined with itself holds, once for each of its rated messages."""
    monkeypatch.setattr("feedback.ingest.known_by.KnownDigests.add", pytest.fail)
    write("scores.jsonl", score(1, "a"))
    write("traces.jsonl", trace("a"))
    assert prompts(read()) == {"s1": "question a"}


def test_a_map_may_name_its_other_file_and_an_option_wins_over_it(in_folder: Path) -> None:
    (in_folder / "maps").mkdir()
    write("maps/near.jsonl", trace("a", "near"))
    write("far.jsonl", trace("a", "far"))
    write("scores.jsonl", score(1, "a"))
    Path("map.toml").rename("maps/map.toml")
    Path("maps/map.toml").write_text(MAP.replace("[fields]", 'file = "near.jsonl"\n[fields]'), "utf-8")
    for join, expected in ((None, "question near"), ("far.jsonl", "question far")):
        source = SourceConfig(path="scores.jsonl", format="mapped", map="maps/map.toml", join=join)
        assert prompts(ingest([source], Path(f"out-{expected[-4:].strip()}"))) == {"s1": expected}


def test_the_joined_file_of_a_folder_is_not_read_as_feedback() -> None:
    Path("export").mkdir()
    write("export/scores.jsonl", score(1, "a"))
    write("export/traces.jsonl", trace("a"))
    result = read("export", "export/traces.jsonl")
    assert (result.report.rows_in, prompts(result)) == (1, {"s1": "question a"})


def test_without_the_other_file_the_first_records_say_so() -> None:
    write("scores.jsonl", *(score(number, "a") for number in range(30)))
    with pytest.raises(FormatMismatchError) as caught:
        read(join=None)
    message = str(caught.value)
    assert "scores.jsonl line 1: the records of the format 'mapped' need traces, which lie in another file" in message
    assert "expected traces with the id of 'trace.ref' at 'id'. Name that file with --join FILE" in message


def test_files_that_do_not_belong_together_are_refused() -> None:
    write("scores.jsonl", score(1, "a"), score(2, "b"))
    write("traces.jsonl", trace("trace-a"))
    with pytest.raises(InputError) as caught:
        read()
    assert str(caught.value) == (
        "traces.jsonl: none of 2 records found its traces in the other file: got 'a'; expected an id of 'trace.ref' to "
        "be at 'id', where the first is 'trace-a'. Name the file that belongs to this one with --join FILE."
    )
    write("traces.jsonl", {"name": "x"})
    with pytest.raises(InputError, match="no record of the other file has an id"):
        read()
    assert not Path("out").exists()


def test_a_join_out_of_place_is_an_error() -> None:
    write("scores.jsonl", score(1, "a"))
    with pytest.raises(ConfigError, match="the format 'thumbs' joins no other file: got 'x'"):
        ingest([SourceConfig(path="scores.jsonl", format="thumbs", join="x")], Path("out"))
    with pytest.raises(InputNotFoundError, match="no such file"):
        read(join="none.jsonl")
    with pytest.raises(UsageError, match="looks up records in a file, which standard input is not"):
        read(join="-")


def _messages(record: dict[str, Any]) -> Iterator[EventDraft]:
    if "conversation" not in record:
        raise RecordRejectedError(RejectReason.MISSING_FIELD, "no conversation")
    texts = [one["text"] for one in record["conversation"]]
    yield EventDraft(
        prompt=[user(" ".join(texts))], completion=[bot(record["text"])], signal="thumb", raw_value=1, label=True
    )


@pytest.fixture
def chat(monkeypatch: pytest.MonkeyPatch) -> Format:
    """A format whose records are messages, each joined with all of its conversation."""
    join = Join(what="messages", key="chat", other="chat", into="conversation", is_many=True, is_itself=True)
    made = replace(FORMATS["thumbs"], name="chat", parse=_messages, join=join, plain=(), keys=None)
    monkeypatch.setattr("feedback.formats.FORMATS", {**FORMATS, "chat": made})
    return made


def test_a_file_joins_itself_in_the_order_of_the_file_also_in_parts(chat: Format) -> None:
    write("1.jsonl", {"chat": 1, "text": "a"}, {"chat": 2, "text": "b"}, {"chat": 1, "text": "c"})
    write("2.jsonl", {"chat": 1, "text": "d"})
    for paths in (["?.jsonl"], ["1.jsonl", "2.jsonl"]):
        result = ingest([SourceConfig(path=path, format="chat") for path in paths], Path(f"out-{len(paths)}"))
        rows = [row for path in result.events for row in read_rows(path).to_dicts()]
        found = {row["completion"][0]["content"]: row["prompt"][0]["content"] for row in rows}
        assert found == {"a": "a c d", "b": "b", "c": "a c d", "d": "a c d"}
        assert {file.format for file in result.source_files} == {"chat"}
    with pytest.raises(UsageError, match="standard input"):
        ingest([SourceConfig(path="-", format="chat")], Path("out"))


def test_too_many_partners_are_refused(chat: Format, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("feedback.ingest.partners._MOST_PARTNERS", 2)
    write("1.jsonl", *({"chat": 1, "text": str(number)} for number in range(3)), {"chat": 2, "text": "b"})
    result = ingest([SourceConfig(path="1.jsonl", format="chat")], Path("out"), max_rejected_share=1)
    assert result.rejected == {RejectReason.TOO_LARGE: 3}


def test_a_table_is_the_same_bytes_when_it_is_made_again(in_folder: Path) -> None:
    write("t.jsonl", *(trace(number) for number in range(500)))
    paths = [in_folder / "1.joined", in_folder / "2.joined"]
    for path in paths:
        made = make_join_table(JoinTask((Path("t.jsonl"),), "mapped", "id", path))
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert (made.records, made.with_id, made.example) == (500, 500, "0")
    partners = Partners(Join(what="traces", key="ref", other="id", into="j"), paths[0])
    record = {"ref": 3}
    found = partners.place(record)
    partners.close()
    assert (record, [json.loads(bytes(text)) for text in found]) == ({"ref": 3, "j": trace(3)}, [trace(3)])


@pytest.mark.parametrize("command", ["audit", "convert", "curate", "rebalance"])
def test_every_command_takes_the_other_file(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    write("scores.jsonl", *(score(number, number, number % 2) for number in range(60)))
    write("traces.jsonl", *(trace(number) for number in range(60)))
    options = {
        "audit": ["--json"],
        "convert": ["--to", "trl", "-o", "out.jsonl", "--json"],
        "curate": ["-o", "out", "--json"],
        "rebalance": ["-o", "out", "--json"],
    }[command]
    common = ["scores.jsonl", "--from", "mapped", "--map", "map.toml", "--join", "traces.jsonl"]
    assert run([command, *common, *options]) in (0, 3)
    assert "traces.jsonl" in capsys.readouterr().out


def test_a_config_names_the_other_file_relative_to_itself(in_folder: Path) -> None:
    (in_folder / "conf").mkdir()
    write("conf/scores.jsonl", *(score(number, number, number % 2) for number in range(60)))
    write("conf/traces.jsonl", *(trace(number) for number in range(60)))
    Path("map.toml").rename("conf/map.toml")
    Path("conf/c.toml").write_text(
        '[[sources]]\npath = "scores.jsonl"\nformat = "mapped"\nmap = "map.toml"\njoin = "traces.jsonl"\n', "utf-8"
    )
    assert run(["curate", "conf/c.toml", "-o", "out"]) == 0


@pytest.mark.parametrize("suffix", ["jsonl", "json"])
def test_blocks_are_cut_by_what_their_records_find(suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Short scores of long traces: no block holds more than a few texts, and lines keep their numbers."""
    monkeypatch.setattr("feedback.ingest.block_sizes.BLOCK_BYTES", 10_000)
    monkeypatch.setattr("feedback.ingest.block_sizes._LEAST_RECORDS", 3)
    rows = [score(number, number) for number in range(20)]
    Path(f"scores.{suffix}").write_text("\n".join(map(json.dumps, rows)) if suffix == "jsonl" else json.dumps(rows))
    write("traces.jsonl", *({**trace(number), "more": "x" * 2_000} for number in range(19)))
    result = read(f"scores.{suffix}")
    # Four lines would fit, so there are parts of three: eight, of which the last one is empty here.
    assert len(result.events) == 7
    assert list(prompts(result)) == [f"s{number}" for number in range(19)]
    assert pl.read_parquet(result.quarantine[0])["line"].to_list() == [20]


def test_a_record_is_quarantined_as_it_came() -> None:
    write("traces.jsonl", trace("a"))
    write("scores.jsonl", score(1, "a"), score(2, "a", 7))
    result = read()
    assert json.loads(pl.read_parquet(result.quarantine[0])["raw"][0]) == score(2, "a", 7)
    assert result.rejected == {RejectReason.UNKNOWN_LABEL: 1}


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="the extra `ray` is not installed")
def test_ray_joins_as_this_machine_does() -> None:
    write("scores.jsonl", *(score(number, number % 90, int(number % 3 > 0)) for number in range(300)))
    write("traces.jsonl", *(trace(number) for number in range(80)))
    overrides = ["rebalance.mode=off"]
    config = default_config(["scores.jsonl"], "mapped", map="map.toml", join="traces.jsonl", overrides=overrides)
    local = curate(config, Path("local"))
    # Elsewhere, since Ray keeps the settings of the first cluster that a process joined.
    program = (
        "from pathlib import Path\n"
        "from feedback.engine.ray import RayEngine\n"
        "from feedback.pipeline import curate, default_config\n"
        f"named = {{'map': 'map.toml', 'join': 'traces.jsonl', 'overrides': {overrides}}}\n"
        "config = default_config(['scores.jsonl'], 'mapped', **named)\n"
        "curate(config, Path('ray'), engine=RayEngine(workers=2))\n"
    )
    env = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    env["PYTHONPATH"] = str(Path(__file__).parents[2])
    done = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert Manifest.read(Path("ray")) == local.manifest
    assert local.manifest.stages[0].dropped == {"quarantined": 30}
