"""Any file by a map: paths, label maps, thresholds, constants, and errors that list the known keys."""

from __future__ import annotations

import csv
import inspect
import json
import textwrap
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feedback.formats import Draft, mapped
from feedback.formats.mapped import mapped_format
from feedback.formats.mapping.paths import find_value, parse_path
from feedback.records.sources import read_records
from schemas.errors import ConfigError, InputNotFoundError, RecordRejectedError, UnknownChoiceError
from schemas.reasons import RejectReason

BASIC = """
[fields]
prompt = "q"
completion = "a"
label = "vote"
[labels]
"1" = "up"
"0" = "down"
"""


def read(folder: Path, text: str, record: dict[str, Any]) -> Any:
    path = folder / "map.toml"
    path.write_text(text, "utf-8")
    (draft,) = mapped_format(path).parse(record)
    return draft


def reason_of(folder: Path, text: str, record: dict[str, Any]) -> str:
    with pytest.raises(RecordRejectedError) as caught:
        read(folder, text, record)
    return caught.value.reason


def example_of_the_docstring() -> str:
    lines = inspect.getdoc(mapped) or ""
    block = [line for line in lines.splitlines() if line.startswith("    ") or not line.strip()]
    return textwrap.dedent("\n".join(block))


@pytest.mark.parametrize(("value", "label"), [("thumbsUp", True), ("thumbsDown", False), (None, None)])
def test_the_example_in_the_documentation_works(tmp_path: Path, value: str | None, label: bool | None) -> None:
    record = {
        "request": {"messages": [{"role": "human", "content": "q"}]},
        "response": {"choices": [{"message": {"content": "a"}}]},
        "feedback": {"value": value, "at": "2026-01-05T09:51:39Z"},
        "user_id": "u1",
    }
    draft = read(tmp_path, example_of_the_docstring(), record)
    assert draft.prompt == [{"role": "user", "content": "q"}]
    assert draft.completion == [{"role": "assistant", "content": "a"}]
    assert (draft.label, draft.rater, draft.model_id) == (label, "u1", "assistant-2")
    assert draft.event_time == "2026-01-05T09:51:39Z"


def test_labels_are_compared_as_they_stand_in_json(tmp_path: Path) -> None:
    for value, label in [(1, True), ("1", True), (0, False)]:
        assert read(tmp_path, BASIC, {"q": "q", "a": "a", "vote": value}).label is label
    for value in (True, 1.5, 2, "up", [1]):
        assert reason_of(tmp_path, BASIC, {"q": "q", "a": "a", "vote": value}) == RejectReason.UNKNOWN_LABEL
    assert reason_of(tmp_path, BASIC, {"q": "q", "a": "a"}) == RejectReason.MISSING_FIELD
    booleans = BASIC.replace('"1"', "true").replace('"0"', "false")
    assert read(tmp_path, booleans, {"q": "q", "a": "a", "vote": True}).label is True


@pytest.mark.parametrize("value", ["claude-2.0", "v1.0", "up.0", ".0"])
def test_only_numbers_are_known_without_their_point(tmp_path: Path, value: str) -> None:
    text = BASIC + '"claude-2" = "up"\nv1 = "up"\nup = "up"\n"" = "up"\n'
    assert reason_of(tmp_path, text, {"q": "q", "a": "a", "vote": value}) == RejectReason.UNKNOWN_LABEL


@pytest.mark.parametrize("value", [1, "1", 1.0, "1.0"])
def test_a_whole_number_may_be_written_as_a_float(tmp_path: Path, value: Any) -> None:
    """So does a table with empty cells beside it."""
    fields = '[fields]\nprompt = "q"\ncompletion = "a"\nlabel = "v"\n[labels]\n'
    record = {"q": "q", "a": "a", "v": value}
    draft = read(tmp_path, f'{fields}1 = "up"\n', record)
    assert (draft.label, draft.raw_value) == (True, value)
    if str(value) == "1.0":
        assert read(tmp_path, f'{fields}1 = "up"\n"1.0" = "down"\n', record).label is False


def test_thresholds_make_labels_of_numbers(tmp_path: Path) -> None:
    text = BASIC.split("[labels]")[0] + '[thresholds]\nup_from = 4\ndown_to = 2\n[options]\nsignal = "score"\n'
    labels = [read(tmp_path, text, {"q": "q", "a": "a", "vote": vote}).label for vote in (5, 4, 3.9, "2.5", "2", 0)]
    assert labels == [True, True, None, None, False, False]
    assert read(tmp_path, text, {"q": "q", "a": "a", "vote": 5}).signal == "score"
    assert reason_of(tmp_path, text, {"q": "q", "a": "a", "vote": "good"}) == RejectReason.WRONG_TYPE
    assert reason_of(tmp_path, text, {"q": "q", "a": "a", "vote": True}) == RejectReason.WRONG_TYPE
    assert reason_of(tmp_path, text, {"q": "q", "a": "a"}) == RejectReason.MISSING_FIELD


