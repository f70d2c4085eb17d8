"""The map of named scores: which names count, what their values mean, and what a wrong map says."""

from __future__ import annotations

import inspect
import re
import textwrap
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from feedback.formats import FORMATS, EventDraft, IgnoredDraft, PairDraft
from feedback.formats.mapping import score_map
from feedback.formats.mapping.score_map import ScoreMap, read_score_map
from feedback.ingest.source_format import open_format
from schemas.errors import ConfigError, InputNotFoundError, RecordRejectedError, UnknownChoiceError
from schemas.reasons import RejectReason
from tests.scored import drafts

TOOLS = ("langfuse", "langsmith", "mlflow", "phoenix", "otel_genai", "label_studio", "argilla")
ALL = ("labels", "outcomes", "answers", "corrections")


def read(folder: Path, text: str, **more: Any) -> ScoreMap:
    path = folder / "map.toml"
    path.write_text(textwrap.dedent(text), "utf-8")
    return read_score_map(path, **{"needs": {}, "can": ALL, **more})


def label(known: ScoreMap, *values: Any, name: str = "s") -> Any:
    try:
        return known.rules[name].label(values)
    except RecordRejectedError as error:
        return error.reason


def test_the_example_of_the_module_is_a_map(tmp_path: Path) -> None:
    lines = (inspect.getdoc(score_map) or "").splitlines()
    example = "\n".join(line for line in lines if line.startswith("    ") or not line.strip())
    known = read(tmp_path, example)
    assert sorted(known.rules) == ["better", "helpfulness", "order", "rewrite", "user-thumb"]
    assert known.rules["better"].outcome(("left",)) == "a"
    assert (known.join.key, known.join.other) == ("observationId", "id")
    assert {name: list(rule.paths) for name, rule in known.rules.items()}["better"] == [
        *("prompt", "completion", "response_a", "response_b"),
    ]
    assert known.rules["better"].find("completion", {"output": '{"text": "a"}'}) == "a"


def test_values_are_named_as_they_stand_in_json(tmp_path: Path) -> None:
    known = read(
        tmp_path, '[scores.s]\nlabels = { 1 = "up", 0 = "down", false = "down", good = "up", null = "none" }\n'
    )
    assert [label(known, value) for value in (1, 1.0, "1", "1.0", "good")] == [True] * 5
    assert [label(known, value) for value in (0, 0.0, -0.0 + 0, "0", False)] == [False] * 5
    assert label(known, None) is None
    assert label(known, None, None) is None
    for value in (True, 2, 0.5, "Good", "", [1], {"a": 1}):
        assert label(known, value) == RejectReason.UNKNOWN_LABEL, value


def test_the_first_value_that_the_map_names_decides_and_null_is_none_of_several(tmp_path: Path) -> None:
    known = read(tmp_path, '[scores.s]\nlabels = { good = "up", 0 = "down", null = "none" }\n')
    assert label(known, "good", 0) is True
    assert label(known, "fine", 0) is False
    assert label(known, None, 0) is False
    assert label(known, "fine", None) == RejectReason.UNKNOWN_LABEL


def test_a_score_without_a_value_is_missed_where_the_map_has_no_null(tmp_path: Path) -> None:
    known = read(tmp_path, '[scores.s]\nlabels = { 1 = "up" }\n[scores.t]\nup_from = 1\n')
    assert label(known, None) == RejectReason.MISSING_FIELD
    assert label(known, None, name="t") == RejectReason.MISSING_FIELD


def test_numbers_are_labels_from_their_thresholds_on(tmp_path: Path) -> None:
    known = read(
        tmp_path, "[scores.s]\nup_from = 4\ndown_to = 2\n[scores.up]\nup_from = 0.5\n[scores.down]\ndown_to = 0\n"
    )
    assert [label(known, value) for value in (5, 4, 3.9, "2.5", "2", -1)] == [True, True, None, None, False, False]
    assert [label(known, value, name="up") for value in (0.5, 0.4)] == [True, None]
    assert [label(known, value, name="down") for value in (0, 0.1)] == [False, None]
    assert label(known, "good", 5) is True
    for value in (True, "good", float("inf"), [5]):
        assert label(known, value) == RejectReason.UNKNOWN_LABEL, value


def test_labels_win_over_thresholds_where_a_table_has_both(tmp_path: Path) -> None:
    known = read(tmp_path, '[scores.s]\nup_from = 4\ndown_to = 2\nlabels = { 0 = "none" }\n')
    assert [label(known, value) for value in (5, 1, 0)] == [True, False, None]


