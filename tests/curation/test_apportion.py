"""How many rows each stratum keeps: exact, fair to within a row, and nested."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedback.rebalance.apportion import apportion, apportion_capped

SIZES = st.lists(st.one_of(st.integers(1, 3), st.integers(1, 40)), min_size=1, max_size=12)


def kept(sizes: Sequence[int], keep: int, ties: Sequence[int] | None = None) -> list[int]:
    order = np.arange(len(sizes)) if ties is None else np.array(ties)
    return apportion(np.array(sizes), keep, order.astype(np.uint64)).tolist()


def kept_capped(sizes: Sequence[int], keep: int, capped: Sequence[bool], **held_out: object) -> np.ndarray:
    order = np.arange(len(sizes), dtype=np.uint64)
    return apportion_capped(np.array(sizes), keep, order, np.array(capped), **held_out)


def turns(sizes: Sequence[int], ties: Sequence[int]) -> list[list[int]]:
    """The slow way: each slot goes to the row that must come first of those that may come."""
    total, count, steps = sum(sizes), [0] * len(sizes), [[0] * len(sizes)]
    for slot in range(1, total + 1):
        may = [one for one, size in enumerate(sizes) if count[one] < size and count[one] * total // size < slot]
        first = min(may, key=lambda one: (-(-(count[one] + 1) * total // sizes[one]), -sizes[one], ties[one]))
        count[first] += 1
        steps.append(list(count))
    return steps


@given(sizes=SIZES, data=st.data())
def test_counts_are_those_of_rows_taking_turns(sizes: list[int], data: st.DataObject) -> None:
    ties = data.draw(st.permutations(range(len(sizes))))
    assert [kept(sizes, keep, ties) for keep in range(sum(sizes) + 1)] == turns(sizes, ties)


@given(sizes=SIZES)
def test_the_sum_is_exact_and_every_stratum_keeps_its_quota_to_within_a_row(sizes: list[int]) -> None:
    total = sum(sizes)
    for keep in range(total + 1):
        counts = kept(sizes, keep)
        assert sum(counts) == keep
        for size, count in zip(sizes, counts, strict=True):
            assert size * keep // total <= count <= -(-size * keep // total)


@given(sizes=SIZES)
def test_one_row_more_takes_no_row_away(sizes: list[int]) -> None:
    steps = [kept(sizes, keep) for keep in range(sum(sizes) + 1)]
    for less, more in itertools.pairwise(steps):
        assert sorted(b - a for a, b in zip(less, more, strict=True)) == [0] * (len(sizes) - 1) + [1]


@given(sizes=SIZES, data=st.data())
def test_the_order_of_strata_does_not_matter(sizes: list[int], data: st.DataObject) -> None:
    shuffled = data.draw(st.permutations(range(len(sizes))))
    keep = data.draw(st.integers(0, sum(sizes)))
    counts = kept(sizes, keep)
    assert kept([sizes[one] for one in shuffled], keep, shuffled) == [counts[one] for one in shuffled]


def test_largest_remainders_would_take_a_row_away_and_this_does_not() -> None:
    """Of 6, 6 and 2 rows, largest remainders keep 4, 4, 2 of 10, but 5, 5, 1 of 11: the small stratum loses a row."""

    def remainders(keep: int) -> list[int]:
        quotas = [divmod(size * keep, 14) for size in (6, 6, 2)]
        more = keep - sum(whole for whole, _ in quotas)
        ups = sorted(range(3), key=lambda one: (-quotas[one][1], one))[:more]
        return [whole + (one in ups) for one, (whole, _) in enumerate(quotas)]

    assert (remainders(10), remainders(11)) == ([4, 4, 2], [5, 5, 1])
    assert all(a <= b for a, b in zip(kept((6, 6, 2), 10), kept((6, 6, 2), 11), strict=True))


def test_many_small_strata_lose_as_much_as_a_large_one() -> None:
    """Ranks (n - 1/2) / size would keep all 500 rows above the middle of the large stratum before any small one."""
    counts = kept([1000, *[1] * 1000], 800)
    assert (counts[0], sum(counts[1:])) == (400, 400)


@given(sizes=SIZES, data=st.data())
def test_a_capped_stratum_never_gains_share(sizes: list[int], data: st.DataObject) -> None:
    capped = data.draw(st.lists(st.booleans(), min_size=len(sizes), max_size=len(sizes)))
    total, others = sum(sizes), sum(size for size, is_capped in zip(sizes, capped, strict=True) if not is_capped)
    before = np.zeros(len(sizes), np.int64)
    for keep in range(total + 1):
        counts = kept_capped(sizes, keep, capped)
        assert counts.sum() == keep
        assert (counts >= before).all()
        quotas = np.array([size * keep // total for size in sizes])
        if keep - quotas[capped].sum() <= others:  # else no other stratum has a row left
            assert (counts <= quotas)[capped].all()
        before = counts


def test_a_capped_stratum_pays_for_its_rows_in_the_test_split() -> None:
    """20 of 100 train rows and 10 of 20 test rows are his, 30 of 120: of 60 + 20 he may have 20, 10 of them in test."""
    assert kept_capped([20, 80], 60, [True, False]).tolist() == [12, 48]
    counts = kept_capped([20, 80], 60, [True, False], held_out=np.array([10, 10]), held_out_total=20)
    assert counts.tolist() == [10, 50]


@pytest.mark.parametrize(("keep", "expected"), [(-1, [0, 0]), (0, [0, 0]), (5, [2, 3]), (9, [2, 3])])
def test_nothing_and_everything_can_be_kept(keep: int, expected: list[int]) -> None:
    assert kept([2, 3], keep) == kept_capped([2, 3], keep, [True, False]).tolist() == expected
