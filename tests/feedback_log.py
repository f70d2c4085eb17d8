"""A small log of votes and pairs with everything in it that curation decides about, for tests of whole runs."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

from feedback.config import CurateConfig, SourceConfig
from feedback.pipeline import curate, default_config
from feedback.store import Store

_FIRST = ("ka", "lo", "mi", "ne", "po", "ru", "sa", "te")  # codespell:ignore te
WORDS = [f"{first}{second}" for first in _FIRST for second in "abcdefghijklm"]


def story(seed: object, words: int) -> str:
    """Some words that stand for a text; texts of different seeds are not alike."""
    chosen = random.Random(str(seed))
    return " ".join(chosen.choice(WORDS) for _ in range(words))


def almost(text: str) -> str:
    """A near-duplicate of a text of 40 words: one word is another, so 35 of 41 shingles are shared."""
    words = text.split()
    return " ".join([*words[:20], "otherwise", *words[21:]])


def vote(number: int, label: str | None = None, **more: Any) -> dict[str, Any]:
    """A vote about a question and an answer of its own."""
    label = label or ("down" if number % 4 == 0 else "up")
    texts = {"prompt": story(f"q{number}", 12), "completion": story(f"a{number}", 40)}
    return texts | {"label": label, "user": f"u{number % 11}", "time": 1767606699 + number} | more


def votes(count: int = 80) -> list[dict[str, Any]]:
    """Votes with copies, spellings, near-duplicates, contradictions, revisions, neutral and bad ones."""
    rows = [vote(n) for n in range(count)]
    rows += [vote(n, user=f"v{n}") for n in range(0, count, 10)]
    rows += [vote(n, user=f"w{n}", completion=vote(n)["completion"].upper()) for n in range(1, count, 10)]
    rows += [vote(n, user=f"x{n}", completion=almost(vote(n)["completion"])) for n in range(2, count, 10)]
    rows += [vote(n, label="down", user=f"y{n}", completion=almost(vote(n)["completion"])) for n in range(3, count, 10)]
    rows += [vote(n, label="down" if n % 4 else "up", user=f"z{n % 3}") for n in range(5, count, 10)]
    rows += [vote(n, prompt=vote(n - 1)["prompt"]) for n in range(6, count, 10)]
    rows += [
        vote(n, id=f"r{n}", time=1767700000 + step, label=label) for n in (7, 17) for step, label in enumerate(UPDATES)
    ]
    rows += [vote(8, id="gone", op="retract"), vote(18, label="none"), vote(28, time="2026-02-01T10:00:00+01:00")]
    return [*rows, vote(9), {"prompt": "q", "completion": "", "label": "up"}, vote(19, label="perhaps")]


UPDATES = ("up", "down", "down")


def pairs(count: int = 30) -> list[dict[str, Any]]:
    """Pairs about questions of the votes and others; some are nearly the same, some contradict the votes."""
    rows = [
        {"prompt": story(f"q{n}", 12), "chosen": story(f"c{n}", 40), "rejected": story(f"a{n}", 40)}
        for n in range(0, 2 * count, 2)
    ]
    return rows + [{**row, "chosen": almost(row["chosen"])} for row in rows[::5]] + rows[:2]


def log_config(
    folder: Path,
    *,
    order: random.Random | None = None,
    files: int = 1,
    overrides: tuple[str, ...] = (),
    **rows: list[dict[str, Any]],
) -> CurateConfig:
    """The config of a run over the log, written to `folder` in some order and number of files of each source."""
    for name, default in (("thumbs", votes), ("trl", pairs)):
        lines = [json.dumps(row) for row in rows.get(name, default())]
        if order is not None:
            order.shuffle(lines)
        (folder / name).mkdir(parents=True)
        for number in range(files):
            part = "".join(line + "\n" for line in lines[number::files])
            (folder / name / f"{number:03d}.jsonl").write_text(part)
    return config_of(folder, overrides)


def config_of(folder: Path, overrides: tuple[str, ...] = ()) -> CurateConfig:
    """The config of a run over a log that was written to `folder`."""
    sources = tuple(SourceConfig(path=str(folder / name), format=name) for name in ("thumbs", "trl"))
    return replace(default_config([folder], "thumbs", overrides=overrides), sources=sources)


def dataset_and_store(folder: Path) -> Path:
    """The folder, with a log in `in`, a dataset of it with pairs in `dataset`, and a store of its votes in `store`."""
    curate(log_config(folder / "in"), folder / "dataset")
    source = SourceConfig(path=str(folder / "in" / "thumbs"), format="thumbs")
    Store.open(folder / "store", create=True).ingest([source])
    return folder
