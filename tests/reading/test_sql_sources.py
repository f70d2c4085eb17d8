"""Rows of queries as records: of SQLite, DuckDB and a PostgreSQL server that is really started."""

from __future__ import annotations

import json
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cli.main import run
from feedback.config import CurateConfig, SourceConfig
from feedback.ingest import ingest
from feedback.records.database_url import parse_database_url
from feedback.records.places import input_name, place_name, place_size, place_state, relative_input
from feedback.records.queries import RowTally
from feedback.records.raw_record import RawRecord
from feedback.records.sources import find_files, new_tally, read_records, tally_of
from feedback.run_config import load_curate_config, plan_key, resolved_config
from schemas.errors import InputError, InputNotFoundError, MissingExtraError, UsageError
from schemas.manifest import Manifest
from schemas.reasons import RejectReason
from tests.servers import postgresql_server

VOTES = "CREATE TABLE votes (id INTEGER, prompt TEXT, completion TEXT, label TEXT, time TEXT, user TEXT)"
SELECT = "SELECT * FROM votes"


def read(url: str, sql: str, **options: int) -> list[RawRecord]:
    (place,) = find_files([url], sql=sql)
    return list(read_records(place, **options))


def values(url: str, sql: str) -> list[object]:
    return [record.value for record in read(url, sql)]


def reasons(records: list[RawRecord]) -> list[str | None]:
    return [record.reject and record.reject[0] for record in records]


def sqlite_votes(folder: Path, count: int = 40) -> str:
    """The URL of a database in which every third vote is down and the last one is none."""
    path = folder / "votes.db"
    with sqlite3.connect(path) as connection:
        connection.execute(VOTES)
        rows = [
            (n, f"question {n} of many", f"answer {n} in words", "up" if n % 3 else "down", None, f"u{n}")
            for n in range(count)
        ]
        connection.executemany("INSERT INTO votes VALUES (?, ?, ?, ?, ?, ?)", rows)
    connection.close()
    return f"sqlite:///{path}"


def test_an_sqlite_value_is_what_it_is_whatever_its_column_held_before(tmp_path: Path) -> None:
    """Two thousand rows without a comment do not make the column one of numbers."""
    path = tmp_path / "a.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE t (n INTEGER, comment)")
        connection.executemany("INSERT INTO t VALUES (?, ?)", [(n, None) for n in range(2000)])
        connection.executemany("INSERT INTO t VALUES (?, ?)", [(2000, "good é"), (2001, 1.5), (2002, 7)])
    connection.close()
    records = read(f"sqlite:///{path}", "SELECT * FROM t ORDER BY n;")
    assert [(record.value or {})["comment"] for record in records[-4:]] == [None, "good é", 1.5, 7]
    assert (records[2000].file, records[2000].line) == ("sqlite:a.db", 2001)
    assert json.loads(records[2000].raw) == {"n": 2000, "comment": "good é"}


