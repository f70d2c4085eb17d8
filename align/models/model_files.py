"""Where a model's files lie and whether they may be read: names into folders; no pickles, no code."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import huggingface_hub
import safetensors
from huggingface_hub.errors import HfHubHTTPError

from align.models.smollm2 import SMOLLM2_NAME, smollm2_folder
from schemas.errors import ModelError, UnknownChoiceError, UnsafeModelError

__all__ = [
    "BASE_NAME",
    "BUILTIN_MODELS",
    "adapter_chain",
    "lasting_name",
    "model_digest",
    "model_errors",
    "model_folder",
]

BUILTIN_MODELS: Final[Mapping[str, Callable[[], Path]]] = {f"builtin:{SMOLLM2_NAME}": smollm2_folder}
"""Models that need no download of ours: the name, and what gives their folder."""

BASE_NAME: Final = "base"
"""The folder in an adapter's own that holds the model it lies on, where no other folder does."""

_ADAPTER: Final = "adapter_config.json"
_BASE_KEY: Final = "base_model_name_or_path"
_LOAD_ERRORS: Final = (OSError, ValueError, KeyError, RuntimeError, ImportError, safetensors.SafetensorError)
_WEIGHTS: Final = "*.safetensors"
_HUB_FILES: Final = ("*.json", _WEIGHTS, "*.model", "*.txt", "*.jinja")
_PICKLES: Final = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
# Written by tools, with no bearing on what the weights compute.
_CONFIG_NOISE: Final = ("transformers_version", "_name_or_path", "_model_name_or_path")


def model_folder(name_or_path: str | Path, *, needs_weights: bool = True) -> Path:
    """The local folder of a model: the path itself, a builtin's cache, or a snapshot of the hub; checked to be safe.

    Args:
        name_or_path: a local folder, a builtin name, or `owner/name` on the hub.
        needs_weights: whether weights must be there; without, they are not downloaded.

    Raises:
        UnknownChoiceError: a builtin name that does not exist.
        ModelError: no such model.
        UnsafeModelError: only pickle weights, or code of its own.
        MissingExtraError: the extra `demo` is needed.
    """
    name = str(name_or_path)
    if name.startswith("builtin:"):
        if name not in BUILTIN_MODELS:
            raise UnknownChoiceError("model", name, BUILTIN_MODELS, todo="Or name a local folder")
        return BUILTIN_MODELS[name]()
    folder = Path(name).expanduser()
    if not folder.exists():
        folder = _hub_snapshot(name, needs_weights=needs_weights)
    if not folder.is_dir():
        raise ModelError("the model is a file", where=folder, expected="a folder with config.json and safetensors")
    _check_safe(folder, needs_weights=needs_weights)
    return folder


def lasting_name(name_or_path: str | Path) -> str:
    """The name that finds a model from any working directory: of a local folder its whole path, else the name itself.

    Args:
        name_or_path: as in `model_folder`.
    """
    path = Path(name_or_path).expanduser()
    return str(path.resolve()) if path.is_dir() else str(name_or_path)


def model_digest(folder: Path) -> str:
    """Digest of config and weights of a model folder, 32 hex digits; an adapter's covers its base model's."""
    digest = hashlib.blake2b(digest_size=16)
    # A base in the adapter's own folder is known by its digest alone, so that the run may lie anywhere.
    noise = {*_CONFIG_NOISE, _BASE_KEY} if _has_own_base(folder) else {*_CONFIG_NOISE}
    for config in ("config.json", _ADAPTER):
        if (folder / config).is_file():
            values = json.loads((folder / config).read_text("utf-8"))
            kept = {key: value for key, value in values.items() if key not in noise}
            digest.update(json.dumps(kept, sort_keys=True).encode() + b"\x1e")
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "blake2b").digest())
    if (folder / _ADAPTER).is_file():
        digest.update(model_digest(model_folder(_adapter_base(folder))).encode())
    return digest.hexdigest()


def adapter_chain(folder: Path, *, needs_weights: bool = True) -> tuple[Path, ...]:
    """The folder of a model, and behind an adapter's the folders that it lies on, the last one of a whole model.

    Args:
        folder: of `model_folder`.
        needs_weights: whether weights must be there; without, they are not downloaded.

    Raises:
        ModelError: an adapter does not say which model it belongs to, that one is not there, or it lies on itself.
    """
    chain = [folder]
    while (chain[-1] / _ADAPTER).is_file():
        base = model_folder(_adapter_base(chain[-1]), needs_weights=needs_weights)
        if base.resolve() in [one.resolve() for one in chain]:
            raise ModelError("the adapter lies on itself", where=chain[-1] / _ADAPTER, received=str(base))
        chain.append(base)
    return tuple(chain)


@contextmanager
def model_errors(where: object) -> Iterator[None]:
    """A context in which what libraries raise about a model's files is a `ModelError`.

    Args:
        where: the model, for the message.
    """
    try:
        yield
    except _LOAD_ERRORS as error:
        raise ModelError(f"the model cannot be loaded ({error})", where=where) from error


def _adapter_base(folder: Path) -> str:
    """Name of the model that the adapter in `folder` belongs to: what lies in its own folder, or what it names."""
    if _has_own_base(folder):
        return str(folder / BASE_NAME)
    base = _read_json(folder / _ADAPTER).get(_BASE_KEY)
    if not isinstance(base, str) or not base:
        raise ModelError("the adapter does not say which model it belongs to", where=folder / _ADAPTER)
    return base


def _has_own_base(folder: Path) -> bool:
    return (folder / BASE_NAME / "config.json").is_file()


def _hub_snapshot(name: str, *, needs_weights: bool) -> Path:
    known = f"a local folder, owner/name on the hub, or one of {', '.join(BUILTIN_MODELS)}"
    if name.startswith((".", "/", "~")) or name.count("/") != 1:
        raise ModelError("no such model", received=name, expected=known)
    try:
        files = [pattern for pattern in _HUB_FILES if needs_weights or pattern != _WEIGHTS]
        return Path(huggingface_hub.snapshot_download(name, allow_patterns=files))
    except (OSError, ValueError, RuntimeError, HfHubHTTPError) as error:
        raise ModelError(
            f"no such local folder, and the hub does not give the model ({type(error).__name__})",
            received=name,
            expected=known,
            todo="Check the name and the connection, or download the model and name its folder",
        ) from error


def _check_safe(folder: Path, *, needs_weights: bool) -> None:
    """Refuse everything that could run code."""
    for name in ("config.json", "tokenizer_config.json"):
        if (folder / name).is_file() and "auto_map" in _read_json(folder / name):
            raise UnsafeModelError(
                "the model wants to run code of its own",
                where=folder / name,
                received="auto_map",
                todo="Use a model whose architecture transformers knows; remote code is never run",
            )
    if not (folder / "config.json").is_file() and not (folder / _ADAPTER).is_file():
        raise ModelError("the folder is not a model", where=folder, expected="config.json or adapter_config.json in it")
    if not needs_weights or any(folder.glob(_WEIGHTS)):
        return
    pickles = sorted(path.name for pattern in _PICKLES for path in folder.glob(pattern))
    if pickles:
        raise UnsafeModelError(
            "the weights are pickles, which can run code when they are read",
            where=folder,
            received=pickles[0],
            expected="*.safetensors",
            todo="Convert them to safetensors where you trust them",
        )
    raise ModelError("the folder holds no weights", where=folder, expected="*.safetensors")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ModelError(f"the file is not JSON ({error})", where=path) from error
    if not isinstance(values, dict):
        raise ModelError("the file is not a JSON object", where=path)
    return values
