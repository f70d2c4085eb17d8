"""Laws 4 and 5 on drawn datasets: how a step is computed changes neither its loss nor its gradient nor its z0."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from align.batches.collate import collate
from align.batches.plan import build_plan
from align.config import ObjectiveConfig
from align.scoring.logps import CompletionLogps
from align.scoring.scorer import Scorer
from align.step.example import Example
from align.step.gradient import backward_step
from align.step.outcome import StepOutcome
from align.tokens.tokenize import TokenizedRow
from align.trainer.take_step import step_rules
from tests.conftest import make_model
from tests.simulated_ranks import on_ranks

WORDS = 300
IDS = st.integers(4, WORDS - 1)


@dataclass(frozen=True)
class Execution:
    """How a step is computed."""

    budget: int = 10**6
    ranks: int = 1
    attention: str = "padded"
    recomputes: bool = False
    in_step: bool = False  # whether ranks take as many passes, as with shared weights


PLAIN = Execution()
EXECUTIONS = st.builds(
    Execution,
    budget=st.integers(1, 150),
    ranks=st.integers(1, 3),
    attention=st.sampled_from(["trees", "padded", "eager"]),
    recomputes=st.booleans(),
    in_step=st.booleans(),
)


def ids(least: int, most: int) -> st.SearchStrategy[tuple[int, ...]]:
    return st.lists(IDS, min_size=least, max_size=most).map(tuple)


@st.composite
def datasets(draw: st.DrawFn) -> list[TokenizedRow]:
    """Two to twelve rows, of which at most half share a prompt."""
    prompts = draw(st.lists(ids(1, 12), min_size=2, max_size=6, unique=True))
    count = draw(st.integers(2, 12))
    chosen = draw(
        st.lists(st.integers(0, len(prompts) - 1), min_size=count, max_size=count).filter(
            lambda numbers: max(map(numbers.count, numbers)) <= len(numbers) // 2
        )
    )
    return [
        TokenizedRow(
            row_id=f"row-{place}",
            prompt_ids=prompts[number],
            completion_ids=draw(ids(1, 9)),
            label=draw(st.booleans()),
            weight=draw(st.sampled_from([0.5, 1.0, 2.0])),
            group_id=f"group-{number}",
        )
        for place, number in enumerate(chosen)
    ]


@st.composite
def steps(draw: st.DrawFn) -> list[Example]:
    """The first step of a drawn dataset, with a reference that differs from the policy by up to three nats."""
    rows = draw(datasets())
    plan = build_plan(rows, epochs=1, batch_size=8, seed=draw(st.integers(0, 9)), digest="d").to_pylist()
    shifts = st.floats(-3, 3, width=32)
    return [
        Example(
            row_id=rows[planned["row"]].row_id,
            sequences=rows[planned["row"]].sequences,
            mismatched=(rows[planned["row"]].prompt_ids, rows[planned["kl_partner"]].completion_ids),
            reference_logps=(-5.7 * len(rows[planned["row"]].completion_ids) + draw(shifts),),
            mismatched_reference_logp=-5.7 * len(rows[planned["kl_partner"]].completion_ids) - draw(shifts),
            label=rows[planned["row"]].label,
            weight=rows[planned["row"]].weight,
        )
        for planned in plan
        if planned["step"] == 0
    ]


def compute(examples: list[Example], how: Execution, objective: ObjectiveConfig) -> tuple[list[StepOutcome], Tensor]:
    """What each rank says of the step, and the sum of their gradients."""
    models = [make_model() for _ in range(how.ranks)]  # before the threads, which share one generator

    def on_rank(accelerator: Any) -> StepOutcome:
        model = models[accelerator.process_index]
        if how.attention == "eager":
            model.set_attn_implementation("eager")
        ranks = accelerator if how.in_step else None
        module, has_trees = CompletionLogps(model, 4), how.attention == "trees"
        scorer = Scorer(module, torch.device("cpu"), "float32", 0, how.budget, has_trees, ranks)
        assert scorer.has_trees == has_trees
        if how.recomputes:
            model.activation_checkpointing_enable({"use_reentrant": False})
            model.train()
        return backward_step(examples, scorer, step_rules(objective), accelerator)

    outcomes = on_ranks(how.ranks, on_rank)
    total = torch.zeros(sum(each.numel() for each in models[0].parameters()))
    for model in models:
        found = [torch.zeros_like(each) if each.grad is None else each.grad for each in model.parameters()]
        total += torch.cat([each.flatten() for each in found])
    return outcomes, total


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    steps(),
    EXECUTIONS,
    st.sampled_from([{}, {"z0_scope": "none"}, {"value": "kahneman_tversky"}, {"name": "sft"}, {"name": "csft"}]),
)
def test_a_step_is_the_same_however_it_is_computed(
    examples: list[Example], how: Execution, settings_: dict[str, Any]
) -> None:
    """Budget, ranks, attention and recomputing against one pass of one rank over padded sequences."""
    objective = ObjectiveConfig(**settings_)
    [plain], expected = compute(examples, PLAIN, objective)
    outcomes, gradient = compute(examples, how, objective)
    scale = float(expected.abs().max())
    torch.testing.assert_close(gradient, expected, rtol=1e-3, atol=1e-5 * max(scale, 1e-3))
    assert all(outcome.loss == outcomes[0].loss for outcome in outcomes)
    assert outcomes[0].loss == pytest.approx(plain.loss, rel=1e-5, abs=1e-6)
    assert outcomes[0].z0 == pytest.approx(plain.z0, abs=1e-4)
    assert outcomes[0].tokens == plain.tokens
    assert outcomes[0].rewards.desirable == plain.rewards.desirable


@pytest.mark.parametrize(("in_step", "expected"), [(False, [2, 9]), (True, [9, 9])])
def test_ranks_in_step_take_as_many_passes(in_step: bool, expected: list[int]) -> None:
    """One rank has a row of 32 tokens: two passes. The other has six of 3: three without a gradient, six with one."""
    examples = [
        Example(f"row-{at}", (((5,) * length, (7, 8)),), ((5,) * length, (9,)), (-11.0,), -5.0, at % 2 == 0, 1.0)
        for at, length in enumerate([30, *[1] * 6])
    ]
    models, passes = [make_model(), make_model()], [0, 0]

    def on_rank(accelerator: Any) -> None:
        rank = accelerator.process_index
        module = CompletionLogps(models[rank], 4)
        models[rank].model.register_forward_hook(lambda *_: passes.__setitem__(rank, passes[rank] + 1))
        ranks = accelerator if in_step else None
        scorer = Scorer(module, torch.device("cpu"), "float32", 0, 1, False, ranks)
        backward_step(examples, scorer, step_rules(ObjectiveConfig()), accelerator)

    on_ranks(2, on_rank)
    assert passes == expected


@settings(max_examples=30, deadline=None)
@given(datasets(), st.sampled_from(["right", "left"]), st.integers(1, 7), st.integers(0, WORDS - 1))
def test_padding_of_any_side_and_length_changes_nothing(
    rows: list[TokenizedRow], side: str, extra: int, pad_id: int
) -> None:
    """Here on a model whose positions are relative: padding on the left moves them all alike."""
    model, pairs = make_model(), [row.sequences[0] for row in rows]
    module = CompletionLogps(model, 4)
    found = []
    for is_plain in (True, False):
        batch = collate(pairs, 0 if is_plain else pad_id)
        tensors = [batch.input_ids, batch.attention_mask, batch.completion_mask]
        if not is_plain:
            width = batch.input_ids.shape[1] + extra
            tensors = [moved(each, batch.attention_mask, side, width) for each in tensors]
            tensors[0] = tensors[0].masked_fill(tensors[1] == 0, pad_id)
        model.zero_grad()
        values = module(*tensors)
        (values * torch.linspace(-1, 2, len(pairs))).sum().backward()
        found.append((values.detach(), torch.cat([each.grad.flatten() for each in model.parameters()])))
    torch.testing.assert_close(found[1][0], found[0][0], atol=2e-5, rtol=1e-5)
    torch.testing.assert_close(found[1][1], found[0][1], atol=2e-4, rtol=1e-3)


def moved(tensor: Tensor, mask: Tensor, side: str, width: int) -> Tensor:
    """The tokens of each row at one side of a wider row of zeros."""
    wide = tensor.new_zeros(len(tensor), width)
    for row, (values, kept) in enumerate(zip(tensor, mask.bool(), strict=True)):
        length = int(kept.sum())
        wide[row, slice(0, length) if side == "right" else slice(width - length, width)] = values[:length]
    return wide


@settings(max_examples=60, deadline=None)
@given(datasets(), st.integers(2, 8), st.integers(0, 99))
def test_no_prompt_meets_an_answer_to_itself(rows: list[TokenizedRow], batch_size: int, seed: int) -> None:
    """Neither its own one nor that of another row with the same prompt; in an epoch every answer is met once."""
    plan = build_plan(rows, epochs=2, batch_size=batch_size, seed=seed, digest="d").to_pylist()
    met: dict[int, list[int]] = {0: [], 1: []}
    for planned in plan:
        assert rows[planned["row"]].prompt_ids != rows[planned["kl_partner"]].prompt_ids
        met[planned["epoch"]].append(planned["kl_partner"])
    assert sorted(met[0]) == sorted(met[1]) == list(range(len(rows)))
