"""One optimizer step against a plain computation of the same, and its invariance to micro batches."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from align.config import ObjectiveConfig
from align.distributed.ranks import start_accelerator, sum_gradients
from align.scoring.logps import CompletionLogps
from align.scoring.scorer import Scorer, ratio_tolerance
from align.step.example import Example
from align.step.gradient import backward_step
from align.step.outcome import StepOutcome
from align.trainer.take_step import step_rules
from tests.conftest import make_model
from tests.simulated_ranks import on_ranks

OBJECTIVE = ObjectiveConfig(beta=0.5, desirable_weight=1.5, undesirable_weight=0.75)


def _examples(count: int = 8) -> list[Example]:
    """Rows of different lengths, labels and weights; the reference differs from the policy by up to two nats."""
    torch.manual_seed(1)
    lengths = [3, 9, 5, 12, 4, 7, 10, 6][:count]
    prompts = [tuple(torch.randint(4, 300, (length,)).tolist()) for length in lengths]
    answers = [tuple(torch.randint(4, 300, (1 + length % 5,)).tolist()) for length in lengths]
    policy = make_model()
    examples = []
    for position in range(count):
        matched = (prompts[position], answers[position])
        mismatched = (prompts[position], answers[(position + 1) % count])
        examples.append(
            Example(
                row_id=f"row-{position}",
                sequences=(matched,),
                mismatched=mismatched,
                reference_logps=(_plain_logp(policy, matched).item() + 0.5 * position - 2,),
                mismatched_reference_logp=_plain_logp(policy, mismatched).item() - 0.3,
                label=position % 3 != 0,
                weight=[1.0, 0.5, 2.0][position % 3],
            )
        )
    return examples


def _plain_logp(model: Any, pair: tuple[Sequence[int], Sequence[int]]) -> Tensor:
    """The definition, one sequence at a time and with all logits."""
    prompt, answer = pair
    ids = torch.tensor([[*prompt, *answer]])
    logps = model(ids).logits[0, :-1].log_softmax(-1)
    picked = logps.gather(1, ids[0, 1:, None]).squeeze(1)
    total: Tensor = picked[len(prompt) - 1 :].sum()
    return total


def _plain_step(model: Any, examples: list[Example]) -> tuple[float, float]:
    """Loss and z0 of LOSSES.md, gradients left in the model."""
    with torch.no_grad():
        ratios = [_plain_logp(model, e.mismatched) - e.mismatched_reference_logp for e in examples if e.mismatched]
    z0 = max(0.0, float(sum(ratios)) / len(ratios))
    total = torch.zeros(())
    for example in examples:
        [reference] = example.reference_logps
        assert reference is not None
        gain = OBJECTIVE.beta * (_plain_logp(model, example.sequences[0]) - reference - z0)
        if example.label:
            total = total + example.weight * OBJECTIVE.desirable_weight * (1 - torch.sigmoid(gain))
        else:
            total = total + example.weight * OBJECTIVE.undesirable_weight * (1 - torch.sigmoid(-gain))
    (total / len(examples)).backward()
    return float(total.detach()) / len(examples), z0


def _step(
    model: Any, examples: list[Example], *, tokens: int, scope: Any = "step", is_reference: bool = False
) -> StepOutcome:
    accelerator = start_accelerator("cpu")
    scorer = Scorer(CompletionLogps(model), torch.device("cpu"), "float32", 0, tokens)
    rules = replace(step_rules(OBJECTIVE), z0_scope=scope, is_reference=is_reference)
    outcome = backward_step(examples, scorer, rules, accelerator)
    sum_gradients(model.parameters(), accelerator)
    return outcome


def _gradient(model: Any) -> Tensor:
    return torch.cat([parameter.grad.flatten() for parameter in model.parameters()])


def test_step_equals_the_definition() -> None:
    """Against one sequence at a time with full logits: loss, z0 and gradient."""
    examples = _examples()
    plain, ours = make_model(), make_model()
    loss, z0 = _plain_step(plain, examples)
    outcome = _step(ours, examples, tokens=64)
    assert z0 > 0
    assert outcome.loss == pytest.approx(loss, abs=1e-6)
    assert outcome.z0 == pytest.approx(z0, abs=1e-5)
    torch.testing.assert_close(_gradient(ours), _gradient(plain), rtol=1e-4, atol=1e-6)
    assert (outcome.rewards.desirable, outcome.rewards.undesirable) == (5, 3)
    assert outcome.tokens == sum(len(p) + len(a) for e in examples for p, a in (*e.sequences, e.mismatched or ((), ())))


@pytest.mark.parametrize(("tokens", "batches"), [(10_000, 1), (35, 3), (1, 8)])
def test_any_number_of_micro_batches_gives_the_same_step(tokens: int, batches: int) -> None:
    examples = _examples()
    whole, split = make_model(), make_model()
    expected = _step(whole, examples, tokens=10_000)
    outcome = _step(split, examples, tokens=tokens)
    assert outcome.micro_batches == batches
    assert outcome.loss == pytest.approx(expected.loss, abs=1e-6)
    assert outcome.z0 == pytest.approx(expected.z0, abs=1e-5)
    assert outcome.largest_ratio == pytest.approx(expected.largest_ratio, abs=1e-5)
    torch.testing.assert_close(_gradient(split), _gradient(whole), rtol=1e-4, atol=1e-7)


@settings(max_examples=15, deadline=None)
@given(tokens=st.integers(1, 150), count=st.integers(2, 8))
def test_token_budget_never_changes_loss_or_gradient(tokens: int, count: int) -> None:
    examples = _examples(count)
    whole, split = make_model(), make_model()
    expected = _step(whole, examples, tokens=10_000)
    assert _step(split, examples, tokens=tokens).loss == pytest.approx(expected.loss, abs=1e-6)
    torch.testing.assert_close(_gradient(split), _gradient(whole), rtol=1e-4, atol=1e-6)


def test_scope_micro_takes_one_z0_for_each_micro_batch() -> None:
    """With a row a micro batch, each row's z0 is the ratio of its own mismatched pair, clamped: about 0.3 for all."""
    examples = _examples()
    model = make_model()
    with torch.no_grad():
        ratios = [
            float(_plain_logp(model, e.mismatched)) - e.mismatched_reference_logp for e in examples if e.mismatched
        ]
    outcome = _step(model, examples, tokens=1, scope="micro")
    assert outcome.z0 == pytest.approx(sum(max(0.0, ratio) for ratio in ratios) / 8, abs=1e-4)
    one_batch = _step(make_model(), examples, tokens=10_000, scope="micro")
    assert one_batch.loss == pytest.approx(_step(make_model(), examples, tokens=10_000).loss, abs=1e-6)


