"""Chat templates that write more or less than the conversation: dates, ends behind the end, and thoughts."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pytest
import transformers.utils.chat_template_utils as templates

from align.tokens.chat import ChatEncoder
from align.tokens.fixed_date import with_fixed_date
from align.trainer import train
from schemas.errors import ModelError
from tests.conftest import CHAT_TEMPLATE, make_model, make_tokenizer
from tests.tiny_run import tiny_config, write_dataset
from tests.token_rows import one, row, run, turn

DATED = (
    "{%- if not date_string is defined %}{%- if strftime_now is defined %}"
    "{%- set date_string = strftime_now('%d %b %Y') %}{%- else %}{%- set date_string = 'never' %}{%- endif %}"
    "{%- endif %}{{- 'Today Date: ' + date_string + '\n' }}" + CHAT_TEMPLATE
)


class _Later(dt.datetime):
    """A clock of another day."""

    @classmethod
    def now(cls, tz: dt.tzinfo | None = None) -> _Later:
        return cls(2031, 3, 4, tzinfo=tz)


@pytest.mark.usefixtures("own_cache")
def test_a_template_that_writes_the_date_has_the_same_tokens_on_every_day(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So a run can be resumed on the next day; its card says which date stands there."""
    tokenizer = make_tokenizer(chat_template=DATED)
    before = one(tokenizer, row("x"))
    monkeypatch.setattr(templates, "datetime", _Later)
    assert tokenizer.apply_chat_template([{"role": "user", "content": "x"}], tokenize=False)[12:23] == "04 Mar 2031"
    assert one(tokenizer, row("x")) == before
    assert tokenizer.decode(before.prompt_ids).startswith("Today Date: 26 Jul 2024\n<|im_start|>user")
    make_model().save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    dataset = write_dataset(tmp_path / "data", test=0)
    card = train(tiny_config(max_steps=1), dataset=dataset, model=str(tmp_path / "model"), out=tmp_path / "run")
    assert any("26 July 2024 stands there" in warning for warning in card.warnings)


@pytest.mark.parametrize(
    ("form", "written"),
    [
        ("%Y-%m-%d", "2024-07-26"),
        ("%B %-d, %y", "July 26, 24"),
        ("%A %H:%M:%S", "Friday 00:00:00"),
        ("%F, %e.", "2024-07-26, 26."),
        ("%%d", "%d"),
        ("x", "x"),
    ],
)
def test_the_date_is_written_in_every_form(form: str, written: str) -> None:
    """Also where the form is a variable, and with the template's first white space as it was."""
    template = (
        "\n  {% set form = '" + form + "' %}{{ strftime_now(" + ("form" if "Y" in form else "format=form") + ") }}"
    )
    tokenizer: Any = make_tokenizer(chat_template=with_fixed_date(template))
    assert tokenizer.apply_chat_template([{"role": "user", "content": "x"}], tokenize=False) == "\n" + written
    assert with_fixed_date(CHAT_TEMPLATE) == CHAT_TEMPLATE


PHI3 = (
    "{% for m in messages %}{{ '<|' + m.role + '|>\n' + m.content + '<|end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}"
)
COMMAND = (
    "{% for m in messages %}{{ '<|turn|>' + m.role + '<|text|>' }}{% if m.role == 'assistant' %}<|said|>"
    "{{ m.content }}<|unsaid|>{% else %}{{ m.content }}{% endif %}<|turned|>{% endfor %}"
    "{% if add_generation_prompt %}<|turn|>assistant<|text|><|said|>{% endif %}"
)
CALLING = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}{% if 'call' in m.content %}<|call|><|calls|>"
    "{% endif %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
RETURNING = (
    "{% for m in messages %}<|start|>{{ m.role }}<|message|>{{ m.content }}"
    "{% if loop.last and m.role == 'assistant' %}<|return|>{% else %}<|end|>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant<|message|>{% endif %}"
)


@pytest.mark.parametrize(
    ("template", "special", "answer", "completion"),
    [
        (PHI3, "<|user|> <|assistant|> <|end|> <|endoftext|>", "yes", "yes<|end|>"),
        (COMMAND, "<|turn|> <|text|> <|said|> <|unsaid|> <|turned|>", "yes", "yes<|unsaid|><|turned|>"),
        (CALLING, "<|call|> <|calls|>", "yes", "yes<|im_end|>"),
        (CALLING, "<|call|> <|calls|>", "call", "call<|call|><|calls|><|im_end|>"),
        (RETURNING, "<|start|> <|message|> <|return|> <|end|>", "yes", "yes<|return|>"),
    ],
)
def test_a_completion_ends_where_the_turn_does(template: str, special: str, answer: str, completion: str) -> None:
    """Not at what ends the whole conversation behind it, and not before the last token of several that end a turn."""
    tokens = tuple(special.split())
    tokenizer = make_tokenizer(chat_template=template, special=tokens)
    tokenizer.eos_token = "<|endoftext|>" if "<|endoftext|>" in tokens else "<|im_end|>"
    for prompt in (("x",), ("x", turn("assistant", "y"), "z")):
        assert tokenizer.decode(one(tokenizer, row(*prompt, answer=answer)).completion_ids) == completion
    assert run(tokenizer, row("x", answer="")).dropped == {"empty_after_tokenization": 1}


