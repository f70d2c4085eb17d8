"""Raw files become tables, every record is accounted for, and no raw user id gets through."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from feedback.config import SourceConfig
from feedback.engine import read_rows
from feedback.formats import FORMATS
from feedback.ingest import IngestResult, ingest
from feedback.ingest.rater_key import ENVIRONMENT_VARIABLE
from feedback.records.sources import read_blocks
from schemas.errors import (
    ConfigError,
    FormatMismatchError,
    InputNotFoundError,
    OutputExistsError,
    TooManyRejectedError,
    UnknownChoiceError,
)
from schemas.events import FEEDBACK_EVENT
from schemas.manifest import file_sha256
from schemas.pairs import PREFERENCE_PAIR
from schemas.quarantine import QUARANTINE
from schemas.reasons import RejectReason
from schemas.report import LabelCounts, StageReport

pytestmark = pytest.mark.usefixtures("rater_key")

SHARED = Path(__file__).parents[2].parent / "shared" / "data"
GOOD = {"prompt": "q", "completion": "a", "label": "up"}


def lines(*records: object) -> bytes:
    return b"".join((one if isinstance(one, bytes) else json.dumps(one).encode()) + b"\n" for one in records)


def run(
    folder: Path, data: bytes, source_format: str = "thumbs", *, name: str = "in.jsonl", share: float = 1.0
) -> IngestResult:
    (folder / name).write_bytes(data)
    out = folder / f"out-{len(list(folder.iterdir()))}"
    return ingest([SourceConfig(path=str(folder / name), format=source_format)], out, max_rejected_share=share)


def frame(paths: tuple[Path, ...]) -> pl.DataFrame:
    return pl.concat([read_rows(path) for path in paths])


def thumb(**changes: Any) -> dict[str, Any]:
    return {**GOOD, **changes}


PAIR = {"prompt": "q", "chosen": "a", "rejected": "b"}
WEBUI = {
    "data": {"rating": 1},
    "meta": {"message_id": "x"},
    "snapshot": {"chat": {"chat": {"history": {"messages": {}}}}},
}
TREE = {"message_tree_id": "t", "prompt": {"message_id": "t", "role": "prompter", "text": "q"}}

REJECTIONS = {
    RejectReason.INVALID_JSON: ("thumbs", b"{'prompt': 1}"),
    RejectReason.INVALID_UTF8: ("thumbs", b'{"prompt": "\xff"}'),
    RejectReason.NOT_AN_OBJECT: ("thumbs", b"[1]"),
    RejectReason.DUPLICATE_KEY: ("thumbs", b'{"label": "up", "label": "down"}'),
    RejectReason.NON_FINITE_NUMBER: ("thumbs", b'{"strength": 1e999}'),
    RejectReason.LONE_SURROGATE: ("thumbs", b'{"prompt": "\\ud800"}'),
    RejectReason.TOO_DEEP: ("thumbs", b"[" * 100_000),
    RejectReason.TOO_LARGE: ("thumbs", lines(thumb(prompt="x" * 300_000)).strip()),
    RejectReason.TRUNCATED: ("thumbs", b'{"prompt": "q", "comple'),
    RejectReason.MISSING_FIELD: ("thumbs", {"prompt": "q", "label": "up"}),
    RejectReason.WRONG_TYPE: ("thumbs", thumb(prompt=3)),
    RejectReason.UNKNOWN_LABEL: ("thumbs", thumb(label=1)),
    RejectReason.BAD_TIME: ("thumbs", thumb(time=1767606699000)),
    RejectReason.BROKEN_THREAD: ("open_webui", WEBUI),
    RejectReason.PROMPTS_DIFFER: ("trl", {**PAIR, "chosen": [{"role": "user", "content": "r"}]}),
    RejectReason.IDENTICAL_RESPONSES: ("trl", {**PAIR, "chosen": "b "}),
    RejectReason.EMPTY_PROMPT: ("thumbs", thumb(prompt=" \n")),
    RejectReason.EMPTY_COMPLETION: ("thumbs", thumb(completion=[])),
    RejectReason.BAD_ROLES: ("thumbs", thumb(prompt=[{"role": "assistant", "content": "q"}])),
    RejectReason.NO_JUDGEMENT: ("oasst_tree", TREE),
    RejectReason.RULE_VIOLATION: ("trl", {**PAIR, "margin": -1}),
}


@pytest.mark.parametrize("reason", list(RejectReason), ids=str)
def test_every_reason_for_rejection_is_given_and_kept_with_its_place(
    tmp_path: Path, reason: RejectReason, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One bad record beside two good ones: it alone is in quarantine, with file, line, reason and bytes."""
    monkeypatch.setattr("feedback.ingest.source_blocks.read_blocks", partial(read_blocks, max_record_bytes=200_000))
    format_name, record = REJECTIONS[reason]
    raw = record if isinstance(record, bytes) else json.dumps(record).encode()
    good = {"thumbs": GOOD, "trl": PAIR}.get(format_name)
    before = lines(*[good] * 2) if good else b""
    result = run(tmp_path, before + raw + (b"" if reason == RejectReason.TRUNCATED else b"\n"), format_name)
    assert result.rejected == {reason.value: 1}
    table = pq.read_table(result.quarantine[0])
    assert table.schema.equals(QUARANTINE)
    (row,) = table.to_pylist()
    assert (row["file"], row["line"], row["reason"]) == ("in.jsonl", 3 if good else 1, reason.value)
    assert row["raw"] == raw[:200_000][: 65536 if reason == RejectReason.TOO_LARGE else None]
    assert row["detail"]
    assert result.report.rows_in == (3 if good else 1) == result.report.rows_kept + 1