@pytest.mark.parametrize(
    ("text", "error", "match"),
    [
        ("[texts]\nprompt = 'q'", ConfigError, "config key 'scores' is not right"),
        ("[scores]", ConfigError, r"the map names no score; expected a table \[scores.NAME\]"),
        ("[score.s]\nup_from = 1", UnknownChoiceError, "got 'score'; expected one of join, scores, texts"),
        ("[scores.s]\nlabel = 1", UnknownChoiceError, r"got 'label'; expected one of answers, corrections, down_to, l"),
        (
            '[scores.s]\nlabels = { 1 = "yes" }',
            ConfigError,
            r"\[scores.s\]: config key 'labels.1' is not right|labels.1",
        ),
        ('[scores.s]\noutcomes = { left = "up" }', ConfigError, "outcomes.left"),
        (
            "[scores.s]\nrater_kind = 'end_user'",
            ConfigError,
            "does not say what the values mean; expected labels, up_f",
        ),
        ("[scores.s]\nup_from = 1\ndown_to = 1", ConfigError, "down_to is not below up_from"),
        ("[scores.s]\nup_from = 1\nanswers = { a = 'x' }", ConfigError, r"a score means one thing.*: got \[.*answers"),
        ("[scores.s]\nup_from = 1\ntexts = { prompt = 'a..b' }", ConfigError, "a path of the map cannot be read"),
        ("[scores.s]\nup_from = 1\n[texts]\nanswer = 'a'", ConfigError, "texts.answer"),
        ("[scores.s]\nup_from = 1\n[join]\nid = 'a'", UnknownChoiceError, "got 'join.id'; expected one of join.key"),
        ("[scores.s", ConfigError, "the file is not TOML"),
    ],
)
def test_a_wrong_map_is_an_error_that_says_where(tmp_path: Path, text: str, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match) as caught:
        read(tmp_path, text)
    assert "map.toml" in str(caught.value)


def test_a_map_says_only_what_its_format_can_use_and_all_that_it_needs(tmp_path: Path) -> None:
    outcomes = '[scores.s]\noutcomes = { left = "a" }\n'
    with pytest.raises(ConfigError, match=r"the format has no use for 'outcomes'.*; expected labels or corrections"):
        read(tmp_path, outcomes, can=("labels", "corrections"))
    texts = 'texts = { response_a = "x" }\n'
    with pytest.raises(ConfigError, match="does not say where prompt and response_b lie"):
        read(tmp_path, outcomes + texts, needs={"outcomes": ("prompt", "response_a", "response_b")})


def test_a_map_that_is_not_there_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(InputNotFoundError):
        open_format("langfuse", str(tmp_path / "none.toml"))


@pytest.mark.parametrize("name", TOOLS)
def test_a_format_with_named_scores_needs_a_map(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"the format '{name}' needs a map\. Name the TOML file with --map"):
        open_format(name, None)
    assert FORMATS[name].with_map is not None


SMALLEST: dict[str, dict[str, Any]] = {
    "langfuse": {"name": "s", "source": "API", "dataType": "NUMERIC", "value": 1, "traceId": "t"},
    "langsmith": {"key": "s", "score": 1, "run_id": "r"},
    "mlflow": {"name": "s", "feedback": {"value": True}, "source": {"source_type": "HUMAN"}, "trace_id": "t"},
    "phoenix": {"name": "s", "annotator_kind": "HUMAN", "result": {"score": 1}, "span_id": "a"},
    "otel_genai": {"attributes": {"gen_ai.evaluation.name": "s", "gen_ai.evaluation.score.value": 1}},
    "label_studio": {"data": {}, "annotations": [{"result": [{"from_name": "s", "value": {"rating": 1}}]}]},
    "argilla": {"fields": {}, "responses": {"s": [{"value": 1, "user_id": "u"}]}},
}


@pytest.mark.parametrize("name", TOOLS)
def test_a_score_under_another_name_is_left_out_and_not_lost(name: str) -> None:
    """No joined file is needed to leave a score out."""
    text = '[scores.another]\nlabels = { 1 = "up" }\ntexts = { prompt = "p", completion = "c" }\n'
    (only,) = drafts(name, text, SMALLEST[name])
    assert only == IgnoredDraft(what="scores 's', which the map does not name", score="s", value=1)


@pytest.mark.parametrize("name", TOOLS)
def test_without_a_map_a_format_knows_its_own_records_and_no_others(name: str) -> None:
    """What a wrong format looks like is seen by this; no label comes of it."""
    for other, record in SMALLEST.items():
        try:
            found: Any = list(FORMATS[name].parse(record))
        except RecordRejectedError:
            found = None
        assert (found is not None) == (other == name), other
        assert all(isinstance(one, IgnoredDraft) for one in found or ())


