"""The stage `export`: shards, their order, their texts, and what is corruption."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feedback.config import ExportConfig
from feedback.export import Part, TextTable, export
from feedback.export import plan as export_plan
from feedback.export import texts as export_texts
from feedback.export.plan import ExportPlan, ShardPlan
from feedback.export.rows import export_rows
from feedback.export.runs import keep_run
from feedback.export.shards import write_shard
from feedback.export.texts import find_texts, read_texts
from schemas.datasets import OPTIONAL_COLUMNS, UNPAIRED_PREFERENCE
from schemas.errors import CorruptionError
from schemas.report import LabelCounts
from schemas.rules import UnpairedPreferenceRules
from tests.exported_rows import content, exported, prepared, read_back, some_events, some_pairs
from tests.feedback_tables import candidate, event, pair, table, turns, write_events

ROOT = Path(__file__).parents[2]


@pytest.fixture
def small_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    """Row groups of seven rows, and text files read a row group at a time."""
    monkeypatch.setattr(export_plan, "_GROUP_ROWS", 7)
    monkeypatch.setattr(export_texts, "_MOST_CHUNK", 1)


def test_shards_have_the_columns_of_the_table_and_the_texts_of_their_rows(tmp_path: Path) -> None:
    result = exported(tmp_path)
    schema = pq.read_schema(tmp_path / "out" / result.shards[0].path)
    kept = [field for field in UNPAIRED_PREFERENCE if field.name not in OPTIONAL_COLUMNS]
    assert [(one.name, one.nullable) for one in schema] == [(one.name, one.nullable) for one in kept]
    rows = read_back(tmp_path)
    assert pl.Schema(UNPAIRED_PREFERENCE).items() >= rows.schema.items()
    answers = {row["prompt"][0]["content"]: row["completion"] for row in rows.filter(source="log").to_dicts()}
    assert answers == {f"question {n}": turns("assistant", f"answer {n} " * 20) for n in range(60)}
    duels = rows.filter(source="duel").select(content("prompt").alias("prompt"), "label", content("completion"))
    assert set(duels.rows()) == {
        (f"duel {n}", label, f"{word} {n}") for n in range(20) for label, word in ((True, "yes"), (False, "no"))
    }
    assert not (tmp_path / "out" / "parts").exists()


def test_shards_are_of_the_wanted_size_and_train_comes_first(tmp_path: Path) -> None:
    """60 answers of about 200 characters, in shards of 2,000."""
    shards = exported(tmp_path, shard_mb=0.002).shards
    names = [shard.path for shard in shards]
    train = [name for name in names if "train" in name]
    assert (
        names[: len(train)] == train == [f"data/train-{n:05d}-of-{len(train):05d}.parquet" for n in range(len(train))]
    )
    assert 3 <= len(train) <= 8
    sizes = [shard.rows for shard in shards if shard.split == "train"]
    assert max(sizes) - min(sizes) <= 1
    for shard in shards:
        rows = pl.read_parquet(tmp_path / "out" / shard.path)
        assert (shard.rows, shard.desirable) == (rows.height, rows["label"].sum())
        assert shard.rows == shard.desirable + shard.undesirable


def test_labels_and_sources_are_mixed_in_every_shard(tmp_path: Path) -> None:
    exported(tmp_path, shard_mb=0.004)
    paths = sorted((tmp_path / "out" / "data").glob("train-*.parquet"))
    assert len(paths) > 1
    for path in paths:
        rows = pl.read_parquet(path)
        assert rows["label"].n_unique() == 2
        assert rows["label"].rle().len() > 3
        assert rows["source"].n_unique() == 2


def test_the_same_input_gives_the_same_bytes_and_another_seed_another_order(tmp_path: Path) -> None:
    first, again = (exported(tmp_path / name) for name in ("a", "b"))
    shuffled = exported(tmp_path / "c", events=some_events()[::-1])
    other = exported(tmp_path / "d", seed=1)
    assert first == again == shuffled
    assert first.shards != other.shards
    assert first.report.digest_out != other.report.digest_out
    assert read_back(tmp_path / "a").sort("row_id").equals(read_back(tmp_path / "d").sort("row_id"))


def as_one(rows: pl.DataFrame, folder: Path) -> list[Part]:
    return [rows]


def as_shuffled_parts(rows: pl.DataFrame, folder: Path) -> list[Part]:
    mixed = rows.sample(fraction=1, shuffle=True, seed=3)
    return [mixed[20:50], mixed[50:], mixed[:20], mixed[:0]]


def as_files(rows: pl.DataFrame, folder: Path) -> list[Part]:
    for number, (start, stop) in enumerate(((60, 100), (0, 30), (30, 60))):
        rows[start:stop].write_parquet(folder / f"kept-{number}.parquet")
    return sorted(folder.glob("kept-*.parquet"))


@pytest.mark.usefixtures("small_groups")
@pytest.mark.parametrize("memory_mb", [256.0, 0.0])
@pytest.mark.parametrize("parts", [as_one, as_shuffled_parts, as_files])
def test_parts_files_of_text_and_memory_do_not_change_a_byte(
    tmp_path: Path, parts: Callable[[pl.DataFrame, Path], list[Part]], memory_mb: float
) -> None:
    """However the rows are cut, the texts lie and little memory there is: the sha256 of every shard stays."""
    rows, texts = prepared(tmp_path / "a", some_events(), some_pairs())
    expected = export(rows, texts, tmp_path / "a" / "out", ExportConfig(shard_mb=0.005))
    events = some_events()
    files = [
        *write_events(tmp_path, events[40:], "late.arrow"),
        *write_events(tmp_path, events[:40][::-1], "early.arrow"),
    ]
    scattered = [texts[1], TextTable(tuple(files), "event_id", {"completion": "completion"})]
    config = ExportConfig(shard_mb=0.005, memory_mb=memory_mb)
    result = export(parts(rows, tmp_path), scattered, tmp_path / "out", config)
    assert result.shards == expected.shards
    assert len(result.shards) > 3
    assert result.report.digest_out == expected.report.digest_out
    assert not (tmp_path / "out" / "parts").exists()


def test_a_record_that_was_read_twice_has_one_text(tmp_path: Path) -> None:
    once = exported(tmp_path / "a")
    rows, texts = prepared(tmp_path / "b", some_events(), some_pairs())
    again = TextTable(texts[0].paths * 2, texts[0].id_column, texts[0].completions)
    assert export(rows, [again, *texts], tmp_path / "b" / "out", ExportConfig()) == once


def test_long_texts_make_short_row_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers of about 200 characters, row groups of 1,000: no more than five rows, and at least one."""
    monkeypatch.setattr(export_plan, "_GROUP_CHARS", 1000)
    shard = exported(tmp_path, events=[*some_events(), event("long", "word " * 1000)]).shards[0]
    metadata = pq.read_metadata(tmp_path / "out" / shard.path)
    sizes = [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)]
    assert sum(sizes) == shard.rows
    assert 1 <= min(sizes) <= max(sizes)
    assert len(sizes) >= 9