def test_events_are_rows_of_their_schema(tmp_path: Path) -> None:
    record = thumb(id="1", user="u1", time="2026-01-05T09:51:39Z", updated="2026-01-06", model="m", reasons=["r"])
    result = run(tmp_path, lines(record))
    table = pa.ipc.open_file(result.events[0]).read_all()
    assert table.schema.equals(FEEDBACK_EVENT)
    (row,) = table.to_pylist()
    assert row["prompt"] == [{"role": "user", "content": "q"}]
    assert row["event_ts"] == datetime(2026, 1, 5, 9, 51, 39, tzinfo=UTC)
    assert (row["ts_quality"], row["source"], row["source_record_id"], row["raw_value"]) == (
        "naive",
        "thumbs",
        "1",
        '"up"',
    )
    assert result.report.labels_kept == LabelCounts(1, 0, 0)
    assert StageReport.from_json(result.report.to_json()) == result.report


def test_pairs_are_rows_of_their_schema(tmp_path: Path) -> None:
    result = run(tmp_path, lines(PAIR), "trl")
    table = pa.ipc.open_file(result.pairs[0]).read_all()
    assert table.schema.equals(PREFERENCE_PAIR)
    (row,) = table.to_pylist()
    assert (row["outcome"], row["group_id"]) == ("a", row["prompt_hash"])
    assert result.events == ()
    assert result.quarantine == ()
    assert result.report.labels_kept == LabelCounts(0, 0, 1)


def test_raw_user_ids_and_contacts_are_in_no_column_and_no_report(tmp_path: Path) -> None:
    canary = {"user": "canary-user", "email": "canary-mail@example.com", "ip": "10.9.8.7"}
    result = run(tmp_path, lines(thumb(**canary), thumb(**canary, prompt="r")))
    written = b"".join(path.read_bytes() for path in result.folder.rglob("*") if path.is_file())
    table = frame(result.events)
    assert "canary" not in str(table.to_dicts())
    assert b"canary" not in written
    assert b"10.9.8.7" not in written
    assert table["rater_key"].n_unique() == 1
    assert table["rater_key"].str.len_chars().to_list() == [32, 32]
    assert result.report.notes == ("Source 'thumbs' has fields that its format does not read: email, ip.",)


