"""Rewards here and in plain transformers, whichever token pads: the same for the same tokens, alone and in batches."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from align.evaluate.rank import load_reward_model
from align.models.loading import load_policy
from align.scoring.scorer import build_scorer
from align.trainer import train
from tests.conftest import make_tokenizer
from tests.tiny_run import tiny_config, write_model

END = 265  # <|im_end|> of the test tokenizer
PAIRS = [((5, 6, 7), (8, 9, END)), ((5, 6), (8, 9, 10, 11, END)), ((7,), (12, END)), ((5, END, 6), (7, 8))]


def write_tokenizer(folder: Path, *, special: tuple[str, ...] = (), **tokens: str | None) -> Path:
    """The test tokenizer with other special tokens in its config, as many models have them."""
    make_tokenizer(special=special).save_pretrained(folder)
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | tokens))
    return folder


def bare_tokenizer(folder: Path) -> Path:
    """A tokenizer like GPT-2's, whose one special token ends texts."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE(vocab={piece: number for number, piece in enumerate(alphabet)}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    end = "<|endoftext|>"
    backend.add_special_tokens([end])
    PreTrainedTokenizerFast(tokenizer_object=backend, bos_token=end, eos_token=end, unk_token=end).save_pretrained(
        folder
    )
    return folder


def write_named(folder: Path, kind: str) -> Path:
    """A model with each of the ways to name a pad token."""
    write_model(folder, pad_token_id=END if kind == "end in both" else None)
    if kind == "bare":
        return bare_tokenizer(folder)
    if kind == "reserved":
        return write_tokenizer(folder, special=("<|reserved|>",), pad_token=None)
    if kind == "unknown":
        return write_tokenizer(folder, special=("<|unk|>",), pad_token=None, unk_token="<|unk|>")
    if kind == "own":
        return folder
    return write_tokenizer(folder, pad_token="<|im_end|>")


KINDS = ("own", "unknown", "reserved", "end", "end in both", "bare")


def saved_judge(folder: Path, kind: str) -> Path:
    """A reward model that has learned something, made by us from a language model."""
    loaded = load_policy(write_named(folder / "model", kind), head="rewards", new_head=True)
    torch.manual_seed(0)
    torch.nn.init.normal_(loaded.model.score.weight)
    loaded.save(folder / "judge")
    return folder / "judge"


def theirs(folder: Path, pairs: Any, pad_id: int, width: int = 12) -> list[float]:
    """What plain transformers gives for one batch that is padded on the right."""
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()
    rows = [[*prompt, *completion] for prompt, completion in pairs]
    ids = torch.tensor([row + [pad_id] * (width - len(row)) for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
    with torch.no_grad():
        values: list[float] = model(input_ids=ids, attention_mask=mask).logits.squeeze(-1).tolist()
    return values


def ours(folder: Path, pairs: Any, tokens: int) -> list[float]:
    loaded = load_policy(folder, head="rewards")
    scorer = build_scorer(loaded, device=torch.device("cpu"), dtype="float32", tokens=tokens, head="rewards")
    return scorer.score(pairs)


@pytest.mark.parametrize("kind", KINDS)
def test_rewards_are_those_of_transformers(kind: str, tmp_path: Path) -> None:
    """Alone and in one padded batch, by the pad token that the saved tokenizer names."""
    folder = saved_judge(tmp_path, kind)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    pad_id = json.loads((folder / "config.json").read_text())["pad_token_id"]
    assert pad_id == (tokenizer.pad_token_id if kind != "bare" else tokenizer.eos_token_id)
    pairs = PAIRS if kind != "bare" else [(prompt, (*completion[:-1], 256)) for prompt, completion in PAIRS]
    for tokens in (1, 1000):
        assert ours(folder, pairs, tokens) == pytest.approx(theirs(folder, pairs, pad_id), abs=1e-5)
    assert theirs(folder, pairs[:1], pad_id, 6) == pytest.approx(ours(folder, pairs[:1], 1), abs=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_end_of_an_answer_is_read_where_another_token_can_pad(kind: str, tmp_path: Path) -> None:
    """So that an answer that ended and one that was cut get different rewards."""
    folder = saved_judge(tmp_path, kind)
    end = 256 if kind == "bare" else END
    whole, cut = ours(folder, [((5, 6), (7, 8, end)), ((5, 6), (7, 8))], 1)
    assert (whole == pytest.approx(cut, abs=1e-6)) == (kind == "bare")


def test_model_that_has_learned_keeps_its_padding(tmp_path: Path) -> None:
    """One of somebody else whose end token pads was taught at the token before; here it gives what it gives there."""
    write_tokenizer(tmp_path, pad_token="<|im_end|>")
    config = load_policy(write_model(tmp_path / "model")).model.config
    config.pad_token_id, config.num_labels = END, 1
    model = transformers.LlamaForSequenceClassification(config)
    model.save_pretrained(tmp_path)
    assert load_policy(tmp_path, head="rewards").model.config.pad_token_id == END
    assert ours(tmp_path, PAIRS, 1000) == pytest.approx(theirs(tmp_path, PAIRS, END), abs=1e-5)


def test_trained_judge_of_a_model_without_a_pad_token_ranks_the_same_elsewhere(tmp_path: Path, own_cache: None) -> None:
    """Every pair of the training split, whose answers end with the end token."""
    rows = [{"prompt": f"hello {n}", "chosen": "yes " * (1 + n % 3), "rejected": "no " * (1 + n % 4)} for n in range(8)]
    (tmp_path / "pairs").mkdir()
    (tmp_path / "pairs" / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    model = write_named(tmp_path / "model", "end in both")
    config = tiny_config(objective={"name": "reward_model"}, epochs=4)
    train(config, dataset=tmp_path / "pairs", model=str(model), out=tmp_path / "run")
    folder = tmp_path / "run" / "model"
    judge = load_reward_model(tmp_path / "run")
    template = judge.loaded.tokenizer.apply_chat_template
    pairs = []
    for row in rows:
        turn = [{"role": "user", "content": row["prompt"]}]
        prompt = template(turn, add_generation_prompt=True, tokenize=True, return_dict=False)
        texts = [str(row[key]).strip() for key in ("chosen", "rejected")]
        pairs += [(tuple(prompt), (*judge.loaded.tokenizer.encode(text), END)) for text in texts]
    found = theirs(folder, pairs, json.loads((folder / "config.json").read_text())["pad_token_id"], 100)
    assert judge.scorer.score(pairs) == pytest.approx(found, abs=1e-5)
    assert all(chosen > rejected for chosen, rejected in zip(found[::2], found[1::2], strict=True))
