"""AdamW with moments of 8 bits: near the plain one, a quarter of its state, and in checkpoints like it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from align.config import OptimizerConfig, TrainConfig
from align.resources.dry_run import estimate_memory
from align.step.optimizer import build_optimizer, optimizer_tensors, restore_optimizer
from align.trainer import train
from schemas.errors import MissingExtraError
from tests.conftest import make_model
from tests.tiny_run import tiny_config, write_dataset, write_model
from tests.training.test_resume_any_step import back_to_step

SETTINGS = {"learning_rate": 0.01, "weight_decay": 0.1}


def made(moments: str) -> tuple[dict[str, nn.Parameter], torch.optim.Optimizer]:
    rng = torch.Generator().manual_seed(0)
    parameters = {
        "matrix": nn.Parameter(torch.randn(128, 64, generator=rng)),
        "norm": nn.Parameter(torch.ones(64)),
    }
    return parameters, build_optimizer(parameters, OptimizerConfig(**SETTINGS, moments=moments))


def take_steps(parameters: dict[str, nn.Parameter], optimizer: torch.optim.Optimizer, seeds: range) -> None:
    for seed in seeds:
        rng = torch.Generator().manual_seed(seed)
        for parameter in parameters.values():
            parameter.grad = torch.randn(parameter.shape, generator=rng)
        optimizer.step()


def test_eight_bits_move_weights_nearly_as_plain_moments_do() -> None:
    """After ten steps of 0.01, within 0.005 everywhere and 0.0005 in the mean; small weights to rounding."""
    (plain, one), (small, other) = made("float32"), made("int8")
    take_steps(plain, one, range(10))
    take_steps(small, other, range(10))
    apart = (plain["matrix"] - small["matrix"]).detach().abs()
    assert 0 < float(apart.max()) < 0.005
    assert float(apart.mean()) < 0.0005
    torch.testing.assert_close(small["norm"], plain["norm"], atol=1e-6, rtol=1e-5)


def test_the_state_of_a_large_weight_takes_a_quarter() -> None:
    """Two bytes a weight, with a scale for each block of 256 and a table beside them, where there were eight."""
    sizes = {}
    for moments in ("float32", "int8"):
        parameters, optimizer = made(moments)
        take_steps(parameters, optimizer, range(1))
        state = optimizer_tensors(optimizer, parameters)
        sizes[moments] = sum(each.numel() * each.element_size() for name, each in state.items() if "matrix" in name)
    weights = 128 * 64
    assert sizes["float32"] == pytest.approx(8 * weights, abs=16)
    assert 2 * weights < sizes["int8"] < 2 * weights + 3000


def test_a_restored_state_goes_on_bit_for_bit() -> None:
    whole, one = made("int8")
    take_steps(whole, one, range(6))
    first, before = made("int8")
    take_steps(first, before, range(3))
    second, after = made("int8")
    with torch.no_grad():
        for name, parameter in second.items():
            parameter.copy_(first[name])
    restore_optimizer(after, second, {key: each.clone() for key, each in optimizer_tensors(before, first).items()})
    take_steps(second, after, range(3, 6))
    for name in whole:
        assert torch.equal(second[name], whole[name])


@pytest.mark.usefixtures("own_cache")
def test_a_run_learns_with_it_and_resumes_bit_for_bit(tmp_path: Path) -> None:
    model, dataset = str(write_model(tmp_path / "model")), write_dataset(tmp_path / "data")
    config = tiny_config(optimizer={"moments": "int8"}, checkpoint={"every_steps": 1, "keep": 99})
    card = train(config, dataset=dataset, model=model, out=tmp_path / "whole")
    assert card.evaluation["last"]["reward_margin"] > 0.1
    resumed = back_to_step(tmp_path / "whole", 3, tmp_path / "resumed")
    train(config, dataset=dataset, model=model, out=resumed)
    weights = [(out / "model" / "model.safetensors").read_bytes() for out in (tmp_path / "whole", resumed)]
    assert weights[0] == weights[1]


def test_the_estimate_of_memory_knows_the_moments() -> None:
    config = make_model().config
    plain, small = (
        estimate_memory(config, 1000, TrainConfig(optimizer=OptimizerConfig(moments=moments)), tokens=1)
        for moments in ("float32", "int8")
    )
    assert (plain.optimizer, small.optimizer) == (8000, 2000)


def test_without_the_extra_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes.optim.adamw", None)
    with pytest.raises(MissingExtraError, match="bitsandbytes"):
        made("int8")
