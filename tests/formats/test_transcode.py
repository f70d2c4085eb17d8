"""File to file: what can be held comes back as it was, what cannot is counted and named."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from feedback.formats import FORMATS
from feedback.formats.writers import WRITERS
from feedback.hashing import messages_hash
from feedback.ingest.rater_key import ENVIRONMENT_VARIABLE, rater_key
from feedback.records.sources import read_records
from feedback.transcode import convert_files
from schemas.errors import DataGateError, OutputExistsError, TooManyRejectedError, UnknownChoiceError, UsageError
from schemas.report import LabelCounts

SHARED = Path(__file__).parents[2].parent / "shared" / "data"
KEY = "a key that is for tests only"
UP = {"prompt": "q", "completion": "a", "label": "up"}
DOWN = {"prompt": "q", "completion": "b", "label": "down"}
PAIR = {"prompt": "q", "chosen": "a", "rejected": "b"}


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, KEY)


def put(folder: Path, *records: object, name: str = "in.jsonl") -> Path:
    path = folder / name
    path.write_text("".join(json.dumps(record) + "\n" for record in records), "utf-8")
    return path


def drafts(path: Path, name: str) -> list[Any]:
    return [draft for record in read_records(path) for draft in FORMATS[name].parse(record.value or {})]


words = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12).filter(str.strip)
turns = st.builds(
    lambda system, exchanges, last: [
        *({"role": "system", "content": text} for text in system),
        *(
            {"role": role, "content": text}
            for exchange in exchanges
            for role, text in zip(("user", "assistant"), exchange, strict=True)
        ),
        {"role": "user", "content": last},
    ],
    st.lists(words, max_size=1),
    st.lists(st.tuples(words, words), max_size=2),
    words,
)
answer = words.map(lambda text: [{"role": "assistant", "content": text}])
tools = st.none() | st.just([{"type": "function", "function": {"name": "look"}}])
event = st.fixed_dictionaries(
    {"prompt": turns, "completion": answer, "label": st.sampled_from(["up", "down"])}, optional={"tools": tools}
)
pair = st.fixed_dictionaries({"prompt": turns, "chosen": answer, "rejected": answer}, optional={"tools": tools}).filter(
    lambda row: messages_hash(row["chosen"]) != messages_hash(row["rejected"])
)


def _judgement(draft: Any, *, with_tools: bool) -> tuple[Any, ...]:
    both = (draft.prompt, draft.tools if with_tools else None)
    return (
        (*both, draft.response_a, draft.response_b, draft.outcome)
        if hasattr(draft, "outcome")
        else (
            *both,
            draft.completion,
            draft.label,
        )
    )


def _is_one_question(judgement: tuple[Any, ...]) -> bool:
    return [turn["role"] for turn in judgement[0] if turn["role"] != "system"] == ["user"]


@pytest.mark.parametrize(("target", "kind"), sorted(WRITERS), ids=str)
@pytest.mark.parametrize("suffix", ["jsonl", "jsonl.gz", "jsonl.zst", "ndjson", "parquet"])
def test_what_is_written_is_read_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, target: str, kind: str, suffix: str
) -> None:
    """There and back through every target format and kind of file, for any texts, turns and tools."""
    writer = WRITERS[target, kind]
    if suffix == "parquet" and writer.schema is None:
        pytest.skip("the format is JSONL only")

    @given(st.lists(event if kind == "events" else pair, min_size=1, max_size=4))
    @settings(max_examples=6, deadline=None)
    def there_and_back(rows: list[dict[str, Any]]) -> None:
        folder = tmp_path_factory.mktemp("trip")
        source = "thumbs" if kind == "events" else "trl"
        path = put(folder, *rows)
        report = convert_files([path], source, target, folder / f"out.{suffix}")
        before, after = (
            [_judgement(draft, with_tools="tools" in writer.columns) for draft in found]
            for found in (drafts(path, source), drafts(folder / f"out.{suffix}", target))
        )
        # Axolotl's loaders for KTO take one question; what each writer refuses is in test_writers.
        before = before if (target, kind) != ("axolotl", "events") else [one for one in before if _is_one_question(one)]
        assert after == before
        assert report.figures["rows_written"] == len(rows) - report.dropped.get("not_expressible", 0) == len(before)

    there_and_back()


def test_thumbs_keep_everything_but_the_raw_user(tmp_path: Path) -> None:
    record = {
        **UP,
        "id": "1",
        "user": "canary",
        "time": "2026-01-05T09:51:39",
        "updated": "2026-01-06T00:00:00+00:00",
        "model": "m",
        "conversation": "c",
        "message": "x",
        "strength": 2.5,
        "reasons": ["r"],
        "comment": "k",
        "lang": "en",
        "consent": False,
        "op": "update",
    }
    for suffix in ("jsonl", "parquet"):
        out = tmp_path / f"out.{suffix}"
        report = convert_files([put(tmp_path, record)], "thumbs", "thumbs", out)
        (before,), (after,) = drafts(tmp_path / "in.jsonl", "thumbs"), drafts(out, "thumbs")
        for name in before.__slots__:
            if name not in {"rater", "event_time", "updated_time"}:
                assert getattr(after, name) == getattr(before, name), name
        assert after.rater == rater_key("canary", KEY.encode())
        # One quality is kept for both times: where one has no zone, both are written without.
        assert (after.event_time, after.updated_time) == ("2026-01-05T09:51:39", "2026-01-06T00:00:00")
        assert report.notes == ("User ids are written as keyed hashes; the ids themselves never leave ingest.",)


def test_thumbs_hold_neutral_votes_and_retractions(tmp_path: Path) -> None:
    retraction = {"id": "1", "op": "retract", "prompt": "q", "completion": "a"}
    path = put(tmp_path, {**UP, "label": "none"}, retraction, {**UP, "id": "2"})
    report = convert_files([path], "thumbs", "thumbs", tmp_path / "out.jsonl")
    assert report.rows_kept == 3
    assert sorted(draft.op for draft in drafts(tmp_path / "out.jsonl", "thumbs")) == ["create", "create", "retract"]


def test_other_formats_drop_neutral_votes_and_retractions_by_name(tmp_path: Path) -> None:
    retraction = {"id": "1", "op": "retract", "prompt": "q", "completion": "a"}
    path = put(tmp_path, {**UP, "label": "neutral"}, retraction, UP, DOWN)
    report = convert_files([path], "thumbs", "trl", tmp_path / "out.jsonl")
    assert dict(report.dropped) == {"neutral": 1, "retracted": 1}
    assert (report.rows_in, report.rows_kept, report.labels_kept) == (4, 2, LabelCounts(1, 1, 0))


TAKEN_BACK = {"id": "1", "op": "retract", "prompt": "q", "completion": "a"}
EDITED = {**UP, "id": "2", "completion": "c", "label": "down", "op": "update"}


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_a_vote_that_its_record_takes_back_or_changes_later_is_not_written(tmp_path: Path, suffix: str) -> None:
    path = put(tmp_path, {**UP, "id": "1"}, {**UP, "id": "2", "completion": "c"}, DOWN, EDITED, TAKEN_BACK)
    report = convert_files([path], "thumbs", "trl", tmp_path / f"out.{suffix}")
    written = [(draft.completion[0]["content"], draft.label) for draft in drafts(tmp_path / f"out.{suffix}", "trl")]
    assert written == [("b", False), ("c", False)]
    assert dict(report.dropped) == {"retracted": 1, "superseded_revision": 2}
    assert (report.rows_in, report.rows_kept, report.labels_kept) == (5, 2, LabelCounts(0, 2, 0))
    assert "op" not in report.figures["lost"]
    assert not any("record id" in note for note in report.notes)  # what was done says which is the latest


def test_the_time_says_what_is_later_and_else_the_place_in_the_input(tmp_path: Path) -> None:
    """An answer whose letter is upper case is the one that counts; the two files are one source."""
    days = [f"2026-01-0{day}T00:00:00Z" for day in range(1, 4)]
    timed = [
        {**UP, "id": "t", "completion": "T", "updated": days[2]},
        {**UP, "id": "t", "completion": "t", "time": days[0]},
        {**TAKEN_BACK, "id": "t", "time": days[1]},
    ]
    tied = [
        {**UP, "id": "e", "completion": "e", "time": days[0]},
        {**UP, "id": "e", "completion": "E", "time": days[0]},
    ]
    half = [{**UP, "id": "h", "completion": "h", "time": days[0]}, {**UP, "id": "h", "completion": "H"}]
    first = put(tmp_path, *timed, tied[0], half[0], name="1.jsonl")
    second = put(tmp_path, tied[1], half[1], UP, name="2.jsonl")
    report = convert_files([first, second], "thumbs", "trl", tmp_path / "out.jsonl")
    written = [draft.completion[0]["content"] for draft in drafts(tmp_path / "out.jsonl", "trl")]
    assert written == ["T", "E", "H", "a"]
    assert dict(report.dropped) == {"superseded_revision": 4}
    (note,) = (note for note in report.notes if "record ids" in note)
    assert note == (
        "2 record ids with different contents and no time that says which is the latest: the last one in the input "
        "was taken."
    )


def test_a_vote_is_taken_back_wherever_the_retraction_stands(tmp_path: Path) -> None:
    path = put(tmp_path, {**TAKEN_BACK, "id": "1"}, {**UP, "id": "1"}, DOWN)
    report = convert_files([path], "thumbs", "trl", tmp_path / "out.jsonl")
    assert (report.rows_kept, dict(report.dropped)) == (1, {"retracted": 1, "superseded_revision": 1})


def test_a_record_that_is_there_twice_stays_twice(tmp_path: Path) -> None:
    path = put(tmp_path, {**UP, "id": "1"}, {**UP, "id": "1"})
    report = convert_files([path], "thumbs", "trl", tmp_path / "out.jsonl")
    assert (report.rows_kept, dict(report.dropped), len(report.notes)) == (2, {}, 1)


def test_no_pair_is_made_of_a_vote_that_was_taken_back(tmp_path: Path) -> None:
    path = put(tmp_path, {**UP, "id": "1"}, {**UP, "id": "3", "completion": "d"}, DOWN, TAKEN_BACK)
    report = convert_files([path], "thumbs", "openai", tmp_path / "out.jsonl")
    (made,) = drafts(tmp_path / "out.jsonl", "openai")
    assert [one[0]["content"] for one in (made.response_a, made.response_b)] == ["d", "b"]
    assert dict(report.dropped) == {"retracted": 1, "superseded_revision": 1}
    assert (report.rows_in, report.rows_kept) == (4, 2)


def test_of_a_pair_with_several_revisions_the_latest_is_written(tmp_path: Path) -> None:
    fields = "".join(f'{name} = "{name}"\n' for name in ("id", *PAIR))
    (tmp_path / "map.toml").write_text(f'kind = "pairs"\n[fields]\n{fields}', "utf-8")
    swapped = {"id": 1, "prompt": "q", "chosen": "b", "rejected": "a"}
    path = put(tmp_path, {**PAIR, "id": 1}, {**PAIR, "id": 2}, swapped)
    report = convert_files([path], "mapped", "openai", tmp_path / "out.jsonl", map_path=tmp_path / "map.toml")
    written = [draft.response_a[0]["content"] for draft in drafts(tmp_path / "out.jsonl", "openai")]
    assert (written, dict(report.dropped)) == (["a", "b"], {"superseded_revision": 1})


def test_thumbs_hold_every_revision(tmp_path: Path) -> None:
    path = put(tmp_path, {**UP, "id": "1"}, {**UP, "id": "2", "completion": "c"}, EDITED, TAKEN_BACK)
    report = convert_files([path], "thumbs", "thumbs", tmp_path / "out.jsonl")
    assert (report.rows_kept, dict(report.dropped)) == (4, {})


def test_what_the_target_has_no_field_for_is_named_with_its_rows(tmp_path: Path) -> None:
    path = put(tmp_path, {**UP, "id": "1", "user": "u", "model": "m"}, {**DOWN, "model": "m"})
    report = convert_files([path], "thumbs", "trl", tmp_path / "out.jsonl")
    (note,) = report.notes
    assert note == (
        "Not written, since trl has no field for it: model_id (2 rows), rater_key (1 rows), source_record_id (1 rows)."
    )
    assert report.figures["lost"] == {"model_id": 2, "rater_key": 1, "source_record_id": 1}
    assert "rater" not in (tmp_path / "out.jsonl").read_text()


def test_pairs_become_two_labels_each(tmp_path: Path) -> None:
    path = put(tmp_path, PAIR, {**PAIR, "prompt": "r"})
    report = convert_files([path], "trl", "thumbs", tmp_path / "out.jsonl")
    labels = [(draft.completion[0]["content"], draft.label) for draft in drafts(tmp_path / "out.jsonl", "thumbs")]
    assert labels == [("a", True), ("b", False)] * 2
    assert (report.rows_in, report.rows_created, report.rows_kept) == (2, 2, 4)
    assert "Pairs were split: 2 pairs gave two labelled rows each." in report.notes
    unpaired = convert_files([path], "trl", "trl", tmp_path / "u.jsonl", dataset_type="unpaired_preference")
    assert unpaired.labels_kept == LabelCounts(2, 2, 0)


def test_ties_are_dropped_and_two_bad_answers_are_two_undesirable_ones(tmp_path: Path) -> None:
    (tmp_path / "map.toml").write_text(
        'kind = "pairs"\n[fields]\nprompt = "p"\nresponse_a = "a"\nresponse_b = "b"\noutcome = "o"\n'
        '[outcomes]\nb = "b"\ntie = "tie"\nbad = "both_bad"\nskip = "abstain"'
    )
    path = put(tmp_path, *({"p": "q", "a": "x", "b": "y", "o": outcome} for outcome in ("b", "tie", "bad", "skip")))
    labels = convert_files([path], "mapped", "thumbs", tmp_path / "u.jsonl", map_path=tmp_path / "map.toml")
    assert (dict(labels.dropped), labels.labels_kept) == ({"tie": 2}, LabelCounts(1, 3, 0))
    pairs = convert_files([path], "mapped", "openai", tmp_path / "p.jsonl", map_path=tmp_path / "map.toml")
    assert (dict(pairs.dropped), pairs.rows_kept) == ({"tie": 3}, 1)
    assert drafts(tmp_path / "p.jsonl", "openai")[0].response_a[0]["content"] == "y"


def test_votes_up_and_down_on_one_prompt_become_pairs_and_the_report_says_so(tmp_path: Path) -> None:
    contested = [{**UP, "prompt": "c"}, {**UP, "prompt": "c", "label": "down"}]
    alone = [{**UP, "completion": "z"}, {**UP, "prompt": "other"}]
    records = [UP, DOWN, *alone, *contested, {**UP, "label": "none"}]
    report = convert_files([put(tmp_path, *records)], "thumbs", "openai", tmp_path / "out.jsonl")
    (made,) = drafts(tmp_path / "out.jsonl", "openai")
    assert made.response_a[0]["content"] in {"a", "z"}
    assert made.response_b[0]["content"] == "b"
    assert dict(report.dropped) == {"neutral": 1, "no_partner": 4}
    assert (report.rows_in, report.rows_kept, report.figures["rows_written"]) == (7, 2, 1)
    assert "4 had no partner. The raters did not compare them side by side." in report.notes[0]
    convert_files([put(tmp_path, *records[::-1])], "thumbs", "openai", tmp_path / "again.jsonl")
    assert (tmp_path / "again.jsonl").read_bytes() == (tmp_path / "out.jsonl").read_bytes()


def test_no_pair_at_all_is_refused_and_nothing_written(tmp_path: Path) -> None:
    path = put(tmp_path, UP, {**DOWN, "prompt": "r"})
    with pytest.raises(DataGateError, match="2 rows: no prompt has an answer voted up and another one voted down"):
        convert_files([path], "thumbs", "trl", tmp_path / "out.parquet", dataset_type="preference")
    assert [one.name for one in tmp_path.iterdir()] == ["in.jsonl"]


def test_an_answer_of_several_turns_is_dropped_where_the_target_cannot_hold_it(tmp_path: Path) -> None:
    several = [{"role": role, "content": role} for role in ("assistant", "user", "assistant")]
    path = put(tmp_path, {**UP, "completion": several}, DOWN)
    report = convert_files([path], "thumbs", "llamafactory", tmp_path / "out.jsonl")
    assert (dict(report.dropped), report.rows_kept) == ({"not_expressible": 1}, 1)
    pairs = put(tmp_path, {**PAIR, "chosen": several}, PAIR, name="pairs.jsonl")
    report = convert_files([pairs], "trl", "llamafactory", tmp_path / "pairs-out.jsonl")
    assert (dict(report.dropped), report.rows_kept) == ({"not_expressible": 1}, 1)


def test_records_that_are_rejected_are_counted_or_refused(tmp_path: Path) -> None:
    path = put(tmp_path, UP, DOWN, {**UP, "label": 1})
    report = convert_files([path], "thumbs", "trl", tmp_path / "out.jsonl", max_rejected_share=0.5)
    assert dict(report.dropped) == {"quarantined": 1}
    assert report.figures["rejected"] == {"unknown_label": 1}
    with pytest.raises(TooManyRejectedError):
        convert_files([path], "thumbs", "trl", tmp_path / "more.jsonl")
    assert not (tmp_path / "more.jsonl").exists()


def test_files_are_what_their_suffix_says(tmp_path: Path) -> None:
    path = put(tmp_path, UP, DOWN)
    for suffix in ("jsonl", "jsonl.gz", "jsonl.zst", "parquet"):
        convert_files([path], "thumbs", "trl", tmp_path / f"out.{suffix}")
    plain = (tmp_path / "out.jsonl").read_bytes()
    assert json.loads(plain.splitlines()[0])["label"] is True
    assert gzip.decompress((tmp_path / "out.jsonl.gz").read_bytes()) == plain
    packed = (tmp_path / "out.jsonl.zst").read_bytes()
    assert zstandard.ZstdDecompressor().decompressobj().decompress(packed) == plain
    table = pq.read_table(tmp_path / "out.parquet")
    assert table.column_names == ["prompt", "completion", "label"]
    assert table.to_pylist()[1]["completion"] == [{"role": "assistant", "content": "b"}]


def test_wrong_targets_are_errors_before_anything_is_read(tmp_path: Path) -> None:
    path = put(tmp_path, UP)
    with pytest.raises(UnknownChoiceError, match=r"unknown format to write: got 'hh_rlhf'.*can only be read"):
        convert_files([path], "thumbs", "hh_rlhf", tmp_path / "out.jsonl")
    with pytest.raises(UnknownChoiceError, match="expected one of axolotl, llamafactory, openai, thumbs, trl"):
        convert_files([path], "thumbs", "nope", tmp_path / "out.jsonl")
    with pytest.raises(UsageError, match=r"the output cannot be written by its suffix; expected one of .jsonl"):
        convert_files([path], "thumbs", "trl", tmp_path / "out.csv")
    with pytest.raises(UsageError, match="the output cannot be written by its suffix"):
        convert_files([path], "thumbs", "openai", tmp_path / "out.parquet")
    with pytest.raises(UsageError, match="the format 'openai' does not take this dataset type: got 'unpaired_pref"):
        convert_files([path], "thumbs", "openai", tmp_path / "out.jsonl", dataset_type="unpaired_preference")
    (tmp_path / "out.jsonl").touch()
    with pytest.raises(OutputExistsError, match="the output is there already"):
        convert_files([path], "thumbs", "trl", tmp_path / "out.jsonl")


def test_every_format_that_is_written_is_read() -> None:
    assert {name for name, _ in WRITERS} == {"axolotl", "llamafactory", "openai", "thumbs", "trl"} <= FORMATS.keys()


@pytest.mark.skipif(not SHARED.exists(), reason="the shared data is not here")
@pytest.mark.parametrize(
    ("folder", "source", "target", "written"),
    [
        ("hh_rlhf", "hh_rlhf", "trl", 2303),
        ("hh_rlhf", "hh_rlhf", "thumbs", 4606),
        ("llamafactory_kto", "llamafactory", "trl", 300),
        ("openai_dpo", "openai", "llamafactory", 284),
    ],
)
def test_real_files_are_written_whole(tmp_path: Path, folder: str, source: str, target: str, written: int) -> None:
    report = convert_files([SHARED / folder], source, target, tmp_path / "out.jsonl.zst")
    assert report.figures["rows_written"] == written == len(drafts(tmp_path / "out.jsonl.zst", target))
