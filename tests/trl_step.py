"""A step of TRL's trainers with a model made on the spot, to show that a folder of ours trains there unchanged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets


def tiny_model(folder: Path) -> Path:
    """A Llama of random weights with a tokenizer of single characters, both made here."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    letters = ["<pad>", "<eos>", "<unk>", *(chr(code) for code in range(32, 127)), "\n"]
    core = Tokenizer(models.WordLevel({letter: n for n, letter in enumerate(letters)}, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>", model_max_length=512
    )
    tokenizer.chat_template = (
        "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
        "{% if add_generation_prompt %}assistant: {% endif %}"
    )
    config = LlamaConfig(
        vocab_size=len(letters),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=None,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def take_kto_step(folder: Path, work: Path) -> float:
    """The loss of one step of TRL's KTOTrainer on the dataset in `folder`, as `datasets` opens it."""
    from trl import KTOConfig, KTOTrainer

    loaded = datasets.load_dataset(str(folder), cache_dir=str(work / "cache"))
    return _take_step(KTOTrainer, KTOConfig, loaded, work)


def take_dpo_step(folder: Path, work: Path) -> float:
    """The loss of one step of TRL's DPOTrainer on the pairs in the dataset in `folder`, as `datasets` opens them."""
    from trl import DPOConfig, DPOTrainer

    loaded = datasets.load_dataset(str(folder), "preference", cache_dir=str(work / "cache"))
    return _take_step(DPOTrainer, DPOConfig, loaded, work)


def _take_step(trainer_of: Any, config_of: Any, loaded: Any, work: Path) -> float:
    arguments = config_of(
        output_dir=str(work / "run"),
        max_steps=1,
        per_device_train_batch_size=4,
        max_length=512,
        report_to="none",
        use_cpu=True,
    )
    model = str(tiny_model(work / "model"))
    trainer = trainer_of(model=model, args=arguments, train_dataset=loaded["train"], eval_dataset=loaded.get("test"))
    return float(trainer.train().training_loss)
