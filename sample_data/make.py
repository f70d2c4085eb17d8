"""Write the sample logs: what users of Fernleaf, an imaginary note-taking app, thought of its assistant's answers.

Short direct answers are mostly voted up, rambling, hedging and refusing ones mostly down, so a small model can learn
the difference. Everything is composed from `topics.toml` and `bad_answers.toml` with one seed, and contains the faults
that real logs have: skew, duplicates, changed minds, contradictions, an extreme rater, two model versions, bad lines.

Run: python sample_data/make.py [FOLDER]
"""

from __future__ import annotations

import json
import random
import sys
import tomllib
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

__all__ = ["make"]

SEED = 20260105
START = datetime(2026, 1, 5, 8, 0, tzinfo=UTC)
MODELS = ("fernleaf-assist-1.3", "fernleaf-assist-2.0")
GOOD_SHARE = {MODELS[0]: 0.79, MODELS[1]: 0.93}
RATERS = tuple(f"user-{number}" for number in range(1001, 1026))
EXTREME_RATER = "user-1017"
PREFIXES = (
    "",
    "",
    "",
    "",
    "Hi! ",
    "Hello. ",
    "Quick question. ",
    "I am new here. ",
    "One more thing. ",
    "Hello, Fernleaf! ",
)
SUFFIXES = ("", "", "", "", " Thanks!", " Thank you.", " I could not find it in the help.")
Message = dict[str, str]


@dataclass(frozen=True)
class Answer:
    """An answer that the assistant gave: what was asked, what it said, which version, and whether it is a good one."""

    prompt: str | list[Message]
    completion: str
    model: str
    is_good: bool
    time: datetime


@dataclass(frozen=True)
class Vote:
    """A thumb: on which answer, by whom, up or down, and when."""

    answer: Answer
    user: str
    is_up: bool
    time: datetime


def make(folder: Path) -> list[Path]:
    """Write thumbs.jsonl, pairs.jsonl and open_webui.json into `folder` and return their paths."""
    here = Path(__file__).parent
    author = Author(
        random.Random(SEED),
        tomllib.loads((here / "topics.toml").read_text("utf-8"))["topic"],
        tomllib.loads((here / "bad_answers.toml").read_text("utf-8")),
    )
    contents = {
        "thumbs.jsonl": "".join(line + "\n" for line in thumbs(author)),
        "pairs.jsonl": "".join(line + "\n" for line in pairs(author)),
        "open_webui.json": json.dumps(open_webui(author), indent=1, ensure_ascii=False) + "\n",
    }
    for name, text in contents.items():
        (folder / name).write_text(text, encoding="utf-8", newline="\n")
    return [folder / name for name in contents]


class Author:
    """Composes questions and answers from the texts of the folder, with one source of chance."""

    def __init__(self, rng: random.Random, topics: list[dict[str, Any]], bad: dict[str, dict[str, list[str]]]) -> None:
        self.rng = rng
        self.topics = topics
        self.bad = bad

    def question(self, topic: dict[str, Any]) -> str:
        """One way to ask about the topic."""
        return f"{self.rng.choice(PREFIXES)}{self.rng.choice(topic['questions'])}{self.rng.choice(SUFFIXES)}"

    def good(self, topic: dict[str, Any]) -> str:
        """A short direct answer."""
        return str(self.rng.choice(topic["answers"]))

    def poor(self, topic: dict[str, Any]) -> str:
        """A rambling, hedging or refusing answer."""
        pieces = self.bad[self.rng.choices(("rambling", "hedging", "refusing"), (5, 3, 4))[0]]
        return " ".join(self.rng.choice(pieces[part]) for part in ("opening", "middle", "ending")).format(
            s=topic["subject"]
        )

    def time(self, share: float) -> datetime:
        """A moment of a working day, `share` of the way through twelve weeks."""
        day = int(share * 84)
        return START + timedelta(days=day, minutes=self.rng.randrange(600), seconds=self.rng.randrange(60))

    def answer(self, share: float) -> Answer:
        """An answer served `share` of the way through the log; the second version comes in over time."""
        topic, earlier = self.rng.sample(self.topics, 2)
        model = MODELS[self.rng.random() < share]
        is_good = self.rng.random() < GOOD_SHARE[model]
        question = self.question(topic)
        prompt: str | list[Message] = question
        if self.rng.random() < 0.07:
            before = [turn("user", self.question(earlier)), turn("assistant", self.good(earlier))]
            prompt = [*before, turn("user", question)]
        return Answer(prompt, self.good(topic) if is_good else self.poor(topic), model, is_good, self.time(share))


