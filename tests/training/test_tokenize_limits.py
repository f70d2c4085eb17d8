"""Token limits: what a long conversation loses, and which rows and templates are refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from align.config import TokenConfig
from align.data.rows import PreferenceRow
from align.tokens.tokenize_pairs import tokenize_pairs
from schemas.errors import ModelError
from schemas.reasons import DropReason
from tests.token_rows import one, row, run, turn

CHAT = [
    turn("system", "S" * 10),
    *(turn(role, role[0] * 20) for role in ("user", "assistant") * 3),
    turn("user", "q" * 20),
]


def test_a_long_prompt_loses_its_oldest_turns_after_the_system_turn(chat_tokenizer: Any) -> None:
    whole = one(chat_tokenizer, row(*CHAT))
    split = run(chat_tokenizer, row(*CHAT), prompt=len(whole.prompt_ids) - 1)
    left = chat_tokenizer.apply_chat_template([dict(each) for each in CHAT[:1] + CHAT[3:]], tokenize=False)
    assert chat_tokenizer.decode(split.rows[0].prompt_ids) == left + "<|im_start|>assistant\n"
    assert split.rows[0].completion_ids == whole.completion_ids
    assert (split.figures["truncated_prompts"], split.figures["dropped_turns"]) == (1, 2)


def test_the_newest_turn_and_the_system_turn_stay(chat_tokenizer: Any) -> None:
    least = len(one(chat_tokenizer, row(CHAT[0], CHAT[-1])).prompt_ids)
    kept = run(chat_tokenizer, row(*CHAT), prompt=least)
    assert kept.rows[0].prompt_ids == one(chat_tokenizer, row(CHAT[0], CHAT[-1])).prompt_ids
    assert run(chat_tokenizer, row(*CHAT), prompt=least - 1).dropped == {"too_long": 1}


def test_a_shortened_prompt_never_begins_with_an_answer_or_a_tool(chat_tokenizer: Any) -> None:
    chat = [
        turn("user", "u" * 50),
        turn("assistant", "c"),
        turn("tool", "t" * 9),
        turn("assistant", "d"),
        turn("user", "v"),
    ]
    split = run(chat_tokenizer, row(*chat), prompt=60)
    assert split.rows[0].prompt_ids == one(chat_tokenizer, row("v")).prompt_ids


def test_a_row_that_cannot_fit_is_dropped_as_too_long(chat_tokenizer: Any) -> None:
    split = run(
        chat_tokenizer, row("x" * 100), row("x", answer="y" * 100), row("x", answer="y"), prompt=50, completion=50
    )
    assert split.dropped == {DropReason.TOO_LONG: 2}
    assert [reason for _, reason in split.dropped_rows] == ["too_long"] * 2
    assert split.figures["rows"] == len(split.rows) == 1


def test_figures_of_pairs_are_of_answers_whose_partner_fits_too(chat_tokenizer: Any) -> None:
    """Of two pairs the first loses its rejected answer to the limit, so its chosen one counts nowhere."""
    asked = [turn("user", "x")]
    pairs = [
        PreferenceRow(name, asked, [turn("assistant", chosen)], [turn("assistant", rejected)], 1.0, name, None)
        for name, chosen, rejected in (("lost", "yes", "y" * 100), ("kept", "yes", "no"))
    ]
    split = tokenize_pairs(pairs, chat_tokenizer, TokenConfig(max_completion_tokens=50))
    assert split.dropped == {DropReason.TOO_LONG: 1}
    assert split.figures["rows"] == len(split.rows) == 1
    completions = [completion for _, completion in split.rows[0].sequences]
    assert split.figures["completion_tokens"] == sum(map(len, completions))


def test_pairs_of_one_id_keep_their_own_answers(chat_tokenizer: Any) -> None:
    """The middle one loses an answer, which takes none from the others."""
    answers = (("a", "b"), ("c", "y" * 100), ("d", "e"))
    pairs = [
        PreferenceRow("talk", [turn("user", "x")], [turn("assistant", one)], [turn("assistant", other)], 1.0, "g", None)
        for one, other in answers
    ]
    split = tokenize_pairs(pairs, chat_tokenizer, TokenConfig(max_completion_tokens=50))
    said = [[chat_tokenizer.decode(completion)[0] for _, completion in row.sequences] for row in split.rows]
    assert said == [["a", "b"], ["d", "e"]]
    assert split.dropped_rows == (("talk", DropReason.TOO_LONG),)


def test_a_pair_whose_answers_are_the_same_tokens_is_left_out(chat_tokenizer: Any) -> None:
    """Cut where they were alike, or trimmed by the template: they count nowhere. Votes on one answer stay."""
    answers = {"cut": ("y" * 60, "y" * 70), "trimmed": ("yes", "yes "), "apart": ("yes", "no")}
    asked = [turn("user", "x")]
    pairs = [
        PreferenceRow(name, asked, [turn("assistant", one)], [turn("assistant", other)], 1.0, "g", None)
        for name, (one, other) in answers.items()
    ]
    split = tokenize_pairs(pairs, chat_tokenizer, TokenConfig(max_completion_tokens=50, long_completions="truncate"))
    assert [row.row_id for row in split.rows] == ["apart"]
    assert split.dropped_rows == (("cut", "tokenized_alike"), ("trimmed", "tokenized_alike"))
    assert split.dropped == {DropReason.TOKENIZED_ALIKE: 2}
    assert split.figures["completion_tokens"] == sum(len(completion) for _, completion in split.rows[0].sequences)
    assert (split.figures["truncated_completions"], split.figures["trimmed_completions"]) == (0, 0)
    votes = [replace(row("x", answer="yes"), label=label) for label in (True, False)]
    assert len(run(chat_tokenizer, *votes).rows) == 2


def test_a_cut_completion_gets_no_turn_end(chat_tokenizer: Any) -> None:
    split = run(chat_tokenizer, row("x", answer="y" * 100), completion=50, long_completions="truncate")
    assert chat_tokenizer.decode(split.rows[0].completion_ids) == "y" * 50
    assert (split.figures["truncated_completions"], split.figures["without_turn_end"]) == (1, 1)


def test_a_completion_of_nothing_but_its_end_is_dropped(chat_tokenizer: Any) -> None:
    assert run(chat_tokenizer, row("x", answer=" \n ")).dropped == {DropReason.EMPTY_AFTER_TOKENIZATION: 1}


REFUSING = (
    "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{{ m.content }}<|im_end|>{% endfor %}"
)


def test_a_conversation_that_the_template_refuses_is_dropped(tokenizer_factory: Any) -> None:
    split = run(tokenizer_factory(chat_template=REFUSING), row(turn("system", "s"), "x"), row("x"))
    assert split.dropped == {DropReason.TEMPLATE_REFUSED: 1}
    assert len(split.rows) == 1


def test_a_template_that_refuses_every_row_is_an_error(tokenizer_factory: Any) -> None:
    with pytest.raises(ModelError, match=r"refuses every row \(System role not supported\)"):
        run(tokenizer_factory(chat_template=REFUSING), row(turn("system", "s"), "x"))


def test_a_template_that_never_writes_the_answer_is_an_error(tokenizer_factory: Any) -> None:
    template = "{{ messages | length }}{{ messages[0].content }}"
    with pytest.raises(ModelError, match="does not write the answer"):
        run(tokenizer_factory(chat_template=template), row("x"))


def test_a_tokenizer_that_is_not_fast_is_refused() -> None:
    class Slow:
        is_fast = False

    with pytest.raises(ModelError, match="Slow: the tokenizer is not a fast one"):
        run(Slow(), row("x"))


def test_counts_and_tokens_sum(chat_tokenizer: Any) -> None:
    split = run(chat_tokenizer, *(row("x" * n, answer="y" * n) for n in range(1, 9)))
    assert split.figures["prompt_tokens"] == sum(len(each.prompt_ids) for each in split.rows)
    assert split.figures["completion_tokens"] == sum(len(each.completion_ids) for each in split.rows)
    assert split.dropped == {}