def test_an_id_follows_from_source_record_id_and_bytes(tmp_path: Path) -> None:
    first = frame(run(tmp_path, lines(thumb(id="1"), thumb(id="1"), thumb(id="2"), thumb())).events)
    again = frame(run(tmp_path, lines(thumb(), thumb(id="2"), thumb(id="1")), name="other.jsonl").events)
    assert first["event_id"].n_unique() == 3
    assert set(first["event_id"]) == set(again["event_id"])
    named = SourceConfig(path=str(tmp_path / "in.jsonl"), format="thumbs", name="elsewhere")
    assert set(frame(ingest([named], tmp_path / "named").events)["event_id"]).isdisjoint(first["event_id"])


def test_several_drafts_of_a_record_have_their_own_ids_and_share_its_fate(tmp_path: Path) -> None:
    def item(content: str) -> dict[str, Any]:
        texts = {"q": "q", "a": "one", "b": "two", "c": content}
        messages = {
            name: {
                "parentId": None if name == "q" else "q",
                "role": "user" if name == "q" else "assistant",
                "model": name,
            }
            | {"content": text}
            for name, text in texts.items()
        }
        return {
            "id": "f",
            "data": {"rating": 1, "model_id": "a", "sibling_model_ids": ["b", "c"]},
            "meta": {"message_id": "a", "arena": True},
            "snapshot": {"chat": {"chat": {"history": {"messages": messages}}}},
        }

    result = run(tmp_path, json.dumps([item("three"), item("one")]).encode(), "open_webui", name="in.json")
    table = frame(result.pairs)
    assert table["source_record_id"].to_list() == ["f", "f#1"]
    assert table["pair_id"].n_unique() == 2
    assert result.rejected == {RejectReason.IDENTICAL_RESPONSES: 1}
    report = result.report
    assert (report.rows_in, report.rows_created, report.rows_kept, dict(report.dropped)) == (
        2,
        1,
        2,
        {"quarantined": 1},
    )


def test_the_digest_does_not_follow_order_names_or_keys_but_labels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = [thumb(prompt=f"q{n}", user="u", label="up" if n % 3 else "down") for n in range(9)]
    first = run(tmp_path, lines(*records)).report.digest_out
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, "another key that is for tests only")
    assert run(tmp_path, lines(*records[::-1]), name="renamed.jsonl").report.digest_out == first
    for name, half in (("z.jsonl", records[:4]), ("y.jsonl", records[4:])):
        (tmp_path / name).write_bytes(lines(*half))
    sources = [SourceConfig(path=str(tmp_path / name), format="thumbs") for name in ("z.jsonl", "y.jsonl")]
    assert ingest(sources, tmp_path / "split").report.digest_out == first
    assert run(tmp_path, lines(*records[1:])).report.digest_out != first


def test_another_map_gives_another_digest(tmp_path: Path) -> None:
    digests = []
    for number, label in enumerate(("up", "down")):
        (tmp_path / "m.toml").write_text(
            f'[fields]\nprompt = "prompt"\ncompletion = "completion"\nlabel = "label"\n[labels]\nup = "{label}"'
        )
        (tmp_path / "in.jsonl").write_bytes(lines(GOOD))
        source = SourceConfig(path=str(tmp_path / "in.jsonl"), format="mapped", map=str(tmp_path / "m.toml"))
        digests.append(ingest([source], tmp_path / f"out{number}").report.digest_out)
    assert digests[0] != digests[1]


def test_too_many_rejected_records_leave_nothing_behind(tmp_path: Path) -> None:
    data = lines(GOOD, GOOD, GOOD, thumb(label=1))
    assert run(tmp_path, data, share=0.25).report.rows_kept == 3
    before = sorted(tmp_path.iterdir())
    with pytest.raises(TooManyRejectedError) as caught:
        ingest([SourceConfig(path=str(tmp_path / "in.jsonl"), format="thumbs")], tmp_path / "out")
    assert str(caught.value).startswith("1 of 4 records (25%) were rejected: unknown_label 1; expected at most 20%.")
    assert "in.jsonl line 4: unknown_label, field 'label' is 1" in str(caught.value)
    assert sorted(tmp_path.iterdir()) == before


def test_an_interrupted_run_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("feedback.ingest.stage.ingest_block", stop)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, lines(GOOD))
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]


