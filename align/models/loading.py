"""Models and tokenizers, loaded so that they train deterministically: dropout is off and every weight came from a file.

An adapter (LoRA, extra `peft`) is added on request, see `align.models.adapters`; its reference is the same model with
the adapter switched off.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import torch
import transformers

from align.config import AdapterConfig
from align.data.library_bars import without_library_bars
from align.models.adapters import add_adapter, merge_adapter, save_adapter
from align.models.model_files import adapter_chain, lasting_name, model_digest, model_errors, model_folder
from align.models.padding import pad_for_rewards
from align.tokens.chat import ChatEncoder
from schemas.errors import ModelError, UnknownChoiceError

__all__ = [
    "DTYPES",
    "Head",
    "LoadedModel",
    "count_parameters",
    "load_model_config",
    "load_policy",
    "load_tokenizer",
]

DTYPES: Final = {"float32": torch.float32, "bfloat16": torch.bfloat16}
"""Number formats of weights, by their name in configs."""

Head = Literal["logps", "rewards"]
"""What a model ends in: log-probabilities of tokens, or a reward."""

_SCORE: Final = "score.weight"


@dataclass(frozen=True)
class LoadedModel:
    """A causal language model and its tokenizer.

    Args:
        model: the model; with an adapter, the base model with adapter layers in it.
        tokenizer: its tokenizer, with a pad token.
        name: the name it was asked for by.
        digest: digest of the config and the weights' bytes without a fresh adapter, 32 hex digits.
        peft_model: the wrapper that switches and saves the adapter; None without an adapter.
        has_merged_base: whether a fresh adapter lies on a model that no folder holds, an adapter merged into its base.
    """

    model: Any
    tokenizer: Any
    name: str
    digest: str
    peft_model: Any = None
    has_merged_base: bool = False

    def as_reference(self) -> AbstractContextManager[Any]:
        """A context in which an adapter is switched off, so that the model computes what its base model computes."""
        return nullcontext() if self.peft_model is None else self.peft_model.disable_adapter()

    def save(self, folder: Path, *, lies_at: Path | None = None) -> None:
        """Write weights (of an adapter its own, and what it lies on where no folder holds that) and tokenizer.

        Args:
            folder: where to.
            lies_at: where the folder will lie, if it is moved there afterwards.
        """
        with without_library_bars():
            if self.peft_model is None:
                self.model.save_pretrained(folder)
            else:
                save_adapter(self.peft_model, folder, lies_at=lies_at or folder, with_base=self.has_merged_base)
        self.tokenizer.save_pretrained(folder)

    def save_merged(self, folder: Path) -> None:
        """Write the whole model with the adapter added to its weights, and tokenizer; the adapter is used up by it."""
        merged = self.model if self.peft_model is None else self.peft_model.merge_and_unload()
        with without_library_bars():
            merged.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)


def load_policy(
    name_or_path: str | Path,
    *,
    dtype: str = "float32",
    adapter: AdapterConfig | None = None,
    seed: int = 0,
    head: Head = "logps",
    new_head: bool = False,
) -> LoadedModel:
    """The model of a name, ready for training or scoring, on the CPU.

    Args:
        name_or_path: a local folder, a builtin name, or `owner/name` on the hub (the only case that uses the network).
            A folder that holds an adapter gives its base model with the adapter merged in.
        dtype: of the weights, a key of `DTYPES`.
        adapter: adds a fresh adapter and freezes everything else, where `adapter.enabled`.
        seed: of the fresh adapter's weights.
        head: `logps` for a language model, `rewards` for one with a scalar head instead.
        new_head: of `rewards`: whether a model without a scalar head gets one, which is 0, so that a fresh reward
            model gives every answer 0. To be trained, not to be judged by.

    Raises:
        UnknownChoiceError: a builtin name or a dtype that does not exist.
        ModelError: nothing can be loaded under that name, or it has no scalar head where one is asked for.
        UnsafeModelError: only pickle weights, or code of its own.
        MissingExtraError: the extra `demo` or `peft` is needed.
    """
    if dtype not in DTYPES:
        raise UnknownChoiceError("dtype", dtype, DTYPES)
    folder = model_folder(name_or_path)
    chain = adapter_chain(folder)
    model, lacks_head = _load_weights(chain, DTYPES[dtype], head)
    if lacks_head and not new_head:
        raise ModelError(
            "the model has no head that gives rewards",
            where=folder,
            received=f"no weights named {_SCORE!r}",
            expected="a reward model",
            todo="Train one from it with the objective reward_model, and name that run",
        )
    tokenizer = _load_tokenizer(_tokenizer_folder(chain))
    if head == "rewards":
        pad_for_rewards(model, tokenizer)
    else:
        _stop_at_turn_end(model, tokenizer)
    _switch_off_dropout(model)
    wrapper = None
    if adapter is not None and adapter.enabled:
        wrapper = add_adapter(model, adapter, base=lasting_name(name_or_path), seed=seed)
    return LoadedModel(
        model.eval(), tokenizer, str(name_or_path), model_digest(folder), wrapper, has_merged_base=len(chain) > 1
    )


def load_tokenizer(name_or_path: str | Path) -> Any:
    """The tokenizer that `load_policy` gives for the same name; no weight is read or downloaded.

    Args:
        name_or_path: as in `load_policy`.

    Raises:
        ModelError: no tokenizer can be loaded under that name.
    """
    folder = model_folder(name_or_path, needs_weights=False)
    return _load_tokenizer(_tokenizer_folder(adapter_chain(folder, needs_weights=False)))


def count_parameters(name_or_path: str | Path) -> int:
    """How many weights the model of that name has, from its config alone; tied weights count once, adapters do not.

    Args:
        name_or_path: as in `load_policy`.

    Raises:
        ModelError: the config is not that of a causal language model.
    """
    config = load_model_config(name_or_path)
    with model_errors(name_or_path), torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    return sum(parameter.numel() for parameter in model.parameters())


def load_model_config(name_or_path: str | Path) -> Any:
    """The config of the model of that name, of an adapter that of its base model; no weight is read or downloaded.

    Args:
        name_or_path: as in `load_policy`.

    Raises:
        ModelError: there is no config.
    """
    folder = adapter_chain(model_folder(name_or_path, needs_weights=False), needs_weights=False)[-1]
    with model_errors(folder):
        return transformers.AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)


def _load_weights(chain: Sequence[Path], dtype: torch.dtype, head: Head) -> tuple[Any, bool]:
    """The model of a chain of folders, the adapters merged in from the last one on, and whether it lacks a head."""
    model, lacks_head = _load_whole(chain[-1], dtype, head)
    for folder in reversed(chain[:-1]):
        model = merge_adapter(model, folder)  # an adapter may bring the head
    return model, lacks_head and not bool(model.score.weight.any())


def _load_whole(folder: Path, dtype: torch.dtype, head: Head) -> tuple[Any, bool]:
    """The model of one folder, and whether its files lack the head that gives rewards, which is 0 then."""
    kind: Any = transformers.AutoModelForCausalLM
    more: dict[str, int] = {}
    if head == "rewards":
        kind, more = transformers.AutoModelForSequenceClassification, {"num_labels": 1}
    with model_errors(folder), without_library_bars():
        loaded: Any = kind.from_pretrained(
            folder,
            dtype=dtype,
            trust_remote_code=False,
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
            **more,
        )
        model, loading = loaded
    # transformers would fill these with random numbers and go on.
    absent = sorted(loading["missing_keys"]) + sorted(str(key) for key in loading["mismatched_keys"])
    lacks_head = head == "rewards" and absent == [_SCORE]
    if lacks_head:
        torch.nn.init.zeros_(model.score.weight)
    elif absent:
        raise ModelError("the files do not hold all weights", where=folder, received=absent[:3])
    return model, lacks_head


def _load_tokenizer(folder: Path) -> Any:
    with model_errors(folder):
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    if tokenizer.eos_token_id is None:
        raise ModelError("the tokenizer has no end-of-sequence token", where=folder)
    if tokenizer.pad_token_id is None:  # padding is masked, so any token will do
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def _tokenizer_folder(chain: Sequence[Path]) -> Path:
    """The first folder of a chain that holds a tokenizer, or else that of the whole model."""
    names = ("tokenizer.json", "tokenizer.model", "tokenizer_config.json")
    return next((folder for folder in chain if any((folder / name).is_file() for name in names)), chain[-1])


def _stop_at_turn_end(model: Any, tokenizer: Any) -> None:
    """Let the model's own settings, which are saved with it, name the token that ends a turn in its chat template.

    Base models name only the end of a text, which a model that learned from turns never writes.
    """
    end, named = ChatEncoder(tokenizer).turn_end(), model.generation_config.eos_token_id
    known = named if isinstance(named, list) else [] if named is None else [named]
    if end is not None and end not in known:
        model.generation_config.eos_token_id = [*known, end] if known else end


def _switch_off_dropout(model: Any) -> None:
    """Set every dropout rate to 0: in layers, and in the attributes that attention reads in training mode."""
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        for key, value in vars(module).items():
            if "dropout" in key and isinstance(value, float):
                setattr(module, key, 0.0)
