"""Every format's records become drafts exactly, and what is not in the format is rejected under its reason."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feedback.formats import FORMATS, EventDraft, PairDraft, find_format
from schemas.errors import ConfigError, RecordRejectedError, UnknownChoiceError
from schemas.reasons import RejectReason
from tests.format_records import bot, parse, reason_of, user, webui

SHARED = Path(__file__).parents[2].parent / "shared" / "data"


THUMB = {"prompt": "q", "completion": "a", "label": "up"}


def test_a_thumb_may_have_text_or_messages() -> None:
    draft = parse("thumbs", THUMB)
    assert (draft.prompt, draft.completion, draft.label) == ([user("q")], [bot("a")], True)
    turns = [{"role": "system", "content": "s"}, user("q")]
    assert parse("thumbs", {**THUMB, "prompt": turns, "completion": bot("a")}) == parse(
        "thumbs", {**THUMB, "prompt": turns, "completion": [bot("a")]}
    )
    assert parse("thumbs", {**THUMB, "prompt": turns, "completion": [*turns, bot("a")]}).completion == [bot("a")]


def test_a_thumb_keeps_all_that_it_says() -> None:
    record = {
        **THUMB,
        "id": 7,
        "user": "u",
        "time": 1767606699,
        "updated": "2026-01-05",
        "model": "m",
        "conversation": "c",
        "message": "m1",
        "comment": "c",
        "reasons": ["x", ""],
        "strength": 2,
        "lang": "en",
        "consent": True,
        "tools": [{"name": "t"}],
    }
    draft = parse("thumbs", record)
    assert (draft.record_id, draft.rater, draft.event_time, draft.updated_time) == ("7", "u", 1767606699, "2026-01-05")
    assert (draft.model_id, draft.conversation_id, draft.message_id) == ("m", "c", "m1")
    assert (draft.comment, draft.reason_codes, draft.strength, draft.lang, draft.consent) == (
        "c",
        ("x",),
        2,
        "en",
        True,
    )
    assert draft.tools == '[{"name": "t"}]'


@pytest.mark.parametrize(("value", "label"), [("up", True), ("down", False), ("none", None), ("neutral", None)])
def test_a_thumb_has_one_of_four_labels(value: str, label: bool | None) -> None:
    draft = parse("thumbs", {**THUMB, "label": value})
    assert draft.label is label
    assert draft.raw_value == value


@pytest.mark.parametrize("value", [True, False, 0, 1, -1, 1.0, "Up", "UP", "1", "true", "👍", "", [], {}])
def test_any_other_label_of_a_thumb_is_unknown(value: object) -> None:
    assert reason_of("thumbs", {**THUMB, "label": value}) == RejectReason.UNKNOWN_LABEL


@pytest.mark.parametrize("field", ["prompt", "completion", "label"])
def test_a_thumb_without_a_required_field_misses_it(field: str) -> None:
    assert reason_of("thumbs", {**THUMB, field: None}) == RejectReason.MISSING_FIELD
    assert reason_of("thumbs", {key: THUMB[key] for key in THUMB if key != field}) == RejectReason.MISSING_FIELD


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("prompt", 3), ("prompt", {"role": "user"}), ("completion", 3), ("completion", [3])),
        *(("id", True), ("id", 1.5), ("user", []), ("model", {}), ("conversation", False)),
        *(
            ("comment", 3),
            ("reasons", 3),
            ("reasons", [3]),
            ("strength", "strong"),
            ("consent", 1),
            ("strength", True),
            ("lang", 1),
        ),
        *(("consent", "yes"), ("tools", "{"), ("tools", [1]), ("tools", {"name": "t"})),
        ("prompt", [{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}]),
        ("completion", [{"role": "assistant", "content": "a", "tool_calls": [{"id": "1"}]}]),
        ("completion", [{"role": "assistant", "content": 3}]),
    ],
)
def test_a_field_of_a_thumb_with_the_wrong_type_is_rejected(field: str, value: object) -> None:
    assert reason_of("thumbs", {**THUMB, field: value}) == RejectReason.WRONG_TYPE


@pytest.mark.parametrize("blank", ["", " ", "\u3000"])
def test_a_blank_id_or_text_of_a_thumb_is_none(blank: str) -> None:
    optional = dict.fromkeys(("id", "user", "model", "conversation", "message", "comment", "lang"), blank)
    assert parse("thumbs", {**THUMB, **optional}) == parse("thumbs", {**THUMB, **dict.fromkeys(optional)})


def test_seconds_that_a_cell_gives_as_text_are_a_number() -> None:
    draft = parse("thumbs", {**THUMB, "time": "1767606699", "updated": "1767606699.5"})
    assert (draft.event_time, draft.updated_time) == (1767606699, 1767606699.5)
    assert parse("thumbs", {**THUMB, "time": "20260105"}).event_time == "20260105"


def test_a_retraction_needs_no_label_but_an_id() -> None:
    draft = parse("thumbs", {"id": "1", "op": "retract", "prompt": "q", "completion": "a"})
    assert (draft.op, draft.label, draft.record_id) == ("retract", None, "1")
    assert reason_of("thumbs", {**THUMB, "op": "retract"}) == RejectReason.MISSING_FIELD
    assert reason_of("thumbs", {**THUMB, "op": "retract", "id": " "}) == RejectReason.MISSING_FIELD
    assert reason_of("thumbs", {**THUMB, "op": "delete", "id": "1"}) == RejectReason.RULE_VIOLATION


def test_unknown_roles_are_rejected_and_other_names_of_roles_known() -> None:
    assert reason_of("thumbs", {**THUMB, "prompt": [{"role": "narrator", "content": "q"}]}) == RejectReason.BAD_ROLES
    assert reason_of("thumbs", {**THUMB, "prompt": [{"role": ["user"], "content": "q"}]}) == RejectReason.BAD_ROLES
    assert reason_of("thumbs", {**THUMB, "prompt": [{"content": "q"}]}) == RejectReason.MISSING_FIELD
    assert parse("thumbs", {**THUMB, "prompt": [{"role": "developer", "content": "s"}, user("q")]}).prompt[0] == {
        "role": "system",
        "content": "s",
    }


def test_text_parts_are_joined() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert parse("thumbs", {**THUMB, "completion": {"role": "assistant", "content": parts}}).completion == [bot("ab")]


def test_trl_reads_labelled_answers_as_text_and_as_messages() -> None:
    expected = EventDraft(
        prompt=[user("q")],
        completion=[bot("a")],
        signal="label",
        raw_value=False,
        label=False,
        rater_kind="unknown",
    )
    assert parse("trl", {"prompt": "q", "completion": "a", "label": False}) == expected
    assert parse("trl", {"prompt": [user("q")], "completion": [bot("a")], "label": False}) == expected


@pytest.mark.parametrize("value", [1, 0, "1", "tRUE", "true ", "up", 1.0, []])
def test_labels_of_trl_and_llamafactory_are_booleans_only(value: object) -> None:
    assert reason_of("trl", {"prompt": "q", "completion": "a", "label": value}) == RejectReason.UNKNOWN_LABEL
    turns = [user("q"), bot("a")]
    assert reason_of("llamafactory", {"messages": turns, "label": value}) == RejectReason.UNKNOWN_LABEL
    assert reason_of("llamafactory", {"messages": turns, "kto_tag": value}) == RejectReason.UNKNOWN_LABEL
    assert reason_of("llamafactory", {"messages": turns, "label": None}) == RejectReason.MISSING_FIELD


@pytest.mark.parametrize(("cell", "label"), [("true", True), ("True", True), ("FALSE", False), ("False", False)])
def test_booleans_of_csv_cells_are_labels(cell: str, label: bool) -> None:
    assert parse("trl", {"prompt": "q", "completion": "a", "label": cell}).label is label
    assert parse("llamafactory", {"messages": [user("q"), bot("a")], "kto_tag": cell}).label is label


def test_trl_reads_pairs_with_a_prompt() -> None:
    text = {"prompt": "q", "chosen": "a", "rejected": "b", "score_chosen": 9, "score_rejected": 2.5, "margin": 6.5}
    draft = parse("trl", text)
    assert (draft.prompt, draft.response_a, draft.response_b) == ([user("q")], [bot("a")], [bot("b")])
    assert (draft.outcome, draft.score_a, draft.score_b, draft.margin) == ("a", 9.0, 2.5, 6.5)
    assert parse("trl", {**text, "score_rejected": 9}).outcome == "a"
    turns = {"prompt": [user("q")], "chosen": [bot("a")], "rejected": [bot("b")]}
    assert parse("trl", turns).response_a == [bot("a")]
    repeated = {"prompt": "q", "chosen": [user("q"), bot("a")], "rejected": [user("q"), bot("b")]}
    assert parse("trl", repeated).response_b == [bot("b")]
    other = {**repeated, "prompt": "another"}
    assert reason_of("trl", other) == RejectReason.PROMPTS_DIFFER


def test_an_implicit_prompt_is_split_at_the_turn() -> None:
    shared = [user("q"), bot("a"), user("r")]
    draft = parse(
        "trl", {"chosen": [*shared, bot("The sky is blue.")], "rejected": [*shared, bot("The sky is green.")]}
    )
    assert (draft.prompt, draft.response_a) == (shared, [bot("The sky is blue.")])
    longer = parse("trl", {"chosen": [user("q"), bot("a"), user("r"), bot("b")], "rejected": [user("q"), bot("x")]})
    assert (longer.prompt, longer.response_a) == ([user("q")], [bot("a"), user("r"), bot("b")])


def test_conversations_that_do_not_part_at_an_answer_are_rejected() -> None:
    turns = [user("q"), bot("a")]
    assert reason_of("trl", {"chosen": turns, "rejected": turns}) == RejectReason.IDENTICAL_RESPONSES
    assert reason_of("trl", {"chosen": turns, "rejected": turns[:1]}) == RejectReason.EMPTY_COMPLETION
    assert reason_of("trl", {"chosen": turns, "rejected": [user("r"), bot("b")]}) == RejectReason.PROMPTS_DIFFER
    more = [*turns, user("r"), bot("c")], [*turns, user("s"), bot("c")]
    assert reason_of("trl", {"chosen": more[0], "rejected": more[1]}) == RejectReason.PROMPTS_DIFFER
    mixed = [user("q"), user("r"), bot("c")]
    assert reason_of("trl", {"chosen": turns, "rejected": mixed}) == RejectReason.PROMPTS_DIFFER


def test_an_implicit_prompt_in_plain_text_is_never_guessed() -> None:
    plain = {"chosen": "The sky is blue.", "rejected": "The sky is green."}
    assert reason_of("trl", plain) == RejectReason.MISSING_FIELD
    draft = parse("trl", {key: f"\n\nHuman: Sky?\n\nAssistant: {text}" for key, text in plain.items()})
    assert (draft.prompt, draft.response_b) == ([user("Sky?")], [bot("The sky is green.")])


@pytest.mark.parametrize("change", [{"score_chosen": "9"}, {"margin": True}, {"chosen": 3}, {"tools": 3}])
def test_a_field_of_a_trl_pair_with_the_wrong_type_is_rejected(change: dict[str, object]) -> None:
    record = {"prompt": "q", "chosen": "a", "rejected": "b", **change}
    assert reason_of("trl", record) == RejectReason.WRONG_TYPE
    assert reason_of("trl", {"prompt": "q", "chosen": "a"}) == RejectReason.MISSING_FIELD


OPENAI = {
    "input": {"messages": [user("q")], "tools": [{"type": "function"}], "parallel_tool_calls": True},
    "preferred_output": [bot("a")],
    "non_preferred_output": [bot("b")],
}


def test_openai_pairs_are_read_with_their_tools() -> None:
    assert parse("openai", OPENAI) == PairDraft(
        prompt=[user("q")],
        response_a=[bot("a")],
        response_b=[bot("b")],
        outcome="a",
        raw_value="preferred_output",
        tools='[{"type": "function"}]',
    )
    for field in OPENAI:
        assert reason_of("openai", {**OPENAI, field: None}) == RejectReason.MISSING_FIELD
        assert reason_of("openai", {**OPENAI, field: "q"}) == RejectReason.WRONG_TYPE


def test_llamafactory_kto_is_read_in_all_its_shapes() -> None:
    shapes = [
        {"messages": [user("q"), bot("a")], "label": True},
        {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}], "kto_tag": True},
        {"instruction": "q", "input": "", "output": "a", "kto_tag": True},
    ]
    drafts = [parse("llamafactory", shape) for shape in shapes]
    for draft in drafts:
        assert (draft.prompt, draft.completion, draft.label) == ([user("q")], [bot("a")], True)
    whole = {**shapes[1], "system": "s", "tools": '[{"name": "t"}]'}
    assert parse("llamafactory", whole).prompt[0] == {"role": "system", "content": "s"}
    assert parse("llamafactory", whole).tools == '[{"name": "t"}]'
    alpaca = {**shapes[2], "input": "more", "history": [["x", "y"]]}
    assert parse("llamafactory", alpaca).prompt == [user("x"), bot("y"), user("q\nmore")]
    assert reason_of("llamafactory", {**alpaca, "history": [["x"]]}) == RejectReason.WRONG_TYPE


def test_llamafactory_rankings_are_read_in_all_their_shapes() -> None:
    sharegpt = {
        "conversations": [{"from": "human", "value": "q"}],
        "chosen": {"from": "gpt", "value": "a"},
        "rejected": {"from": "gpt", "value": "b"},
    }
    parts = {name: [{"type": "text", "value": name}] for name in "qab"}
    v1 = {
        f"{side}_messages": [{"role": "user", "content": parts["q"]}, {"role": "assistant", "content": parts[answer]}]
        for side, answer in (("chosen", "a"), ("rejected", "b"))
    }
    for shape in (sharegpt, v1, {"instruction": "q", "chosen": "a", "rejected": "b"}):
        draft = parse("llamafactory", shape)
        assert (draft.prompt, draft.response_a, draft.response_b) == ([user("q")], [bot("a")], [bot("b")])
    assert reason_of("llamafactory", {**sharegpt, "chosen": None}) == RejectReason.MISSING_FIELD
    assert reason_of("llamafactory", {**sharegpt, "chosen": 3}) == RejectReason.WRONG_TYPE
    assert reason_of("llamafactory", {"chosen": "a", "rejected": "b"}) == RejectReason.MISSING_FIELD


def test_a_conversation_must_end_with_the_assistant() -> None:
    assert reason_of("llamafactory", {"messages": [bot("a"), user("q")], "label": True}) == RejectReason.BAD_ROLES
    assert reason_of("llamafactory", {"messages": [], "label": True}) == RejectReason.EMPTY_PROMPT
    turns = [{"from": "robot", "value": "q"}]
    assert reason_of("llamafactory", {"conversations": turns, "kto_tag": True}) == RejectReason.BAD_ROLES


def transcript(*turns: str) -> str:
    names = ("Human", "Assistant")
    return "".join(f"\n\n{names[place % 2]}: {text}" for place, text in enumerate(turns))


def test_hh_transcripts_are_split_at_the_last_answer() -> None:
    record = {"chosen": transcript("q", "a", "r", "The b"), "rejected": transcript("q", "a", "r", "The c")}
    draft = parse("hh_rlhf", record)
    assert draft.prompt == [user("q"), bot("a"), user("r")]
    assert (draft.response_a, draft.response_b, draft.rater_kind) == ([bot("The b")], [bot("The c")], "annotator")


@pytest.mark.parametrize(
    ("chosen", "rejected", "reason"),
    [
        (transcript("q", "a"), transcript("r", "b"), RejectReason.PROMPTS_DIFFER),
        (transcript("q", "a"), transcript("q", " "), RejectReason.EMPTY_COMPLETION),
        (transcript("q", "a"), transcript("q", "a "), RejectReason.IDENTICAL_RESPONSES),
        (transcript("q", "a"), transcript("q"), RejectReason.WRONG_TYPE),
        (transcript("q", "a"), 3, RejectReason.WRONG_TYPE),
        (transcript("q", "a", "r"), transcript("q", "b"), RejectReason.BAD_ROLES),
        ("x" + transcript("q", "a"), "x" + transcript("q", "b"), RejectReason.WRONG_TYPE),
        (transcript("q", "a"), None, RejectReason.MISSING_FIELD),
    ],
)
def test_hh_pairs_that_are_none_are_rejected(chosen: object, rejected: object, reason: str) -> None:
    assert reason_of("hh_rlhf", {"chosen": chosen, "rejected": rejected}) == reason


def test_formats_are_found_by_name_and_say_how_they_read_labels() -> None:
    with pytest.raises(
        UnknownChoiceError, match=f"unknown format: got 'csv'; expected one of {', '.join(sorted(FORMATS))}"
    ):
        find_format("csv")
    for name, one in FORMATS.items():
        assert name == one.name
        assert one.summary.endswith(".")
        assert one.label_rule.endswith(".")
        assert one.fields
    with pytest.raises(ConfigError, match="the format 'mapped' needs a map; expected a TOML file"):
        list(FORMATS["mapped"].parse({}))


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["role", "content", "from"]), inner),
    max_leaves=8,
)


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_whatever_a_record_holds_is_a_draft_or_a_rejection(data: st.DataObject) -> None:
    """Values of any type in known fields never end in another error."""
    one = FORMATS[data.draw(st.sampled_from([name for name in FORMATS if name != "mapped"]))]
    keys = sorted(one.keys or {"id", "data", "annotations", "fields", "responses", "attributes", "events", "spanId"})
    seed = {"thumbs": THUMB, "openai": OPENAI, "open_webui": webui()}.get(one.name, {})
    record = {**seed, **data.draw(st.dictionaries(st.sampled_from(keys), anything))}
    try:
        outcome: object = list(one.parse(record))
    except RecordRejectedError as error:
        outcome = error.reason in set(RejectReason)
    assert outcome


@pytest.mark.skipif(not SHARED.exists(), reason="the shared data is not here")
def test_real_files_are_read_whole() -> None:
    found: Counter[str] = Counter()
    with gzip.open(SHARED / "hh_rlhf" / "harmless-base.test.jsonl.gz") as lines:
        for line in lines:
            try:
                found["pairs"] += len(list(FORMATS["hh_rlhf"].parse(json.loads(line))))
            except RecordRejectedError as error:
                found[error.reason] += 1
    assert found == {"pairs": 2303, RejectReason.PROMPTS_DIFFER: 5, RejectReason.EMPTY_COMPLETION: 4}
    rows = json.loads((SHARED / "llamafactory_kto" / "kto_en_demo.json").read_text("utf-8"))
    assert Counter(parse("llamafactory", row).label for row in rows) == {True: 150, False: 150}
    lines = (SHARED / "openai_dpo" / "orca_dpo_pairs.validation.jsonl").read_text("utf-8").splitlines()
    assert len([parse("openai", json.loads(line)) for line in lines]) == 284
