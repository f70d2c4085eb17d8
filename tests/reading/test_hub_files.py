"""Datasets of the hub: the hub's own client, its cache and its rules, against a hub of our own on the loopback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from feedback.records.hub_files import find_hub_files
from feedback.records.hub_splits import declared_files, split_of
from feedback.records.places import input_name
from schemas.errors import InputError, UsageError
from tests.servers import COMMIT, hub_server

LINE = b'{"prompt": "q", "completion": "a", "label": "up"}\n'
CARD = b"""---
license: mit
configs:
- config_name: default
  data_files:
  - split: train
    path: main/train-*.jsonl
  - split: held_out
    path: [main/held.jsonl]
- config_name: extra
  data_files: extra/*.jsonl
---
# A dataset
"""
REPOSITORIES = {
    "o/plain": {
        ".gitattributes": b"x",
        "helpful/train.jsonl": LINE * 3,
        "helpful/test.jsonl": LINE,
        "other/all.jsonl": LINE * 5,
    },
    "o/one": {"data/train-00000-of-00002.jsonl": LINE, "data/train-00001-of-00002.jsonl": LINE, "x[1].jsonl": LINE},
    "o/card": {
        "README.md": CARD,
        "main/train-0.jsonl": LINE * 2,
        "main/train-1.jsonl": LINE,
        "main/held.jsonl": LINE,
        "extra/a.jsonl": LINE * 7,
    },
}
FIND = (
    "import json, sys\n"
    "from feedback.records.sources import find_files, read_records\n"
    "from schemas.errors import ThumblineError\n"
    "try:\n"
    "    found = {place.name: len(list(read_records(place))) for place in find_files([sys.argv[1]])}\n"
    "except ThumblineError as error:\n"
    "    found = f'{type(error).__name__}: {error}'\n"
    "print(json.dumps(found))"
)


class Hub:
    """Finds in processes of their own, since the client reads its settings when it is loaded."""

    def __init__(self, endpoint: str, requests: list[str], home: Path) -> None:
        self.requests = requests
        root = str(Path(__file__).parents[2])
        self.env = {**os.environ, "HF_ENDPOINT": endpoint, "HF_HOME": str(home), "PYTHONPATH": root}
        self.env |= {"HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_XET": "1"}

    def find(self, path: str, **changes: str) -> dict[str, int] | str:
        """Records by file of `hf://datasets/PATH`, or the error."""
        command = [sys.executable, "-W", "ignore", "-c", FIND, f"hf://datasets/{path}"]
        result = subprocess.run(command, env={**self.env, **changes}, capture_output=True, text=True)
        assert result.returncode == 0, result.stderr
        found: dict[str, int] | str = json.loads(result.stdout)
        return found


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    with hub_server(REPOSITORIES) as (endpoint, requests):
        yield Hub(endpoint, requests, tmp_path / "home")


@pytest.mark.slow
def test_files_folders_globs_and_splits_of_a_repository_are_found(hub: Hub) -> None:
    assert hub.find("o/plain/other/all.jsonl") == {"all.jsonl": 5}
    assert hub.find("o/plain/other") == {"all.jsonl": 5}
    assert hub.find("o/plain/helpful/train") == {"train.jsonl": 3}
    assert hub.find("o/plain/*/t*.jsonl") == {"test.jsonl": 1, "train.jsonl": 3}
    assert hub.find("o/one/data") == {"train-00000-of-00002.jsonl": 1, "train-00001-of-00002.jsonl": 1}
    assert hub.find("o/one/x[1].jsonl") == {"x[1].jsonl": 1}


@pytest.mark.slow
def test_only_what_is_read_is_fetched_and_only_once(hub: Hub) -> None:
    assert hub.find("o/plain@v1/helpful/train.jsonl") == {"train.jsonl": 3}
    fetched = [request for request in hub.requests if request.startswith("GET") and "/resolve/" in request]
    assert fetched == [f"GET /datasets/o/plain/resolve/{COMMIT}/helpful/train.jsonl"]
    hub.requests.clear()
    assert hub.find("o/plain@v1/helpful/train.jsonl") == {"train.jsonl": 3}
    assert not [request for request in hub.requests if "/resolve/" in request]
    hub.requests.clear()
    assert hub.find("o/plain@v1/helpful/train.jsonl", HF_HUB_OFFLINE="1") == {"train.jsonl": 3}
    assert hub.requests == []


@pytest.mark.slow
def test_files_of_several_splits_are_never_read_as_one(hub: Hub) -> None:
    assert hub.find("o/plain/helpful") == (
        "UsageError: hf://datasets/o/plain/helpful: the files are of several splits, and what is held out must not be "
        "trained on; expected hf://datasets/o/plain/helpful/SPLIT with one of test, train. Or name files with a glob."
    )


