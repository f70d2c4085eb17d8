"""A run that is stopped at any moment goes on as if it never was, and no reference is computed twice."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

from align.artifacts.card import find_run_card
from align.artifacts.metrics import read_metrics
from align.distributed.ranks import start_accelerator
from align.models.cache import cache_folder
from align.models.loading import load_policy
from align.reference.reference_cache import ReferenceCache
from align.reference.reference_pass import known_reference, score_reference
from align.scoring.scorer import Scorer, build_scorer
from align.trainer import train
from schemas.errors import CheckpointMismatchError, OutputExistsError
from schemas.progress import Advance
from tests.tiny_run import CONFIG, tiny_config, weights_of, write_dataset, write_model

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.usefixtures("own_cache")


def _without_cost(line: dict[str, Any]) -> dict[str, Any]:
    """A line of the metrics without time, speed and memory."""
    return {key: value for key, value in line.items() if not any(word in key for word in ("second", "memory"))}


@contextmanager
def _interrupt_after(steps: int) -> Iterator[Callable[..., Any]]:
    """Progress that sends this process Ctrl-C in the given training step."""

    @contextmanager
    def progress(description: str, total: int | None = None) -> Iterator[Advance]:
        done = 0

        def advance(units: int) -> None:
            nonlocal done
            done += units
            if description == "train" and done == steps:
                os.kill(os.getpid(), signal.SIGINT)

        yield advance

    yield progress


def test_interrupted_run_goes_on_to_the_same_weights(dataset: Path, model: str, tmp_path: Path) -> None:
    """Ctrl-C in step 3 of 6: the step is finished, a checkpoint saved, and the rest done later."""
    train(tiny_config(), dataset=dataset, model=model, out=tmp_path / "whole")
    out = tmp_path / "stopped"
    handler = signal.getsignal(signal.SIGINT)  # a shell's background job begins with SIGINT ignored
    with _interrupt_after(3) as progress, pytest.raises(KeyboardInterrupt, match="after step 3 of 6"):
        train(tiny_config(), dataset=dataset, model=model, out=out, progress=progress)
    assert (out / "checkpoints" / "step-000003").is_dir()
    assert not (out / "model").exists()
    assert signal.getsignal(signal.SIGINT) is handler
    with pytest.raises(OutputExistsError, match="unfinished run"):
        train(tiny_config(), dataset=dataset, model=model, out=out, resume=False)
    train(tiny_config(), dataset=dataset, model=model, out=out)
    assert weights_of(out) == weights_of(tmp_path / "whole")
    steps = [line["step"] for line in read_metrics(out) if line["kind"] == "step"]
    assert steps == list(range(6))
    wanted = [_without_cost(line) for line in read_metrics(tmp_path / "whole")]
    assert [_without_cost(line) for line in read_metrics(out)] == wanted


def test_lost_numbers_of_the_reference_are_computed_anew(dataset: Path, model: str, tmp_path: Path) -> None:
    """Those of the first step too, which were the policy's: of the model on disk, not of the checkpoint."""
    train(tiny_config(), dataset=dataset, model=model, out=tmp_path / "whole")
    out = tmp_path / "stopped"
    with _interrupt_after(3) as progress, pytest.raises(KeyboardInterrupt):
        train(tiny_config(), dataset=dataset, model=model, out=out, progress=progress)
    known = ReferenceCache(out / "reference.parquet")
    (out / "reference.parquet").unlink()
    shutil.rmtree(cache_folder("reference"))
    train(tiny_config(), dataset=dataset, model=model, out=out)
    found = pq.read_table(out / "reference.parquet")
    assert len(found) == len(known)
    for key, logp in zip(found["key"].to_pylist(), found["logp"].to_pylist(), strict=True):
        assert logp == pytest.approx(known[key], abs=1e-4)
    wanted = load_file(tmp_path / "whole" / "model" / "model.safetensors")
    for name, weight in load_file(out / "model" / "model.safetensors").items():
        torch.testing.assert_close(weight, wanted[name], rtol=1e-3, atol=1e-4)


