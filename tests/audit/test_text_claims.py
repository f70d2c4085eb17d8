"""What the audit claims of one text: nothing in it, cut off, an error, control tokens, turns, marks of style."""

from __future__ import annotations

import polars as pl
import pyarrow as pa
import pytest

from feedback.audit.texts.integrity_flags import CONTROL_TOKENS, are_roles_out_of_order, integrity_flags
from feedback.audit.texts.style_flags import STYLES, style_flags
from schemas.messages import MESSAGES
from tests.feedback_tables import turns
from tests.service_messages import ABOUT_ERRORS, BROKEN

LONG = "word " * 50


def flags(text: str) -> set[str]:
    frame = pl.DataFrame({"answer": [text]})
    row = frame.select(*integrity_flags(pl.col("answer")), *style_flags(pl.col("answer"))).row(0, named=True)
    return {name for name, value in row.items() if value and name != "is_mid_word"}


@pytest.mark.parametrize("text", ["", " \n\t", "\u200b\ufeff", "\u00a0\u3000", "\u2800", "\u3164"])
def test_white_space_and_invisible_signs_are_empty(text: str) -> None:
    assert "is_empty" in flags(text)


@pytest.mark.parametrize("text", ["0", ".", "🙂", "はい", "-"])
def test_short_answers_are_not_empty(text: str) -> None:
    assert "is_empty" not in flags(text)


@pytest.mark.parametrize(
    "text", ["So:\n```python\nx = 1", "a\n```\nb\n```\nc\n  ```js\nlet", f"{LONG}first,", f"{LONG}f(", f"{LONG}{{ "]
)
def test_open_code_and_open_ends_are_cut_off(text: str) -> None:
    assert "is_open" in flags(text)


@pytest.mark.parametrize(
    "text",
    [
        "```python\nx = 1\n```",
        "Type ``` and a name, such as ```python, then Enter.",
        "Dear Ann,",
        "f(",
        f"{LONG}end",
        "x",
    ],
)
def test_closed_code_and_short_ends_are_whole(text: str) -> None:
    assert "is_open" not in flags(text)


@pytest.mark.parametrize(
    "text",
    [
        "[object Object]",
        "undefined",
        "Traceback (most recent call last):\n  File",
        '{"error": {"message": "x"}}',
        "Error code: 429 - {'error': 1}",
        "503 Service Unavailable",
        "Internal Server Error",
        "An error occurred while generating a response.",
        "Rate limit exceeded, try again later",
        "This model's maximum context length is 4096 tokens.",
        "openai.RateLimitError: too many",
        "JSONDecodeError: Expecting value",
        "<!DOCTYPE html>\n<html><head><title>502 Bad Gateway</title>",
        "<html>\r\n<head><title>Attention Required! | Cloudflare</title>",
    ],
)
def test_messages_of_broken_services_are_errors(text: str) -> None:
    assert "is_error" in flags(text)


@pytest.mark.parametrize(
    "text",
    [
        "A 404 error means that a page is not found.",
        "The traceback says: Traceback (most recent call last): ...",
        "Use `undefined` to say that nothing is there.",
        "Null hypotheses are rejected when p is small.",
        "500 people came.",
        "Error handling in Python is done with try.",
        "<!DOCTYPE html>\n<html><head><title>My holidays</title></head><body><h1>Beach</h1>",
        "An errand occurred to me.",
    ],
)
def test_answers_about_errors_are_none(text: str) -> None:
    assert "is_error" not in flags(text)


@pytest.mark.parametrize("text", BROKEN)
def test_every_known_message_of_a_service_is_an_error(text: str) -> None:
    assert "is_error" in flags(text)


@pytest.mark.parametrize("text", ABOUT_ERRORS)
def test_answers_that_begin_with_the_name_of_an_error_are_none(text: str) -> None:
    assert "is_error" not in flags(text)


