"""Judgements in lists, and on what another file holds, by column and one by one: the same report, rows, quarantine."""

from __future__ import annotations

import copy
import json
import random
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from feedback.config import SourceConfig
from feedback.engine import read_rows
from feedback.formats import FORMATS
from feedback.ingest import block, ingest
from feedback.ingest.plain.records import LeftOut, PlainRows
from feedback.ingest.rater_key import ENVIRONMENT_VARIABLE
from schemas.errors import InputError
from tests.formats.test_plain_formats import ODD

Record = dict[str, Any]

RATINGS = "[scores.quality]\nup_from = 4\ndown_to = 2\n"
ARGILLA_TEXTS = '[texts]\nprompt = "instruction"\ncompletion = "answer"\n'
MAPS = {
    "argilla": [
        RATINGS + ARGILLA_TEXTS,
        '[scores.quality]\nlabels = { 1 = "down", "5.0" = "up", yes = "up", true = "up", null = "none" }\n'
        + ARGILLA_TEXTS,
        '[scores.quality]\nup_from = 4\nsignal = "stars"\n[scores."a.b"]\ndown_to = 1\n' + ARGILLA_TEXTS,
        RATINGS + '[texts]\nprompt = "more.question"\ncompletion = "answer"\n',
        RATINGS + '[texts]\nprompt = "answer[0]"\ncompletion = "answer"\n',
        "[scores.quality]\ncorrections = true\nup_from = 3\n" + ARGILLA_TEXTS,
    ],
    "chatgpt_export": [""],
    "otel_genai": [
        '[scores.thumb]\nlabels = { good = "up", bad = "down" }\nrater_kind = "end_user"\n',
        "[scores.thumb]\nup_from = 0.5\ndown_to = 0\n",
        '[scores.thumb]\nlabels = { 1 = "up", "0.0" = "down", null = "none" }\n[scores.other]\nup_from = 1\n',
    ],
    "phoenix": [
        '[scores.thumb]\nlabels = { good = "up", bad = "down" }\nrater_kind = "end_user"\n',
        '[scores.thumb]\nlabels = { 1 = "up", 0 = "down" }\nup_from = 1\n[scores.other]\ndown_to = 1\n',
        '[scores.thumb]\nup_from = 0.5\ndown_to = 0\nsignal = "hand"\n[scores.other]\nlabels = { x = "up" }\n',
    ],
}


def argilla(number: int) -> Record:
    values = [{"value": number % 5 + 1, "user_id": f"u{number % 3}"}] * (number % 3)
    return {
        "id": f"rec-{number}",
        "fields": {"instruction": f"q{number}", "answer": f"é\n{number}", "more": {"question": "why?"}},
        "responses": {"quality": values},
        "suggestions": {"quality": {"value": 1}},
    }


def message(role: str, text: str, **more: Any) -> Record:
    return {"role": role, "parts": [{"type": "text", "content": text}], **more}


def otel_genai(number: int) -> Record:
    evaluation = {
        "gen_ai.evaluation.name": "thumb" if number % 5 else "other",
        "gen_ai.evaluation.score.value": float(number % 2),
        "gen_ai.evaluation.score.label": ("good", "bad")[number % 2],
        "gen_ai.response.id": f"resp-{number}",
        "gen_ai.evaluation.explanation": None if number % 3 else "said \u2003",
    }
    asked = [message("user", f"q{number}"), message("assistant", "p"), message("user", "r\n")]
    attributes = {
        "gen_ai.response.model": "m",
        "gen_ai.response.id": f"resp-{number}",
        "gen_ai.conversation.id": "c",
        "gen_ai.system_instructions": json.dumps([{"type": "text", "content": "be brief"}]),
        "gen_ai.input.messages": json.dumps(asked, ensure_ascii=number % 2 == 0),
        "gen_ai.output.messages": json.dumps([message("assistant", "😀 a", finish_reason="stop")]),
    }
    event = {"timeUnixNano": str(1767606699123456789 + number), "name": "gen_ai", "attributes": evaluation}
    return {"name": "chat", "spanId": f"s{number}", "attributes": attributes, "events": [event] * (number % 3)}


