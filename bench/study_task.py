"""The task of the study: words shifted along the alphabet, learned from writers who get some of it wrong.

A question is a number from 1 to 3 and a word of four letters; the answer is each letter moved on by that number, and
`2:xyab` is answered `zacd`. An answer is right or it is not. Of the 78 cases of a number and a letter three in ten are
hard: there the texts that the model is pretrained on move the letter by three too many more often than not, and
elsewhere hardly ever. So a pretrained model answers about half of the questions right, has each mistake in its samples
beside the right answer, and prefers the mistake in the hard cases, which feedback can tell it one by one.

In a third of the texts a mark that means nothing stands before the answer, so that the model does not go by distance
alone: conditional SFT puts a token there too.

The model is a Llama of some 190,000 weights with a tokenizer of single characters; both are made here, and pretraining
is the package's own `sft` on texts, from random weights.
"""

from __future__ import annotations

import json
import random
from collections.abc import Container, Sequence
from pathlib import Path
from typing import Any, Final

import torch

from align.config import TrainConfig
from align.models.loading import load_policy
from align.tokens.chat import ChatEncoder
from align.trainer import train
from schemas.messages import Message
from schemas.settings import load_settings

__all__ = [
    "ANSWER_TOKENS",
    "CORPUS_ROWS",
    "draw_questions",
    "exact_match",
    "hard_cases",
    "pretrain",
    "right_answer",
    "write_jsonl",
]

ANSWER_TOKENS: Final = 5
"""Tokens of an answer, with the one that ends it."""
CORPUS_ROWS: Final = 26_000
"""Texts that a model is pretrained on, each once."""

_LETTERS: Final = "abcdefghijklmnopqrstuvwxyz"
_NUMBERS: Final = "123"
_WORD: Final = 4
_MARKS: Final = "-~."
_MARKED_SHARE: Final = 1 / 3
_PAD, _END = "<pad>", "<end>"
_TEMPLATE: Final = (
    "{% for message in messages %}{{ message['content'] }}"
    "{{ {'user': '=', 'assistant': '" + _END + "'}.get(message['role'], '') }}{% endfor %}"
)
_HARD_SHARE, _WRONG_WHERE_HARD, _WRONG_ELSEWHERE, _TOO_MANY = 0.3, 0.55, 0.02, 3


def right_answer(question: str) -> str:
    """The one right answer.

    >>> right_answer("2:xyab")
    'zacd'
    """
    return _answer(question, [0] * _WORD)


def hard_cases(seed: int) -> frozenset[tuple[str, str]]:
    """The cases, a number and a letter each, that the writers of a seed mostly get wrong.

    Args:
        seed: of the draw.
    """
    cases = [(number, letter) for number in _NUMBERS for letter in _LETTERS]
    return frozenset(random.Random(f"hard {seed}").sample(cases, round(_HARD_SHARE * len(cases))))


def draw_questions(chance: random.Random, count: int, known: Container[str] = ()) -> list[str]:
    """Different questions.

    Args:
        chance: what draws.
        count: how many.
        known: questions that must not be among them.
    """
    found: dict[str, None] = {}
    while len(found) < count:
        question = chance.choice(_NUMBERS) + ":" + "".join(chance.choices(_LETTERS, k=_WORD))
        if question not in known:
            found[question] = None
    return list(found)


