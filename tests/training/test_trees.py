"""Prompts computed once: trees score every pair as it is scored alone, and hold no padding."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from align.scoring.logps import CompletionLogps
from align.scoring.scorer import Scorer
from align.scoring.trees import plant_trees, share_trees, tree_batches, tree_tokens
from schemas.errors import ModelError, ShapeError
from tests.conftest import make_model
from tests.training.test_logps import LargestTensor, llama_like

Pair = tuple[tuple[int, ...], tuple[int, ...]]


def drawn_pairs(lengths: list[tuple[int, int]], *, prompts: int, seed: int = 0) -> list[Pair]:
    """Pairs with prompts of the first lengths, at most `prompts` different ones, and completions of the second."""
    chance = random.Random(seed)

    def ids(length: int) -> tuple[int, ...]:
        return tuple(chance.randrange(300) for _ in range(length))

    known = [ids(length) for length, _ in lengths[:prompts]]
    return [(chance.choice(known), ids(length)) for _, length in lengths]


def scorer_of(model: Any, *, tokens: int = 10_000, use_trees: bool = True) -> Scorer:
    return Scorer(CompletionLogps(model, 4), torch.device("cpu"), "float32", 0, tokens, use_trees)


def scored(model: Any, pairs: list[Pair], *, use_trees: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Values, and the gradient of a weighted sum of them."""
    model.zero_grad()
    values = scorer_of(model, use_trees=use_trees)(pairs)
    (values * torch.linspace(-1, 2, len(pairs))).sum().backward()
    return values.detach(), torch.cat([each.grad.flatten() for each in model.parameters() if each.grad is not None])


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 30), st.integers(1, 20)), min_size=1, max_size=9),
    st.integers(1, 4),
    st.integers(0, 9),
)
def test_trees_give_values_and_gradients_of_the_pairs_alone(
    lengths: list[tuple[int, int]], prompts: int, seed: int
) -> None:
    pairs, model = drawn_pairs(lengths, prompts=prompts, seed=seed), make_model()
    trees, padded = scored(model, pairs, use_trees=True), scored(model, pairs, use_trees=False)
    torch.testing.assert_close(trees, padded, atol=2e-5, rtol=1e-4)


def test_a_tree_lies_as_it_is_drawn() -> None:
    """Prompt 1 2 3 with answers 4 5 and 6, and prompt 7 with answer 8 9: answers without their last token."""
    trees = plant_trees([((1, 2, 3), (4, 5)), ((7,), (8, 9)), ((1, 2, 3), (6,))])
    assert trees.input_ids.tolist() == [[1, 2, 3, 4, 7, 8]]
    assert trees.position_ids.tolist() == [[0, 1, 2, 3, 0, 1]]
    assert trees.predictors.tolist() == [2, 3, 4, 5, 2]
    assert trees.targets.tolist() == [4, 5, 8, 9, 6]
    assert [(span.start, span.prompt, span.branches) for span in trees.spans] == [(0, 3, (1, 0)), (4, 1, (1,))]
    assert trees.completion_mask.tolist() == [[True, True], [True, True], [True, False]]


@given(
    st.lists(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 9)), min_size=1, max_size=2), max_size=20),
    st.integers(1, 60),
)
def test_batches_hold_every_group_once_within_the_budget(shapes: list[list[tuple[int, int]]], tokens: int) -> None:
    """Above the budget is a group alone, or groups of one prompt that are together no larger than the largest group."""
    groups = [[((prompt,) * (2 + prompt), (9,) * length) for prompt, length in shape] for shape in shapes]
    batches = tree_batches(groups, tokens)
    assert sorted(member for batch in batches for member in batch) == list(range(len(groups)))
    largest = max((tree_tokens(group) for group in groups), default=0)
    for batch in batches:
        held = tree_tokens([pair for member in batch for pair in groups[member]])
        is_one_prompt = len({groups[member][0][0] for member in batch}) == 1
        assert held <= tokens or len(batch) == 1 or (is_one_prompt and held <= largest)


