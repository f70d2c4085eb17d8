"""Adapters (LoRA, extra `peft`): added to a model, merged into it, and saved so that anybody finds what they lie on.

MODEL/
  adapter_config.json, adapter_model.safetensors
  base/      the model that the adapter lies on, whole, where that was an adapter too: no other folder holds it
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import torch

from align.config import AdapterConfig
from align.models.model_files import BASE_NAME, model_errors
from schemas.errors import MissingExtraError

__all__ = ["add_adapter", "merge_adapter", "save_adapter"]

_LAYER: Final = ".base_layer."
"""What peft puts into the names of weights that an adapter lies on."""


def add_adapter(model: Any, adapter: AdapterConfig, *, base: str, seed: int) -> Any:
    """The wrapper of a model with a fresh adapter in it, which alone is trained.

    Args:
        model: without an adapter.
        adapter: its width and places.
        base: name of the model that finds it from any working directory.
        seed: of the adapter's weights.

    Raises:
        ModelError: there is no layer of those names.
        MissingExtraError: the extra `peft` is needed.
    """
    peft = _import_peft()
    targets = adapter.target_modules
    config = peft.LoraConfig(
        task_type="CAUSAL_LM",
        r=adapter.rank,
        lora_alpha=adapter.alpha,
        lora_dropout=0.0,
        target_modules=targets if isinstance(targets, str) else list(targets),
    )
    with torch.random.fork_rng(devices=[]), model_errors(base), _old_names():
        torch.manual_seed(seed)
        wrapper = peft.get_peft_model(model, config)
    wrapper.peft_config["default"].base_model_name_or_path = base
    return wrapper


def merge_adapter(model: Any, folder: Path) -> Any:
    """The model with the adapter of a folder added to its weights.

    Args:
        model: what the adapter lies on; it is used up.
        folder: of the adapter.

    Raises:
        ModelError: the adapter does not fit the model.
        MissingExtraError: the extra `peft` is needed.
    """
    peft = _import_peft()
    with model_errors(folder), _old_names():
        return peft.PeftModel.from_pretrained(model, folder).merge_and_unload()


def save_adapter(wrapper: Any, folder: Path, *, lies_at: Path, with_base: bool) -> None:
    """Write an adapter, and the model that it lies on where nothing else holds that.

    Args:
        wrapper: of `add_adapter`.
        folder: where to.
        lies_at: where the folder will lie; a base in it is found there by others.
        with_base: whether to write the base, with its weights as they are without the adapter.
    """
    if not with_base:
        wrapper.save_pretrained(folder)
        return
    model = wrapper.get_base_model()
    weights = {name.replace(_LAYER, "."): weight for name, weight in model.state_dict().items() if ".lora_" not in name}
    model.save_pretrained(folder / BASE_NAME, state_dict=weights)
    wrapper.peft_config["default"].base_model_name_or_path = str(lies_at.resolve() / BASE_NAME)
    # Else peft would look there for a changed vocabulary, where nothing lies yet.
    wrapper.save_pretrained(folder, save_embedding_layers=False)


def _import_peft() -> Any:
    try:
        import peft
    except ImportError as error:
        raise MissingExtraError("peft", "peft") from error
    return peft


@contextmanager
def _old_names() -> Iterator[None]:
    """Let peft ask transformers by a name that transformers has renamed."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="`is_gradient_checkpointing`", category=FutureWarning)
        yield