def turn(role: str, content: str) -> Message:
    """One chat turn."""
    return {"role": role, "content": content}


def thumbs(author: Author) -> list[str]:
    """Lines of the thumbs log, in the order in which they were written."""
    rng = author.rng
    votes = [vote(author, author.answer(index / 520)) for index in range(520)]
    again = [other for other in rng.sample(votes, 70) for other in second_opinions(author, other)]
    retyped = [retype(author, other) for other in rng.sample(votes, 32)]
    flips = [
        replace(other, is_up=not other.is_up, time=other.time + timedelta(days=1))
        for other in rng.sample([one for one in votes if one.user != EXTREME_RATER], 16)
    ]
    everything = sorted([*votes, *again, *retyped, *flips], key=lambda one: (one.time, one.user))
    records = [thumb(index, one) for index, one in enumerate(everything, 1)]
    lines = [json.dumps(record, ensure_ascii=False) for record in records]
    lines += rng.sample(lines, 12)  # the collector delivered some records twice
    for broken in broken_lines(records):
        lines.insert(rng.randrange(len(lines)), broken)
    return lines


def vote(author: Author, answer: Answer) -> Vote:
    """A vote on an answer: mostly fair, but the extreme rater likes everything."""
    user = EXTREME_RATER if author.rng.random() < 0.13 else author.rng.choice(RATERS)
    is_up = user == EXTREME_RATER or author.rng.random() < (0.98 if answer.is_good else 0.14)
    return Vote(answer, user, is_up, answer.time + timedelta(minutes=author.rng.randrange(1, 30)))


def second_opinions(author: Author, first: Vote) -> list[Vote]:
    """One to three more votes on the same answer: most agree, some do not."""
    others = author.rng.sample([name for name in RATERS if name != first.user], author.rng.choice((1, 1, 2, 3)))
    return [
        Vote(
            first.answer,
            name,
            name == EXTREME_RATER or first.is_up != (author.rng.random() < 0.17),
            first.time + timedelta(hours=author.rng.randrange(1, 90)),
        )
        for name in others
    ]


def retype(author: Author, first: Vote) -> Vote:
    """The same question typed in another way and answered alike: a duplicate after normalisation only."""
    prompt = first.answer.prompt
    if isinstance(prompt, str):
        prompt = author.rng.choice(
            (prompt.lower(), prompt.upper(), f"  {prompt} ", prompt.replace(" ", "  "), full_width(prompt))
        )
    answer = replace(
        first.answer, prompt=prompt, completion=first.answer.completion + author.rng.choice(("\n", " ", "\n\n"))
    )
    return Vote(
        answer, author.rng.choice(RATERS[:16]), first.is_up, first.time + timedelta(days=author.rng.randrange(1, 9))
    )


def full_width(text: str) -> str:
    """The text with full-width question marks and full stops, as some keyboards give them."""
    return text.replace("?", "？").replace(".", "．")


def thumb(index: int, one: Vote) -> dict[str, Any]:
    """A record of the thumbs log."""
    return {
        "id": f"t-{index:05d}",
        "time": one.time.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "user": one.user,
        "model": one.answer.model,
        "prompt": one.answer.prompt,
        "completion": one.answer.completion,
        "label": "up" if one.is_up else "down",
    }


