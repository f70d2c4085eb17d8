"""Adapters on adapters: what was trained and measured is what anybody finds in the saved folder."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from align.config import AdapterConfig
from align.models.loading import LoadedModel, load_policy, load_tokenizer
from align.models.model_files import model_digest
from align.trainer import train
from schemas.errors import ModelError
from tests.tiny_run import tiny_config, write_model

# peft asks transformers by a name that it has renamed, and says that it saves embeddings that are a target.
pytestmark = [
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning"),
    pytest.mark.filterwarnings("ignore:Setting `save_embedding_layers`:UserWarning"),
]
IDS = torch.tensor([[5, 6, 7, 8, 9]])
LORA = AdapterConfig(enabled=True, rank=2)
ONE_STEP: dict[str, Any] = {"max_steps": 2, "adapter": {"enabled": True, "rank": 4}}


def logps(model: Any) -> torch.Tensor:
    with torch.no_grad():
        values: torch.Tensor = model(IDS).logits.log_softmax(-1)
    return values


def trained(loaded: LoadedModel) -> LoadedModel:
    """The model with an adapter that is no longer fresh."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in loaded.model.parameters():
            if parameter.requires_grad:
                parameter += 0.1 * torch.randn_like(parameter)
    return loaded


def assert_all_find(folder: Path, wanted: torch.Tensor) -> None:
    """Whoever loads the folder, by us, by peft or by transformers, gets the log-probabilities wanted."""
    peft, transformers = pytest.importorskip("peft"), pytest.importorskip("transformers")
    found = {
        "thumbline": load_policy(folder).model,
        "peft": peft.AutoPeftModelForCausalLM.from_pretrained(folder).eval(),
        "transformers": transformers.AutoModelForCausalLM.from_pretrained(folder).eval(),
    }
    for name, model in found.items():
        torch.testing.assert_close(logps(model), wanted, rtol=1e-4, atol=1e-4, msg=name)


@pytest.mark.parametrize("targets", ["all-linear", ("q_proj", "embed_tokens")])
def test_every_generation_of_adapters_is_saved_whole(tmp_path: Path, targets: Any) -> None:
    """The first lies on a whole model, the second and the third on adapters."""
    adapter = AdapterConfig(enabled=True, rank=2, target_modules=targets)
    start = write_model(tmp_path / "base", tied=targets == "all-linear")
    before = logps(load_policy(start).model)
    for generation in ("first", "second", "third"):
        loaded = trained(load_policy(start, adapter=adapter))
        with loaded.as_reference():
            torch.testing.assert_close(logps(loaded.model), before, rtol=1e-4, atol=1e-4)
        start = tmp_path / generation
        loaded.save(start)
        before = logps(loaded.model)
        assert_all_find(start, before)
        assert (start / "base").is_dir() == (generation != "first")


def test_runs_on_runs_leave_what_they_measured(dataset: Path, model: str, tmp_path: Path, own_cache: None) -> None:
    """The whole model that the second run leaves on request is what its adapter gives, and not the first adapter's."""
    first, second = tmp_path / "first", tmp_path / "second"
    card = train(tiny_config(**ONE_STEP), dataset=dataset, model=model, out=first)
    changes = {**ONE_STEP, "adapter": {**ONE_STEP["adapter"], "merge": True}}
    next_card = train(tiny_config(**changes), dataset=dataset, model=str(first / "model"), out=second)
    assert card.model["digest"] != next_card.model["digest"] == model_digest(first / "model")
    wanted = logps(load_policy(second / "merged").model)
    assert_all_find(second / "model", wanted)
    assert (wanted - logps(load_policy(first / "model").model)).abs().max() > 1e-4


def test_digest_tells_bases_apart_and_not_places(tmp_path: Path) -> None:
    bases = [write_model(tmp_path / f"base{seed}", seed=seed) for seed in (0, 1)]
    folders = []
    for number, base in enumerate(bases):
        trained(load_policy(base, adapter=LORA)).save(tmp_path / f"first{number}")
        load_policy(tmp_path / f"first{number}", adapter=LORA).save(tmp_path / f"second{number}")
        folders.append(tmp_path / f"second{number}")
    assert model_digest(folders[0]) != model_digest(folders[1])
    moved = shutil.move(folders[0], tmp_path / "elsewhere")
    digest = model_digest(moved)
    load_policy(tmp_path / "first0", adapter=LORA).save(tmp_path / "again")
    assert model_digest(tmp_path / "again") == digest
    assert logps(load_policy(moved).model).isfinite().all()


def test_adapter_of_an_earlier_version_that_names_an_adapter_loads_as_it_was_trained(tmp_path: Path) -> None:
    base = write_model(tmp_path / "base")
    first = trained(load_policy(base, adapter=LORA))
    first.save(tmp_path / "first")
    second = trained(load_policy(tmp_path / "first", adapter=LORA))
    wanted = logps(second.model)
    second.save(tmp_path / "second")
    shutil.rmtree(tmp_path / "second" / "base")
    path = tmp_path / "second" / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"base_model_name_or_path": str(tmp_path / "first")}))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "second" / name).unlink()
    torch.testing.assert_close(logps(load_policy(tmp_path / "second").model), wanted, rtol=1e-4, atol=1e-4)
    assert load_tokenizer(tmp_path / "second").chat_template


def test_adapter_that_lies_on_itself_is_refused(tmp_path: Path) -> None:
    load_policy(write_model(tmp_path / "base"), adapter=LORA).save(tmp_path / "loop")
    path = tmp_path / "loop" / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"base_model_name_or_path": str(tmp_path / "loop")}))
    with pytest.raises(ModelError, match="the adapter lies on itself"):
        load_policy(tmp_path / "loop")