def test_rows_that_json_cannot_hold_are_rejected_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    sqlite3.connect(path).close()
    sql = "VALUES (1, 'a'), (2, x'00ff'), (3, CAST(x'ff' AS TEXT)), (4, 9e999), (5, 'e')"
    records = read(f"sqlite:///{path}", sql)
    assert reasons(records) == [
        None,
        RejectReason.WRONG_TYPE,
        RejectReason.INVALID_UTF8,
        RejectReason.NON_FINITE_NUMBER,
        None,
    ]
    assert records[1].reject is not None
    assert records[1].reject[1] == (
        "the column 'column2' holds bytes, which JSON cannot hold; leave it out or CAST it AS TEXT"
    )
    large = read(f"sqlite:///{path}", "VALUES ('a'), (printf('%.500c', 'x')), ('b')", max_record_bytes=200)
    assert reasons(large) == [None, RejectReason.TOO_LARGE, None]


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("SELECT 1 AS a, 2 AS a", r"columns have the same name: got \['a'\]. Give each its own with AS"),
        ("SELECT * FROM none", r"the query failed \(no such table: none\). Try it in the shell sqlite3"),
        ("DELETE FROM votes", r"the query failed \(attempt to write a readonly database\)"),
        ("PRAGMA user_version = 3; SELECT 1", r"the query failed \(You can only execute one statement at a time"),
        ("BEGIN", "the statement gives no rows; expected a SELECT"),
        ("  ; ", "the query is empty. Say with --sql what to read"),
    ],
)
def test_what_is_no_query_of_the_database_is_refused_and_changes_nothing(
    tmp_path: Path, sql: str, message: str
) -> None:
    url = sqlite_votes(tmp_path)
    before = (tmp_path / "votes.db").read_bytes()
    with pytest.raises((InputError, UsageError), match=f"sqlite:votes.db: {message}"):
        read(url, sql)
    assert (tmp_path / "votes.db").read_bytes() == before


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.db").write_bytes(b"prompt,label\n" * 100)
    with pytest.raises(InputError, match="file is not a database"):
        read(f"sqlite:///{tmp_path}/a.db", "SELECT 1")
    with pytest.raises(InputNotFoundError, match=r"none.db: no such database file"):
        find_files([f"sqlite:///{tmp_path}/none.db"], sql="SELECT 1")


def test_a_query_needs_a_database_and_a_database_a_query(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"sqlite:a.db: a database is named and no query. Say what to read of it, for"):
        find_files(["sqlite:///a.db"])
    with pytest.raises(UsageError, match=r"a.csv: there is a query, and the input is no database; expected a URL that"):
        find_files(["a.csv"], sql="SELECT 1")
    with pytest.raises(UsageError, match=r"sqlite://a.db: the URL names no file; expected sqlite:///PATH, with three"):
        find_files(["sqlite://a.db"], sql="SELECT 1")


def test_the_digest_of_a_query_is_of_its_rows_in_any_order(tmp_path: Path) -> None:
    url = sqlite_votes(tmp_path)
    tallies = []
    for sql in (SELECT, f"{SELECT} ORDER BY id DESC", f"{SELECT} WHERE id > 0"):
        (place,) = find_files([url], sql=sql)
        tally = new_tally(place)
        records = list(read_records(place, tally=tally))
        assert isinstance(tally, RowTally)
        assert tally.bytes == sum(len(record.raw) for record in records)
        assert tally_of(place).sha256 == tally.sha256
        tallies.append(tally.sha256)
    assert tallies[0] == tallies[1] != tallies[2]
    assert len(tallies[0]) == 64


def test_what_is_known_of_a_query_before_it_is_asked(tmp_path: Path) -> None:
    (place,) = find_files([sqlite_votes(tmp_path)], sql=SELECT)
    assert (place_name(place), place_size(place)) == ("sqlite:votes.db", None)
    before = place_state(place)
    (tmp_path / "votes.db-wal").write_bytes(b"x")
    assert before is not None
    assert place_state(place) != before
    (server,) = find_files(["postgres://ann:pw@host:5432/chat%20logs?sslmode=require"], sql=SELECT)
    assert (place_name(server), place_state(server)) == ("postgresql:chat logs", None)
    assert "pw" not in repr(server)


@pytest.mark.parametrize("password", ["a@b", "a/b", "a#b", "a?b", "a:b"])
def test_a_password_that_breaks_the_url_is_not_shown_in_pieces(password: str) -> None:
    with pytest.raises(UsageError, match="holds signs that have a meaning in URLs; expected them percent-enc") as info:
        parse_database_url(f"postgresql://ann:{password}@host/db")
    assert password not in str(info.value)
    assert parse_database_url("postgresql://ann:a%40b@host/db").name == "postgresql:db"