@pytest.mark.slow
def test_configs_and_splits_are_those_of_the_card(hub: Hub) -> None:
    assert hub.find("o/card/train") == {"train-0.jsonl": 2, "train-1.jsonl": 1}
    assert hub.find("o/card/default/held_out") == {"held.jsonl": 1}
    assert hub.find("o/card/extra") == {"a.jsonl": 7}
    assert hub.find("o/card/main/held.jsonl") == {"held.jsonl": 1}
    assert "with one of train, held_out" in hub.find("o/card")


@pytest.mark.slow
def test_revisions_are_told_apart(hub: Hub) -> None:
    assert hub.find("o/plain@~parquet/other") == {"all.jsonl": 5}
    assert "GET /api/datasets/o/plain/revision/refs/convert/parquet" in hub.requests
    assert hub.find("o/plain@refs/pr/3/other") == {"all.jsonl": 5}
    assert "GET /api/datasets/o/plain/revision/refs/pr/3" in hub.requests


@pytest.mark.slow
def test_what_is_not_on_the_hub_is_an_error(hub: Hub) -> None:
    assert str(hub.find("o/none")).startswith("InputNotFoundError: hf://datasets/o/none: no such dataset or revision.")
    assert str(hub.find("o/plain@missing")).startswith("InputNotFoundError")
    assert "the dataset has no such file, folder, config or split: got 'none'" in hub.find("o/plain/none")
    assert str(hub.find("o/-n-")).startswith("UsageError")
    refused = hub.find("o/plain/other", HF_ENDPOINT="http://127.0.0.1:9")
    assert "InputError: hf://datasets/o/plain/other: the hub did not answer" in refused
    assert "HF_HUB_OFFLINE" in hub.find("o/never", HF_HUB_OFFLINE="1")


@pytest.mark.slow
def test_a_dataset_of_the_hub_is_audited(hub: Hub) -> None:
    command = [
        sys.executable,
        "-W",
        "ignore",
        "-m",
        "cli.main",
        "audit",
        "hf://datasets/o/card/extra",
        "--from",
        "thumbs",
    ]
    result = subprocess.run(command, env=hub.env, capture_output=True, text=True)
    assert result.returncode == 3, result.stderr
    assert "Audit of hf://datasets/o/card/extra: 7 rows" in " ".join(result.stdout.split())


@pytest.mark.parametrize("url", ["hf://o/n", "hf://datasets/o", "hf://datasets/", "hf://models/o/n"])
def test_a_url_names_a_dataset_with_its_owner(url: str) -> None:
    with pytest.raises(UsageError, match=r"the URL names no dataset; expected hf://datasets/OWNER/NAME"):
        find_hub_files(url)


def test_the_name_of_a_repository_is_its_whole_url() -> None:
    assert input_name("hf://datasets/o/n@v1/train") == "hf://datasets/o/n@v1/train"


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        ("configs: []", {}),
        ("license: mit", {}),
        ("configs:\n- config_name: a\n  data_files: x.csv", {"a": {"train": ["x.csv"]}}),
        ("configs:\n- data_files: [x.csv, y.csv]", {"default": {"train": ["x.csv", "y.csv"]}}),
        ("configs:\n- data_files: {test: [x.csv]}", {"default": {"test": ["x.csv"]}}),
        (
            "configs:\n- data_files:\n  - path: x.csv\n  - {split: dev, path: y.csv}",
            {"default": {"train": ["x.csv"], "dev": ["y.csv"]}},
        ),
    ],
)
def test_a_card_declares_its_files_in_several_forms(
    tmp_path: Path, head: str, expected: dict[str, dict[str, list[str]]]
) -> None:
    (tmp_path / "README.md").write_text(f"---\n{head}\n---\n# x\n")
    assert declared_files(tmp_path / "README.md") == expected


def test_a_card_that_cannot_be_read_is_an_error_and_none_declares_nothing(tmp_path: Path) -> None:
    assert declared_files(tmp_path / "README.md") == {}
    (tmp_path / "README.md").write_text("---\na: [\n---\n")
    with pytest.raises(InputError, match=r"README.md: the head of the dataset's card is not YAML"):
        declared_files(tmp_path / "README.md")


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train.jsonl.gz", "train"),
        ("data/validation-00000.parquet", "validation"),
        ("test/part_1.csv", "test"),
        ("my-dev-set.jsonl", "validation"),
        ("latest.csv", None),
        ("training_notes/eval.csv", "test"),
    ],
)
def test_a_split_is_a_word_of_the_path(name: str, split: str | None) -> None:
    assert split_of(name) == split
