"""Rows that a model cannot read are refused before it fails: too long for its positions, or of unknown tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from align.batches.inputs import RunInputs, build_inputs, read_rows, refuse_rows_beyond
from align.config import TrainConfig
from align.objectives import OBJECTIVES
from align.tokens.model_limits import position_limit, refuse_beyond
from schemas.errors import InputError, ModelError
from tests.conftest import make_tokenizer
from tests.tiny_run import tiny_config, write_dataset

SMALL = {"hidden_size": 16, "num_attention_heads": 2, "vocab_size": 300}
TABLES: list[tuple[str, dict[str, Any]]] = [
    ("gpt2", {"n_positions": 24, "n_layer": 1}),
    ("gpt_bigcode", {"n_positions": 24, "n_layer": 1}),
    ("gpt_neo", {"max_position_embeddings": 24, "num_layers": 1, "attention_types": [[["global"], 1]]}),
    ("openai-gpt", {"n_positions": 24, "n_layer": 1}),
    ("gptj", {"n_positions": 24, "n_layer": 1, "rotary_dim": 4}),
    ("codegen", {"n_positions": 24, "n_layer": 1, "rotary_dim": 4, "num_attention_heads": 4}),
    ("opt", {"max_position_embeddings": 24, "num_hidden_layers": 1, "ffn_dim": 16, "word_embed_proj_dim": 16}),
    ("biogpt", {"max_position_embeddings": 24, "num_hidden_layers": 1, "intermediate_size": 16}),
]


def gpt2(**changes: Any) -> Any:
    return transformers.GPT2Config(**{"n_positions": 1024, "vocab_size": 300} | changes)


def inputs_of(dataset: Path, config: TrainConfig) -> RunInputs:
    rows = read_rows(dataset, OBJECTIVES[config.objective.name])
    return build_inputs(rows, make_tokenizer(), config, dataset=dataset)


@pytest.mark.parametrize(("name", "sizes"), TABLES)
def test_a_model_with_a_table_of_positions_reads_as_many_tokens_and_no_more(name: str, sizes: dict[str, Any]) -> None:
    """Each of them fails on one token more, with an IndexError that says nothing."""
    config = transformers.AutoConfig.for_model(name, **SMALL | sizes)
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    limit = position_limit(config)
    assert limit == 24
    with torch.no_grad():
        model(torch.zeros(1, limit, dtype=torch.int64))
        with pytest.raises((IndexError, RuntimeError)):
            model(torch.zeros(1, limit + 1, dtype=torch.int64))


def test_a_model_that_computes_positions_has_no_limit(model_factory: Any) -> None:
    model = model_factory(max_position_embeddings=8)
    assert position_limit(model.config) is None
    with torch.no_grad():
        model(torch.zeros(1, 9, dtype=torch.int64))


def test_the_longest_row_and_the_keys_that_hold_it_down_are_named(tmp_path: Path) -> None:
    prompts = {"prompt": lambda place: "x" * (300 if place == 7 else 20)}
    dataset = write_dataset(tmp_path / "data", **prompts)
    config = tiny_config(objective={"z0_scope": "none"})
    inputs = inputs_of(dataset, config)
    longest = max(len(prompt) + len(completion) for row in inputs.train.rows for prompt, completion in row.sequences)
    refuse_rows_beyond(inputs, config, gpt2(n_positions=longest), dataset=dataset)
    message = (
        f"data, row 'train-7': the longest sequence has more tokens than the model has positions: got {longest}; "
        f"expected at most {longest - 1}. Set tokens.max_prompt_tokens and tokens.max_completion_tokens so that their "
        f"sum is at most {longest - 1}"
    )
    with pytest.raises(InputError, match=message):
        refuse_rows_beyond(inputs, config, gpt2(n_positions=longest - 1), dataset=dataset)


def test_a_prompt_with_the_answer_of_another_row_counts_too(tmp_path: Path) -> None:
    """The longest prompt has the shortest answer, so only mismatched pairs are longer than every row."""
    columns = {
        "prompt": lambda place: "x" * (200 if place % 2 else 20) + str(place),
        "completion": lambda place: "y" * (20 if place % 2 else 200),
    }
    dataset = write_dataset(tmp_path / "data", test=0, **columns)
    config = tiny_config()
    inputs = inputs_of(dataset, config)
    longest = max(len(prompt) + len(completion) for row in inputs.train.rows for prompt, completion in row.sequences)
    with pytest.raises(InputError, match=r"row 'train-\d+' with the answer of row 'train-\d+': the longest sequence"):
        refuse_rows_beyond(inputs, config, gpt2(n_positions=longest), dataset=dataset)
    refuse_rows_beyond(inputs, tiny_config(), gpt2(n_positions=600), dataset=dataset)


def test_a_held_out_row_counts_too(tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path / "data", prompt=lambda place: "x" * (300 if place == 0 else 20))
    (dataset / "train.jsonl").write_text((dataset / "train.jsonl").read_text().replace("x" * 300, "x"))
    config = tiny_config(objective={"z0_scope": "none"})
    with pytest.raises(InputError, match="row 'test-0': the longest sequence"):
        refuse_rows_beyond(inputs_of(dataset, config), config, gpt2(n_positions=256), dataset=dataset)


def test_room_for_sampled_answers_is_asked_for(tmp_path: Path) -> None:
    row = '{"prompt": "hello", "chosen": "yes", "rejected": "no"}\n'
    (tmp_path / "train.jsonl").write_text(row * 4)
    config = tiny_config(objective={"name": "rlhf", "max_answer_tokens": 500, "reward_model": "judge"})
    inputs = inputs_of(tmp_path, config)
    refuse_rows_beyond(inputs, config, gpt2(), dataset=tmp_path)
    message = r"with a sampled answer: .*Set tokens\.max_prompt_tokens and objective\.max_answer_tokens so that"
    with pytest.raises(InputError, match=message):
        refuse_rows_beyond(inputs, config, gpt2(n_positions=500), dataset=tmp_path)


def test_a_token_that_the_model_does_not_know_is_refused(model_factory: Any) -> None:
    config = model_factory().config
    refuse_beyond([("row 'a'", ((1,), (299,)))], config, where="data")
    message = (
        "data, row 'b': the tokenizer writes a token that the model has no embedding of: got 300; expected ids below"
    )
    with pytest.raises(ModelError, match=message):
        refuse_beyond([("row 'a'", ((1,), (2,))), ("row 'b'", ((300,), (2,)))], config, where="data")
