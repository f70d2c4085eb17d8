"""The contracts: reports that sum, manifests that hold, rules that name what is wrong, settings that refuse."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from schemas.datasets import UNPAIRED_PREFERENCE
from schemas.errors import (
    ConfigError,
    CorruptionError,
    InputError,
    InputNotFoundError,
    ShapeError,
    ThumblineError,
    UnknownChoiceError,
)
from schemas.events import FEEDBACK_EVENT
from schemas.manifest import Manifest, Ratio, Shard, SourceFile, file_sha256, write_last
from schemas.pairs import PREFERENCE_PAIR
from schemas.reasons import DropReason, RejectReason
from schemas.report import LabelCounts, StageReport
from schemas.rules import FeedbackEventRules, PreferencePairRules, UnpairedPreferenceRules, violations
from schemas.settings import apply_overrides, load_settings, read_toml, settings, settings_to_dict


def _turn(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def _event(number: int, **changes: object) -> dict[str, object]:
    return {
        "event_id": f"{number:032x}",
        "source": "thumbs",
        "source_record_id": str(number),
        "raw_sha256": "0",
        "op": "create",
        "ts_quality": "missing",
        "rater_kind": "unknown",
        "prompt": [_turn("user", "What is a shard?")],
        "completion": [_turn("assistant", "A part of a dataset.")],
        "prompt_hash": "p",
        "completion_hash": "c",
        "signal": "thumb",
        "raw_value": '"up"',
        "label": True,
        "reason_codes": [],
        "flags": [],
        **changes,
    }


def _pair(number: int, **changes: object) -> dict[str, object]:
    return {
        "pair_id": f"{number:032x}",
        "group_id": "g",
        "source": "trl",
        "source_record_id": str(number),
        "raw_sha256": "0",
        "prompt": [_turn("user", "What is a shard?")],
        "response_a": [_turn("assistant", "A part.")],
        "response_b": [_turn("assistant", "No idea.")],
        "prompt_hash": "p",
        "response_a_hash": "a",
        "response_b_hash": "b",
        "outcome": "a",
        "raw_value": '"a"',
        "rater_kind": "unknown",
        "ts_quality": "missing",
        "flags": [],
        **changes,
    }


def _frame(rows: list[dict[str, object]], schema: pa.Schema) -> pl.DataFrame:
    return pl.DataFrame(pl.from_arrow(pa.Table.from_pylist(rows, schema=schema)))


# Reports and manifests


@given(
    st.integers(0, 50),
    st.integers(0, 50),
    st.integers(0, 50),
    st.dictionaries(st.sampled_from(DropReason), st.integers(1, 9)),
)
def test_report_exists_only_if_its_counts_sum(rows_in: int, created: int, kept: int, dropped: dict[str, int]) -> None:
    sums = rows_in + created == kept + sum(dropped.values())
    if sums:
        report = StageReport("dedup", rows_in, created, kept, dropped, LabelCounts(rows_in), notes=("one",))
        assert StageReport.from_json(report.to_json()) == report
    else:
        with pytest.raises(ShapeError, match="counts do not sum"):
            StageReport("dedup", rows_in, created, kept, dropped)


def _manifest(folder: Path) -> Manifest:
    (folder / "data").mkdir()
    (folder / "data" / "train-00000-of-00001.parquet").write_bytes(b"rows")
    digest = file_sha256(folder / "data" / "train-00000-of-00001.parquet")
    return Manifest(
        digest="0" * 32,
        dataset_type="unpaired_preference",
        thumbline_version="0.1.0",
        sources=(SourceFile("thumbs.jsonl", "thumbs", "f" * 64, 10, 2),),
        stages=(StageReport("ingest", 2, 0, 1, {"quarantined": 1}),),
        shards=(Shard("data/train-00000-of-00001.parquet", "train", 1, 1, 0, 4, digest),),
        ratio=Ratio(4, 3, 1.0, 1.0, 1.0, 4 / 3),
        config={"seed": 1},
    )


def test_manifest_reads_back_as_written_and_verifies_its_shards(tmp_path: Path) -> None:
    manifest = _manifest(tmp_path)
    manifest.write(tmp_path)
    assert Manifest.read(tmp_path) == manifest
    manifest.verify(tmp_path)
    assert not list(tmp_path.glob("*.partial"))


def test_flipped_bit_in_a_shard_is_found_and_the_file_named(tmp_path: Path) -> None:
    manifest = _manifest(tmp_path)
    (tmp_path / "data" / "train-00000-of-00001.parquet").write_bytes(b"rowt")
    with pytest.raises(CorruptionError, match=r"train-00000-of-00001\.parquet: a shard is not what the manifest says"):
        manifest.verify(tmp_path)


def test_missing_shard_is_found(tmp_path: Path) -> None:
    manifest = _manifest(tmp_path)
    (tmp_path / "data" / "train-00000-of-00001.parquet").unlink()
    with pytest.raises(CorruptionError, match="a shard is missing"):
        manifest.verify(tmp_path)


def test_shard_outside_the_folder_is_refused(tmp_path: Path) -> None:
    manifest = _manifest(tmp_path)
    hostile = Manifest.from_dict(
        {**manifest.to_dict(), "shards": [{**manifest.to_dict()["shards"][0], "path": "../x"}]}
    )
    with pytest.raises(CorruptionError, match="outside its folder"):
        hostile.verify(tmp_path)


def test_folder_without_a_manifest_is_not_a_dataset(tmp_path: Path) -> None:
    with pytest.raises(InputNotFoundError, match=r"no manifest.json .* not a whole dataset"):
        Manifest.read(tmp_path)


def test_torn_manifest_is_corruption(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text('{"digest": "0')
    with pytest.raises(CorruptionError, match="the manifest cannot be read"):
        Manifest.read(tmp_path)


@pytest.mark.parametrize("text", ["[" * 100_000, "[]", "null", "5", "1" * 5_000, '{"format_version": "x"}'])
def test_json_that_is_no_manifest_is_corruption(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(CorruptionError, match=r"manifest\.json: the manifest cannot be read"):
        Manifest.read(tmp_path)


@pytest.mark.parametrize("version", [2, 99])
def test_manifest_of_a_newer_version_is_not_read_as_one_of_this(tmp_path: Path, version: int) -> None:
    values = {**_manifest(tmp_path).to_dict(), "format_version": version}
    (tmp_path / "manifest.json").write_text(json.dumps(values))
    expected = rf"got 'format_version {version}'; expected at most 1\. Update thumbline, or make the dataset anew"
    with pytest.raises(InputError, match=expected):
        Manifest.read(tmp_path)


def test_write_last_leaves_the_old_file_when_it_fails(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    write_last(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_last(path, "\ud800")
    assert path.read_text() == "old"


def test_ratio_is_lambda_weighted_and_its_range_includes_its_ends() -> None:
    """R = 2 * 30 / (1 * 45) = 4/3, the upper end; without undesirable rows it is infinite and out of range."""
    assert Ratio(30, 45, 2.0, 1.0, 1.0, 4 / 3).value == pytest.approx(4 / 3)
    assert Ratio(30, 45, 2.0, 1.0, 1.0, 4 / 3).is_in_range
    assert not Ratio(31, 45, 2.0, 1.0, 1.0, 4 / 3).is_in_range
    assert Ratio(30, 0, 1.0, 1.0, 1.0, 4 / 3).value == float("inf")
    assert not Ratio(30, 0, 1.0, 1.0, 1.0, 4 / 3).is_in_range


# Rules


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"prompt": []}, RejectReason.EMPTY_PROMPT),
        ({"prompt": [_turn("user", " \n")]}, RejectReason.EMPTY_PROMPT),
        ({"completion": []}, RejectReason.EMPTY_COMPLETION),
        ({"completion": [_turn("assistant", "\t")]}, RejectReason.EMPTY_COMPLETION),
        ({"prompt": [_turn("user", "a"), _turn("assistant", "b")]}, RejectReason.BAD_ROLES),
        ({"completion": [_turn("user", "a")]}, RejectReason.BAD_ROLES),
        ({"prompt": [_turn("narrator", "a"), _turn("user", "b")]}, RejectReason.BAD_ROLES),
        ({"op": "upsert"}, RejectReason.RULE_VIOLATION),
        ({"event_id": "7"}, RejectReason.RULE_VIOLATION),
        ({"event_ts": 0}, RejectReason.BAD_TIME),
    ],
)
def test_event_that_breaks_a_rule_is_named_by_it(changes: dict[str, object], reason: RejectReason) -> None:
    frame = _frame([_event(0), _event(1, **changes), _event(2)], FEEDBACK_EVENT)
    found = violations(frame, FeedbackEventRules)
    assert [(case.row, case.reason) for case in found] == [(1, reason)]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"prompt": []}, RejectReason.EMPTY_PROMPT),
        ({"response_b": []}, RejectReason.EMPTY_COMPLETION),
        ({"response_a": [_turn("user", "a")]}, RejectReason.BAD_ROLES),
        ({"response_b_hash": "a"}, RejectReason.IDENTICAL_RESPONSES),
        ({"outcome": "c"}, RejectReason.RULE_VIOLATION),
    ],
)
def test_pair_that_breaks_a_rule_is_named_by_it(changes: dict[str, object], reason: RejectReason) -> None:
    frame = _frame([_pair(0), _pair(1, **changes)], PREFERENCE_PAIR)
    assert [(case.row, case.reason) for case in violations(frame, PreferencePairRules)] == [(1, reason)]


def test_curated_row_without_weight_is_refused() -> None:
    row = {"row_id": "0" * 32, "prompt": [_turn("user", "a")], "completion": [_turn("assistant", "b")], "label": True}
    rest = {"group_id": "g", "origin": "thumb", "source": "s", "source_event_ids": [], "n_up": 1, "n_down": 0}
    frame = _frame([{**row, **rest, "weight": 0.0, "split": "train"}], UNPAIRED_PREFERENCE)
    assert [case.reason for case in violations(frame, UnpairedPreferenceRules)] == [RejectReason.RULE_VIOLATION]


def test_table_of_another_shape_is_no_rows_fault() -> None:
    with pytest.raises(ShapeError, match="the table breaks its schema"):
        violations(_frame([_event(0)], FEEDBACK_EVENT).drop("op"), FeedbackEventRules)


# Settings


@settings
class _Inner:
    beta: Annotated[float, Field(gt=0)] = 0.1
    scope: Literal["step", "micro"] = "step"


@settings
class _Outer:
    data: str
    inner: _Inner = _Inner()


def test_settings_come_from_nested_values_and_go_back() -> None:
    loaded = load_settings(_Outer, {"data": "x", "inner": {"beta": 2}}, where="f.toml")
    assert settings_to_dict(loaded) == {"data": "x", "inner": {"beta": 2.0, "scope": "step"}}


def test_unknown_key_lists_the_known_ones() -> None:
    with pytest.raises(
        UnknownChoiceError, match=r"f.toml: unknown config key: got 'inner.bta'; expected one of inner.beta"
    ):
        load_settings(_Outer, {"data": "x", "inner": {"bta": 2}}, where="f.toml")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "'data' is not right"),
        ({"data": "x", "inner": {"beta": -1}}, r"'inner.beta' .*greater than 0.*got -1"),
        ({"data": "x", "inner": {"scope": "epoch"}}, r"'inner.scope' .*'step' or 'micro'.*got 'epoch'"),
    ],
)
def test_wrong_value_is_named_with_its_key(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_settings(_Outer, values, where="f.toml")


def test_settings_made_in_python_raise_our_errors() -> None:
    make: Any = _Outer
    for values, message in (
        ({}, "_Outer: config key 'data' is not right"),
        ({"data": "x", "inner": {"beta": -1}}, r"_Outer: config key 'inner\.beta' .*greater than 0.*got -1\.$"),
        ({"data": 3}, "_Outer: config key 'data' .*got 3"),
    ):
        with pytest.raises(ConfigError, match=message):
            make(**values)
    with pytest.raises(UnknownChoiceError, match="_Outer: unknown config key: got 'dta'; expected one of data, inner"):
        make(dta="x")
    with pytest.raises(ConfigError, match=r"_Inner: config key 'beta' .*greater than 0"):
        replace(_Inner(), beta=0.0)


def test_override_is_toml_or_text_and_makes_tables() -> None:
    assert apply_overrides({}, ["a.b=1.5", "a.c=yes please", "d=[1, 2]"]) == {
        "a": {"b": 1.5, "c": "yes please"},
        "d": [1, 2],
    }


@pytest.mark.parametrize(
    ("override", "message"), [("novalue", "not key=value"), ("a.b=1", "'a' is a value, not a table")]
)
def test_override_that_cannot_be_set_is_an_error(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        apply_overrides({"a": 1}, [override])


def test_config_file_that_is_not_toml_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    with pytest.raises(InputNotFoundError, match="no such config file"):
        read_toml(path)
    path.write_text("a = = 1")
    with pytest.raises(ConfigError, match="the file is not TOML"):
        read_toml(path)


# Errors and reasons


def test_error_message_is_made_from_its_parts() -> None:
    error = ThumblineError(
        "label is not known", where="a.jsonl line 4", received="maybe", expected="up or down", todo="Map it"
    )
    assert str(error) == "a.jsonl line 4: label is not known: got 'maybe'; expected up or down. Map it."
    assert (error.where, error.received, error.exit_code) == ("a.jsonl line 4", "maybe", 1)


def test_every_error_stands_in_the_tree_with_its_exit_code() -> None:
    import schemas.errors as errors

    tree = errors.__doc__ or ""
    for name in errors.__all__:
        assert name in tree, name


def test_every_reason_has_a_sentence() -> None:
    for reason in [*RejectReason, *DropReason]:
        assert reason.meaning.endswith("."), reason
