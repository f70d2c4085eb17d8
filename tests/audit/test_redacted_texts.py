"""Redaction of texts and tools: marks in the place of finds, and nothing left to find."""

from __future__ import annotations

import json

import polars as pl
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from feedback.personal import Redactor, find_personal, redact_texts
from tests.audit.test_personal import PLANTED


def test_marks_stand_in_the_place_of_finds_and_the_rest_stays() -> None:
    texts = pl.Series("t", ["Mail ann@site.example or call +49 30 901820.", None, "Nothing here.", ""])
    assert redact_texts(texts).to_list() == ["Mail [EMAIL] or call [PHONE].", None, "Nothing here.", ""]
    assert texts[0] == "Mail ann@site.example or call +49 30 901820."
    assert redact_texts(texts).name == "t"


def test_what_was_replaced_is_counted_by_kind() -> None:
    redactor = Redactor()
    redactor.texts(pl.Series(["a@b.example c@d.example", "203.0.113.9"]))
    assert redactor.counts == {"email": 2, "ip": 1}


around = st.text(st.characters(categories=["L", "P", "S", "Z", "M", "Cc"], exclude_characters="@\x00"), max_size=30)
planted = st.sampled_from([value for _, value in PLANTED])


@settings(max_examples=100, deadline=None)
@given(before=around, value=planted, between=around, other=planted, after=around)
@example(before="x", value="a@b.example", between="", other="c@d.example", after="y")
def test_after_redaction_nothing_is_found_and_nothing_planted_is_left(
    before: str, value: str, between: str, other: str, after: str
) -> None:
    """Between lines of their own the values are all found; run together with any text, a scan finds nothing."""
    apart = "\n\n".join((before, value, between, other, after))
    redacted = redact_texts(pl.Series([apart, before + value + between + other + after]))
    assert value not in redacted[0]
    assert other not in redacted[0]
    assert find_personal(redacted).height == 0
    assert redact_texts(redacted).to_list() == redacted.to_list()


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text(max_size=40)))
def test_texts_without_finds_are_unchanged(texts: list[str]) -> None:
    column = pl.Series(texts, dtype=pl.String)
    rows = set(find_personal(column)["row"].to_list())
    for row, (text, redacted) in enumerate(zip(texts, redact_texts(column).to_list(), strict=True)):
        assert (text != redacted) == (row in rows)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=9) | planted,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=100, deadline=None)
@given(value=values, ascii_only=st.booleans())
@example(value={"phone": 4111111111111111, "at": ["\nann@site.example"]}, ascii_only=True)
def test_tools_stay_json_and_hold_nothing_personal(value: object, ascii_only: bool) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only)
    (redacted,) = Redactor().json_texts(pl.Series([text])).to_list()
    leaves = _leaves(json.loads(redacted))
    assert find_personal(pl.Series(leaves, dtype=pl.String)).height == 0
    assume(not find_personal(pl.Series(_leaves(value), dtype=pl.String)).height)
    assert redacted == text


def _leaves(value: object) -> list[str]:
    if isinstance(value, dict):
        return [leaf for pair in value.items() for part in pair for leaf in _leaves(part)]
    if isinstance(value, list):
        return [leaf for item in value for leaf in _leaves(item)]
    return [] if value is None or isinstance(value, bool) else [str(value)]


def test_tools_that_are_no_json_are_redacted_as_text() -> None:
    texts = pl.Series([None, "see ann@site.example", '{"a": "b"}'])
    assert Redactor().json_texts(texts).to_list() == [None, "see [EMAIL]", '{"a": "b"}']


@pytest.mark.parametrize("depth", [150, 400, 5000])
def test_tools_of_any_depth_are_redacted(depth: int) -> None:
    text = "[" * depth + '"ann@site.example"' + "]" * depth
    assert Redactor().json_texts(pl.Series([text])).to_list() == [text.replace("ann@site.example", "[EMAIL]")]


def test_finds_in_tools_are_counted_for_every_row() -> None:
    redactor = Redactor()
    redactor.json_texts(pl.Series([json.dumps(["a@b.example", 4111111111111111])] * 3 + ["[1]", None]))
    assert redactor.counts == {"email": 3, "card": 3}