def test_votes_are_counted_and_their_ids_sorted(tmp_path: Path) -> None:
    rows, texts = prepared(tmp_path, some_events(), [pair()])
    votes = [{"event_id": f"{n:032x}", "rater_key": n, "event_ts": None, "label": n != 2} for n in (3, 1, 2)]
    several = pl.Series("votes", [votes if n % 2 else votes[:1] for n in range(rows.height)], rows.schema["votes"])
    export(rows.with_columns(several), texts, tmp_path / "out", ExportConfig())
    read = read_back(tmp_path).sort("row_id").select("n_up", "n_down", "source_event_ids")
    ids = [one["event_id"] for one in votes]
    expected = [(2, 1, sorted(ids)) if n % 2 else (1, 0, ids[:1]) for n in range(rows.height)]
    assert read.rows() == expected


def test_groups_are_16_hex_digits(tmp_path: Path) -> None:
    rows, texts = prepared(tmp_path, some_events(), [pair()])
    keys = [0, 1, 2**64 - 1, 0x0123456789ABCDEF]
    known = rows.with_columns(pl.Series("group_id", [keys[n % 4] for n in range(rows.height)], pl.UInt64))
    export(known, texts, tmp_path / "out", ExportConfig())
    read = read_back(tmp_path).sort("row_id")
    assert read["group_id"].to_list() == [f"{key:016x}" for key in known["group_id"]]


@pytest.mark.usefixtures("small_groups")
def test_tools_are_a_column_only_where_a_row_has_some(tmp_path: Path) -> None:
    """Nine rows with tools among eighty, in row groups of seven: some groups have none."""
    tools = '[{"type": "function"}]'
    exported(tmp_path, events=[*some_events(), *(event(f"tool {n}", tools=tools) for n in range(9))])
    read = read_back(tmp_path).select(content("prompt"), "tools")
    assert {row for row in read.rows() if row[1] is not None} == {(f"tool {n}", tools) for n in range(9)}


text = st.text(max_size=8)
turn = st.fixed_dictionaries({"role": st.sampled_from(["system", "user", "assistant", "tool"]), "content": text})
said = text.map(lambda words: f"{words}.")


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.lists(turn, max_size=3), said, st.lists(turn, max_size=2), said), min_size=1, max_size=9))
def test_conversations_of_any_length_and_script_come_out_as_they_went_in(tmp_path_factory, drawn: list) -> None:
    folder = tmp_path_factory.mktemp("export")
    made = [
        ([*before, *turns("user", asked)], [*more, *turns("assistant", answer)])
        for before, asked, more, answer in drawn
    ]
    events = [event(str(n)) | {"prompt": ask, "completion": answer} for n, (ask, answer) in enumerate(made)]
    texts = [TextTable(tuple(write_events(folder, events)), "event_id", {"completion": "completion"})]
    rows = table(*(candidate(str(n), text_id=one["event_id"]) for n, one in enumerate(events)))
    export(rows.with_columns(split=pl.lit("train")), texts, folder / "out", ExportConfig())
    read = read_back(folder).join(rows.select("row_id", "text_id"), on="row_id")
    expected = {one["event_id"]: (one["prompt"], one["completion"]) for one in events}
    assert {row["text_id"]: (row["prompt"], row["completion"]) for row in read.to_dicts()} == expected


