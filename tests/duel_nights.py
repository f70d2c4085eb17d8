"""A product whose users compare answers, night by night, and give thumbs of which no pairs can be made.

What begins with "yes" wins. One rater of the first night, who asks to be forgotten later, writes a word that stands
nowhere else.
"""

from __future__ import annotations

import json
import random
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from cli.workflows.retrain import RetrainConfig, load_retrain_config, retrain
from feedback.config import SourceConfig
from feedback.store import Store
from feedback.store.registry import Registry
from tests.product_year import words, write_config

FIRST, NIGHTLY = 120, 24
CANARY = "zebrafinch"
USER = f"user-{CANARY}"
MAP = """
kind = "pairs"
[fields]
id = "id"
prompt = "prompt"
chosen = "chosen"
rejected = "rejected"
user = "user"
conversation = "conversation"
time = "time"
"""


def duels(night: int, count: int) -> list[dict[str, Any]]:
    """Comparisons; the first ones of the first night are of the rater who is forgotten."""
    chance = random.Random(f"duels {night}")
    made = [
        {
            "id": f"d{night}-{number}",
            "prompt": words(chance, night, 9),
            "chosen": f"yes it is {words(chance, night, 5)}",
            "rejected": f"no sorry {words(chance, night, 5)}",
            "user": f"u{chance.randrange(40)}",
            "conversation": f"c{night}-{number}",
            "time": f"2025-0{1 + night}-{1 + number % 28:02d}T{number % 24:02d}:00:00Z",
        }
        for number in range(count)
    ]
    for duel in made[:6] if night == 0 else ():
        duel |= {"user": USER, "chosen": f"yes {CANARY} {duel['id']}"}
    return made


def votes(night: int, count: int = NIGHTLY) -> list[dict[str, Any]]:
    """Thumbs, each on an answer to a question of its own: no pairs can be made of them."""
    chance = random.Random(f"thumbs {night}")
    return [
        {
            "id": f"v{night}-{number}",
            "prompt": words(chance, night, 9),
            "completion": ("yes it is " if number % 4 else "no sorry ") + words(chance, night, 5),
            "label": "up" if number % 4 else "down",
            "user": f"u{chance.randrange(40)}",
            "time": f"2025-0{1 + night}-{1 + number % 28:02d}T{number % 24:02d}:00:00Z",
        }
        for number in range(count)
    ]


def ingest(folder: Path, records: list[dict[str, Any]], name: str) -> int:
    """Take records into the store; the version after it."""
    path = folder / f"{name}.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    (folder / "map.toml").write_text(MAP)
    is_pairs = "chosen" in records[0]
    source = (
        SourceConfig(path=str(path), format="mapped", name="duels", map=str(folder / "map.toml"))
        if is_pairs
        else SourceConfig(path=str(path), format="thumbs", name="chat")
    )
    return Store.open(folder / "store", create=True).ingest([source]).version


def write_pairs_config(folder: Path) -> Path:
    """A config that trains with dpo, beside its base model."""
    path = write_config(folder, extra='\n[train.objective]\nname = "dpo"\n')
    path.write_text(path.read_text().replace("[gates]\n", "[gates]\nmin_first = 60\n"))
    return path


def config_of(folder: Path, *overrides: str) -> RetrainConfig:
    """The config in a folder, with some keys changed."""
    return load_retrain_config(folder / "retrain.toml", overrides)


def copied(folder: Path, place: Path) -> Path:
    """A copy of a folder, whose store knows the datasets and runs in the copy."""
    shutil.copytree(folder, place, symlinks=True)
    registry = Registry(place / "store")
    records = [*registry.datasets(), *registry.runs()]
    for path in [*place.glob("store/datasets/*"), *place.glob("store/runs/*")]:
        path.unlink()
    for record in records:
        registry.save(replace(record, folder=record.folder.replace(str(folder), str(place))))
    return place


def first_night(folder: Path) -> Path:
    """`folder` after its first run with dpo, on comparisons and some thumbs."""
    write_pairs_config(folder)
    ingest(folder, duels(0, FIRST), "duels-0")
    ingest(folder, votes(0), "votes-0")
    retrain(config_of(folder))
    return folder
