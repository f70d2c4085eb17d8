"""Shared by all tests: a random Llama of a few thousand weights and a byte-level chat tokenizer, both made here."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

settings.register_profile("same draws", derandomize=True)
settings.load_profile("same draws")  # `make test-all` draws anew each time

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
if "PYTEST_XDIST_WORKER_COUNT" in os.environ:  # workers that each take every core wait for each other
    cores = (os.cpu_count() or 1) // int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cores)))

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] | trim + '<|im_end|>' + '\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
SPECIAL_TOKENS = ("<|pad|>", "<|im_start|>", "<|im_end|>", "<|bos|>")


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache of reference numbers that no other test has filled."""
    monkeypatch.setenv("THUMBLINE_CACHE_DIR", str(tmp_path / "cache"))


@pytest.fixture
def rater_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """The secret that user ids are hashed with."""
    monkeypatch.setenv("THUMBLINE_RATER_KEY", "0" * 64)


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder with the model and tokenizer of `tests.tiny_run`; nobody writes into it."""
    from tests.tiny_run import write_model

    return str(write_model(tmp_path_factory.mktemp("model")))


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The labelled rows of `tests.tiny_run`; nobody writes into them."""
    from tests.tiny_run import write_dataset

    return write_dataset(tmp_path_factory.mktemp("dataset"))


def make_tokenizer(
    *,
    chat_template: str | None = CHAT_TEMPLATE,
    bos: str | None = None,
    added: tuple[str, ...] = (),
    special: tuple[str, ...] = (),
) -> Any:
    """A byte-level tokenizer without merges but for a few, so that any text encodes.

    Args:
        chat_template: Jinja source, or none for a base model.
        bos: one of `SPECIAL_TOKENS` that the tokenizer puts before every text, or none.
        added: tokens that are added but not special.
        special: special tokens beside `SPECIAL_TOKENS`.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [("h", "e"), ("l", "l"), ("he", "ll"), ("hell", "o"), ("Ġ", "w"), ("Ċ", "Ċ"), ("a", "b")]
    pieces = [*alphabet, *("".join(pair) for pair in merges)]
    backend = Tokenizer(models.BPE(vocab={piece: number for number, piece in enumerate(pieces)}, merges=merges))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([*SPECIAL_TOKENS, *special])
    backend.add_tokens(list(added))
    if bos is not None:
        pair = (bos, backend.token_to_id(bos))
        backend.post_processor = processors.TemplateProcessing(single=f"{bos} $A", special_tokens=[pair])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token=bos, eos_token="<|im_end|>", pad_token="<|pad|>"
    )
    tokenizer.chat_template = chat_template
    return tokenizer


def make_model(*, seed: int = 0, tied: bool = True, **changes: Any) -> Any:
    """A random Llama in float32 with two layers, in evaluation mode."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        **{
            "vocab_size": 300,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 512,
            "tie_word_embeddings": tied,
            "bos_token_id": None,
            "eos_token_id": None,
            "pad_token_id": None,
        }
        | changes
    )
    torch.manual_seed(seed)
    return LlamaForCausalLM(config).eval()


@pytest.fixture(scope="session")
def chat_tokenizer() -> Any:
    """The byte-level tokenizer with the ChatML template; it keeps no state, so one serves all tests."""
    return make_tokenizer()


@pytest.fixture
def tiny_model() -> Any:
    """A fresh random Llama, tied embeddings."""
    return make_model()


@pytest.fixture(scope="session")
def tokenizer_factory() -> Any:
    """`make_tokenizer`, for tests that need another template or another beginning."""
    return make_tokenizer


@pytest.fixture(scope="session")
def model_factory() -> Any:
    """`make_model`, for tests that need another shape or seed."""
    return make_model
