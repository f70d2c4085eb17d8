"""The token that ends a turn of the chat template ends answers, here and wherever the saved model is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from align.evaluate.generate import generate, stop_ids
from align.models.loading import load_policy
from align.tokens.chat import ChatEncoder
from tests.conftest import make_model, make_tokenizer

TURN_END, TEXT_END = "<|im_end|>", "<|endoftext|>"


def write_base_model(folder: Path) -> Path:
    """A base model with a chat template, as many are: it ends texts, and its template ends turns with another token."""
    tokenizer = make_tokenizer(special=(TEXT_END,))
    tokenizer.eos_token = TEXT_END
    tokenizer.save_pretrained(folder)
    model = make_model(eos_token_id=tokenizer.eos_token_id)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.save_pretrained(folder)
    return folder


def say(model: Any, token_ids: list[int]) -> None:
    """Let a model write these tokens and then `x` for ever, whatever it is asked."""
    left = iter(token_ids)

    def write(module: Any, inputs: Any, logits: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.one_hot(torch.tensor(next(left, 88)), logits.shape[-1]).expand_as(logits) * 1.0

    model.lm_head.register_forward_hook(write)


@pytest.mark.parametrize("way", ["save", "save_merged"])
def test_turn_end_of_the_template_ends_answers_here_and_in_transformers(way: str, tmp_path: Path) -> None:
    loaded = load_policy(write_base_model(tmp_path / "base"))
    turn_end, text_end = loaded.tokenizer.convert_tokens_to_ids([TURN_END, TEXT_END])
    assert stop_ids(loaded) == sorted([turn_end, text_end])
    getattr(loaded, way)(tmp_path / "saved")
    say(loaded.model, [65, turn_end])
    answer = loaded.tokenizer.decode([65])
    assert generate(loaded, [[{"role": "user", "content": "hello"}]], max_new_tokens=8) == [answer]

    theirs: Any = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "saved")
    say(theirs, [65, turn_end])
    assert theirs.generate(torch.tensor([[5, 6, 7]]), max_new_tokens=8).tolist() == [[5, 6, 7, 65, turn_end]]


def test_model_without_ends_of_its_own_gets_that_of_its_turns(tmp_path: Path) -> None:
    make_model().save_pretrained(tmp_path)
    make_tokenizer().save_pretrained(tmp_path)
    loaded = load_policy(tmp_path)
    assert loaded.model.generation_config.eos_token_id == loaded.tokenizer.eos_token_id


@pytest.mark.parametrize(
    ("template", "end"),
    [
        (None, TURN_END),
        ("{% for m in messages %}{{ m.content }}{% endfor %}", None),
        ("{{ raise_exception('a system turn, please') }}", None),
    ],
)
def test_template_may_have_no_turn_end(template: str | None, end: str | None) -> None:
    """Without a template the text's end is the turn's; a template that writes none, or wants more turns, has none."""
    tokenizer = make_tokenizer(chat_template=template)
    assert ChatEncoder(tokenizer).turn_end() == (None if end is None else tokenizer.convert_tokens_to_ids(end))