def test_a_missing_text_is_corruption(tmp_path: Path) -> None:
    rows, texts = prepared(tmp_path, some_events(), [pair()])
    with pytest.raises(
        CorruptionError, match=rf"the text of 2 rows is missing, the first with text_id {pair()['pair_id']}"
    ):
        export(rows, texts[:1], tmp_path / "out", ExportConfig())
    assert not list((tmp_path / "out").rglob("*.parquet"))


def test_a_text_that_breaks_a_rule_is_corruption(tmp_path: Path) -> None:
    rows, texts = prepared(tmp_path, [*some_events(), event("blank", " ")], [pair()])
    with pytest.raises(CorruptionError, match=r"1 row break the rules of the curated table.*completion"):
        export(rows, texts, tmp_path / "out", ExportConfig())


def test_a_row_without_a_split_is_not_left_out_in_silence(tmp_path: Path) -> None:
    rows, texts = prepared(tmp_path, some_events(), [pair()])
    with pytest.raises(CorruptionError, match=r"62 rows break the rules of the curated table.*split"):
        export(rows.with_columns(split=pl.lit(None, pl.String)), texts, tmp_path / "out", ExportConfig())


def test_a_row_that_is_there_twice_is_corruption(tmp_path: Path) -> None:
    rows, texts = prepared(tmp_path, some_events(), [pair()])
    with pytest.raises(CorruptionError, match="a row is there more than once"):
        export([rows, rows[:1]], texts, tmp_path / "out", ExportConfig())


def test_rows_whose_keys_collide_are_ordered_by_their_ids(tmp_path: Path) -> None:
    """All rows with the same `row_key`, which would take 2^32 rows to happen once."""
    rows, texts = prepared(tmp_path, some_events(), [pair()])
    alike = rows.with_columns(row_key=pl.lit(7, pl.UInt64))
    result = export(alike, texts, tmp_path / "out", ExportConfig())
    ids = pl.read_parquet(tmp_path / "out" / result.shards[0].path)["row_id"]
    assert ids.to_list() == sorted(ids)
    again = export([alike[30:], alike[:30]], texts, tmp_path / "again", ExportConfig())
    assert again.shards == result.shards


def test_texts_of_other_rows_are_never_put_beside_a_label(tmp_path: Path) -> None:
    """The runs of rows and of texts name their places, and a shard is not written where they differ."""
    rows, texts = prepared(tmp_path, some_events(), [])
    places = np.arange(rows.height)
    starts = np.array([0, rows.height])
    keys = rows.select(*export_texts.id_keys("text_id"), "text_side", place=pl.Series(places))
    (chunk,) = find_texts(texts, keys)
    shard = ShardPlan("data/x.parquet", "train", LabelCounts(rows.height), range(1))
    (tmp_path / "data").mkdir()
    runs = [
        keep_run(export_rows(rows, places), places, starts, None),
        keep_run(read_texts(chunk), chunk.places[1:], starts, None),
    ]
    with pytest.raises(CorruptionError, match="rows and texts do not belong together"):
        write_shard(
            shard,
            ExportPlan(places, starts, (shard,)),
            [(run.schema.names, [run]) for run in runs],
            tmp_path,
            UNPAIRED_PREFERENCE,
            UnpairedPreferenceRules,
        )


def test_no_rows_give_no_shards(tmp_path: Path) -> None:
    result = export(table(), [], tmp_path / "out", ExportConfig())
    assert (result.shards, result.report.rows_kept) == ((), 0)


def test_a_flipped_bit_in_a_page_is_found(tmp_path: Path) -> None:
    path = tmp_path / "out" / exported(tmp_path).shards[0].path
    column = pq.read_metadata(path).row_group(0).column(0)
    damaged = bytearray(path.read_bytes())
    damaged[column.data_page_offset + column.total_compressed_size - 20] ^= 1
    path.write_bytes(bytes(damaged))
    with pytest.raises(OSError, match=r"CRC|checksum"):
        pq.read_table(path, page_checksum_verification=True)


def test_export_loads_neither_pandas_nor_pandera(tmp_path: Path) -> None:
    """Both take a quarter of a second or more, and Arrow loads pandas for a list of numbers."""
    rows, texts = prepared(tmp_path, some_events(), some_pairs())
    rows.write_parquet(tmp_path / "kept.parquet")
    program = (
        "import sys\nfrom pathlib import Path\nfrom feedback.config import ExportConfig\n"
        "from feedback.export import TextTable, export\n"
        f"events = TextTable((Path({str(texts[0].paths[0])!r}),), 'event_id', {{'completion': 'completion'}})\n"
        f"pairs = TextTable((Path({str(texts[1].paths[0])!r}),), 'pair_id', {{'a': 'response_a', 'b': 'response_b'}})\n"
        f"for memory in (0, 256): export([Path({str(tmp_path / 'kept.parquet')!r})], [events, pairs], "
        f"Path({str(tmp_path / 'out')!r}), ExportConfig(memory_mb=memory))\n"
        "print(sorted({'pandas', 'pandera', 'numba'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