def test_a_file_in_another_format_is_named_with_what_fits(tmp_path: Path) -> None:
    secret = {"prompt": "my secret", "chosen": "a", "rejected": "b"}
    with pytest.raises(FormatMismatchError) as caught:
        run(tmp_path, lines(*[secret] * 30))
    message = str(caught.value)
    assert "in.jsonl line 1: the file is not in the format 'thumbs' (field 'completion' is absent or null)" in message
    assert "got {'prompt': 'text of 9 characters', 'chosen': 'a', 'rejected': 'b'}" in message
    assert "expected prompt, completion, label; optional id" in message
    assert message.endswith("It looks like the format trl or axolotl.")
    assert "secret" not in message
    with pytest.raises(FormatMismatchError, match="No other known format fits; `thumbline formats --sniff FILE"):
        run(tmp_path, lines({"question": "q", "answers": [1]}), "hh_rlhf")


def test_the_format_is_only_in_doubt_where_no_record_speaks_for_it(tmp_path: Path) -> None:
    bad = {"prompt": "q"}
    assert run(tmp_path, lines(*[bad] * 5, GOOD)).rejected == {"missing_field": 5}
    with pytest.raises(FormatMismatchError):
        run(tmp_path, lines(*[bad] * 20, GOOD))
    with pytest.raises(FormatMismatchError):
        run(tmp_path, lines(bad))
    for name, record in (("1.jsonl", bad), ("2.jsonl", GOOD)):
        (tmp_path / "many" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "many" / name).write_bytes(lines(record))
    source = SourceConfig(path=str(tmp_path / "many"), format="thumbs")
    assert ingest([source], tmp_path / "many-out", max_rejected_share=1).rejected == {"missing_field": 1}


def test_unknown_formats_and_maps_out_of_place_are_errors(tmp_path: Path) -> None:
    with pytest.raises(
        UnknownChoiceError, match=f"unknown format: got 'thumb'; expected one of {sorted(FORMATS)[0]}, "
    ):
        run(tmp_path, b"", "thumb")
    with pytest.raises(ConfigError, match=r"the format 'mapped' needs a map\. Name the TOML file"):
        run(tmp_path, b"", "mapped")
    source = SourceConfig(path=str(tmp_path / "in.jsonl"), format="trl", map="m.toml")
    with pytest.raises(ConfigError, match=r"the format 'trl' takes no map: got 'm.toml'"):
        ingest([source], tmp_path / "out")
    with pytest.raises(InputNotFoundError, match="no such file or folder"):
        ingest([SourceConfig(path=str(tmp_path / "none"), format="trl")], tmp_path / "out")


def test_a_folder_with_files_in_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_bytes(lines(GOOD))
    with pytest.raises(OutputExistsError, match="the folder for ingested tables is not empty"):
        ingest([SourceConfig(path=str(tmp_path / "in.jsonl"), format="thumbs")], tmp_path)
    (tmp_path / "empty").mkdir()
    assert ingest([SourceConfig(path=str(tmp_path / "in.jsonl"), format="thumbs")], tmp_path / "empty").events


def test_files_of_a_folder_that_are_not_read_are_named(tmp_path: Path) -> None:
    """A rotated log has another name; what is hidden, and the map, are no records. A glob takes what it names."""
    folder = tmp_path / "logs"
    folder.mkdir()
    for number, name in enumerate(("votes.jsonl", "votes.jsonl.1", "votes.jsonl-20260301", ".cache")):
        (folder / name).write_bytes(lines({**GOOD, "id": str(number)}))
    (folder / "map.toml").write_text(
        '[fields]\nprompt = "prompt"\ncompletion = "completion"\nlabel = "label"\n[labels]\nup = "up"\n'
    )
    source = SourceConfig(path=str(folder), format="mapped", map=str(folder / "map.toml"))
    read = ingest([source], tmp_path / "folder")
    assert read.report.rows_in == 1
    (note,) = read.report.notes
    assert "Not read of the folder 'logs': votes.jsonl-20260301, votes.jsonl.1. Of a folder, names that end" in note
    every = ingest([SourceConfig(path=f"{folder}/votes.jsonl*", format="thumbs")], tmp_path / "glob")
    assert (every.report.rows_in, every.report.notes) == (3, ())