def phoenix(number: int) -> Record:
    return {
        "id": str(number),
        "span_id": f"span-{number % 7}",
        "name": "thumb" if number % 5 else "other",
        "annotator_kind": ("HUMAN", "LLM")[number % 4 == 0],
        "result": {"label": ("good", "bad")[number % 2], "score": float(number % 2), "explanation": None},
        "identifier": "ui",
        "created_at": "2026-01-05T09:51:39+00:00",
        "updated_at": "2026-01-05T09:51:39.5+00:00",
        "user_id": f"u{number}",
    }


def span(number: int) -> Record:
    said = [("system", "s"), ("user", f"q{number}"), ("assistant", "p"), ("user", "é")][: 2 + 2 * (number % 2)]
    said += [("assistant", f"a{number}")]
    attributes: Record = {"llm.model_name": "m", "session.id": "c", "input.value": "q"}
    for place, (role, text) in enumerate(said):
        side, at = ("output", 0) if place == len(said) - 1 else ("input", place)
        attributes[f"llm.{side}_messages.{at}.message.role"] = role
        attributes[f"llm.{side}_messages.{at}.message.content"] = text
    return {"id": str(number), "context": {"span_id": f"span-{number}"}, "attributes": attributes}


def chatgpt_export(number: int) -> Record:
    words = ('{"tags": ["a", " "], "text": "\\u00e9"}', "{}", None, '{"tags": [], "more": [1]}', '{"text": " "}')
    last = "m7" if number % 7 % 2 else "m5"
    return {
        "message_id": last if number % 3 else "m3",
        "conversation_id": f"chat-{number % 7}",
        "user_id": f"user-{number}",
        "rating": ("thumbsUp", "thumbs_down")[number % 2],
        "content": words[number % 5],
        "create_time": 1767606699.25 + number,
        "update_time": None,
    }


def conversation(number: int) -> Record:
    """Of root, instructions, question, answer, and with odd numbers a call of a tool before the last answer."""
    said = [("system", "text", ""), ("user", ("text", "user_editable_context")[number % 3 == 1], "q")]
    said += [("assistant", "text", "a"), ("user", "text", f"é{number}")]
    said += [("assistant", "code", "x"), ("tool", "execution_output", "y")] * (number % 2) + [
        ("assistant", "text", "b")
    ]
    nodes: list[Record] = [{"id": "m0", "message": None, "parent": None}]
    for place, (role, kind, text) in enumerate(said, start=1):
        one = {
            "author": {"role": role},
            "content": {"content_type": kind, "parts": [text, "!"] if place % 2 else [text]},
            "metadata": {"model_slug": "m", "is_visually_hidden_from_conversation": place == 1},
            "recipient": "python" if kind == "code" else "all",
        }
        nodes.append({"id": f"m{place}", "message": one, "parent": f"m{place - 1}"})
    nodes[4]["id"] = "other"
    return {"conversation_id": f"chat-{number}", "mapping": {f"m{place}": node for place, node in enumerate(nodes)}}


MADE = {"argilla": argilla, "chatgpt_export": chatgpt_export, "otel_genai": otel_genai, "phoenix": phoenix}
OTHERS = {"chatgpt_export": conversation, "phoenix": span}
SIZE = 12