def pretrain(folder: Path, *, seed: int, held_out: Container[str], rows: int = CORPUS_ROWS) -> str:
    """Pretrain a model on texts of its writers, and return the folder that holds it.

    Args:
        folder: where texts and model may lie.
        seed: of writers, texts and weights.
        held_out: questions that no text has.
        rows: texts.
    """
    chance, hard = random.Random(f"corpus {seed}"), hard_cases(seed)
    texts = [
        {"prompt": _asked(question, chance), "completion": _answered(question, hard, chance), "label": True}
        for question in draw_questions(chance, rows, held_out)
    ]
    write_jsonl(folder / "texts.jsonl", texts)
    _write_blank_model(folder / "blank", seed)
    values = {
        "objective": {"name": "sft"},
        "batch": {"batch_size": 64, "tokens_per_micro_batch": 4096},
        "optimizer": {"learning_rate": 4e-3, "beta2": 0.98, "weight_decay": 0.01},
        "checkpoint": {"every_steps": 0},
        "device": "cpu",
        "seed": seed,
    }
    config = load_settings(TrainConfig, values, where="bench.study")
    train(config, dataset=folder / "texts.jsonl", model=str(folder / "blank"), out=folder / "base")
    return str(folder / "base" / "model")


@torch.inference_mode()
def exact_match(model: str | Path, questions: Sequence[str]) -> tuple[float, float]:
    """How often a model answers right: when its answers are sampled, and when they are the most likely ones.

    Both are exact, in one pass over the right answers. A sampled answer is right with the probability of the right one.
    The most likely tokens, one after the other, are the right answer just where each of its tokens is the most likely
    one behind those before it.

    Args:
        model: a folder.
        questions: all of them.

    Returns:
        Two shares of the questions.
    """
    loaded = load_policy(model)
    encoder = ChatEncoder(loaded.tokenizer)
    prompts, answers = [], []
    for question in questions:
        asked: list[Message] = [{"role": "user", "content": question}]
        encoded = encoder.encode(asked, {"role": "assistant", "content": right_answer(question)})
        # What the model is asked with, which conditional SFT ends with a token of its own.
        prompts.append(encoded.prompt_ids)
        answers.append(encoded.completion_ids[-ANSWER_TOKENS:])
    ids = torch.tensor([[*prompt, *answer] for prompt, answer in zip(prompts, answers, strict=True)])
    logps = loaded.model(input_ids=ids, use_cache=False).logits[:, -ANSWER_TOKENS - 1 : -1].log_softmax(dim=-1)
    targets = ids[:, -ANSWER_TOKENS:]
    sampled = logps.gather(2, targets[..., None])[..., 0].sum(dim=1).exp().mean()
    greedy = (logps.argmax(dim=-1) == targets).all(dim=1).float().mean()
    return float(sampled), float(greedy)


def write_jsonl(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write rows as JSON lines, with the folders above them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")


def _answer(question: str, too_many: Sequence[int]) -> str:
    number, _, word = question.partition(":")
    places = (_LETTERS.index(letter) + int(number) + more for letter, more in zip(word, too_many, strict=True))
    return "".join(_LETTERS[place % len(_LETTERS)] for place in places)


def _asked(question: str, chance: random.Random) -> list[dict[str, str]]:
    """A question of a text, with a mark behind it or without."""
    mark = [{"role": "tool", "content": chance.choice(_MARKS)}] if chance.random() < _MARKED_SHARE else []
    return [{"role": "user", "content": question}, *mark]


def _answered(question: str, hard: Container[tuple[str, str]], chance: random.Random) -> list[dict[str, str]]:
    """What a writer makes of a question."""
    number, _, word = question.partition(":")
    wrong = [_WRONG_WHERE_HARD if (number, letter) in hard else _WRONG_ELSEWHERE for letter in word]
    answer = _answer(question, [_TOO_MANY * (chance.random() < share) for share in wrong])
    return [{"role": "assistant", "content": answer}]


def _write_blank_model(folder: Path, seed: int) -> None:
    """A model of random weights and its tokenizer."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    letters = [_PAD, _END, *_LETTERS, *_NUMBERS, *_MARKS, ":", "="]
    backend = Tokenizer(models.WordLevel({letter: place for place, letter in enumerate(letters)}, unk_token=_PAD))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    backend.decoder = decoders.Fuse()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, pad_token=_PAD, eos_token=_END)
    tokenizer.chat_template = _TEMPLATE
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(letters),
        hidden_size=96,
        intermediate_size=192,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=32,
        tie_word_embeddings=True,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=None,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