def test_only_few_words_are_the_message_of_a_service() -> None:
    """What is printed by code may be long; words that begin like a message and go on are an answer."""
    assert "is_error" in flags("Something went wrong. " + "Please try again. " * 15)
    assert "is_error" not in flags("Something went wrong. " + "Please try again. " * 16)
    assert "is_error" in flags('Traceback (most recent call last):\n  File "x.py", line 1\n' * 20)


def test_hostile_answers_take_no_quadratic_time() -> None:
    """Each would take minutes where an expression goes back over what it has read."""
    runs = ("Something went wrong. please ", "Error: ", "! ", "A.", "an internal ", "\n\n", "Error 500\n", "a.B")
    texts = [begin + run * 100_000 for run in runs for begin in ("", '{"error": "', "Error: ")]
    frame = pl.DataFrame({"answer": texts})
    assert frame.select(integrity_flags(pl.col("answer"))[-1]).height == len(texts)


@pytest.mark.parametrize(
    ("text", "is_there"),
    [
        ("<|im_start|>user\nhi<|im_end|>", True),
        ("a <|endoftext|> b", True),
        ("<|eot_id|>", True),
        ("[INST] hi [/INST]", True),
        ("<s>[INST] x", True),
        ("<s> begins", True),
        ("ends</s>", True),
        ("<<SYS>>", True),
        ("<start_of_turn>model", True),
        ("<｜User｜>", True),
        ("a <s>line</s> through it", False),
        ("a | b <|> c", False),
        ("[INSTALL]", False),
        ("x <b> y </b>", False),
        ("if (a <| b |> c)", False),
    ],
)
def test_control_tokens_are_known_and_mark_up_is_none(text: str, is_there: bool) -> None:
    assert pl.Series([text]).str.contains(CONTROL_TOKENS)[0] is is_there


@pytest.mark.parametrize(
    ("roles", "is_wrong"),
    [
        ("u", False),
        ("su", False),
        ("suau", False),
        ("uatu", False),
        ("uaat", True),
        ("uu", True),
        ("us", True),
        ("usu", True),
        ("au", True),
        ("sau", True),
        ("tu", True),
        ("ssu", True),
    ],
)
def test_turns_that_templates_refuse_are_out_of_order(roles: str, is_wrong: bool) -> None:
    names = {"s": "system", "u": "user", "a": "assistant", "t": "tool"}
    said = [{"role": names[role], "content": "x"} for role in roles]
    prompts = pa.array([turns("user", "x"), said, turns("user", "x")], MESSAGES)
    assert are_roles_out_of_order(prompts).tolist() == [False, is_wrong, False]
    assert are_roles_out_of_order(prompts[1:]).tolist() == [is_wrong, False]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("What a great question! Let me see.", {"flattery"}),
        ("You're so smart.", {"flattery"}),
        ("You are absolutely right.", {"agreement"}),
        ("Absolutely! Here it is.", {"agreement"}),
        ("I apologize for that.", {"apology"}),
        ("I’m so sorry to hear it.", {"apology"}),
        ("I'm sorry, but I can't help with that.", {"apology", "refusal"}),
        ("As an AI language model, I have no taste.", {"refusal"}),
        ("Done 🎉", {"emoji"}),
        ("## Steps\ntext", {"headings", "markdown"}),
        ("- one\n- two", {"lists", "markdown"}),
        ("1. one\n2. two", {"lists", "markdown"}),
        ("Use `x`.", {"code", "markdown"}),
        ("It is **bold**.", {"markdown"}),
        ("| a | b |\n|---|---|\n| 1 | 2 |", {"markdown"}),
        ("The right angle is 90 degrees; the question is a good one to ask in 2026, no. 1 © 5 * 3 # x", set()),
        ("- a dash alone", set()),
        ("He is sorry. Turn right. They cannot help.", set()),
    ],
)
def test_marks_of_style_are_found_where_they_are(text: str, names: set[str]) -> None:
    assert flags(text) == names


def test_only_patterns_of_words_are_said_to_be_english() -> None:
    assert {style.name for style in STYLES if style.is_english} == {"flattery", "agreement", "apology", "refusal"}