def test_scope_none_needs_no_mismatched_pair() -> None:
    rows = [Example(e.row_id, e.sequences, None, e.reference_logps, 0.0, e.label, e.weight) for e in _examples()]
    outcome = _step(make_model(), rows, tokens=64, scope="none")
    assert (outcome.z0, outcome.mean_kl) == (0.0, None)
    assert outcome.tokens == sum(len(prompt) + len(answer) for prompt, answer in (row.sequences[0] for row in rows))


def _of_the_reference(examples: list[Example], known: float | None) -> list[Example]:
    """The examples as the first step has them: no number of the reference but perhaps that of one row."""
    return [
        replace(each, reference_logps=(None if position else known,), mismatched_reference_logp=0.0)
        for position, each in enumerate(examples)
    ]


@pytest.mark.parametrize("scope", ["step", "micro"])
@pytest.mark.parametrize("tokens", [10_000, 35])
def test_where_the_policy_is_the_reference_nothing_is_computed_of_it(scope: str, tokens: int) -> None:
    """Loss and gradient are those of log-ratios of 0; the numbers that were saved are given back."""
    examples = _examples()
    plain, ours = make_model(), make_model()
    logps = {e.sequences[0]: _plain_logp(plain, e.sequences[0]).item() for e in examples}
    equal = [
        replace(
            e,
            reference_logps=(logps[e.sequences[0]],),
            mismatched_reference_logp=_plain_logp(plain, e.mismatched).item() if e.mismatched else 0.0,
        )
        for e in examples
    ]
    loss, z0 = _plain_step(plain, equal)
    first = _of_the_reference(examples, logps[examples[0].sequences[0]])
    outcome = _step(ours, first, tokens=tokens, scope=scope, is_reference=True)
    assert outcome.loss == pytest.approx(loss, abs=1e-6)
    torch.testing.assert_close(_gradient(ours), _gradient(plain), rtol=1e-4, atol=1e-6)
    assert z0 < 1e-5
    assert (outcome.z0, outcome.mean_kl) == (0.0, 0.0)
    assert (outcome.rewards.desirable_reward, outcome.rewards.undesirable_reward) == (0.0, 0.0)
    assert outcome.tokens == sum(len(prompt) + len(answer) for prompt, answer in logps)
    assert outcome.reference_logps == pytest.approx(logps, abs=1e-4)
    assert outcome.mismatch < 1


