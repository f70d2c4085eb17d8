"""Rows for `bench.train`: real ones where they lie beside the checkout, else those of `sample_data`.

Rows that are longer than a limit are left out, so that neither trainer cuts any and both see the same tokens.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

__all__ = ["labelled_rows", "pair_rows", "unpaired", "write_rows"]

_ROOT: Final = Path(__file__).parents[1]
_REAL: Final = _ROOT.parent / "shared" / "data"
_LABELLED: Final = _REAL / "llamafactory_kto" / "kto_en_demo.json"
_PAIRS: Final = _REAL / "openai_dpo" / "orca_dpo_pairs.validation.jsonl"
_SAMPLE: Final = _ROOT / "sample_data"

Row = dict[str, Any]


def labelled_rows(count: int, tokenizer: Any, max_tokens: int) -> tuple[list[Row], str]:
    """Labelled answers, good and bad ones in turn, and the name of the file that they are of.

    Args:
        count: how many, even.
        tokenizer: the model's.
        max_tokens: longest prompt with its answer.
    """
    by_label: dict[bool, list[Row]] = {True: [], False: []}
    for row in _labelled():
        if _tokens(tokenizer, row["prompt"], row["completion"]) <= max_tokens:
            by_label[row["label"]].append(row)
    chosen = [row for pair in zip(by_label[True], by_label[False], strict=False) for row in pair][:count]
    return chosen, (_LABELLED if _LABELLED.is_file() else _SAMPLE / "thumbs.jsonl").name


def pair_rows(count: int, tokenizer: Any, max_tokens: int) -> tuple[list[Row], str]:
    """Pairs, and the name of the file that they are of.

    Args:
        count: how many.
        tokenizer: the model's.
        max_tokens: longest prompt with one of its answers.
    """
    fitting = (
        row
        for row in _pairs()
        if max(_tokens(tokenizer, row["prompt"], row[side]) for side in ("chosen", "rejected")) <= max_tokens
    )
    chosen = [row for _, row in zip(range(count), fitting, strict=False)]
    return chosen, (_PAIRS if _PAIRS.is_file() else _SAMPLE / "pairs.jsonl").name


def unpaired(pairs: Sequence[Row]) -> list[Row]:
    """Two labelled answers of each pair, in the order of TRL's `unpair_preference_dataset`: chosen ones first."""
    return [
        {"prompt": pair["prompt"], "completion": pair[side], "label": side == "chosen"}
        for side in ("chosen", "rejected")
        for pair in pairs
    ]


def write_rows(path: Path, rows: Sequence[Row]) -> Path:
    """Write rows as JSON lines and return the path."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def _labelled() -> Iterator[Row]:
    if _LABELLED.is_file():
        for record in json.loads(_LABELLED.read_text("utf-8")):
            turns = [{"role": turn["role"], "content": turn["content"]} for turn in record["messages"]]
            yield {"prompt": turns[:-1], "completion": turns[-1:], "label": record["label"]}
        return
    for line in (_SAMPLE / "thumbs.jsonl").read_text("utf-8").splitlines():
        record = json.loads(line)
        if record.get("label") in ("up", "down") and record.get("prompt") and record.get("completion"):
            yield {
                "prompt": [{"role": "user", "content": record["prompt"]}],
                "completion": [{"role": "assistant", "content": record["completion"]}],
                "label": record["label"] == "up",
            }


def _pairs() -> Iterator[Row]:
    if _PAIRS.is_file():
        for line in _PAIRS.read_text("utf-8").splitlines():
            record = json.loads(line)
            yield {
                "prompt": record["input"]["messages"],
                "chosen": record["preferred_output"],
                "rejected": record["non_preferred_output"],
            }
        return
    for line in (_SAMPLE / "pairs.jsonl").read_text("utf-8").splitlines():
        record = json.loads(line)
        yield {key: record[key] for key in ("prompt", "chosen", "rejected")}


def _tokens(tokenizer: Any, prompt: Sequence[Row], completion: Sequence[Row]) -> int:
    return len(tokenizer.apply_chat_template([*prompt, *completion], tokenize=True, return_dict=False))
