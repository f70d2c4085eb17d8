"""What a run would do: figures by hand, and beside a run that is done."""

from __future__ import annotations

import json
from collections import Counter
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from align.batches.inputs import build_inputs, read_rows
from align.config import TrainConfig
from align.models.loading import count_parameters, load_policy, load_tokenizer
from align.objectives import OBJECTIVES
from align.reference.reference_cache import ReferenceCache
from align.resources.forecast import Forecast, forecast, forward_backward_flops
from align.trainer import train
from schemas.errors import EmptySplitError, ModelError, UnsafeModelError
from schemas.progress import Advance, silent
from tests.conftest import make_model, make_tokenizer
from tests.tiny_run import tiny_config, write_dataset, write_model

pytestmark = pytest.mark.usefixtures("own_cache")


def rows_file(folder: Path, *rows: tuple[str, str, bool]) -> Path:
    path = folder / "train.jsonl"
    path.write_text("".join(json.dumps({"prompt": p, "completion": c, "label": y}) + "\n" for p, c, y in rows))
    return path


def seen(path: Path, config: TrainConfig, parameters: int = 10) -> Forecast:
    """Of a byte-level tokenizer without a template: prompt, two line breaks, completion, end of sequence."""
    return forecast(path, make_tokenizer(chat_template=None), config, parameters=parameters)


FOUR = (("pq", "xyz", True), ("rs", "xy", True), ("tu", "x", False), ("vw", "xyzv", False))
"""Prompts of 2 letters and 2 line breaks, which are one, 3 tokens; completions of 3, 2, 1 and 4 letters and the end."""


def test_tokens_padding_and_cost_by_hand(tmp_path: Path) -> None:
    """Two steps, each of lengths 7, 6, 5, 8: 52 tokens; padded to the longest, 2 x 4 x 8 = 64.

    The last token of a sequence predicts nothing: 44 are computed. Mismatched pairs have the same prompts' and
    completions' tokens in sum, and the first step has none. It gives the reference's number of all 4 rows, so the
    reference reads the shortest one, 5 tokens, and the second step's mismatched pairs, 26. It computes each of 4
    prompts of 3 tokens once, their completions without ends, 10, and the shortest row's one token: 23. Of 10 weights:
    6 x 10 x 44 + 2 x 10 x 22 + 2 x 10 x 23 = 3,540.
    """
    config = tiny_config(epochs=2, batch={"batch_size": 4, "tokens_per_micro_batch": 100})
    found = seen(rows_file(tmp_path, *FOUR), config)
    passes = found.passes
    assert passes is not None
    assert (passes.policy.sequences, passes.policy.tokens, passes.policy.padded_tokens) == (8, 52, 44)
    assert passes.whole_steps == 64
    assert (passes.mismatched.sequences, passes.mismatched.tokens) == (4, 26)
    assert (passes.reference.sequences, passes.reference.tokens) == (5, 31)
    assert passes.evaluation.tokens == 0
    every = (passes.policy, passes.mismatched, passes.reference, passes.evaluation)
    assert sum(one.flops(10) for one in every) == 3540
    assert found.obstacle == ""
    assert found.one_label_steps() == 0
    assert found.ratio.value == 1


def test_rows_that_are_too_long_are_counted_with_what_is_left(tmp_path: Path) -> None:
    """A completion may have 4 tokens: the one of 5 goes; 2 up and 1 down are left."""
    found = seen(rows_file(tmp_path, *FOUR), tiny_config(tokens={"max_completion_tokens": 4}))
    assert (found.rows_read, found.train.dropped, found.ratio.value) == (4, {"too_long": 1}, 2)


def test_one_label_after_tokenization_is_an_obstacle(tmp_path: Path) -> None:
    """At most 1 letter and the end: only the row `x` is left."""
    found = seen(rows_file(tmp_path, *FOUR), tiny_config(tokens={"max_completion_tokens": 2}))
    assert found.obstacle.startswith("all rows to train on have the same label")
    assert (found.inputs, found.passes, len(found.train.rows)) == (None, None, 1)