TRACE = {"id": "t", "input": "q", "output": "a"}


def test_a_withdrawn_or_corrected_score_is_a_draft_of_its_own(tmp_path: Path) -> None:
    score = {**SMALLEST["langsmith"], "id": "f", "correction": "better", "run": {"inputs": "q", "outputs": "a"}}
    text = '[scores.s]\nlabels = { 1 = "down" }\ncorrections = true\n'
    event, pair = drafts("langsmith", text, score)
    assert isinstance(event, EventDraft)
    assert isinstance(pair, PairDraft)
    assert (event.label, event.completion[0]["content"], event.record_id) == (False, "a", "f")
    assert (pair.response_a[0]["content"], pair.response_b[0]["content"], pair.outcome) == ("better", "a", "a")
    assert (pair.record_id, pair.flags, pair.raw_value) == ("f/correction", ("correction",), "correction")


def test_a_correction_alone_needs_no_label_and_a_score_without_one_is_left_out() -> None:
    run = {"inputs": "q", "outputs": "a"}
    both = '[scores.s]\nlabels = { 1 = "down" }\ncorrections = true\n'
    (pair,) = drafts("langsmith", both, {"key": "s", "run_id": "r", "score": None, "correction": "better", "run": run})
    assert isinstance(pair, PairDraft)
    alone = "[scores.s]\ncorrections = true\n"
    assert drafts("langsmith", alone, {"key": "s", "run_id": "r", "score": 1, "run": run}) == [
        IgnoredDraft(what="scores 's' without a correction")
    ]
    without = '[scores.s]\nlabels = { 1 = "down" }\n'
    (event,) = drafts("langsmith", without, {"key": "s", "run_id": "r", "score": 1, "correction": "b", "run": run})
    assert isinstance(event, EventDraft)


def test_a_signal_is_the_name_unless_the_map_says_another_word() -> None:
    record = {**SMALLEST["langfuse"], "trace": TRACE}
    for more, signal, strength in (("", "s", 1.0), ('signal = "score"\n', "score", 1.0)):
        (event,) = drafts("langfuse", f"[scores.s]\nup_from = 1\n{more}", record)
        assert isinstance(event, EventDraft)
        assert (event.signal, event.strength) == (signal, strength)


def test_a_system_turn_is_read_where_the_map_says_and_left_out_where_it_is_blank() -> None:
    text = '[scores.s]\nup_from = 1\n[texts]\nsystem = "metadata.rules"\n'
    for rules, roles in (("Be kind.", ["system", "user"]), (" ", ["user"]), (None, ["user"])):
        record = {**SMALLEST["langfuse"], "trace": {**TRACE, "metadata": {"rules": rules}}}
        (event,) = drafts("langfuse", text, record)
        assert isinstance(event, EventDraft)
        assert [turn["role"] for turn in event.prompt] == roles


def test_every_key_of_a_map_is_documented_with_its_meaning(tmp_path: Path) -> None:
    """The page has every key, the sentence of its docstring, and an example that is a map."""
    page = (Path(__file__).parents[2] / "docs" / "scores.md").read_text("utf-8")
    for settings in (score_map.ScoreTable, score_map.JoinPaths):
        told = re.findall(r"^ {8}(\w+): (.+)$", settings.__doc__ or "", re.MULTILINE)
        assert [key for key, _ in told] == [one.name for one in fields(settings)]
        for key, meaning in told:
            assert f"| `{key}` |" in page
            assert meaning.replace("see the module", "see `[texts]`") in page
    example = re.search(r"```toml\n(.*?)```", page, re.DOTALL)
    assert example is not None
    assert len(read(tmp_path, example[1]).rules) == 5
    assert all(f"| `{name}` |" in page for name in TOOLS)


@pytest.mark.parametrize(("value", "expected"), [(2**53 + 1, 2.0**53), ("1e400", None), (10**400, None), (True, None)])
def test_a_number_is_one_that_a_float_can_hold(value: object, expected: float | None, tmp_path: Path) -> None:
    """Others were an error of the table that strengths are written to."""
    path = tmp_path / "map.toml"
    path.write_text("[scores.quality]\nup_from = 4\n", "utf-8")
    rule = read_score_map(path, needs={}, can=("labels",)).rules["quality"]
    number = rule.number([value])
    assert number == expected
    assert type(number) is type(expected)