@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(1, 9)), max_size=30),
    st.integers(1, 5),
)
def test_ranks_share_every_group_once_and_evenly(shapes: list[tuple[int, int]], ranks: int) -> None:
    """No rank has more than its share of the rows alone and what was dealt last: a row, or half of its share of trees.

    A prompt that is no larger is on one rank.
    """
    groups = [[((prompt,) * (2 + prompt), (9,) * length)] for prompt, length in shapes]
    parts = share_trees(groups, ranks)
    assert len(parts) == ranks
    assert sorted(member for part in parts for member in part) == list(range(len(groups)))
    assert all(parts) or len(groups) < ranks
    loads = [tree_tokens([groups[member][0] for member in part]) for part in parts]
    largest = max((tree_tokens(group) for group in groups), default=0)
    bound = max(largest, tree_tokens([group[0] for group in groups]) // (2 * ranks))
    assert max(loads) <= sum(map(tree_tokens, groups)) / ranks + bound
    for prompt in {prompt for prompt, _ in shapes} if len({prompt for prompt, _ in shapes}) >= ranks else ():
        members = [place for place, shape in enumerate(shapes) if shape[0] == prompt]
        if tree_tokens([groups[member][0] for member in members]) <= bound:
            assert len([part for part in parts if set(part) & set(members)]) == 1


def test_answers_stay_together_where_another_one_is_as_long() -> None:
    """A budget of 20: trees of 10 + 2 x 6 = 22 tokens are made where a row of 30 is, but not where all have 16."""
    groups = [[((1,) * 10, (2,) * 7)], [((1,) * 10, (3,) * 7)]]
    assert tree_batches(groups, 20) == [[0], [1]]
    assert tree_batches([*groups, [((4,) * 20, (5,) * 11)]], 20) == [[2], [0, 1]]


@given(st.lists(st.integers(1, 50), min_size=1, max_size=60), st.integers(1, 40))
def test_each_tree_goes_into_the_first_batch_with_room(sizes: list[int], tokens: int) -> None:
    """As a plain search from the first batch on finds it, the longest trees first."""
    groups = [[((number, 0, 0), (1,) * (size + 1))] for number, size in enumerate(sizes)]
    sizes = [size + 3 for size in sizes]
    left: list[int] = []
    expected: list[list[int]] = []
    for number in sorted(range(len(sizes)), key=lambda index: (-sizes[index], index)):
        place = next((place for place, room in enumerate(left) if sizes[number] <= room), len(left))
        if place == len(left):
            left.append(tokens)
            expected.append([])
        left[place] -= sizes[number]
        expected[place].append(number)
    assert tree_batches(groups, tokens) == expected


def test_a_prompt_with_many_answers_is_computed_once_where_it_fits() -> None:
    """A prompt of 10 and 4 answers of 6 tokens: 10 + 4 x 5 = 30; with a budget of 21 two trees of 20."""
    groups = [[((1,) * 10, (2,) * 5 + (number,))] for number in range(4)]
    assert tree_batches(groups, 30) == [[0, 1, 2, 3]]
    assert tree_batches(groups, 21) == [[0, 1], [2, 3]]
    assert plant_trees([pair for group in groups for pair in group]).tokens == 30


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("llama", {}),
        ("qwen3", {}),
        ("gpt_neox", {}),
        ("gpt2", {"n_embd": 32, "n_layer": 2, "n_head": 4}),
        ("mistral", {"sliding_window": 6}),
        ("gemma3_text", {"sliding_window": 5, "layer_types": ["sliding_attention", "full_attention"]}),
    ],
)
def test_families_with_fused_attention_score_trees(kind: str, changes: dict[str, Any]) -> None:
    """Also where a token sees only the last few: within the prompt, in a branch, and across their border."""
    model = llama_like(kind, **changes)
    assert scorer_of(model).has_trees
    pairs = drawn_pairs([(9, 12), (3, 1), (20, 7), (4, 4), (2, 15)], prompts=2)
    trees, padded = scored(model, pairs, use_trees=True), scored(model, pairs, use_trees=False)
    torch.testing.assert_close(trees[0], padded[0], atol=1e-3, rtol=1e-5)
    torch.testing.assert_close(trees[1], padded[1], atol=2e-3, rtol=1e-3)


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("gemma2", {"attn_logit_softcapping": 5.0, "query_pre_attn_scalar": 8}),
        ("mamba", {"state_size": 4, "num_heads": 4}),
        ("bloom", {"n_layer": 2, "n_head": 4}),
    ],
)
def test_families_that_mix_tokens_in_other_ways_are_padded(kind: str, changes: dict[str, Any]) -> None:
    model = llama_like(kind, **changes)
    before = model.config._attn_implementation
    assert not scorer_of(model).has_trees
    assert model.config._attn_implementation == before


