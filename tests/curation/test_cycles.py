"""Preference cycles: which answers run in a circle, and the fewest judgements to turn round."""

from __future__ import annotations

import itertools

import numpy as np
import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from feedback.conflicts.cycles import find_cycles, pairs_of_votes
from feedback.conflicts.reversals import few_reversals, fewest_reversals
from tests.feedback_tables import candidate, key, table

QUICK = settings(max_examples=60, deadline=None)


def pairs(*judged: str, raters: tuple[str | None, ...] = (None,)) -> pl.DataFrame:
    """A pair for each text like `a>b` and each rater."""
    rows = [
        {
            "prompt": 1,
            "winner": key(text[0]),
            "loser": key(text[2]),
            "event_id": f"{number}-{rater}",
            "rater_key": None if rater is None else key(rater),
        }
        for number, text in enumerate(judged)
        for rater in raters
    ]
    types = {
        "prompt": pl.UInt64,
        "winner": pl.UInt64,
        "loser": pl.UInt64,
        "event_id": pl.String,
        "rater_key": pl.UInt64,
    }
    return pl.DataFrame(rows, schema=types)


def arrows(found: pl.DataFrame) -> set[str]:
    names = {key(name): name for name in "abcdefgh"}
    return {f"{names[winner]}>{names[loser]}" for winner, loser in found.iter_rows()}


def least_by_trying_all(weights: np.ndarray) -> int:
    """The slow oracle: every order."""
    count = len(weights)
    return min(
        sum(int(weights[late, early]) for place, late in enumerate(order) for early in order[:place])
        for order in itertools.permutations(range(count))
    )


TABLES = st.integers(2, 6).flatmap(
    lambda size: st.lists(st.integers(0, 3), min_size=size * size, max_size=size * size).map(
        lambda values: (
            np.triu(np.array(values).reshape(size, size), 1) + np.tril(np.array(values[::-1]).reshape(size, size), -1)
        )
    )
)


def test_three_answers_in_a_circle_are_a_cycle() -> None:
    """Each arrow is turned round by one of the three best orders."""
    found = find_cycles(pairs("a>b", "b>c", "c>a", "a>d"))
    assert found.table.rows() == [(1, 3, 3, 1, True)]
    assert arrows(found.arrows) == {"a>b", "b>c", "c>a"}


def test_a_ranking_has_no_cycle() -> None:
    found = find_cycles(pairs("a>b", "b>c", "a>c", "c>d"))
    assert found.table.is_empty()
    assert found.arrows.is_empty()


def test_no_pairs_have_no_cycle() -> None:
    assert find_cycles(pairs()).table.is_empty()


def test_the_weakest_arrow_is_the_one_to_turn_round() -> None:
    judged = pl.concat([pairs("a>b", "b>c", raters=("ann", "bob")), pairs("c>a", raters=("cyd",))])
    found = find_cycles(judged)
    assert found.table.rows() == [(1, 3, 5, 1, True)]
    assert arrows(found.arrows) == {"c>a"}


def test_two_answers_preferred_both_ways_are_opposed_and_no_cycle() -> None:
    """2 to 1 for a: the majority's arrow stands."""
    found = find_cycles(pairs("a>b", "a>b", "b>a", "b>c", "a>c"))
    assert (found.table.height, found.opposed) == (0, 1)


def test_the_majority_of_each_two_answers_is_the_arrow() -> None:
    """a beats b by 2 to 1, so 1 net: turning it round costs 1, as with the other two."""
    found = find_cycles(pairs("a>b", "a>b", "b>a", "b>c", "c>a"))
    assert found.table.rows() == [(1, 3, 3, 1, True)]
    assert found.opposed == 1


def test_one_rater_counts_once_for_each_winner_and_loser() -> None:
    once = pairs("a>b", "b>c", "c>a", raters=("ann",))
    more = once.head(1).with_columns(event_id=pl.lit("again"))
    assert find_cycles(pl.concat([once, more])).table.equals(find_cycles(once).table)