class Both:
    """Reads files both ways."""

    def __init__(self, folder: Path, name: str, score_map: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._map = folder / "map.toml"
        self._map.write_text(score_map, "utf-8")
        self._name = name
        self.plain = 0

    def agree(self, records: Iterable[Record], others: Iterable[Record] | None = None) -> None:
        """Compare both ways."""
        (self.folder / "in.jsonl").write_text(lines_of(records), "utf-8", errors="surrogatepass")
        if others is not None:
            (self.folder / "others.jsonl").write_text(lines_of(others), "utf-8", errors="surrogatepass")
        fast, slow = (self.outcome(is_plain=is_plain, is_joined=others is not None) for is_plain in (True, False))
        assert fast == slow

    def outcome(self, *, is_plain: bool, is_joined: bool) -> Any:
        """The report, or the error, and all tables."""
        one = FORMATS[self._name]
        made = one.with_map(self._map) if one.with_map is not None else one
        out = self.folder / "out"
        shutil.rmtree(out, ignore_errors=True)
        source = SourceConfig(
            path=str(self.folder / "in.jsonl"),
            format=self._name,
            map=str(self._map) if one.with_map is not None else None,
            join=str(self.folder / "others.jsonl") if is_joined else None,
        )
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(ENVIRONMENT_VARIABLE, "0" * 64)
            patch.setattr(block, "open_format", lambda *_: made if is_plain else replace(made, plain=()))
            patch.setattr(block, "read_plain", self._counted)
            try:
                result = ingest([source], out, max_rejected_share=1.0)
            except InputError as error:
                return str(error)
        tables = {name: getattr(result, name) for name in ("events", "pairs", "quarantine")}
        return result.report, {name: [read_rows(path).to_dicts() for path in paths] for name, paths in tables.items()}

    def _counted(self, *arguments: Any) -> Iterator[PlainRows | LeftOut]:
        for rows in READ_PLAIN(*arguments):
            self.plain += len(rows.records)
            yield rows


READ_PLAIN = block.read_plain


def lines_of(records: Iterable[Record]) -> str:
    return "".join(f"{json.dumps(one, ensure_ascii=place % 2 == 0)}\n" for place, one in enumerate(records))


@pytest.mark.parametrize("name", MADE)
def test_records_as_tools_write_them_are_read_by_column(name: str, tmp_path: Path) -> None:
    """Also those that hold no score, or one that the map does not name."""
    both = Both(tmp_path, name, MAPS[name][0])
    both.agree(map(MADE[name], range(SIZE)), map(OTHERS[name], range(7)) if name in OTHERS else None)
    assert both.plain == SIZE


def test_records_that_find_others_are_read_by_column_only_with_an_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What they found is then no part of what they are known by."""
    (shape,) = FORMATS["chatgpt_export"].plain
    is_lacking = pl.col("conversation_id") == "chat-3"
    record_id = pl.when(~is_lacking).then(shape.fields["record_id"])
    lacking = replace(shape, fields={**shape.fields, "record_id": record_id})
    made = replace(FORMATS["chatgpt_export"], plain=(lacking,))
    monkeypatch.setattr("tests.formats.test_plain_judgements.FORMATS", {"chatgpt_export": made})
    both = Both(tmp_path, "chatgpt_export", "")
    records = [chatgpt_export(number) for number in range(SIZE)]
    both.agree(records, map(conversation, range(7)))
    assert both.plain == SIZE - sum(record["conversation_id"] == "chat-3" for record in records) < SIZE


def changed(whole: Any, chance: random.Random) -> Any:
    """A copy in which one value, at any depth, is another one, gone, or there under another key too."""
    made = copy.deepcopy(whole)
    place: Any = made
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        if not keys:
            return made
        key = chance.choice(keys)
        if isinstance(place[key], dict | list) and place[key] and chance.random() < 0.8:
            place = place[key]
            continue
        change(place, key, chance)
        return made


def change(place: Any, key: Any, chance: random.Random) -> None:
    if isinstance(place[key], str) and place[key][:2] == "[{" and chance.random() < 0.7:
        # JSON within a text.
        place[key] = json.dumps(changed(json.loads(place[key]), chance))
    elif chance.random() < 0.2:
        del place[key]
    elif isinstance(place, dict) and chance.random() < 0.3:
        name = chance.choice(
            [f"{key}.x", key.rpartition(".")[0] or "x", "status", "error.type", "tool_calls", f"{key} "]
        )
        place[name] = chance.choice([None, "x", {"x": 1}, place[key]])
    else:
        place[key] = copy.deepcopy(chance.choice(ODD))


SETTINGS = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@pytest.mark.parametrize("name", MADE)
@SETTINGS
@given(seed=st.integers(0, 2**32), number=st.integers(0, 5), share=st.sampled_from([0.2, 0.6, 1.0]))
def test_odd_records_give_the_same_either_way(
    name: str, seed: int, number: int, share: float, tmp_path_factory: pytest.TempPathFactory
) -> None:
    chance = random.Random(seed)
    folder = tmp_path_factory.mktemp("both")
    both = Both(folder, name, MAPS[name][number % len(MAPS[name])])
    records = [changed(one, chance) if chance.random() < share else one for one in map(MADE[name], range(SIZE))]
    others = map(OTHERS.get(name, span), range(7))
    joined = [changed(one, chance) if chance.random() < share else one for one in others]
    both.agree(records, joined if name in OTHERS else None)
    shutil.rmtree(folder)
