"""A product whose users vote on answers, week by week: what its exports hold is known, so that runs can be checked.

Words of questions drift with the months. Good answers begin with "yes", bad ones with "no", so that a tiny model can
learn the labels. Every week some records come again in the next export, some votes are changed, some are taken back.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from tests.tiny_run import write_model

VOTES = 44
RATERS = 60
BRIGADE_WEEK = 20
OUTAGE_WEEK = 26
SCHEMA_WEEK = 30
POISONED_WEEK = 40
CANARIES = {3: ("u7", "canaryseven"), 12: ("u7", "canaryseventwo"), 31: ("u11", "canaryeleven")}
"""Weeks in which a rater who asks to be forgotten later writes a word that stands nowhere else."""

Record = dict[str, Any]


def words(chance: random.Random, week: int, count: int) -> str:
    """Some words; every month brings others."""
    month = week // 4
    return " ".join(f"w{chance.randint(month * 40, month * 40 + 120)}" for _ in range(count))


def new_votes(week: int) -> list[Record]:
    """The votes that are given in a week; those of a canary's week hold its word, from the rater who is forgotten."""
    chance = random.Random(f"votes {week}")
    votes = [_vote(week, number, chance) for number in range(VOTES)]
    if week in CANARIES:
        rater, word = CANARIES[week]
        votes[8] = votes[8] | {"user": rater, "completion": f"no sorry {word} {word}x", "conversation": f"c-{word}"}
    return votes


def _vote(week: int, number: int, chance: random.Random) -> Record:
    is_good = number % 4 < 3
    is_up = is_good if chance.random() < 0.97 else not is_good
    opening = "yes it is " if is_good else "no sorry "
    return {
        "id": f"v{week}-{number}",
        "prompt": words(chance, week, 9),
        "completion": opening + words(chance, week, 5),
        "label": "up" if is_up else "down",
        "user": f"u{chance.randint(0, RATERS - 1)}",
        "conversation": f"c{week}-{number}",
        "time": f"{_day(week, number % 7)}T{number % 24:02d}:00:00Z",
    }


def _day(week: int, day: int) -> str:
    from datetime import date, timedelta

    return (date(2025, 1, 6) + timedelta(weeks=week, days=day)).isoformat()


def brigade(week: int) -> list[Record]:
    """Eight new accounts vote twelve good answers down each."""
    chance = random.Random(f"brigade {week}")
    return [
        _vote(week, 1000 + number, chance)
        | {"id": f"b{week}-{number}", "label": "down", "user": f"brigade{number % 8}"}
        for number in range(96)
    ]


def poisoned(week: int) -> list[Record]:
    """The week's votes with every label turned over."""
    return [vote | {"label": "down" if vote["label"] == "up" else "up"} for vote in new_votes(week)]


def repeated(week: int) -> list[Record]:
    """What of the week before comes again: the same records, changed votes, and one that is taken back."""
    if week == 0 or week - 1 in (BRIGADE_WEEK, POISONED_WEEK, OUTAGE_WEEK):
        return []
    before = new_votes(week - 1)
    later = f"{_day(week, 1)}T12:00:00Z"
    changed = before[5] | {"op": "update", "label": "up" if before[5]["label"] == "down" else "down", "updated": later}
    taken_back = before[6] | {"op": "retract", "updated": later}
    return [*before[:4], changed, taken_back]


def export(week: int) -> list[Record] | None:
    """What the product exports in a week; nothing in the outage."""
    if week == OUTAGE_WEEK:
        return None
    votes = poisoned(week) if week == POISONED_WEEK else new_votes(week)
    records = [*repeated(week), *votes]
    if week == BRIGADE_WEEK:
        records += brigade(week)
    if week == SCHEMA_WEEK:  # the product renames a field; from the next week on the exporter is mended
        records = [{("vote" if key == "label" else key): value for key, value in one.items()} for one in records]
    if week > SCHEMA_WEEK:  # a field that nobody knew
        records = [record | {"client": {"app": "2.0"}} for record in records]
    return records


def mended(week: int) -> list[Record]:
    """The export of the week with the renamed field, under the old name."""
    return [{("label" if key == "vote" else key): value for key, value in one.items()} for one in export(week) or []]


def write_export(folder: Path, week: int, records: list[Record] | None = None) -> Path | None:
    """The export of a week, or other records, as a file; null where there is none."""
    records = export(week) if records is None else records
    if records is None:
        return None
    path = folder / f"week-{week:02d}.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


CONFIG = """
store = "store"
folder = "models"
model = "./base"
exclude_versions = {exclude}

[curate.split]
test_fraction = 0.25

[curate.dedup]
match = "exact"

[curate.caps]
max_rater_share = 1.0

[train]
device = "cpu"

[train.batch]
batch_size = 16
tokens_per_micro_batch = 4096

[train.optimizer]
learning_rate = 0.001

[train.checkpoint]
every_steps = 2

[train.evaluation]
at_start = false
max_rows = 8

[gates]
max_share_up_change = 0.1

[contest]
margin = 0.5

[contest.probes]
prompts = 1
max_new_tokens = 2
max_length_change = 1000.0
max_refusal_rise = 1.0
max_sycophancy_rise = 1.0
"""


def write_config(folder: Path, *, exclude: tuple[int, ...] = (), extra: str = "") -> Path:
    """A config beside its base model; `extra` is appended."""
    if not (folder / "base").is_dir():
        write_model(folder / "base")
    path = folder / "retrain.toml"
    path.write_text(CONFIG.format(exclude=list(exclude)) + extra)
    return path