def test_cycles_that_share_no_answer_are_listed_apart() -> None:
    found = find_cycles(pairs("a>b", "b>c", "c>a", "c>d", "d>e", "e>f", "f>d"))
    assert found.table["answers"].to_list() == [3, 3]


@given(weights=TABLES)
@QUICK
def test_the_fewest_reversals_are_those_of_the_best_order(weights) -> None:
    """Beside trying all orders; and what is turned round leaves no circle."""
    best, turned = fewest_reversals(weights[None])
    assert best[0] == least_by_trying_all(weights)
    assert least_by_trying_all(np.where(turned[0], 0, weights)) == 0
    bound, few = few_reversals(weights)
    assert bound >= best[0]
    assert least_by_trying_all(np.where(few, 0, weights)) == 0
    assert int(weights[few].sum()) == bound


@given(weights=TABLES)
@QUICK
def test_an_arrow_is_named_exactly_if_some_best_order_turns_it_round(weights) -> None:
    best, turned = fewest_reversals(weights[None])
    expected = np.zeros_like(turned[0])
    for order in itertools.permutations(range(len(weights))):
        back = [(late, early) for place, late in enumerate(order) for early in order[:place]]
        if sum(int(weights[one]) for one in back) == best[0]:
            for one in back:
                expected[one] |= weights[one] > 0
    assert (turned[0] == expected).all()


@given(
    judged=st.lists(st.tuples(st.sampled_from("abcdefgh"), st.sampled_from("abcdefgh")), max_size=40),
    exact_up_to=st.sampled_from([2, 12]),
    order=st.randoms(use_true_random=False),
)
@QUICK
def test_without_the_named_arrows_no_cycle_is_left(judged, exact_up_to, order) -> None:
    """Order of the pairs does not matter; a ranking is all that is left when both ways of an arrow are taken out."""
    texts = [f"{winner}>{loser}" for winner, loser in judged if winner != loser]
    rows = pairs(*texts)
    found = find_cycles(rows, exact_up_to=exact_up_to)
    shuffled = rows.sample(fraction=1.0, shuffle=True, seed=order.randrange(2**31))
    again = find_cycles(shuffled, exact_up_to=exact_up_to)
    assert again.table.equals(found.table)
    assert again.arrows.equals(found.arrows)
    assert found.table["is_exact"].all() == (exact_up_to > 2 or found.table.is_empty())
    named = {frozenset(ends) for ends in found.arrows.iter_rows()}
    left = rows.filter([frozenset(ends) not in named for ends in rows.select("winner", "loser").iter_rows()])
    assert find_cycles(left).table.is_empty()
    assert found.table.is_empty() == found.arrows.is_empty()


def pairs_behind(rows: pl.DataFrame) -> pl.DataFrame:
    votes = rows.select("group_id", "cluster_id", "votes").explode("votes", empty_as_null=False)
    return pairs_of_votes(votes.unnest("votes"))


def test_pairs_are_read_off_the_votes() -> None:
    """A row made of one side, and a thumb, make no pair; rows that were merged still do."""
    up, down = candidate(completion="a"), candidate(completion="b", label=False)
    vote = {"rater_key": None, "event_ts": None}
    up["votes"] = [{"event_id": "x", "label": True, **vote}, {"event_id": "thumb", "label": True, **vote}]
    down["votes"] = [{"event_id": "x", "label": False, **vote}, {"event_id": "half", "label": False, **vote}]
    found = pairs_behind(table(up, down))
    assert found.select("winner", "loser", "event_id").rows() == [(up["cluster_id"], down["cluster_id"], "x")]


def test_a_pair_of_near_duplicates_is_no_preference() -> None:
    up, down = candidate(completion="a", text_id="x"), candidate(completion="b", label=False, text_id="x")
    assert pairs_behind(table(up, down | {"cluster_id": up["cluster_id"]})).is_empty()