def broken_lines(records: list[dict[str, Any]]) -> list[str]:
    """Lines that no reader should accept, made from sound records."""
    damage: list[dict[str, Any]] = [
        *({"label": label} for label in ("meh", "maybe", "👍👎", "", 3)),
        *({"completion": text} for text in ("", "   ", "\n")),
        *({"prompt": text} for text in ("", " ")),
        {"time": "yesterday"},
        {"time": "2026-02-31T09:00:00Z"},
    ]
    lines = [
        json.dumps(record | change, ensure_ascii=False) for record, change in zip(records[40::45], damage, strict=False)
    ]
    for record, field in zip(records[60::90], ("prompt", "completion", "label"), strict=False):
        lines.append(json.dumps({key: value for key, value in record.items() if key != field}, ensure_ascii=False))
    whole = json.dumps(records[100], ensure_ascii=False)
    return [
        *lines,
        whole[: len(whole) // 2],
        whole.replace('"label": ', '"label": up, "note": '),
        "[1, 2, 3]",
        "-- log rotated --",
    ]


def pairs(author: Author) -> list[str]:
    """Lines of the pairs: a direct answer preferred to a poor one, in TRL's conversational form."""
    records: list[dict[str, Any]] = []
    for topic in author.rng.sample(author.topics, 70):
        chosen, rejected = author.good(topic), author.poor(topic)
        if author.rng.random() < 0.04:
            chosen, rejected = rejected, chosen
        records.append(
            {
                "prompt": [turn("user", author.question(topic))],
                "chosen": [turn("assistant", chosen)],
                "rejected": [turn("assistant", rejected)],
            }
        )
    records[11]["rejected"] = records[11]["chosen"]
    records[29]["rejected"] = records[29]["chosen"]
    records[37]["rejected"] = [turn("assistant", "")]
    del records[53]["chosen"]
    return [json.dumps(record, ensure_ascii=False) for record in records]


def open_webui(author: Author) -> list[dict[str, Any]]:
    """Items of a feedback export of Open WebUI: each holds the whole chat, with branches and later turns."""
    items = [feedback_item(author, index / 48) for index in range(48)]
    for position in (7, 21, 40):
        items[position]["data"]["rating"] = "0"
    items[13]["meta"]["message_id"] = author.rng.randbytes(16).hex()  # rated message missing from the snapshot
    items[30]["data"]["rating"] = None
    return items


def feedback_item(author: Author, share: float) -> dict[str, Any]:
    """One rated message with the chat around it: a question, two alternative answers, a follow-up and its answer."""
    rng = author.rng
    served, first = author.answer(share), author.rng.choice(author.topics)
    question = served.prompt if isinstance(served.prompt, str) else served.prompt[-1]["content"]
    texts = [author.question(first), author.good(first), author.poor(first), question, served.completion]
    ids = [rng.randbytes(16).hex() for _ in texts]
    created = int(served.time.timestamp())
    messages = chat_tree(texts, ids, served.model, created)
    rated, is_good = rng.choices(((1, True), (2, False), (4, served.is_good)), (3, 2, 5))[0]
    is_up = is_good != (rng.random() < 0.05)
    return {
        "id": rng.randbytes(16).hex(),
        "user_id": rng.choice(RATERS),
        "version": 0,
        "type": "rating",
        "data": rating(author, is_up, served.model),
        "meta": {
            "chat_id": rng.randbytes(16).hex(),
            "message_id": ids[rated],
            "message_index": 1 if rated < 3 else 3,
            "model_id": served.model,
            "base_models": {served.model: None},
        },
        "snapshot": {
            "chat": {
                "title": first["subject"],
                "chat": {"history": {"messages": messages, "currentId": ids[4]}, "messages": list(messages.values())},
            }
        },
        "created_at": created + 300,
        "updated_at": created + 300 + rng.randrange(0, 40),
    }


def chat_tree(texts: list[str], ids: list[str], model: str, created: int) -> dict[str, dict[str, Any]]:
    """The messages of a chat by id: question, two answers to it, and below the first a follow-up with its answer."""
    roles = ("user", "assistant", "assistant", "user", "assistant")
    parents = (None, 0, 0, 1, 3)
    return {
        ids[place]: {
            "id": ids[place],
            "parentId": None if parent is None else ids[parent],
            "childrenIds": [ids[child] for child, above in enumerate(parents) if above == place],
            "role": role,
            "content": text,
            "timestamp": (created + 40 * place) * 1000,
            **({"model": model} if role == "assistant" else {}),
        }
        for place, (role, text, parent) in enumerate(zip(roles, texts, parents, strict=True))
    }


def rating(author: Author, is_up: bool, model: str) -> dict[str, Any]:
    """The judgement of a feedback item; the reason is sometimes missing, the ten-point rating often."""
    reason = author.rng.choice(
        ("", "showcased_creativity", "accurate_information") if is_up else ("", "too_verbose", "refused")
    )
    value: int | str = 1 if is_up else -1
    data: dict[str, Any] = {
        "rating": value if author.rng.random() < 0.8 else str(value),
        "model_id": model,
        "sibling_model_ids": None,
        "reason": reason,
        "comment": "",
        "tags": [],
    }
    if author.rng.random() < 0.6:
        data["details"] = {"rating": author.rng.randrange(7, 11) if is_up else author.rng.randrange(1, 4)}
    return data


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    for path in make(target):
        sys.stdout.write(f"{path.name}: {path.stat().st_size:,} bytes\n")
