"""Open WebUI's export: the thread behind a rated message, ratings as labels, arena ratings as pairs."""

from __future__ import annotations

from typing import Any

import pytest

from feedback.formats import EventDraft, PairDraft, find_format
from schemas.reasons import RejectReason
from tests.format_records import bot, parse, reason_of, user, webui


def test_an_open_webui_prompt_is_the_way_up_from_the_rated_message() -> None:
    draft = parse("open_webui", webui())
    assert (draft.prompt, draft.completion, draft.label) == ([user("text q1")], [bot("text a1")], True)
    assert (draft.record_id, draft.rater, draft.event_time, draft.updated_time) == ("f1", "u1", 1767606699, 1767606799)
    assert (draft.model_id, draft.reason_codes, draft.conversation_id) == ("model-a1", ("good", "t"), "c1")
    later = parse("open_webui", webui(meta__message_id="a2", data__details={"rating": 3}))
    assert later.prompt == [user("text q1"), bot("text a1"), user("text q2")]
    assert later.strength == 3.0


@pytest.mark.parametrize(
    ("rating", "label"), [(1, True), ("1", True), (-1, False), ("-1", False), (0, None), ("0", None), (None, None)]
)
def test_open_webui_ratings_are_compared_as_text(rating: object, label: bool | None) -> None:
    assert parse("open_webui", webui(data__rating=rating)).label is label


@pytest.mark.parametrize("rating", [2, "up", True, 1.0, "", [], "+1"])
def test_any_other_open_webui_rating_is_unknown(rating: object) -> None:
    assert reason_of("open_webui", webui(data__rating=rating)) == RejectReason.UNKNOWN_LABEL


def test_a_broken_open_webui_thread_is_rejected() -> None:
    assert reason_of("open_webui", webui(meta__message_id="zz")) == RejectReason.BROKEN_THREAD
    messages = "snapshot__chat__chat__history__messages__"
    assert reason_of("open_webui", webui(**{f"{messages}q1__parentId": "zz"})) == RejectReason.BROKEN_THREAD
    assert reason_of("open_webui", webui(**{f"{messages}q1__parentId": "a1"})) == RejectReason.BROKEN_THREAD
    assert reason_of("open_webui", webui(**{f"{messages}q1__parentId": 3})) == RejectReason.BROKEN_THREAD
    assert reason_of("open_webui", webui(meta__message_id="q1")) == RejectReason.BAD_ROLES


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"data": None}, RejectReason.MISSING_FIELD),
        ({"snapshot": None}, RejectReason.MISSING_FIELD),
        ({"snapshot": {"chat": None}}, RejectReason.MISSING_FIELD),
        ({"meta": []}, RejectReason.WRONG_TYPE),
        ({"type": "comment"}, RejectReason.RULE_VIOLATION),
        ({"data__details": 3}, RejectReason.WRONG_TYPE),
        ({"data__tags": 3}, RejectReason.WRONG_TYPE),
        ({"user_id": 3}, RejectReason.WRONG_TYPE),
    ],
)
def test_an_open_webui_record_without_its_parts_is_rejected(change: dict[str, Any], reason: str) -> None:
    assert reason_of("open_webui", webui(**change)) == reason


@pytest.mark.parametrize(("rating", "outcome"), [(1, "a"), (-1, "b"), (0, "tie")])
def test_an_arena_rating_is_a_pair_where_the_sibling_is_there(rating: int, outcome: str) -> None:
    draft = parse("open_webui", webui(meta__arena=True, data__rating=rating))
    assert isinstance(draft, PairDraft)
    assert (draft.response_a, draft.response_b, draft.outcome) == ([bot("text a1")], [bot("text b1")], outcome)
    assert (draft.model_a, draft.model_b, draft.event_time) == ("model-a1", "model-b1", 1767606799)
    alone = parse("open_webui", webui(meta__arena=True, data__sibling_model_ids=None))
    assert isinstance(alone, EventDraft)
    assert alone.flags == ("arena",)