def test_one_prompt_in_most_rows_is_an_obstacle_with_advice(tmp_path: Path) -> None:
    rows = [("same", f"answer {n}", n % 2 == 0) for n in range(5)] + [("other", "answer", True)]
    found = seen(rows_file(tmp_path, *rows), tiny_config())
    assert found.obstacle == "5 of 6 rows share one prompt, so they cannot all be paired with rows of other prompts"
    assert "Add other prompts" in found.todo


def test_nothing_left_is_an_obstacle(tmp_path: Path) -> None:
    found = seen(rows_file(tmp_path, *FOUR), tiny_config(tokens={"max_completion_tokens": 1}))
    assert found.obstacle.startswith("no row is left to train on")


def test_dataset_without_rows_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    write_dataset(tmp_path / "d", train=0, test=4)
    with pytest.raises(EmptySplitError):
        seen(tmp_path / "d", tiny_config())


def test_steps_of_one_label_are_counted(tmp_path: Path) -> None:
    """Nine up and one down, two rows a step: four of five steps are of one label."""
    rows = [(f"question {n}", f"answer {n}", n > 0) for n in range(10)]
    found = seen(rows_file(tmp_path, *rows), tiny_config(epochs=1, batch={"batch_size": 2}))
    assert found.one_label_steps() == 4


@pytest.mark.parametrize(
    ("changes", "factor"),
    [
        ({}, 6),
        ({"adapter": {"enabled": True}}, 4),
        ({"gradient_checkpointing": True}, 8),
        ({"adapter": {"enabled": True}, "gradient_checkpointing": True}, 6),
    ],
)
def test_operations_of_a_token_and_weight(changes: dict[str, Any], factor: int) -> None:
    assert forward_backward_flops(tiny_config(**changes)) == factor


def test_forecast_is_what_the_run_then_does(tmp_path: Path) -> None:
    """Steps, tokens, padded tokens, reference pairs, evaluations and R, beside the run's own files."""
    model, dataset = write_model(tmp_path / "model"), write_dataset(tmp_path / "data", train=30, test=8)
    config = tiny_config(tokens={"max_prompt_tokens": 60, "max_completion_tokens": 34}, evaluation={"every_steps": 3})
    found = forecast(dataset, load_tokenizer(model), config, parameters=count_parameters(model))
    card = train(config, dataset=dataset, model=str(model), out=tmp_path / "run")
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    steps = [line for line in lines if line["kind"] == "step"]
    passes, inputs = found.passes, found.inputs
    assert passes is not None
    assert inputs is not None
    assert found.train.dropped
    assert sum(found.train.dropped.values()) == steps[0]["rows_lost"]
    assert len(inputs.steps) == len(steps)
    assert passes.policy.tokens + passes.mismatched.tokens == sum(line["tokens"] for line in steps)
    padded = passes.policy.padded_tokens + passes.mismatched.padded_tokens
    assert padded == sum(line["padded_tokens"] for line in steps)
    assert passes.policy.sequences == sum(line["examples"] for line in steps)
    cache = ReferenceCache(tmp_path / "run" / "reference.parquet")
    assert passes.reference.sequences + len(inputs.steps[0]) - 1 == len(cache)
    evaluations = [line for line in lines if line["kind"] == "evaluation"]
    assert passes.evaluation.sequences == 2 * len(inputs.held_out.rows) * len(evaluations)
    assert found.ratio.value == card.ratio["value"]


