"""The batch plan: law 5 as properties, the steps and partners by hand, and what cannot be planned."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from align.batches.plan import PLAN, build_plan, micro_batches, split_by_rank
from align.tokens.tokenize import TokenizedRow
from schemas.errors import StepPlanError

LABELS = st.lists(st.booleans(), min_size=2, max_size=60)
GROUPED = st.lists(st.tuples(st.booleans(), st.integers(0, 4)), min_size=2, max_size=40)
FEW_GROUPS = st.lists(st.tuples(st.booleans(), st.integers(0, 2)), min_size=2, max_size=14)


def rows_of(labels: Sequence[bool], groups: Sequence[object] | None = None) -> list[TokenizedRow]:
    groups = range(len(labels)) if groups is None else groups
    return [
        TokenizedRow(f"r{at}", (at,), (at, at), label, 1.0, f"g{group}")
        for at, (label, group) in enumerate(zip(labels, groups, strict=True))
    ]


def plan_of(rows: list[TokenizedRow], batch_size: int = 8, **changes: Any) -> pa.Table:
    return build_plan(rows, **({"epochs": 2, "batch_size": batch_size, "seed": 3, "digest": "d"} | changes))


def steps_of(plan: pa.Table) -> list[dict[str, list[int]]]:
    frame = plan.to_pandas()
    return [step.to_dict("list") for _, step in frame.groupby("step", sort=True)]


def check_partners(rows: list[TokenizedRow], plan: pa.Table) -> None:
    """Of another prompt; of all rows a permutation, and the same one in each epoch."""
    for epoch in plan.to_pandas().groupby("epoch").groups.values():
        found = plan.take(epoch.tolist())
        partners = dict(zip(found["row"].to_pylist(), found["kl_partner"].to_pylist(), strict=True))
        assert sorted(partners.values()) == sorted(partners) == list(range(len(rows)))
        assert partners == dict(zip(plan["row"].to_pylist(), plan["kl_partner"].to_pylist(), strict=True))
        for row, partner in partners.items():
            assert rows[row].group_id != rows[partner].group_id
            assert rows[row].prompt_ids != rows[partner].prompt_ids


@settings(deadline=None)
@given(LABELS, st.integers(2, 12))
@example([True] * 9, 2)
def test_laws_of_the_plan_on_prompts_that_all_differ(labels: list[bool], batch_size: int) -> None:
    """Every row once an epoch; steps alike in size; labels in proportion to within one row; partners by permutation."""
    rows = rows_of(labels)
    plan = plan_of(rows, batch_size)
    steps = steps_of(plan)
    share = sum(labels) / len(labels)
    for epoch in (0, 1):
        mine = [step for step in steps if step["epoch"][0] == epoch]
        assert sorted(row for step in mine for row in step["row"]) == list(range(len(rows)))
        sizes = [len(step["row"]) for step in mine]
        assert max(sizes) - min(sizes) <= 1
        assert max(sizes) <= batch_size + (batch_size == 2 and len(rows) % 2)
        assert len(mine) == min(-(-len(rows) // batch_size), len(rows) // 2)
    for number, step in enumerate(steps):
        assert set(step["step"]) == {number}
        assert step["slot"] == list(range(len(step["row"])))
        assert abs(sum(labels[row] for row in step["row"]) - share * len(step["row"])) < 1
    check_partners(rows, plan)


@settings(deadline=None, max_examples=300)
@given(st.one_of(GROUPED, FEW_GROUPS), st.integers(2, 9), st.integers(0, 5))
def test_prompts_that_repeat_are_planned_whenever_that_is_possible(
    data: list[tuple[bool, int]], batch_size: int, seed: int
) -> None:
    """Impossible means: more than half of the rows share one prompt. All else has a plan that keeps the laws."""
    labels, groups = zip(*data, strict=True)
    rows = rows_of(labels, groups)
    most = max(Counter(groups).values())
    if most > len(rows) // 2:
        with pytest.raises(StepPlanError, match=f"{most} of {len(rows)} rows share one prompt"):
            plan_of(rows, batch_size, seed=seed)
        return
    plan = plan_of(rows, batch_size, seed=seed)
    steps = steps_of(plan)
    assert sorted(row for step in steps for row in step["row"]) == sorted([*range(len(rows))] * 2)
    share = sum(labels) / len(labels)
    for step in steps:
        assert 2 <= len(step["row"]) <= batch_size + (batch_size == 2 and len(rows) % 2)
        assert abs(sum(labels[row] for row in step["row"]) - share * len(step["row"])) < 1
    check_partners(rows, plan)


def test_a_frequent_prompt_leaves_the_labels_mixed() -> None:
    """40% of 200 rows share a prompt and 30% are undesirable: every step of 10 still has 3 of them."""
    rows = rows_of([at % 10 >= 3 for at in range(200)], [0 if at % 5 < 2 else at for at in range(200)])
    plan = plan_of(rows, 10)
    for step in steps_of(plan):
        assert sum(not rows[row].label for row in step["row"]) == 3
    check_partners(rows, plan)


def test_the_same_prompt_tokens_count_as_one_prompt_in_two_groups() -> None:
    """Truncation can make the prompts of two groups equal."""
    rows = [TokenizedRow(f"r{at}", (at // 2,), (at,), True, 1.0, f"g{at}") for at in range(8)]
    check_partners(rows, plan_of(rows, 4))


def test_all_of_one_label_in_order_is_mixed() -> None:
    """All chosen, then all rejected, as pairs are unpaired: no step is of one label."""
    rows = rows_of([True] * 289 + [False] * 289)
    for step in steps_of(plan_of(rows, 4)):
        assert sum(rows[row].label for row in step["row"]) in {1, 2, 3}
    assert all(sum(rows[row].label for row in step["row"]) == 1 for step in steps_of(plan_of(rows, 2)))


def test_rare_labels_are_spread_over_the_epoch() -> None:
    """5 undesirable rows in 10 steps are in 5 different steps."""
    rows = rows_of([at >= 5 for at in range(80)])
    first = [step for step in steps_of(plan_of(rows, 8)) if step["epoch"][0] == 0]
    assert sorted(sum(not rows[row].label for row in step["row"]) for step in first) == [0] * 5 + [1] * 5


def test_the_plan_follows_from_digest_seed_and_settings() -> None:
    rows = rows_of([True, False] * 20)
    plan = plan_of(rows)
    assert plan.equals(plan_of(rows), check_metadata=True)
    for changes in ({"seed": 4}, {"digest": "e"}, {"batch_size": 4}):
        assert not plan.equals(plan_of(rows, **changes))
    assert plan.schema.equals(PLAN)
    assert plan.schema.metadata[b"digest"] == b"d"
    assert plan.schema.metadata[b"seed"] == b"3"


def test_partners_follow_from_the_rows_alone() -> None:
    """Another seed, batch size or dataset with the same rows asks the reference for no other pair."""
    rows = rows_of([True, False] * 20)

    def partners(**changes: Any) -> dict[int, int]:
        plan = plan_of(rows, **changes)
        return dict(zip(plan["row"].to_pylist(), plan["kl_partner"].to_pylist(), strict=True))

    first = partners()
    assert all(first == partners(**changes) for changes in ({"seed": 4}, {"batch_size": 4}, {"digest": "e"}))


def test_rows_that_are_added_leave_most_partners_as_they_were() -> None:
    """10 rows more can come between 10 of 100 rows and their partners at most."""
    more = rows_of([True, False] * 55)
    first, second = plan_of(more[:100], epochs=1).to_pylist(), plan_of(more, epochs=1).to_pylist()
    partners = {line["row"]: line["kl_partner"] for line in second}
    changed = sum(partners[line["row"]] != line["kl_partner"] for line in first)
    assert 0 < changed <= 10


def test_partners_are_of_any_step() -> None:
    """Of 40 rows in steps of 4, 3 of 39 partners are of the same step by chance."""
    rows = rows_of([True, False] * 20)
    steps = steps_of(plan_of(rows, 4, epochs=1))
    assert sum(partner in step["row"] for step in steps for partner in step["kl_partner"]) < 20


@settings(deadline=None)
@given(st.one_of(GROUPED, FEW_GROUPS), st.integers(2, 9), st.booleans())
def test_liked_and_disliked_answers_of_a_prompt_share_a_step(
    data: list[tuple[bool, int]], batch_size: int, needs_kl: bool
) -> None:
    """As many pairs as the prompts have, or as the labels of the steps have room for; without, rows are dealt alone."""
    rows = rows_of(*zip(*data, strict=True))
    counts = Counter((row.group_id, row.label) for row in rows)
    if needs_kl and max(Counter(row.group_id for row in rows).values()) > len(rows) // 2:
        return
    pairs = sum(min(counts[group, True], counts[group, False]) for group in {row.group_id for row in rows})
    steps = steps_of(plan_of(rows, batch_size, epochs=1, needs_kl=needs_kl))
    room = shared = 0
    for step in steps:
        labels = Counter(rows[row].label for row in step["row"])
        mine = Counter((rows[row].group_id, rows[row].label) for row in step["row"])
        room += min(labels[True], labels[False])
        shared += sum(min(mine[group, True], mine[group, False]) for group in {group for group, _ in mine})
    assert shared >= min(pairs, room)


def test_answers_apart_are_dealt_by_chance() -> None:
    """Of 40 pairs in steps of 8 rows, 7 of 79 would meet by chance."""
    rows = rows_of([True, False] * 40, [at // 2 for at in range(80)])

    def met(*, together: bool) -> int:
        steps = steps_of(plan_of(rows, epochs=1, answers_together=together))
        return sum(len(step["row"]) - len({rows[row].group_id for row in step["row"]}) for step in steps)

    assert met(together=True) == 40
    assert met(together=False) < 12


def test_more_epochs_begin_with_the_same_epochs() -> None:
    rows = rows_of([True, False] * 20)
    assert plan_of(rows, epochs=3)[: 2 * len(rows)].equals(plan_of(rows, epochs=2))


def test_every_epoch_is_shuffled_anew() -> None:
    first, second = plan_of(rows_of([True, False] * 20)).to_pandas().groupby("epoch")["row"].apply(list)
    assert first != second
    assert first != sorted(first)


def test_a_short_last_step_is_spread() -> None:
    """9 rows in steps of 8 are 5 and 4, not 8 and 1."""
    steps = steps_of(plan_of(rows_of([True] * 9), 8, epochs=1))
    assert sorted(len(step["row"]) for step in steps) == [4, 5]


def test_without_partners_any_rows_can_be_planned() -> None:
    rows = rows_of([True, True, True], [0, 0, 0])
    plan = plan_of(rows, 1, needs_kl=False)
    assert plan["kl_partner"].null_count == len(plan)
    assert len(steps_of(plan)) == 6


@pytest.mark.parametrize(("labels", "batch_size"), [([True] * 4, 1), ([True], 8)])
def test_a_step_of_one_row_has_no_mean(labels: list[bool], batch_size: int) -> None:
    with pytest.raises(StepPlanError, match=r"a step, which needs two rows.*z0_scope to none"):
        plan_of(rows_of(labels), batch_size)


def test_one_prompt_in_all_rows_is_refused_with_numbers_and_help() -> None:
    with pytest.raises(
        StepPlanError, match=r"5 of 6 rows share one prompt.*at most 3.*keep at most 1 rows of this one"
    ):
        plan_of(rows_of([True] * 6, [7] * 5 + [8]))


def test_no_rows_and_no_epochs_are_refused() -> None:
    with pytest.raises(StepPlanError, match="there are no rows to plan"):
        plan_of([])
    with pytest.raises(StepPlanError, match="epochs is too small: got 0"):
        plan_of(rows_of([True] * 4), epochs=0)


@given(st.lists(st.integers(1, 50), max_size=30), st.integers(1, 120))
def test_micro_batches_hold_every_row_once_within_the_budget(lengths: list[int], tokens: int) -> None:
    batches = micro_batches(lengths, tokens)
    assert sorted(at for each in batches for at in each) == list(range(len(lengths)))
    for each in batches:
        assert each
        assert len(each) == 1 or len(each) * max(lengths[at] for at in each) <= tokens


@given(st.lists(st.integers(1, 50), max_size=30), st.integers(1, 6))
def test_ranks_share_every_row_once_and_evenly(lengths: list[int], world_size: int) -> None:
    parts = split_by_rank(lengths, world_size)
    assert sorted(at for part in parts for at in part) == list(range(len(lengths)))
    assert len(parts) == world_size
    assert all(parts) or len(lengths) < world_size
    loads = [sum(lengths[at] for at in part) for part in parts]
    assert max(loads) - min(loads) <= max(lengths, default=0)