def test_prompt_ids_are_those_of_the_prompt_alone() -> None:
    """A byte-level tokenizer takes two line breaks as one token, unless a word stands behind them."""
    template = "{% for m in messages %}<|im_start|>{{ m.role }}\n\n{{ m.content }}<|im_end|>{% endfor %}"
    template += "{% if add_generation_prompt %}<|im_start|>assistant\n\n{% endif %}"
    for tokenizer in (make_tokenizer(chat_template=template), make_tokenizer(chat_template=None)):
        split = run(tokenizer, row("hello", answer="yes"), row("hello", answer="no way"))
        chat = tokenizer.decode(split.rows[0].prompt_ids)
        assert {tuple(each.prompt_ids) for each in split.rows} == {tuple(tokenizer(chat)["input_ids"])}
        assert tokenizer.convert_ids_to_tokens(split.rows[0].prompt_ids)[-1] == "\u010a\u010a"
        assert [tokenizer.decode(each.completion_ids) for each in split.rows] == ["yes<|im_end|>", "no way<|im_end|>"]
        assert split.figures["border_merges"] == 2


R1 = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}<|User|>{{ m.content }}{% else %}"
    "<|Assistant|>{{ m.content.split('</think>')[-1] }}<|im_end|>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|Assistant|><think>\n{% endif %}"
)


def reasoning_tokenizer() -> Any:
    return make_tokenizer(
        chat_template=R1, bos="<|bos|>", special=("<|User|>", "<|Assistant|>"), added=("<think>", "</think>")
    )


@pytest.mark.parametrize("opening", ["<think>\n", "<think>", ""])
def test_a_thought_that_the_template_leaves_out_is_learned_as_the_model_writes_it(opening: str) -> None:
    """The prompt opens it, so it opens once; thoughts of earlier turns are left out, as when the model is asked."""
    tokenizer = reasoning_tokenizer()
    earlier = turn("assistant", "<think>\nb\n</think>c")
    split = run(tokenizer, row("a", earlier, "d", answer=opening + "why\n</think>\n\nyes"))
    assert tokenizer.decode(split.rows[0].prompt_ids) == (
        "<|bos|><|User|>a<|Assistant|>c<|im_end|><|User|>d<|Assistant|><think>\n"
    )
    assert tokenizer.decode(split.rows[0].completion_ids) == "why\n</think>\n\nyes<|im_end|>"
    assert split.rows[0].completion_ids.count(tokenizer.convert_tokens_to_ids("</think>")) == 1
    assert split.figures["redrawn_prompts"] == 0


def test_a_thought_is_learned_where_the_template_neither_opens_nor_writes_it() -> None:
    """As the first templates of DeepSeek-R1 do: what stands behind the thought is no answer of its own."""
    tokenizer = reasoning_tokenizer()
    tokenizer.chat_template = R1.replace("<think>\n{%", "{%")
    split = run(tokenizer, row("a", answer="<think>\nwhy\n</think>\n\nyes"), row("a", answer=" no "))
    assert [tokenizer.decode(each.prompt_ids) for each in split.rows] == ["<|bos|><|User|>a<|Assistant|>"] * 2
    said = [tokenizer.decode(each.completion_ids) for each in split.rows]
    assert said == ["<think>\nwhy\n</think>\n\nyes<|im_end|>", " no <|im_end|>"]
    assert split.figures["trimmed_completions"] == 0


def test_a_thought_that_no_token_opens_is_opened_once() -> None:
    tokenizer = make_tokenizer(chat_template=R1, bos="<|bos|>", special=("<|User|>", "<|Assistant|>"))
    split = run(tokenizer, row("a", answer="<think>\nwhy\n</think>\n\nyes"))
    assert tokenizer.decode(split.rows[0].prompt_ids) == "<|bos|><|User|>a<|Assistant|><think>\n"
    assert tokenizer.decode(split.rows[0].completion_ids) == "why\n</think>\n\nyes<|im_end|>"
    assert split.figures["trimmed_completions"] == 0


def test_a_template_with_a_fault_drops_the_row_and_loads_the_model() -> None:
    tokenizer = make_tokenizer(
        chat_template="{% set x = messages[0].content + (1 if 'b' in messages[0].content else '') %}" + CHAT_TEMPLATE
    )
    assert run(tokenizer, row("a", answer="b"), row("b", answer="b")).dropped == {"template_refused": 1}
    tokenizer.chat_template = "{{ messages[0].content + 1 }}"
    assert ChatEncoder(tokenizer).turn_end() is None
    with pytest.raises(
        ModelError, match=r"every row .the template cannot write the conversation .can only concatenate"
    ):
        run(tokenizer, row("a", answer="b"))


@pytest.mark.usefixtures("own_cache")
def test_answers_without_the_thought_that_the_template_opens_are_told_of(tmp_path: Path) -> None:
    make_model().save_pretrained(tmp_path / "model")
    reasoning_tokenizer().save_pretrained(tmp_path / "model")
    dataset = write_dataset(tmp_path / "data", test=0)
    card = train(tiny_config(max_steps=1), dataset=dataset, model=str(tmp_path / "model"), out=tmp_path / "run")
    assert card.rows["train"]["figures"]["redrawn_prompts"] == 18
    assert any("otherwise than it writes 18 of the answers" in warning for warning in card.warnings)


def test_templates_of_which_none_is_the_default_one_are_refused() -> None:
    tokenizer = make_tokenizer()
    tokenizer.chat_template = {"rag": CHAT_TEMPLATE, "tool_use": CHAT_TEMPLATE}
    with pytest.raises(ModelError, match=r"none of the tokenizer's chat templates is the default one: got .*rag"):
        ChatEncoder(tokenizer)
    tokenizer.chat_template = {"default": CHAT_TEMPLATE, "tool_use": CHAT_TEMPLATE}
    assert ChatEncoder(tokenizer).turn_end() == tokenizer.convert_tokens_to_ids("<|im_end|>")
