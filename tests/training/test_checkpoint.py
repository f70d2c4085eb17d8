"""Checkpoints: whole or absent, the newest whole one wins, and only of the same run."""

import json
from pathlib import Path

import pytest
import torch

from align.artifacts.checkpoint import Checkpoint, check_identity, load_newest_checkpoint, save_checkpoint
from align.config import OptimizerConfig, TrainConfig, identity_of
from align.step.optimizer import build_optimizer, optimizer_tensors, restore_optimizer
from align.step.schedule import learning_rate_factor
from schemas.errors import CheckpointMismatchError
from schemas.settings import load_settings


def _checkpoint(step: int) -> Checkpoint:
    return Checkpoint(
        step=step,
        identity={"model": "m", "config": {"seed": 1}},
        seconds=1.5,
        weights={"w": torch.full((2, 3), float(step))},
        optimizer={"w/step": torch.tensor(float(step))},
    )


def test_checkpoint_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    folder = save_checkpoint(tmp_path, _checkpoint(3), keep=2)
    assert folder.name == "step-000003"
    found = load_newest_checkpoint(tmp_path)
    assert found is not None
    assert (found.step, found.seconds, found.identity) == (3, 1.5, {"model": "m", "config": {"seed": 1}})
    assert torch.equal(found.weights["w"], torch.full((2, 3), 3.0))
    assert torch.equal(found.optimizer["w/step"], torch.tensor(3.0))


def test_no_checkpoint_is_none(tmp_path: Path) -> None:
    assert load_newest_checkpoint(tmp_path / "absent") is None


def test_only_the_newest_are_kept(tmp_path: Path) -> None:
    for step in (5, 10, 999_999, 1_000_000):
        save_checkpoint(tmp_path, _checkpoint(step), keep=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-1000000", "step-999999"]
    found = load_newest_checkpoint(tmp_path)
    assert found is not None
    assert found.step == 1_000_000


def test_same_step_is_saved_anew(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, _checkpoint(1), keep=1)
    save_checkpoint(tmp_path, _checkpoint(1), keep=1)
    assert [path.name for path in tmp_path.iterdir()] == ["step-000001"]


@pytest.mark.parametrize("damage", ["truncated", "flipped", "no state", "no weights", "torn state"])
def test_damaged_checkpoint_is_passed_over_and_logged(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    save_checkpoint(tmp_path, _checkpoint(1), keep=5)
    newest = save_checkpoint(tmp_path, _checkpoint(2), keep=5)
    weights, state = newest / "weights.safetensors", newest / "state.json"
    content = weights.read_bytes()
    {
        "truncated": lambda: weights.write_bytes(content[:-1]),
        "flipped": lambda: weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1])),
        "no state": state.unlink,
        "no weights": weights.unlink,
        "torn state": lambda: state.write_text(state.read_text()[:20]),
    }[damage]()
    found = load_newest_checkpoint(tmp_path)
    assert found is not None
    assert found.step == 1
    assert "step-000002 is damaged" in caplog.text


def test_half_written_folder_is_no_checkpoint(tmp_path: Path) -> None:
    """What a kill leaves behind is hidden, and gone after the next save of that step."""
    partial = tmp_path / ".step-000004.partial"
    partial.mkdir(parents=True)
    (partial / "weights.safetensors").write_bytes(b"half")
    assert load_newest_checkpoint(tmp_path) is None
    save_checkpoint(tmp_path, _checkpoint(4), keep=1)
    assert not partial.exists()


def test_checkpoint_holds_no_pickle(tmp_path: Path) -> None:
    folder = save_checkpoint(tmp_path, _checkpoint(1), keep=1)
    assert {path.suffix for path in folder.iterdir()} == {".safetensors", ".json"}
    assert json.loads((folder / "state.json").read_text())["step"] == 1


def test_another_run_is_refused_by_key_and_value() -> None:
    check_identity({"a": {"b": [1]}}, {"a": {"b": (1,)}}, where="out")
    with pytest.raises(
        CheckpointMismatchError, match=r"out: .*config\.seed, model: got 2; expected 1 for config\.seed"
    ):
        check_identity({"model": "m", "config": {"seed": 1}}, {"model": "n", "config": {"seed": 2}}, where="out")


def test_optimizer_goes_on_as_if_nothing_had_happened() -> None:
    torch.manual_seed(0)
    start = torch.randn(4, 3)
    gradients = torch.randn(6, 4, 3)
    config = OptimizerConfig(learning_rate=0.1, weight_decay=0.1)

    def steps(parameter: torch.nn.Parameter, optimizer: torch.optim.Optimizer, part: range) -> None:
        for index in part:
            parameter.grad = gradients[index].clone()
            optimizer.step()

    whole = torch.nn.Parameter(start.clone())
    steps(whole, build_optimizer({"w": whole}, config), range(6))
    first = torch.nn.Parameter(start.clone())
    before = build_optimizer({"w": first}, config)
    steps(first, before, range(3))
    second = torch.nn.Parameter(first.detach().clone())
    after = build_optimizer({"w": second}, config)
    restore_optimizer(after, {"w": second}, optimizer_tensors(before, {"w": first}))
    steps(second, after, range(3, 6))
    assert torch.equal(whole, second)
    with pytest.raises(CheckpointMismatchError, match="unknown parameter: got 'v'"):
        restore_optimizer(after, {"w": second}, {"v/step": torch.tensor(1.0)})


def test_weight_decay_spares_norms_and_biases() -> None:
    """A step with a gradient of 0 moves a parameter by its decay alone: 1 - 0.1 * 0.5 = 0.95 for a matrix."""
    parameters = {"matrix": torch.nn.Parameter(torch.ones(2, 2)), "bias": torch.nn.Parameter(torch.ones(2))}
    optimizer = build_optimizer(parameters, OptimizerConfig(learning_rate=0.1, weight_decay=0.5))
    for parameter in parameters.values():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    torch.testing.assert_close(parameters["matrix"].data, torch.full((2, 2), 0.95))
    torch.testing.assert_close(parameters["bias"].data, torch.ones(2))


def test_cosine_falls_from_one_through_a_half() -> None:
    """4 steps after 2 of warm-up: cos(0), cos(pi/4), cos(pi/2), cos(3pi/4), each plus 1 and halved."""
    factors = [learning_rate_factor(step, 6, warmup_steps=2, schedule="cosine") for step in range(6)]
    assert factors == pytest.approx([0.5, 1.0, 1.0, 0.8535534, 0.5, 0.1464466])


def test_constant_schedule_stays_after_the_warmup() -> None:
    assert [learning_rate_factor(step, 3, warmup_steps=1, schedule="constant") for step in range(3)] == [1, 1, 1]


def test_token_budget_is_part_of_a_run_only_where_micro_batches_have_a_z0_of_their_own() -> None:
    def key(scope: str, tokens: int) -> dict[str, object]:
        values = {"objective": {"z0_scope": scope}, "batch": {"tokens_per_micro_batch": tokens}}
        return identity_of(load_settings(TrainConfig, values, where="test"))

    assert key("step", 64) == key("step", 128)
    assert key("micro", 64) != key("micro", 128)