def test_another_run_may_not_go_on_but_another_execution_may(dataset: Path, model: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with _interrupt_after(3) as progress, pytest.raises(KeyboardInterrupt):
        train(tiny_config(), dataset=dataset, model=model, out=out, progress=progress)
    changed = tiny_config(optimizer={"learning_rate": 0.02})
    with pytest.raises(CheckpointMismatchError, match=r"config\.optimizer\.learning_rate: got 0\.02; expected 0\.01"):
        train(changed, dataset=dataset, model=model, out=out)
    with pytest.raises(CheckpointMismatchError, match="another dataset, plan, tokens"):
        train(tiny_config(), dataset=write_dataset(tmp_path / "more", train=20), model=model, out=out)
    with pytest.raises(CheckpointMismatchError, match="another model"):
        train(tiny_config(), dataset=dataset, model=str(write_model(tmp_path / "m", seed=5)), out=out)
    card = train(
        tiny_config(batch={"tokens_per_micro_batch": 500}, evaluation={"at_start": False}, checkpoint={"keep": 1}),
        dataset=dataset,
        model=model,
        out=out,
    )
    assert card.steps["steps"] == 6


def _start(out: Path, dataset: Path, model: str, **options: Any) -> subprocess.Popen[bytes]:
    values = {"dataset": str(dataset), "model": model, "out": str(out), "config": CONFIG, **options}
    return subprocess.Popen(
        [sys.executable, "-m", "tests.tiny_run", json.dumps(values)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def _wait_for(condition: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    while not condition():
        assert process.poll() is None, "the run ended before it could be killed"
        time.sleep(0.01)


def test_killed_run_goes_on_to_the_same_bytes(dataset: Path, model: str, tmp_path: Path) -> None:
    """SIGKILL after step 4 of 6, whose checkpoint may or may not be written; nothing can catch it."""
    train(tiny_config(), dataset=dataset, model=model, out=tmp_path / "whole")
    out = tmp_path / "killed"
    process = _start(out, dataset, model, step_seconds=0.3)
    _wait_for(lambda: any(line["step"] == 3 for line in read_metrics(out)), process)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert find_run_card(out) is None
    train(tiny_config(), dataset=dataset, model=model, out=out)
    assert weights_of(out) == weights_of(tmp_path / "whole")
    assert [line["step"] for line in read_metrics(out) if line["kind"] == "step"] == list(range(6))


@pytest.mark.slow
def test_run_killed_again_and_again_ends_with_the_same_bytes(dataset: Path, model: str, tmp_path: Path) -> None:
    """Killed at moments that fall into the reference pass, steps, checkpoints and the end."""
    train(tiny_config(), dataset=dataset, model=model, out=tmp_path / "whole")
    out = tmp_path / "killed"
    delay, kills, opened = 0.0, 0, [0]

    def is_opened() -> bool:
        """Whether this process has come to its first steps; every session writes run.json anew."""
        path = out / "run.json"
        return path.exists() and path.stat().st_mtime_ns != opened[0]

    while find_run_card(out) is None:
        process = _start(out, dataset, model, step_seconds=0.1)
        _wait_for(is_opened, process)
        opened[0] = (out / "run.json").stat().st_mtime_ns
        time.sleep(delay)
        process.kill()
        process.wait()
        delay, kills = delay + 0.25, kills + 1
        assert kills < 40
    assert kills > 3
    assert weights_of(out) == weights_of(tmp_path / "whole")
    assert [line["step"] for line in read_metrics(out) if line["kind"] == "step"] == list(range(6))


def test_reference_pass_goes_on_with_the_batches_it_would_have_had(model: str, tmp_path: Path) -> None:
    """A stop in the middle changes neither a number nor the make-up of a batch."""
    loaded, accelerator = load_policy(model), start_accelerator("cpu")
    scorer = build_scorer(loaded, device=torch.device("cpu"), dtype="float32", tokens=12)
    pairs = [(tuple(range(4, 5 + length)), (9, 8, 7)) for length in range(1, 60)]
    options = {"model_digest": "d", "shared": tmp_path / "shared.parquet"}
    shapes: list[tuple[int, ...]] = []

    class Stopping(Scorer):
        def __call__(self, pairs: Any) -> torch.Tensor:
            shapes.append(tuple(len(prompt) for prompt, _ in pairs))
            if len(shapes) == 30:
                raise KeyboardInterrupt
            return super().__call__(pairs)

    stopping = Stopping(scorer.module, scorer.device, scorer.dtype, scorer.pad_id, scorer.tokens)
    with pytest.raises(KeyboardInterrupt):
        score_reference(pairs, stopping, accelerator, own=tmp_path / "own.parquet", **options)
    assert not (tmp_path / "shared.parquet").exists()
    stopped = score_reference(pairs, stopping, accelerator, own=tmp_path / "own.parquet", **options)
    repeated = len(shapes)
    whole = score_reference(pairs, scorer, accelerator, own=None, model_digest="d", shared=None)
    assert stopped == whole
    assert repeated < 30 + len(pairs) - 15
    again = score_reference(pairs, stopping, accelerator, own=None, **options)
    assert again == whole
    assert len(shapes) == repeated


def test_damaged_shared_cache_is_made_anew_with_a_warning(
    model: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What can be computed again is no reason to stop."""
    loaded, accelerator = load_policy(model), start_accelerator("cpu")
    scorer = build_scorer(loaded, device=torch.device("cpu"), dtype="float32", tokens=64)
    pairs = [((5, 6), (7, 8)), ((5,), (9,))]
    shared = tmp_path / "shared.parquet"
    shared.write_bytes(b"torn")
    found = score_reference(pairs, scorer, accelerator, own=None, model_digest="d", shared=shared)
    assert "the reference cache cannot be read" in caplog.text
    assert known_reference(pairs, model_digest="d", dtype="float32", shared=shared) == found


def test_second_run_computes_no_reference(
    dataset: Path, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cache goes by content: another beta and another order of epochs need the same matched pairs only."""
    train(tiny_config(), dataset=dataset, model=model, out=tmp_path / "a")
    calls = []
    monkeypatch.setattr("align.reference.reference_pass._score_batch", lambda batch, *_: calls.append(batch))
    train(tiny_config(objective={"beta": 0.3}), dataset=dataset, model=model, out=tmp_path / "b")
    assert not calls