@pytest.mark.parametrize("name", ["sft", "csft", "offline_ppo", "reward_model"])
def test_forecast_knows_what_other_objectives_score(tmp_path: Path, name: str) -> None:
    """Control tokens, a reference that is scored anew in each step, and one that is not there at all."""
    model, dataset = write_model(tmp_path / "model"), write_dataset(tmp_path / "data")
    for split in ("train", "test"):
        pairs = [{"prompt": f"q {n}", "chosen": "yes " * (n + 1), "rejected": "no"} for n in range(5)]
        if OBJECTIVES[name].data == "preference":
            (dataset / f"{split}.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    totals: Counter[str] = Counter()

    def count(description: str, total: int | None = None) -> AbstractContextManager[Advance]:
        totals[description] += total or 0
        return silent(description, total)

    config = tiny_config(objective={"name": name})
    found = forecast(dataset, load_tokenizer(model), config, parameters=1)
    train(config, dataset=dataset, model=str(model), out=tmp_path / "run", progress=count)
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    steps = [line for line in lines if line["kind"] == "step"]
    passes, inputs = found.passes, found.inputs
    assert passes is not None
    assert inputs is not None
    assert passes.policy.tokens == sum(line["tokens"] for line in steps)
    assert passes.policy.padded_tokens == sum(line["padded_tokens"] for line in steps)
    assert passes.is_padded == (name in ("offline_ppo", "reward_model"))
    in_steps = passes.policy.sequences if name == "offline_ppo" else 0
    assert passes.reference.sequences == totals["reference"] + in_steps
    assert passes.evaluation.sequences == totals["evaluate"]
    assert passes.policy.flops_per_weight == (8 if name == "offline_ppo" else 6)


def test_control_tokens_are_counted_and_given_to_no_other_run(tmp_path: Path) -> None:
    """One more token a row; the caller's tokenizer stays as it is, and one without a template is refused."""
    path, tokenizer = rows_file(tmp_path, *FOUR), make_tokenizer()
    plain = forecast(path, tokenizer, tiny_config(objective={"name": "kto"}, epochs=1), parameters=1)
    with_tokens = forecast(path, tokenizer, tiny_config(objective={"name": "csft"}, epochs=1), parameters=1)
    assert plain.passes is not None
    assert with_tokens.passes is not None
    assert with_tokens.passes.policy.tokens == plain.passes.policy.tokens + 4
    assert tokenizer.get_vocab() == make_tokenizer().get_vocab()
    with pytest.raises(ModelError, match="no chat template, so nothing could ask it for good answers"):
        seen(path, tiny_config(objective={"name": "csft"}))


def test_plan_is_that_of_the_trainer(tmp_path: Path) -> None:
    model, dataset = write_model(tmp_path / "model"), write_dataset(tmp_path / "data", train=30)
    config = tiny_config(max_steps=4)
    found = forecast(dataset, load_tokenizer(model), config, parameters=1)
    theirs = build_inputs(read_rows(dataset, OBJECTIVES["kto"]), load_policy(model).tokenizer, config, dataset=dataset)
    assert found.inputs is not None
    assert found.inputs.digests == theirs.digests
    assert found.inputs.plan.equals(theirs.plan)


# --- what is known of a model without its weights -----------------------------------------------------------------


@pytest.mark.parametrize("tied", [True, False])
def test_parameters_are_counted_without_weights(tmp_path: Path, tied: bool) -> None:
    model = make_model(tied=tied)
    model.config.save_pretrained(tmp_path)
    assert count_parameters(tmp_path) == model.num_parameters()


def test_tokenizer_is_loaded_without_weights(tmp_path: Path) -> None:
    model = write_model(tmp_path / "model")
    (model / "model.safetensors").unlink()
    assert load_tokenizer(model).get_vocab() == make_tokenizer().get_vocab()
    with pytest.raises(ModelError, match="the folder holds no weights"):
        load_policy(model)


def test_no_weight_is_downloaded_to_count_or_to_tokenize(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, asked = write_model(tmp_path / "model"), []

    def snapshot(name: str, *, allow_patterns: list[str]) -> str:
        asked.append(allow_patterns)
        return str(model)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot)
    count_parameters("owner/name")
    load_tokenizer("owner/name")
    assert all("*.json" in patterns and "*.safetensors" not in patterns for patterns in asked)
    load_policy("owner/name")
    assert "*.safetensors" in asked[-1]


def test_tokenizer_and_parameters_of_an_adapter_are_those_of_its_base(tmp_path: Path) -> None:
    base, adapter = write_model(tmp_path / "model"), tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(base)}))
    assert count_parameters(adapter) == count_parameters(base)
    assert load_tokenizer(adapter).get_vocab() == load_tokenizer(base).get_vocab()


def test_code_of_its_own_is_refused_without_weights_too(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"auto_map": {"AutoConfig": "evil.Config"}}')
    with pytest.raises(UnsafeModelError, match="code of its own"):
        count_parameters(tmp_path)


def test_config_of_no_language_model_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "vit"}')
    with pytest.raises(ModelError, match="the model cannot be loaded"):
        count_parameters(tmp_path)