def test_several_siblings_give_a_pair_each_and_two_of_one_model_give_none() -> None:
    key = "snapshot__chat__chat__history__messages__c1"
    third = {"id": "c1", "parentId": "q1", "role": "assistant", "content": "text c1", "model": "model-c1"}
    siblings = ["model-b1", "model-c1"]
    record = webui(meta__arena=True, data__sibling_model_ids=siblings, **{key: third})
    assert [draft.model_b for draft in find_format("open_webui").parse(record)] == siblings
    twice = webui(meta__arena=True, **{key: {**third, "model": "model-b1"}})
    assert isinstance(parse("open_webui", twice), EventDraft)


def test_no_email_of_an_open_webui_record_is_in_a_draft() -> None:
    record = webui(user={"email": "canary@example.com", "name": "canary"}, meta__ip="10.9.8.7")
    assert "canary" not in repr(parse("open_webui", record))
    assert "10.9.8.7" not in repr(parse("open_webui", record))


def test_thoughts_are_no_part_of_open_webui_answers() -> None:
    thought = '<details type="reasoning" done="true" duration="3">\n<summary>Thought</summary>\n> hm\n</details>\n'
    text = "snapshot__chat__chat__history__messages__{}__content"
    record = webui(**{text.format(name): f"{thought}said" for name in ("q1", "a1", "b1")}, meta__arena=True)
    pair = parse("open_webui", record)
    assert (pair.response_a, pair.response_b) == ([bot("said")], [bot("said")])
    assert pair.prompt == [user(f"{thought}said")]


@pytest.mark.parametrize("kind", ["tool_calls", "code_interpreter"])
def test_what_a_model_ran_is_no_part_of_open_webui_answers(kind: str) -> None:
    run = f'<details type="{kind}" done="true" id="c" name="clock" arguments="&quot;{{}}&quot;" result="&quot;9&quot;">'
    run += "\n<summary>Tool Executed</summary>\n</details>"
    content = {"snapshot__chat__chat__history__messages__a1__content": f"{run}\nIt is nine."}
    assert parse("open_webui", webui(**content)).completion == [bot("It is nine.")]
    own = '<details type="note"><summary>s</summary>t</details>'
    other = webui(snapshot__chat__chat__history__messages__a1__content=own)
    assert parse("open_webui", other).completion == [bot(own)]


_THOUGHT = '<details type="reasoning" done="true">\nhm\n</details>'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('<details type="reasoning" done="true">\n<details>inner</details>\nmore\n</details>\nYes.', "Yes."),
        ('<details type="reasoning" done="true">\nthe tag <details> opens\n</details>\nYes.', "Yes."),
        ('<details type="reasoning" done="false">\n<summary>Thinking</summary>\n> hm', ""),
        ('<details type="reasoning" done="true">\nno end', None),
        ("<DETAILS done='true' type='tool_calls' id='1'>x</DETAILS>Yes.", "Yes."),
        (f"{_THOUGHT}\nSo\n{_THOUGHT}\nit is.", "So\n\nit is."),
        (f"It is written so:\n```html\n{_THOUGHT}\n```\nand shown.", None),
        (f"```\ncode\n```\n{_THOUGHT}", "```\ncode\n```"),
        ('<details data-type="reasoning">own</details>', None),
        ('<details type="note" title="type=reasoning">own</details>', None),
    ],
)
def test_blocks_of_thoughts_are_told_by_their_tags(text: str, said: str | None) -> None:
    record = webui(snapshot__chat__chat__history__messages__a1__content=text)
    assert parse("open_webui", record).completion == [bot(text if said is None else said)]


def test_the_system_prompt_of_an_open_webui_chat_is_its_first_turn() -> None:
    draft = parse("open_webui", webui(snapshot__chat__chat__params={"system": "Be kind."}))
    assert draft.prompt == [{"role": "system", "content": "Be kind."}, user("text q1")]
    said = {"snapshot__chat__chat__history__messages__q1__role": "system"}
    own = parse("open_webui", webui(snapshot__chat__chat__params={"system": "Be kind."}, **said))
    assert own.prompt == [{"role": "system", "content": "text q1"}]


def test_a_blank_time_is_none() -> None:
    draft = parse("open_webui", webui(created_at="", updated_at=" "))
    assert (draft.event_time, draft.updated_time) == (None, None)
