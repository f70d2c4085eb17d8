"""Words, keys and shingles in any script: the compiled reading equals the specification."""

from __future__ import annotations

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from feedback.near import Sketches, sketch_texts
from feedback.near.code_points import SINGLE, TABLE_SIZE, WORD, code_points, kind_of
from schemas.errors import ShapeError
from tests.near_reference import elements, key, shingle_set, shingles

SCRIPTS = {
    "empty": "",
    "only white space": " \t\r\n\u3000",
    "only punctuation": "?! ... --",
    "Thai": "ภาษาไทยไม่มีช่องว่างระหว่างคำ และน้ำ",
    "Chinese": "我喜欢学习中文，因为它很有趣。",
    "Japanese": "日本語のテキスト、カタカナとひらがな",
    "Arabic": "مرحبا بالعالم، كيف حالُكَ؟",
    "Hindi": "नमस्ते दुनिया क़लम",
    "Korean": "안녕하세요 세계",
    "decomposed Korean": "\u1112\u1161\u11ab\u1100\u1173\u11af",
    "combining marks": "e\u0301a\u0323\u0302 q\u0302\u0323 \u0301",
    "emoji": "👩‍👩‍👧 ok ❤️ 👍🏽 🇩🇪",
    "full width": "ＡＢＣ１２３　ﬁne … ™ ½",
    "German": "Straße STRASSE",
    "Turkish": "İstanbul ISTANBUL ıi",
    "Windows": "one\r\ntwo\r\n",
    "code": "x += a_b[3] <= 4 && `y`; $z",
    "turns": "user\x1f Hi \x1eassistant\x1f  Hello!\x1e",
    "tags": "🏴\U000e0067\U000e007f x\U000e0101 \U00020000\U0002f800 \U0010ffff",
}


def sketch_of(texts: list[str], words: int = 3) -> tuple[Sketches, list[list[int]]]:
    """Sketches with texts as prompts, and the hashed shingles of each."""
    found = sketch_texts(texts, [""] * len(texts), shingle_words=words)
    ends = np.cumsum(found.lengths.ravel())
    return found, [part.tolist() for part in np.split(found.shingles, ends)[:-1:2]]


@pytest.mark.parametrize("text", SCRIPTS.values(), ids=SCRIPTS)
@pytest.mark.parametrize("words", [1, 2, 3, 5])
def test_kernels_read_each_script_as_specified(text: str, words: int) -> None:
    found, parts = sketch_of([text], words)
    assert found.prompt_key.tolist() == [key(text)]
    assert parts == [[min(value % 2**32, 2**32 - 2) for value in shingles(text, words)]]
    assert found.prompt_chars.tolist() == [len(text)]


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.text(max_size=60) | st.text("aB1_ .,$\x1e\x1f é…ไ中\u0301\u200d", max_size=60), max_size=5),
    st.integers(1, 4),
)
@example(["a" * 8, "a" * 16, "abcdefgh ijklmnop", "abcdefghé", "x" * 7 + "é" + "y" * 9], 3)
def test_kernels_read_any_text_as_specified(texts: list[str], words: int) -> None:
    found, parts = sketch_of(texts, words)
    assert found.prompt_key.tolist() == [key(text) for text in texts]
    assert parts == [[min(value % 2**32, 2**32 - 2) for value in shingles(text, words)] for text in texts]
    assert found.prompt_chars.tolist() == [len(text) for text in texts]


@pytest.mark.parametrize("filler", ["a", " ", ".", "b ", "c. ", "\x1e"])
def test_words_and_spaces_may_lie_on_the_border_of_what_is_looked_at_at_once(filler: str) -> None:
    """64 bytes are: what stands before, on and behind that place makes no difference."""
    texts = [
        (filler * 130)[:size] + end + " of it"
        for size in range(50, 132)
        for end in ("", "word", " word", "  word", ". word", "\x1e word", "longer-than-eight_bytes")
    ]
    found, parts = sketch_of(texts)
    assert found.prompt_key.tolist() == [key(text) for text in texts]
    assert parts == [[min(value % 2**32, 2**32 - 2) for value in shingles(text, 3)] for text in texts]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Hello  World", " hello\tworld\n"),
        ("Stra\u00dfe", "STRASSE"),
        ("\u00e9l\u00e9ment", "E\u0301LE\u0301MENT"),
        ("\uff21\uff22\uff23", "abc"),
        ("user\x1fhi \x1e", "User\x1f Hi\x1e"),
        ("one\r\ntwo", "one two"),
    ],
)
def test_key_ignores_case_white_space_and_unicode_form(one: str, other: str) -> None:
    found, _ = sketch_of([one, other])
    assert found.prompt_key[0] == found.prompt_key[1]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Yes.", "Yes!"),
        ("a b", "ab"),
        ("a_b", "a b"),
        ("a\x1fb", "a b"),
        ("", "."),
        ("3 4", "34"),
        ("中 文", "中文"),
        ("x__", "x_"),
    ],
)
def test_key_tells_punctuation_and_words_apart(one: str, other: str) -> None:
    found, _ = sketch_of([one, other])
    assert found.prompt_key[0] != found.prompt_key[1]


def test_scripts_without_spaces_have_a_token_for_each_code_point() -> None:
    assert [part for kind, part in elements("中文ไทย字 word") if kind == SINGLE] == list("中文ไทย字")
    assert [part for kind, part in elements("don't 4-2 नमस्ते") if kind == WORD] == ["don", "t", "4", "2", "नमस्ते"]


def test_tables_hold_what_unicodedata_says() -> None:
    kinds = code_points().kinds
    wrong = [code for code in range(TABLE_SIZE) if not 0xD800 <= code < 0xE000 and kinds[code] != kind_of(chr(code))]
    assert wrong == []


def test_every_code_point_of_the_tables_is_normalised_as_python_does() -> None:
    """Alone, after a letter, and before a mark: each place where normalisation could differ."""
    characters = [chr(code) for code in range(TABLE_SIZE) if not 0xD800 <= code < 0xE000]
    texts = ["\u0301a".join(characters[start : start + 7]) for start in range(0, len(characters), 7)]
    found, _ = sketch_of(texts)
    assert found.prompt_key.tolist() == [key(text) for text in texts]


def test_order_of_words_counts_within_a_shingle() -> None:
    assert shingle_set("one two three") != shingle_set("three two one")
    assert sketch_of(["one two three"])[1] != sketch_of(["three two one"])[1]


@pytest.mark.parametrize(
    "texts",
    [
        pa.array(["left out", "a b c", "é ü"])[1:],
        pa.chunked_array([["a b c"], ["é ü"]]),
        pa.array(["a b c", "é ü"], pa.string_view()),
        pl.Series(["a b c", "é ü"]),
        ("a b c", "é ü"),
    ],
    ids=["slice", "chunks", "views", "polars", "tuple"],
)
def test_texts_come_from_any_holder(texts: object) -> None:
    found = sketch_texts(texts, texts)  # type: ignore[arg-type]
    assert found.prompt_key.tolist() == found.completion_key.tolist() == [key("a b c"), key("é ü")]


def test_nulls_count_as_empty_texts() -> None:
    assert sketch_texts(pa.array([None, ""]), pa.array(["", None])).prompt_key.tolist() == [key("")] * 2


def test_no_rows_give_empty_sketches() -> None:
    found = sketch_texts([], [])
    assert (len(found.prompt_key), len(found.shingles), found.prompt_bands.shape) == (0, 0, (12, 0))


def test_prompts_without_completions_are_refused() -> None:
    with pytest.raises(ShapeError, match="differ in number"):
        sketch_texts(["a"], [])
