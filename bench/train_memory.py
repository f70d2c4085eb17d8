"""How memory of training grows with the length of completions and with the vocabulary, beside TRL's.

    python -m bench.train_memory [--tokens N ...] [--vocabularies N ...] [--sides S ...]

A small Llama of random weights takes one KTO step in float32 on two rows of one length: reference pass, z0 pass,
forward, backward and update, each run in a process of its own whose most resident memory is read. TRL gets both rows in
one micro batch, the fewest that it takes for KTO, and no side computes activations again; each has its own chunked
head. What the libraries themselves take is the same in all runs, so that only differences tell of the step. Written to
`bench/results/train_memory.json`, where what is not measured again keeps its figures.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from bench.runner import describe_machine, results_folder, write_result
from bench.small_model import write_small_model
from bench.tables import train_memory_tables
from bench.train import SIDES, run_side

__all__ = ["main", "memory_targets"]

_ROOM: Final = 64  # tokens of the prompt and of what the template puts around turns, at most
_WORDS: Final = ("yes", "no", "why", "so", "it", "is", "as", "we", "say")
_WIDTHS: Final = {
    "hidden_size": 128,
    "intermediate_size": 512,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
}
_MOST_TIMES: Final = 1.15


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print the table and write the result."""
    parser = argparse.ArgumentParser(prog="python -m bench.train_memory", description="memory of training by length")
    parser.add_argument("--tokens", type=int, nargs="+", default=[1024, 4096, 8192], help="of each completion")
    parser.add_argument("--vocabularies", type=int, nargs="+", default=[49_152, 151_936])
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=list(SIDES))
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args(arguments)
    machine, known = describe_machine(), _known_rows()
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        for vocabulary, tokens in itertools.product(options.vocabularies, options.tokens):
            before = known.get((vocabulary, tokens), {})
            known[vocabulary, tokens] = before | _measure(vocabulary, tokens, options, Path(name))
            write_result("train_memory", {"table": list(known.values()), **machine}, is_whole=False)
    table = [row for _, row in sorted(known.items())]
    result = {"model": _WIDTHS, "table": table, "targets": memory_targets(table), **machine}
    write_result("train_memory", result)
    print(train_memory_tables(result))


def _known_rows() -> dict[tuple[int, int], dict[str, Any]]:
    """What an earlier run has measured, by vocabulary and tokens."""
    path = results_folder() / "train_memory.json"
    rows = json.loads(path.read_text("utf-8"))["table"] if path.is_file() else []
    return {(row["vocabulary"], row["tokens"]): row for row in rows}


def _measure(vocabulary: int, tokens: int, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """A row of the table: what each side takes for one step."""
    model = write_small_model(folder / f"model-{vocabulary}", _WORDS, vocabulary=vocabulary, **_WIDTHS)
    call = {
        "rows": str(_write_rows(folder / "rows.jsonl", tokens)),
        "model": str(model),
        "objective": "kto",
        "epochs": 1,
        "precompute": False,
        "batch": 2,
        "micro": 2,
        "dtype": "float32",
        "threads": options.threads,
        "max_length": tokens + _ROOM,
        "checkpointing": False,
        "learning_rate": 5e-6,
    }
    row: dict[str, Any] = {"vocabulary": vocabulary, "tokens": tokens}
    for side in options.sides:
        found = run_side(side, call, folder)
        print(f"{vocabulary:,} words, {tokens:,} tokens, {side}: {found}", file=sys.stderr, flush=True)
        row[side] = {"peak_mib": round(found["peak_mib"]), "cpu_seconds": round(found["cpu_seconds"], 1)}
    return row


def _write_rows(path: Path, tokens: int) -> Path:
    """A good and a bad answer of so many words, each of which is a token."""
    rows = [
        {
            "prompt": [{"role": "user", "content": f"why so {word}"}],
            "completion": [
                {"role": "assistant", "content": " ".join(itertools.islice(itertools.cycle(words), tokens))}
            ],
            "label": word == "yes",
        }
        for word, words in (("yes", _WORDS), ("no", _WORDS[::-1]))
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def memory_targets(table: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Whether our memory grows with tokens only: as much in a large vocabulary, and evenly.

    Args:
        table: rows with `vocabulary`, `tokens` and `ours`.
    """
    peaks = {(row["vocabulary"], row["tokens"]): row["ours"]["peak_mib"] for row in table if "ours" in row}
    words, tokens = (sorted({key[place] for key in peaks}) for place in range(2))
    if len(words) < 2 or len(tokens) < 2:
        return []

    def growth(vocabulary: int, start: int, end: int) -> float:
        """MiB a token, between two lengths."""
        return float(peaks[vocabulary, end] - peaks[vocabulary, start]) / (end - start)

    least, most, short, long = words[0], words[-1], tokens[0], tokens[-1]
    by_words = growth(most, short, long) / growth(least, short, long)
    found = [
        (f"from {short:,} to {long:,} tokens memory grows with {most:,} words as with {least:,}", by_words),
    ]
    if len(tokens) > 2:
        even = growth(most, tokens[-2], long) / growth(most, short, tokens[-2])
        found.append((f"with {most:,} words a token beyond {tokens[-2]:,} costs what one before it does", even))
    return [
        {
            "claim": f"{claim}, at most {_MOST_TIMES:g} times",
            "value": round(value, 2),
            "is_met": value <= _MOST_TIMES,
        }
        for claim, value in found
    ]


if __name__ == "__main__":
    main()