def test_an_empty_file_gives_an_empty_table_and_says_so(tmp_path: Path) -> None:
    result = run(tmp_path, b"")
    assert (result.report.rows_in, result.events, result.pairs) == (0, (), ())
    assert result.report.notes == ("No record was read: the files are empty.",)


def test_source_files_are_named_and_hashed_and_progress_follows_their_bytes(tmp_path: Path) -> None:
    from contextlib import contextmanager

    seen: list[int] = []

    @contextmanager
    def progress(description: str, total: int | None = None) -> Any:
        assert (description, total) == ("ingest", path.stat().st_size)
        yield seen.append

    path = tmp_path / "in.jsonl.gz"
    path.write_bytes(gzip.compress(lines(GOOD, thumb(prompt="r"))))
    result = ingest([SourceConfig(path=str(path), format="thumbs")], tmp_path / "out", progress=progress)
    (file,) = result.source_files
    assert (file.name, file.format, file.records) == ("in.jsonl.gz", "thumbs", 2)
    assert (file.sha256, file.bytes, sum(seen)) == (file_sha256(path), path.stat().st_size, path.stat().st_size)


field = st.one_of(st.none(), st.booleans(), st.integers(-3, 3), st.text(max_size=3), st.just([]))
record = st.one_of(
    st.just(GOOD),
    st.fixed_dictionaries({key: st.just(value) for key, value in GOOD.items()}, optional={"time": field, "id": field}),
    st.dictionaries(st.sampled_from([*GOOD, "user"]), field),
    st.binary(max_size=12).map(lambda data: data.replace(b"\n", b"").replace(b"\r", b"") or b"x"),
)


@given(st.lists(record, max_size=12))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_record_is_accepted_or_quarantined(
    tmp_path_factory: pytest.TempPathFactory, records: list[object]
) -> None:
    data = lines(GOOD, *records)
    result = run(tmp_path_factory.mktemp("law"), data)
    read = sum(1 for line in data.split(b"\n") if line.strip(b" \t\r"))
    assert result.report.rows_in == read
    assert result.report.rows_kept + sum(result.rejected.values()) == read
    if result.quarantine:
        table = frame(result.quarantine)
        assert Counter(table["reason"]) == result.rejected
        split = data.split(b"\n")
        for row in table.iter_rows(named=True):
            line = split[row["line"] - 1].rstrip(b"\r")
            assert row["raw"] == line or b'"user"' in line


@pytest.mark.skipif(not SHARED.exists(), reason="the shared data is not here")
def test_of_hh_rlhf_exactly_the_nine_known_records_are_quarantined(tmp_path: Path) -> None:
    result = ingest([SourceConfig(path=str(SHARED / "hh_rlhf"), format="hh_rlhf")], tmp_path / "out")
    assert (result.report.rows_in, result.report.rows_kept) == (2312, 2303)
    assert result.rejected == {"empty_completion": 4, "prompts_differ": 5}
    for row in frame(result.quarantine).iter_rows(named=True):
        raw = json.loads(row["raw"])
        ends = [raw[side].rpartition("\n\nAssistant:") for side in ("chosen", "rejected")]
        assert (ends[0][0] != ends[1][0]) == (row["reason"] == "prompts_differ")
        assert any(not end[2].strip() for end in ends) == (row["reason"] == "empty_completion")


@pytest.mark.skipif(not SHARED.exists(), reason="the shared data is not here")
@pytest.mark.parametrize(
    ("folder", "source_format", "rows", "labels"),
    [
        ("llamafactory_kto", "llamafactory", 300, LabelCounts(150, 150, 0)),
        ("openai_dpo", "openai", 284, LabelCounts(0, 0, 284)),
    ],
)
def test_other_real_files_are_taken_whole(
    tmp_path: Path, folder: str, source_format: str, rows: int, labels: LabelCounts
) -> None:
    report = ingest([SourceConfig(path=str(SHARED / folder), format=source_format)], tmp_path / "out").report
    assert (report.rows_in, report.rows_kept, report.labels_kept) == (rows, rows, labels)