def test_a_conversation_gives_prompt_and_answer_with_its_own_keys_and_roles(tmp_path: Path) -> None:
    text = """
    [fields]
    conversation_messages = "chat"
    system = "rules"
    label = 'chat[-1].score'
    [labels]
    1 = "up"
    [roles]
    bot = "assistant"
    [options]
    role_key = "from"
    content_key = "said"
    """
    chat = [{"from": "user", "said": "q"}, {"from": "bot", "said": "a", "score": 1}]
    draft = read(tmp_path, text, {"chat": chat, "rules": "s"})
    assert [turn["role"] for turn in draft.prompt] == ["system", "user"]
    assert draft.completion == [{"role": "assistant", "content": "a"}]


def test_numbers_of_other_units_become_seconds(tmp_path: Path) -> None:
    text = BASIC.replace("[labels]", 'time = "at"\n[options]\ntime_unit = "ms"\n[labels]')
    for value in (1767606699000, "1767606699000"):
        assert read(tmp_path, text, {"q": "q", "a": "a", "vote": 1, "at": value}).event_time == 1767606699
    assert read(tmp_path, text, {"q": "q", "a": "a", "vote": 1, "at": "2026-01-05"}).event_time == "2026-01-05"


def test_pairs_are_mapped_by_names_or_by_outcomes(tmp_path: Path) -> None:
    named = 'kind = "pairs"\n[fields]\nprompt = "q"\nchosen = "c"\nrejected = "r"\nmargin = "m"\n'
    draft = read(tmp_path, named, {"q": "q", "c": "a", "r": "b", "m": "1.5"})
    assert (draft.outcome, draft.margin, draft.response_b[0]["content"]) == ("a", 1.5, "b")
    arena = """
    kind = "pairs"
    [fields]
    prompt = 'conversation_a[0].content'
    response_a = 'conversation_a[1]'
    response_b = 'conversation_b[1]'
    outcome = "winner"
    model_a = "model_a"
    [outcomes]
    model_a = "a"
    model_b = "b"
    tie = "tie"
    "tie (bothbad)" = "both_bad"
    """
    record = {
        "conversation_a": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}],
        "conversation_b": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "b"}],
        "model_a": "m",
    }
    for winner, outcome in [("model_a", "a"), ("model_b", "b"), ("tie", "tie"), ("tie (bothbad)", "both_bad")]:
        assert read(tmp_path, arena, {**record, "winner": winner}).outcome == outcome
    assert reason_of(tmp_path, arena, {**record, "winner": "x"}) == RejectReason.UNKNOWN_LABEL
    assert reason_of(tmp_path, arena, record) == RejectReason.MISSING_FIELD


def test_answer_shown_first_is_named_as_outcomes_are_or_by_its_side(tmp_path: Path) -> None:
    named = 'kind = "pairs"\n[fields]\nprompt = "q"\nchosen = "c"\nrejected = "r"\npresented_first = "f"\n'
    arena = named.replace('chosen = "c"\nrejected = "r"', 'response_a = "c"\nresponse_b = "r"\noutcome = "w"')
    arena += '[outcomes]\nleft = "a"\nright = "b"\nequal = "tie"\n'
    record = {"q": "q", "c": "a", "r": "b", "w": "left"}
    for value, first in ((None, None), ("b", "b"), ("chosen", "a"), ("rejected", "b")):
        assert read(tmp_path, named, {**record, "f": value}).presented_first == first
    assert read(tmp_path, arena, {**record, "f": "right"}).presented_first == "b"
    assert reason_of(tmp_path, arena, {**record, "f": "equal"}) == RejectReason.UNKNOWN_LABEL


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "parquet"])
def test_a_map_reads_every_kind_of_file(tmp_path: Path, suffix: str) -> None:
    rows = [{"q": "two\nlines", "a": '{"text": "b, c"}', "vote": "1"}, {"q": "r", "a": '{"text": "d"}', "vote": "0"}]
    path = tmp_path / f"in.{suffix}"
    if suffix == "jsonl":
        path.write_text("\n".join(map(json.dumps, rows)), "utf-8")
    elif suffix == "csv":
        with path.open("w", newline="", encoding="utf-8") as file:
            table = csv.DictWriter(file, list(rows[0]))
            table.writeheader()
            table.writerows(rows)
    else:
        pq.write_table(pa.Table.from_pylist(rows), path)
    text = BASIC.replace('"a"', '"a.text"')
    drafts: list[Draft] = [read(tmp_path, text, record.value or {}) for record in read_records(path)]
    assert [(draft.prompt[0]["content"], draft.label) for draft in drafts] == [("two\nlines", True), ("r", False)]
    assert drafts[0].completion[0]["content"] == "b, c"


