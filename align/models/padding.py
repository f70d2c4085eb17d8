"""Which token pads the sequences of a reward model.

transformers reads a reward at the last token that is not the pad token. Where the end token pads, that is the token
before the end, and a model cannot tell an answer that ended from one that was cut. So a fresh reward model gets a pad
token that ends no answer, where its tokenizer has one.
"""

from __future__ import annotations

from typing import Any

__all__ = ["pad_for_rewards"]


def pad_for_rewards(model: Any, tokenizer: Any) -> None:
    """Let config and tokenizer of a reward model name one pad token.

    A model that has learned keeps the one of its config, as its rewards were learned at the token before that.

    Args:
        model: a sequence classifier with a head named `score`, which is 0 where it is fresh.
        tokenizer: its tokenizer, with a pad token.
    """
    config = model.config.get_text_config()
    pad_id = config.pad_token_id
    if pad_id is None or not bool(model.score.weight.any()):
        pad_id = _choose_pad_id(tokenizer, model.get_input_embeddings().num_embeddings)
    model.config.pad_token_id = config.pad_token_id = pad_id
    if pad_id < len(tokenizer):
        tokenizer.pad_token = tokenizer.convert_ids_to_tokens(pad_id)


def _choose_pad_id(tokenizer: Any, embeddings: int) -> int:
    """A special token that ends neither a text nor a turn; the pad token itself where there is none."""
    template = str(tokenizer.chat_template or "")
    added = [token.content for token in tokenizer.added_tokens_decoder.values() if token.special]
    for token in (tokenizer.pad_token, tokenizer.unk_token, tokenizer.bos_token, *added):
        if token is None or token == tokenizer.eos_token or token in template:
            continue
        token_id: int = tokenizer.convert_tokens_to_ids(token)
        if token_id < embeddings:
            return token_id
    unchanged: int = tokenizer.pad_token_id
    return unchanged