def test_recomputed_activations_know_the_trees() -> None:
    pairs, model = drawn_pairs([(9, 12), (3, 5), (20, 7)], prompts=1), make_model()
    plain = scored(model, pairs, use_trees=True)
    model.train().activation_checkpointing_enable({"use_reentrant": False})
    torch.testing.assert_close(scored(model, pairs, use_trees=True), plain, atol=1e-5, rtol=1e-5)


def test_trees_in_bfloat16_differ_by_rounding() -> None:
    pairs, model = drawn_pairs([(9, 12), (3, 5), (20, 7)], prompts=2), make_model()
    plain = scorer_of(model)(pairs)
    half = Scorer(CompletionLogps(model), torch.device("cpu"), "bfloat16", 0, 100)(pairs)
    torch.testing.assert_close(half, plain, atol=0.3, rtol=0.01)
    assert half.dtype == torch.float32


def test_no_tensor_of_trees_is_tokens_by_vocabulary() -> None:
    """64 completion tokens of 4,096 words, 4 at a time: nothing exceeds the head's own [V, H] weight."""
    model, pairs = make_model(vocab_size=4096), drawn_pairs([(5, 16)] * 4, prompts=2)
    scorer = scorer_of(model)
    with LargestTensor() as largest:
        scorer(pairs).sum().backward()
    assert largest.numel <= 4096 * 32 < 64 * 4096


def test_generation_and_saving_are_those_of_a_plain_model(tmp_path: Any) -> None:
    """A model that was told about trees still generates from padded prompts, and its files do not mention them."""
    plain, told = make_model(), make_model()
    scorer_of(told)
    ids, mask = torch.tensor([[0, 0, 5, 6], [7, 8, 9, 10]]), torch.tensor([[0, 0, 1, 1], [1, 1, 1, 1]])
    options = {"attention_mask": mask, "max_new_tokens": 5, "do_sample": False, "pad_token_id": 0}
    assert torch.equal(told.generate(ids, **options), plain.generate(ids, **options))
    told.save_pretrained(tmp_path)
    assert "prompt_trees" not in (tmp_path / "config.json").read_text()


def test_what_cannot_be_planted_is_refused() -> None:
    with pytest.raises(ShapeError, match="there is no pair to plant"):
        plant_trees([])
    with pytest.raises(ShapeError, match=r"pair 1.*got '0 prompt and 1 completion tokens'"):
        plant_trees([((1,), (2,)), ((), (3,))])


def test_a_setting_of_scores_that_trees_do_not_know_is_an_error() -> None:
    from align.scoring.tree_attention import attend_to_trees

    spans = plant_trees([((1, 2), (3,))]).spans
    states = torch.zeros(1, 1, 2, 4)
    with pytest.raises(ModelError, match=r"attention over trees does not know a setting.*softcap"):
        attend_to_trees(torch.nn.Identity(), states, states, states, None, spans=spans, softcap=5.0)