def test_a_path_goes_through_objects_lists_quoted_keys_and_json_in_text() -> None:
    record = {"a": [{"b.c": '{"d": [1, 2]}'}], "e": "no json"}
    assert find_value(record, parse_path('a[0]["b.c"].d[-1]', "map")) == 2
    for path in ("a[3]", "a.b", "x.y", "a[0].z", "a[-2]"):
        assert find_value(record, parse_path(path, "map")) is None
    with pytest.raises(RecordRejectedError, match="invalid_json: the text before 'f' in a mapped path is 'no json'"):
        find_value(record, parse_path("e.f", "map"))


@pytest.mark.parametrize("path", ["", ".", "a..b", "a[", "a[x]", "a.", 'a["b]', "[0]x"])
def test_a_path_that_cannot_be_read_is_an_error(path: str) -> None:
    with pytest.raises(ConfigError, match="a path of the map cannot be read: got"):
        parse_path(path, "map.toml")


@pytest.mark.parametrize(
    ("text", "error", "match"),
    [
        (
            '[field]\nprompt = "q"',
            UnknownChoiceError,
            "unknown config key: got 'field'; expected one of constants, ",
        ),
        (
            '[fields]\nanswer = "q"',
            UnknownChoiceError,
            r"got 'fields.answer'; expected one of fields.chosen, fields.com",
        ),
        (BASIC.replace('"up"', '"good"'), ConfigError, r"config key 'labels.1' is not right"),
        ('[fields]\nprompt = "q"\n[labels]\n1 = "up"', ConfigError, "the map does not give all fields of events"),
        (BASIC.split("[labels]")[0], ConfigError, "the map does not say what the labels mean"),
        (BASIC + '[constants]\nmodl = "m"', UnknownChoiceError, "unknown constant: got 'modl'; expected one of chosen"),
        (BASIC + '[constants]\nlabel = "1"', ConfigError, "field 'label' is both mapped and constant"),
        (BASIC + "[thresholds]\nup_from = 1\ndown_to = 1", ConfigError, "down_to is not below up_from"),
        (
            'kind = "pairs"\n[fields]\nprompt = "q"\nresponse_a = "a"\nresponse_b = "b"\noutcome = "o"',
            ConfigError,
            "the map does not say what the outcomes mean",
        ),
        ("= 3", ConfigError, "the file is not TOML"),
    ],
)
def test_a_map_that_is_wrong_is_an_error(tmp_path: Path, text: str, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        read(tmp_path, text, {})


def test_a_map_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputNotFoundError, match="no such config file"):
        mapped_format(tmp_path / "none.toml")


def test_a_mapped_format_says_what_it_expects(tmp_path: Path) -> None:
    (tmp_path / "map.toml").write_text(BASIC)
    found = mapped_format(tmp_path / "map.toml")
    assert found.fields == "what the map map.toml says: prompt at q, completion at a, label at vote"
    assert found.kind == "events"


@pytest.mark.parametrize("name", ["id", "user", "model", "conversation", "message", "comment", "lang"])
@pytest.mark.parametrize("blank", ["", "  "])
def test_a_blank_id_or_text_is_none(tmp_path: Path, name: str, blank: str) -> None:
    text = BASIC.replace("[labels]", f'{name} = "x"\n[labels]')
    record = {"q": "q", "a": "a", "vote": 1}
    assert read(tmp_path, text, {**record, "x": blank}) == read(tmp_path, text, record)


def test_consent_in_a_cell_is_a_word(tmp_path: Path) -> None:
    fields = '[fields]\nprompt = "q"\ncompletion = "a"\nlabel = "v"\nconsent = "c"\n[labels]\n1 = "up"\n'
    for cell, consent in (("True", True), ("false", False), (None, None), (True, True)):
        assert read(tmp_path, fields, {"q": "q", "a": "a", "v": 1, "c": cell}).consent is consent
    assert reason_of(tmp_path, fields, {"q": "q", "a": "a", "v": 1, "c": "yes"}) == RejectReason.WRONG_TYPE
