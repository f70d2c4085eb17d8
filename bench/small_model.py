"""A Llama of random weights with a tokenizer of a few words, for what a trained model would show no better."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

__all__ = ["write_small_model"]

_MARKS: Final = ("<pad>", "<end>", "<unk>", "user:", "assistant:")
_TEMPLATE: Final = (
    "{% for turn in messages %}{{ turn['role'] }}: {{ turn['content'] }} <end> {% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)


def write_small_model(folder: Path, words: Sequence[str], *, vocabulary: int, **widths: int) -> Path:
    """Write model and tokenizer, and return the folder.

    Args:
        folder: where to.
        words: what the tokenizer knows, a token each; texts are cut at spaces.
        vocabulary: rows of the embeddings, at least as many as there are words and marks; the rest is never used.
        widths: other sizes of `LlamaConfig`.
    """
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, set_seed

    known = {word: place for place, word in enumerate((*_MARKS, *words))}
    backend = Tokenizer(models.WordLevel(known, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    make: Any = PreTrainedTokenizerFast
    tokenizer = make(
        tokenizer_object=backend, pad_token="<pad>", eos_token="<end>", unk_token="<unk>", model_max_length=2**17
    )
    tokenizer.chat_template = _TEMPLATE
    sizes: dict[str, Any] = {
        "vocab_size": vocabulary,
        "max_position_embeddings": 2**17,
        "tie_word_embeddings": True,
        "pad_token_id": 0,
        "eos_token_id": 1,
        "bos_token_id": None,
        **widths,
    }
    set_seed(0)
    LlamaForCausalLM(LlamaConfig(**sizes)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