def test_a_known_number_of_another_model_is_seen_where_the_policy_is_the_reference() -> None:
    examples = _examples()
    known = _plain_logp(make_model(), examples[0].sequences[0]).item() + 0.01
    outcome = _step(make_model(), _of_the_reference(examples, known), tokens=64, is_reference=True)
    assert outcome.mismatch > 1
    assert outcome.largest_ratio == pytest.approx(0.01, abs=1e-4)


def test_other_steps_give_no_number_of_the_reference() -> None:
    assert _step(make_model(), _examples(), tokens=64).reference_logps == {}


def test_ranks_compute_each_prompt_once() -> None:
    """Four prompts of 20 tokens with two answers of 4: 4 x (20 + 2 x 3) tokens, on one rank or two."""
    rows = [
        Example(f"row-{place}", (((4 + place // 2,) * 20, (9 + place,) * 4),), None, (-1.0,), 0.0, True, 1.0)
        for place in range(8)
    ]
    rules = replace(step_rules(OBJECTIVE), z0_scope="none")

    def work(rank: Any) -> int:
        scorer = Scorer(CompletionLogps(make_model()), torch.device("cpu"), "float32", 0, 100)
        return backward_step(rows, scorer, rules, rank).padded_tokens

    assert [on_ranks(ranks, work) for ranks in (1, 2)] == [[104], [104, 104]]


def test_weight_of_zero_is_a_zero() -> None:
    """Rows of weight 0 count as examples, and change nothing else of the sum: loss over 8 is 4/8 of loss over 4."""
    examples = _examples()
    muted = [
        Example(e.row_id, e.sequences, None, e.reference_logps, 0.0, e.label, e.weight if k < 4 else 0.0)
        for k, e in enumerate(examples)
    ]
    outcome = _step(make_model(), muted, tokens=64, scope="none")
    alone = _step(make_model(), muted[:4], tokens=64, scope="none")
    assert outcome.loss == pytest.approx(alone.loss / 2, abs=1e-7)


def test_one_label_only_is_legal_in_a_step() -> None:
    examples = [example for example in _examples() if example.label]
    outcome = _step(make_model(), examples, tokens=64)
    assert outcome.rewards.undesirable == 0
    assert outcome.rewards.to_dict()["reward_margin"] is None


def test_huge_log_ratios_leave_the_gradient_finite() -> None:
    """r = +-1e4 saturates the loss; its gradient is 0, not NaN."""
    examples = [
        Example(e.row_id, e.sequences, None, ((-1) ** k * 1e4,), 0.0, e.label, 1.0) for k, e in enumerate(_examples())
    ]
    model = make_model()
    assert _step(model, examples, tokens=64, scope="none").largest_ratio > 9_000
    assert torch.equal(_gradient(model), torch.zeros_like(_gradient(model)))


def test_a_number_that_is_not_one_reaches_the_outcome() -> None:
    examples = _examples()
    broken = [Example("x", examples[0].sequences, None, (float("nan"),), 0.0, True, 1.0), *examples[1:]]
    outcome = _step(make_model(), broken, tokens=64, scope="none")
    assert outcome.loss != outcome.loss
    assert outcome.largest_ratio == float("inf")


@pytest.mark.parametrize(
    ("logp", "dtype", "tolerance"),
    [
        (-10.0, "float32", 1e-4),
        (-1000.0, "float32", 1e-3),
        (-1.0, "bfloat16", 0.5),
        (-144.0, "bfloat16", 3.0),
        (-1000.0, "bfloat16", 10.0),
    ],
)
def test_tolerance_grows_with_the_rounding_of_the_sum(logp: float, dtype: str, tolerance: float) -> None:
    assert ratio_tolerance(logp, dtype) == pytest.approx(tolerance)


def test_recomputed_activations_give_the_same_gradient() -> None:
    examples = _examples()
    plain, saving = make_model(), make_model()
    saving.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": False})
    saving.train()
    _step(plain, examples, tokens=64)
    _step(saving, examples, tokens=64)
    torch.testing.assert_close(_gradient(saving), _gradient(plain), rtol=1e-5, atol=1e-7)


def test_a_trainer_of_another_precision_in_the_same_process_is_no_obstacle() -> None:
    """A notebook that ran TRL in bfloat16 can train here afterwards."""
    AcceleratorState._reset_state(reset_partial_state=True)
    try:
        Accelerator(cpu=True, mixed_precision="bf16")
        assert start_accelerator("cpu").num_processes == 1
    finally:
        AcceleratorState._reset_state(reset_partial_state=True)
