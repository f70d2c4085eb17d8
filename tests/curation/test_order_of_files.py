"""All stages at once: what is kept of a log does not hang on the order of its records, its files, or who reads them."""

from __future__ import annotations

import json
import random
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from feedback.engine import LocalEngine
from feedback.pipeline import curate, default_config

ROWS: Final = 120


def votes_of(chance: random.Random) -> list[dict[str, Any]]:
    """Few questions, answers, raters and times, so that a log holds duplicates, flips, disputes and near-duplicates."""
    return [
        {
            "question": chance.randrange(40),
            "answer": chance.randrange(4),
            "wording": chance.randrange(3),
            "label": chance.choice(["up", "down"]),
            "user": chance.randrange(6),
            "time": chance.randrange(5),
        }
        for _ in range(ROWS)
    ]


def line_of(vote: dict[str, Any]) -> str:
    subject = f"the invoice number {vote['question']} of the second quarter"
    ends = ("", " Thanks!", " Thank you.")
    record = {
        "prompt": f"Please tell me in one sentence what stands in {subject} and who has signed it."
        + ends[vote["wording"]],
        "completion": f"It says {vote['answer']} things about {subject}, and the head of the office has signed it.",
        "label": vote["label"],
        "user": f"u{vote['user']}",
        "timestamp": f"2026-03-0{1 + vote['time']}T10:00:00Z",
    }
    return json.dumps(record) + "\n"


def survivors(folder: Path, files: list[list[str]], workers: int) -> tuple[list[dict[str, Any]], str]:
    """The rows of the dataset that is made of these files, and its digest."""
    folder.mkdir()
    for number, lines in enumerate(files):
        (folder / f"{number:03d}.jsonl").write_text("".join(lines))
    config = default_config([folder], "thumbs", overrides=["split.test_fraction=0.2"])
    result = curate(config, folder.with_name(folder.name + "-out"), engine=LocalEngine(workers))
    shards = sorted((result.folder / "data").glob("*.parquet"))
    return pl.concat([pl.read_parquet(path) for path in shards]).to_dicts(), result.manifest.digest


@given(
    seed=st.integers(0, 10**6),
    file_count=st.sampled_from([1, 2, 7, 100]),
    workers=st.sampled_from([1, 2]),
    rows_a_partition=st.sampled_from([10, 25, 1000]),
    block_bytes=st.sampled_from([300, 3000, 1 << 20]),
)
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_same_rows_survive_whatever_the_order_the_files_and_the_workers(
    tmp_path_factory: pytest.TempPathFactory,
    seed: int,
    file_count: int,
    workers: int,
    rows_a_partition: int,
    block_bytes: int,
) -> None:
    chance = random.Random(seed)
    lines = [line_of(vote) for vote in votes_of(chance)]
    mixed = chance.sample(lines, ROWS)
    bounds = [len(mixed) * number // file_count for number in range(file_count + 1)]
    folder = tmp_path_factory.mktemp("order")
    plain = survivors(folder / "plain", [lines], 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("feedback.pipeline.partitions._ROWS_A_PARTITION", rows_a_partition)
        patch.setattr("feedback.records.text_blocks.BLOCK_BYTES", block_bytes)
        other = survivors(folder / "mixed", [mixed[start:end] for start, end in pairwise(bounds)], workers)
    assert plain[0], "nothing survived, so nothing was compared"
    assert other[0] == plain[0]
    # The digests of stages are of their files, of which there are as many as partitions.
    assert (other[1] == plain[1]) == (rows_a_partition > ROWS)