def test_inputs_are_named_without_folder_and_password_and_found_beside_their_config(tmp_path: Path) -> None:
    assert input_name("postgresql://ann:pw@host") == "postgresql:default"
    assert input_name("duckdb:////data/v.duckdb") == "duckdb:v.duckdb"
    assert relative_input("sqlite:///v.db", Path("/c")) == "sqlite:////c/v.db"
    assert relative_input("sqlite:////d/v.db", Path("/c")) == "sqlite:////d/v.db"
    assert relative_input("duckdb:///:memory:", Path("/c")) == "duckdb:///:memory:"
    for text in ("postgresql://h/v", "s3://b/k", "hf://datasets/o/n", "-"):
        assert relative_input(text, Path("/c")) == text
    assert relative_input("v.csv", Path("/c")) == "/c/v.csv"


def test_a_config_file_may_hold_a_query(tmp_path: Path) -> None:
    sqlite_votes(tmp_path)
    (tmp_path / "c.toml").write_text(
        f'[[sources]]\npath = "sqlite:///votes.db"\nformat = "thumbs"\nsql = "{SELECT}"\n', "utf-8"
    )
    config = load_curate_config(tmp_path / "c.toml")
    assert config.sources[0].path == f"sqlite:///{tmp_path}/votes.db"
    described = resolved_config(config)["sources"][0]
    assert (described["path"], described["sql"]) == ("sqlite:votes.db", SELECT)
    key = plan_key(config)
    assert plan_key(config) == key
    server = CurateConfig(sources=(SourceConfig(path="postgresql://h/v", format="thumbs", sql=SELECT),))
    assert plan_key(server) != plan_key(server), "what a server holds is not known before it is asked"


def test_rows_that_break_the_format_go_to_quarantine_and_all_are_counted(tmp_path: Path) -> None:
    url = sqlite_votes(tmp_path)
    sql = f"{SELECT} UNION ALL VALUES (99, 'q', 'a', 'maybe', NULL, NULL), (100, 'q', x'00', 'up', NULL, NULL)"
    result = ingest([SourceConfig(path=url, format="thumbs", sql=sql)], tmp_path / "out")
    assert result.rejected == {"unknown_label": 1, "wrong_type": 1}
    assert (result.report.rows_in, result.report.rows_kept) == (42, 40)
    quarantine = pa.concat_tables([pq.read_table(path) for path in result.quarantine]).to_pylist()
    assert sorted((row["file"], row["line"]) for row in quarantine) == [
        ("sqlite:votes.db", 41),
        ("sqlite:votes.db", 42),
    ]
    (source,) = result.source_files
    assert (source.name, source.records, len(source.sha256)) == ("sqlite:votes.db", 42, 64)


def test_the_commands_read_a_query_and_the_manifest_tells_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = sqlite_votes(tmp_path)
    common = [url, "--sql", SELECT, "--from", "thumbs"]
    out = tmp_path / "dataset"
    assert run(["curate", *common, "-o", str(out)]) == 0
    manifest = Manifest.read(out)
    assert [(one.name, one.records) for one in manifest.sources] == [("sqlite:votes.db", 40)]
    assert manifest.config["sources"][0]["sql"] == SELECT
    assert str(tmp_path) not in (out / "manifest.json").read_text()
    capsys.readouterr()
    assert run(["curate", *common, "-o", str(out), "--json"]) == 0
    assert run(["curate", *common[:2], f"{SELECT} WHERE id < 30", *common[3:], "-o", str(out)]) == 1
    assert run(["convert", *common, "--to", "trl", "-o", str(tmp_path / "x.jsonl")]) == 0
    assert len((tmp_path / "x.jsonl").read_text().splitlines()) == 40
    assert run(["rebalance", *common, "-o", str(tmp_path / "balanced")]) == 0
    assert run(["audit", *common, "--html", str(tmp_path / "a.html")]) in (0, 3)


