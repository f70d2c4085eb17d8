"""Maps to begin with: paths are proposed, no label is guessed, and a person must decide before one is read."""

from __future__ import annotations

import json
import tomllib
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from cli.main import run
from feedback.formats import find_format
from feedback.formats.sniffing.sniff import sniff
from feedback.formats.sniffing.starting_map import starting_map
from feedback.formats.sniffing.starting_scores import starting_score_map
from feedback.ingest.rater_key import ENVIRONMENT_VARIABLE
from schemas.errors import InputError, OutputExistsError
from tests.formats.test_sniff import write


@pytest.fixture(autouse=True)
def _in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, "a key that is for tests only")
    monkeypatch.chdir(tmp_path)


FLAT = [
    {"id": n, "question": f"q {n}", "answer": "a", "rating": ["good", "bad"][n % 2], "created_at": 1767606699000 + n}
    for n in range(8)
]


def test_a_starting_map_is_refused_until_a_person_has_decided_and_works_then(
    capsys: pytest.CaptureFixture[str],
) -> None:
    write("in.jsonl", *FLAT, {"id": 9, "question": "q", "answer": "z"})
    assert run(["formats", "--sniff", "in.jsonl", "--map-out", "map.toml"]) == 0
    text = Path("map.toml").read_text("utf-8")
    parsed = tomllib.loads(text)
    assert parsed["fields"] == {
        "prompt": "question",
        "completion": "answer",
        "label": "rating",
        "id": "id",
        "time": "created_at",
    }
    assert parsed["labels"] == {"bad": "?", "good": "?", "null": "?"}
    assert parsed["options"] == {"time_unit": "ms"}
    convert = ["convert", "in.jsonl", "--from", "mapped", "--map", "map.toml", "--to", "thumbs", "-o", "out.jsonl"]
    capsys.readouterr()
    assert run(convert) == 2
    assert "the map leaves 3 undecided: labels.bad, labels.good, labels.null" in capsys.readouterr().err
    for value, label in (("bad", "down"), ("good", "up"), ("null", "none")):
        text = text.replace(f'"{value}" = "?"', f'"{value}" = "{label}"').replace(
            f'{value} = "?"', f'{value} = "{label}"'
        )
    Path("map.toml").write_text(text, "utf-8")
    assert run(convert) == 0
    labels = [json.loads(line)["label"] for line in Path("out.jsonl").read_text("utf-8").splitlines()]
    assert labels == ["up", "down"] * 4 + ["none"]


@pytest.mark.parametrize(
    ("records", "expected"),
    [
        (
            [
                {
                    "session": "s",
                    "messages": [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "x", "score": 1}],
                }
            ],
            {
                "each": [{"list": "messages", "only": "item.score"}],
                "fields": {
                    "prompt": "item_before",
                    "completion": "item",
                    "label": "item.score",
                    "conversation": "session",
                },
                "labels": {"1": "?"},
                "roles": {"human": "?", "gpt": "?"},
                "options": {"role_key": "from", "content_key": "value"},
            },
        ),
        (
            [{"q": {"prompt": "q w"}, "response_a": "a", "response_b": "b", "winner": "A"}],
            {
                "kind": "pairs",
                "fields": {
                    "prompt": "q.prompt",
                    "response_a": "response_a",
                    "response_b": "response_b",
                    "outcome": "winner",
                },
                "outcomes": {"A": "?"},
            },
        ),
        (
            [{"input": "q w", "output": "a", "score": str(number)} for number in range(20)],
            {
                "fields": {"prompt": "input", "completion": "output", "label": "score"},
                "thresholds": {"up_from": "?", "down_to": "?"},
            },
        ),
        (
            [{"prompt": '[{"role": "user", "content": "q"}]', "completion": "a b", "user_feedback": {"value": "yes"}}],
            {"fields": {"label": "user_feedback.value"}, "labels": {"yes": "?"}, "options": {"json": ["prompt"]}},
        ),
        ([{"x": 1, "a.b": {"c": "d"}}], {"fields": {"prompt": "?", "completion": "?", "label": "?"}}),
    ],
)
def test_a_starting_map_proposes_paths_and_leaves_every_meaning_open(
    records: list[dict[str, Any]], expected: dict[str, Any]
) -> None:
    made = tomllib.loads(starting_map(records, "in.jsonl"))
    for table, content in expected.items():
        if table == "fields":
            assert content.items() <= made[table].items()
        else:
            assert made[table] == content
    for table in ("labels", "outcomes", "thresholds"):
        assert set(made.get(table, {}).values()) <= {"?"}


LONG = "long text " * 9
SCORES = [
    {
        "id": f"t{n}",
        "input": {"messages": [{"role": "user", "content": f"secret {n}"}]},
        "output": f"a {n}",
        "scores": [
            {"id": f"s{n}", "name": "thumb", "value": n % 2, "dataType": "BOOLEAN", "source": "API"},
            {"id": f"r{n}", "name": 'de"pth', "value": n / 7, "dataType": "NUMERIC", "source": "EVAL"},
            {
                "id": f"c{n}",
                "name": "better",
                "value": "long text " * 9,
                "dataType": "CORRECTION",
                "source": "ANNOTATION",
            },
        ],
    }
    for n in range(20)
]


