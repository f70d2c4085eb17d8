"""Configs and splits of a dataset on the hub: as its card declares them, or as the names of its files say.

Source: the hub's documentation on data files configuration: `configs` in the card's head, each with `config_name` and
`data_files` (a pattern, a list of them, or a list of `split` and `path`); without it, words in the files' paths.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

from schemas.errors import InputError

__all__ = ["declared_files", "split_of"]

_WORDS: Final = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing", "eval", "evaluation"),
}
_SPLITS: Final = {word: split for split, words in _WORDS.items() for word in words}
_BREAK: Final = re.compile(r"[-._ 0-9/]+")


def declared_files(card: Path) -> dict[str, dict[str, list[str]]]:
    """Patterns of files by config and split, as the card declares them; empty where it declares nothing.

    Args:
        card: the dataset's README.md, which may be absent.

    Raises:
        InputError: the head of the card is not YAML.
    """
    if not card.is_file():
        return {}
    import yaml
    from huggingface_hub import metadata_load

    try:
        configs = (metadata_load(card) or {}).get("configs")
    except (ValueError, yaml.YAMLError) as error:
        raise InputError("the head of the dataset's card is not YAML", where=card.name) from error
    found: dict[str, dict[str, list[str]]] = {}
    for config in configs if isinstance(configs, list) else ():
        if isinstance(config, dict) and config.get("data_files"):
            found[str(config.get("config_name", "default"))] = _splits(config["data_files"])
    return found


def split_of(name: str) -> str | None:
    """The split that a path says that it is of, or None.

    >>> split_of("data/train-00000-of-00002.parquet"), split_of("helpful/test.jsonl.gz"), split_of("contest.csv")
    ('train', 'test', None)
    """
    words = [word for word in _BREAK.split(name.lower()) if word]
    return next((_SPLITS[word] for word in reversed(words) if word in _SPLITS), None)


def _splits(data_files: Any) -> dict[str, list[str]]:
    if isinstance(data_files, str):
        return {"train": [data_files]}
    if isinstance(data_files, dict):
        return {str(split): _patterns(path) for split, path in data_files.items()}
    found: dict[str, list[str]] = {}
    for item in data_files if isinstance(data_files, list) else ():
        split, path = (item.get("split", "train"), item.get("path")) if isinstance(item, dict) else ("train", item)
        found.setdefault(str(split), []).extend(_patterns(path))
    return found


def _patterns(path: Any) -> list[str]:
    return [str(one) for one in path] if isinstance(path, list) else [str(path)]