def test_duckdb_rows_keep_their_structure(tmp_path: Path) -> None:
    duckdb = pytest.importorskip("duckdb")
    duckdb.connect(tmp_path / "v.duckdb").execute(
        "CREATE TABLE v AS SELECT 1 AS id, [{'role': 'user', 'content': 'q'}] AS turns, '{\"k\": [1]}'::JSON AS j, "
        "4.50::DECIMAL(6, 2) AS score, TIMESTAMP '2026-01-05 09:51:39' AS at, "
        "TIMESTAMPTZ '2026-01-05 09:51:39+00' AS tz, true AS ok, MAP {'a': 1} AS m, 'up'::ENUM ('up', 'down') AS e"
    ).close()
    (row,) = values(f"duckdb:///{tmp_path}/v.duckdb", "SELECT * FROM v")
    assert row == {
        "id": 1,
        "turns": [{"role": "user", "content": "q"}],
        "j": {"k": [1]},
        "score": 4.5,
        "at": "2026-01-05T09:51:39",
        "tz": "2026-01-05T09:51:39+00:00",
        "ok": True,
        "m": {"a": 1},
        "e": "up",
    }


def test_duckdb_in_memory_queries_files(tmp_path: Path) -> None:
    pytest.importorskip("duckdb")
    (tmp_path / "a.csv").write_text("prompt,label\nq,up\n")
    assert values("duckdb:///:memory:", f"SELECT * FROM '{tmp_path}/a.csv'") == [{"prompt": "q", "label": "up"}]


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("COPY (SELECT 1) TO '{folder}/out.csv'", "the statement is not one query; expected one SELECT"),
        ("SELECT 1; SELECT 2", "the statement is not one query"),
        ("SELECT * FROM none", r"the query failed \(Catalog Error: Table with name none does not exist!"),
        ("SELECT 1 AS a, 2 AS a", "columns have the same name"),
        (
            "SELECT 'x'::BLOB AS b, INTERVAL 1 DAY AS i, [union_value(n := 1)] AS u",
            r"JSON has no form for the columns 'b' \(bytes\), 'i' \(interval\), 'u' \(union\). Leave such a column out",
        ),
    ],
)
def test_duckdb_runs_queries_only(tmp_path: Path, sql: str, message: str) -> None:
    pytest.importorskip("duckdb")
    with pytest.raises(InputError, match=f"duckdb::memory:: {message}"):
        read("duckdb:///:memory:", sql.format(folder=tmp_path))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("module", "url"), [("duckdb", "duckdb:///:memory:"), ("adbc_driver_postgresql", "postgresql://h/d")]
)
def test_a_missing_driver_is_named_with_what_installs_it(
    monkeypatch: pytest.MonkeyPatch, module: str, url: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(
        MissingExtraError,
        match=rf"package '{module}' is not installed. Install it with: pip install 'thumbline\[sql\]'",
    ):
        read(url, "SELECT 1")


@pytest.fixture(scope="module")
def postgresql() -> Iterator[str]:
    pytest.importorskip("adbc_driver_postgresql", reason="the extra sql is not installed")
    with postgresql_server() as url:
        yield url


@pytest.mark.slow
def test_postgresql_values_are_what_json_would_hold(postgresql: str) -> None:
    (row,) = values(
        postgresql,
        """SELECT 1::int8 AS big, 1.5::float4 AS real, 4.50::numeric AS score, 7::numeric AS whole, true AS ok,
        'é' AS text, '{"k": [1]}'::jsonb AS data, '[{"role": "user"}]'::json AS turns, ARRAY['a', 'b'] AS tags,
        ARRAY[1.5::numeric, NULL] AS scores, '5c1d7f0e-0000-4000-8000-000000000001'::uuid AS id,
        '2026-01-05 09:51:39.5'::timestamp AS naive, '2026-01-05 09:51:39+02'::timestamptz AS aware,
        '2026-01-05'::date AS day, NULL::text AS absent -- a comment at the end""",
    )
    assert row == {
        "big": 1,
        "real": 1.5,
        "score": 4.5,
        "whole": 7,
        "ok": True,
        "text": "é",
        "data": {"k": [1]},
        "turns": [{"role": "user"}],
        "tags": ["a", "b"],
        "scores": [1.5, None],
        "id": "5c1d7f0e-0000-4000-8000-000000000001",
        "naive": "2026-01-05T09:51:39.500000",
        "aware": "2026-01-05T07:51:39+00:00",
        "day": "2026-01-05",
        "absent": None,
    }


@pytest.mark.slow
def test_postgresql_rows_and_columns_without_a_form_in_json_are_refused(postgresql: str) -> None:
    records = read(postgresql, "VALUES (1::numeric, now()), ('NaN', now()), (2, 'infinity')")
    assert reasons(records) == [None, RejectReason.NON_FINITE_NUMBER, RejectReason.BAD_TIME]
    with pytest.raises(InputError) as info:
        read(postgresql, r"SELECT '\x00'::bytea AS b, interval '1 day' AS i, 1::money AS m, '::1'::inet AS ip, 1 AS n")
    assert str(info.value) == (
        "postgresql:postgres: JSON has no form for the columns 'b' (bytes), 'i' (interval), "
        "'m' (an amount without its decimal point), 'ip' (inet). "
        "Leave such a column out of the query, or CAST it AS TEXT."
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("CREATE TABLE t (a int)", "cannot execute CREATE TABLE in a read-only transaction"),
        ("WITH t AS (DELETE FROM pg_class RETURNING *) SELECT 1 FROM t", "the query failed"),
        ("SELECT * FROM none", 'relation "none" does not exist LINE 1: SELECT'),
        ("SELECT 1 AS a, 2 AS a", "columns have the same name"),
        ("SELECT 1; SELECT 2", "cannot insert multiple commands"),
    ],
)
def test_postgresql_runs_queries_only(postgresql: str, sql: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as info:
        read(postgresql, sql)
    assert "s3cret" not in str(info.value)


@pytest.mark.slow
def test_postgresql_rows_stream(postgresql: str) -> None:
    """Two hundred megabytes, of which the first rows come before the last are asked for."""
    sql = "SELECT n AS id, repeat('word ', 400) AS prompt FROM generate_series(1, 100000) AS n"
    (place,) = find_files([postgresql], sql=sql)
    records = read_records(place)
    assert next(records).line == 1
    records.close()
    assert sum(1 for _ in read_records(place)) == 100_000


@pytest.mark.slow
def test_no_password_reaches_reports_errors_or_manifest(
    postgresql: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THUMBLINE_TRACEBACK", "1")
    sql = (
        "SELECT n::text AS id, 'question ' || n AS prompt, 'answer ' || n AS completion, "
        "CASE WHEN n % 3 = 0 THEN 'down' ELSE 'up' END AS label FROM generate_series(1, 40) AS n"
    )
    common = ["--sql", sql, "--from", "thumbs"]
    assert run(["curate", postgresql, *common, "-o", str(tmp_path / "d")]) == 0
    assert run(["curate", postgresql, *common, "-o", str(tmp_path / "d"), "--json"]) == 0, "the same rows again"
    audited = ["--json", str(tmp_path / "a.json"), "--html", str(tmp_path / "a.html")]
    assert run(["audit", postgresql, *common, *audited]) in (0, 3)
    assert run(["audit", postgresql, "--sql", sql]) == 2
    assert run(["audit", postgresql, "--sql", "SELECT nothing", "--from", "thumbs", "--json"]) == 1
    assert run(["audit", postgresql.replace("s3cret", "s3cret2"), *common]) == 1
    shown = capsys.readouterr()
    assert "password authentication failed" in shown.err
    texts = [
        shown.out,
        shown.err,
        *(p.read_text("utf-8") for p in tmp_path.rglob("*") if p.suffix in {".json", ".md", ".html"}),
    ]
    assert [text for text in texts if "s3cret" in text] == []
    assert Manifest.read(tmp_path / "d").config["sources"][0]["sql"] == sql