def test_a_starting_map_of_scores_is_refused_until_a_person_has_decided_and_works_then(
    capsys: pytest.CaptureFixture[str],
) -> None:
    write("in.jsonl", *SCORES)
    assert run(["formats", "--sniff", "in.jsonl"]) == 0
    out = capsys.readouterr().out
    assert "it needs a map that says what its scores mean: --map FILE" in out
    assert "--join" not in out.split("chainlit")[0]
    assert out.rstrip().endswith("thumbline formats --sniff in.jsonl --map-out map.toml")
    assert run(["formats", "--sniff", "in.jsonl", "--map-out", "map.toml"]) == 0
    assert capsys.readouterr().out.rstrip().endswith("thumbline audit in.jsonl --from langfuse --map map.toml")
    text = Path("map.toml").read_text("utf-8")
    assert "secret" not in text
    assert "long text" not in text
    assert tomllib.loads(text)["scores"] == {
        "thumb": {"labels": {"true": "?", "false": "?"}},
        'de"pth': {"up_from": "?", "down_to": "?"},
        "better": {"corrections": "?"},
    }
    convert = ["convert", "in.jsonl", "--from", "langfuse", "--map", "map.toml", "--to", "thumbs", "-o", "out.jsonl"]
    assert run(convert) == 2
    assert "the map leaves 5 undecided: scores.thumb.labels.false, " in capsys.readouterr().err
    for key, meaning in (
        ('"true"', '"up"'),
        ('"false"', '"down"'),
        ("up_from", "2"),
        ("down_to", "1"),
        ("corrections", "false"),
    ):
        text = text.replace(f'{key} = "?"', f"{key} = {meaning}")
    text = text.replace("corrections = false", 'labels = { null = "none" }')
    Path("map.toml").write_text(text, "utf-8")
    assert run(convert) == 0
    labels = [json.loads(line)["label"] for line in Path("out.jsonl").read_text("utf-8").splitlines()]
    assert Counter(labels) == {"up": 16, "down": 18, "none": 26}


def test_a_starting_map_of_rankings_asks_for_the_paths_of_the_answers() -> None:
    ranking = [{"value": "first", "rank": 1}, {"value": "second", "rank": 2}]
    record = {"id": "1", "fields": {"q": "q", "one": "a"}, "responses": {"order": [{"value": ranking}]}}
    made = tomllib.loads(starting_score_map(find_format("argilla"), [record], "in.jsonl"))
    assert made["scores"] == {"order": {"answers": {"first": "?", "second": "?"}}}


def test_a_starting_map_of_scores_stands_open_where_no_score_was_seen() -> None:
    made = tomllib.loads(starting_score_map(find_format("langsmith"), [{"id": 1}], "in.jsonl"))
    assert made["scores"] == {"name of a score": {"labels": {"value": "?"}}}


def test_a_starting_map_shows_no_text_and_survives_strange_keys() -> None:
    record = {'a "b".c': "some secret words", "new\nline": 1, "\x1b[31m": 2, "rating": "a@b.org", "\x7f": True}
    text = starting_map([record], "odd\nname\x1b.jsonl")
    tomllib.loads(text)
    assert not any(private in text for private in ("secret", "a@b.org", "\x1b", "\x7f"))


def test_a_map_is_not_written_over_a_file_nor_made_from_nothing() -> None:
    write("in.jsonl", *FLAT)
    Path("map.toml").write_text("mine", "utf-8")
    from feedback.formats.sniffing.sniff import write_starting_map

    with pytest.raises(OutputExistsError, match="the map is there already"):
        write_starting_map(sniff("in.jsonl"), Path("map.toml"))
    with pytest.raises(InputError, match="nothing to map"):
        write_starting_map(sniff(write("empty.jsonl")), Path("new.toml"))
    assert Path("map.toml").read_text("utf-8") == "mine"


def test_a_map_of_scores_names_the_id_that_finds_the_traces_where_the_format_has_another_name_for_it() -> None:
    rows = [{"id": "s", "trace_id": "t", "name": "n", "source": "API", "data_type": "NUMERIC", "value": 1}]
    begun = tomllib.loads(starting_score_map(find_format("langfuse"), rows, "in.jsonl"))
    assert begun["join"] == {"key": "trace_id"}
    camel = [{"id": "s", "traceId": "t", "name": "n", "source": "API", "dataType": "NUMERIC", "value": 1}]
    for others in (camel, [*rows, *camel], [{**rows[0], "trace_id": None}]):
        assert "join" not in tomllib.loads(starting_score_map(find_format("langfuse"), others, "in.jsonl"))
