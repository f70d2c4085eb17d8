"""Votes of Streamlit under all the names that apps choose: read by column they give what they give one by one."""

from __future__ import annotations

import copy
import json
import random
from pathlib import Path
from typing import Any

import pytest

from feedback.formats.streamlit_feedback import STREAMLIT_FEEDBACK
from feedback.ingest.plain.records import PlainSource, read_plain
from feedback.ingest.plain.shapes import choose_shapes, plain_schema
from feedback.records.json_columns import read_columns, split_lines
from tests.formats.test_plain_formats import ODD, agree, change

NAMES = [
    ("prompt", "completion", "timestamp", "user_id", "conversation_id"),
    ("question", "answer", "time", "user", "session_id"),
    ("input", "output", "created_at", "username", "session_id"),
]
VOTES: list[list[dict[str, Any]]] = [
    [{"feedback": {"type": "thumbs", "score": score, "text": text}} for score in "👍👎" for text in (None, "n", " ")],
    [{"feedback": {"type": None, "score": score}, "comment": "c"} for score in (1, 0)],
    [{"feedback": score, "feedback_type": "thumbs"} for score in (0, 1)],
    [{"feedback": score} for score in ("1", "0.0", "👍\ufe0f")],
    [{"type": "thumbs", "score": score, "text": "n"} for score in "👎👍"],
    [{"score": score} for score in (1, 0)],
]
WORDS: list[Any] = [
    "👍",
    "👎",
    "👍\ufe0f",
    "thumbs",
    "faces",
    "1.0",
    1.0,
    {"score": 1},
    {"type": "faces", "score": "👍"},
]


def records(votes: list[dict[str, Any]], names: tuple[str, ...], chance: random.Random) -> list[dict[str, Any]]:
    asked, answered, time, user, conversation = names
    return [
        {
            **copy.deepcopy(chance.choice(votes)),
            asked: f"q{place}",
            answered: f"a{place}",
            time: "2026-01-05T09:51:39Z",
            user: f"u{place % 3}",
            conversation: place,
            "model": "m",
        }
        for place in range(30)
    ]


@pytest.mark.parametrize("names", NAMES, ids=lambda names: names[0])
@pytest.mark.parametrize("kind", range(len(VOTES)))
def test_votes_of_every_kind_are_read_as_columns(kind: int, names: tuple[str, ...], tmp_path: Path) -> None:
    chance = random.Random(kind)
    made = records(VOTES[kind], names, chance)
    shapes = choose_shapes(STREAMLIT_FEEDBACK, made)
    assert shapes
    lines = split_lines("".join(f"{json.dumps(one)}\n" for one in made).encode())
    keys = STREAMLIT_FEEDBACK.keys or frozenset()
    schema = plain_schema(shapes, made)
    source = PlainSource(shapes=shapes, schema=schema, read=keys, name="source", key=b"k" * 16)
    found = read_plain(lines, source, read_columns(lines, schema))
    assert sum(len(rows.records) for rows in found) == len(made)
    agree(tmp_path, "streamlit_feedback", made)


@pytest.mark.parametrize("kind", range(len(VOTES)))
def test_damaged_votes_of_every_kind_give_the_same_either_way(kind: int, tmp_path: Path) -> None:
    keys = sorted(STREAMLIT_FEEDBACK.keys or ())
    for seed in range(6):
        chance = random.Random(100 * kind + seed)
        made = records(VOTES[kind], chance.choice(NAMES), chance) + records(VOTES[kind], chance.choice(NAMES), chance)
        for one in made:
            if chance.random() < 0.4:
                change(one, chance)
            if chance.random() < 0.4:
                one[chance.choice(keys)] = copy.deepcopy(chance.choice([*ODD, *WORDS]))
        agree(tmp_path, "streamlit_feedback", made)
