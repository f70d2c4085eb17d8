"""The sample files are those that make.py makes, and have the faults that its README names."""

from __future__ import annotations

import collections
import json
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "sample_data"
FILES = ("thumbs.jsonl", "pairs.jsonl", "open_webui.json")


def sound_thumbs() -> list[dict[str, object]]:
    records = []
    for line in (FOLDER / "thumbs.jsonl").read_text("utf-8").splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict) and record.get("label") in ("up", "down"):
            records.append(record)
    return records


def test_make_writes_the_same_bytes_again(tmp_path: Path) -> None:
    subprocess.run([sys.executable, FOLDER / "make.py", tmp_path], check=True, capture_output=True)
    for name in FILES:
        assert (tmp_path / name).read_bytes() == (FOLDER / name).read_bytes(), name


@pytest.mark.parametrize("name", FILES)
def test_sample_files_are_small(name: str) -> None:
    assert (FOLDER / name).stat().st_size < 500_000


def test_about_85_percent_of_the_thumbs_are_up() -> None:
    labels = collections.Counter(record["label"] for record in sound_thumbs())
    assert 0.83 < labels["up"] / labels.total() < 0.87


def test_a_few_percent_of_the_lines_are_broken() -> None:
    lines = len((FOLDER / "thumbs.jsonl").read_text("utf-8").splitlines())
    assert 0.01 < 1 - len(sound_thumbs()) / lines < 0.05


def test_one_rater_votes_often_and_always_up() -> None:
    votes = collections.Counter((record.get("user"), record["label"]) for record in sound_thumbs())
    totals = collections.Counter(record.get("user") for record in sound_thumbs())
    assert totals.most_common(1)[0][0] == "user-1017"
    assert votes["user-1017", "down"] == 0
    assert 20 <= len(totals) <= 26


def test_some_answers_have_both_labels_and_some_raters_changed_their_mind() -> None:
    by_answer = collections.defaultdict(set)
    by_rater = collections.defaultdict(set)
    for record in sound_thumbs():
        answer = (json.dumps(record.get("prompt")), record.get("completion"))
        by_answer[answer].add(record["label"])
        by_rater[answer, record["user"]].add(record["label"])
    flips = sum(len(labels) == 2 for labels in by_rater.values())
    assert flips >= 10
    assert sum(len(labels) == 2 for labels in by_answer.values()) >= flips + 10


def test_liked_answers_are_shorter_than_disliked_ones() -> None:
    words = collections.defaultdict(list)
    for record in sound_thumbs():
        words[record["label"]].append(len(str(record.get("completion", "")).split()))
    means = {label: sum(counts) / len(counts) for label, counts in words.items()}
    assert means["up"] * 1.5 < means["down"]


def test_the_export_holds_trees_draws_and_a_broken_thread() -> None:
    items = json.loads((FOLDER / "open_webui.json").read_text("utf-8"))
    trees = [item["snapshot"]["chat"]["chat"]["history"]["messages"] for item in items]
    assert all(any(len(message["childrenIds"]) > 1 for message in tree.values()) for tree in trees)
    assert sum(item["data"]["rating"] == "0" for item in items) == 3
    missing = [item for item, tree in zip(items, trees, strict=True) if item["meta"]["message_id"] not in tree]
    assert len(missing) == 1


def test_addresses_are_of_example_com_only() -> None:
    text = "".join((FOLDER / name).read_text("utf-8") for name in FILES).lower()
    hosts = {part.split()[0].strip('".,') for part in text.split("@")[1:] if part and part[0].isalpha()}
    assert {host for host in hosts if "." in host} == {"example.com"}
