"""The stage `pairs`: which comparisons and which answers of one prompt become pairs, and why others do not."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from itertools import zip_longest
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from feedback.config import ConflictConfig, ConvertConfig, DedupConfig, PairsConfig, SplitConfig
from feedback.conflicts import resolve_conflicts
from feedback.convert import convert
from feedback.dedup import dedup
from feedback.pairs import comparisons_of, make_pairs
from feedback.split import split
from feedback.stage import StageResult
from schemas.datasets import PAIR_CANDIDATE
from schemas.reasons import DropReason
from tests.feedback_tables import event, keys_of, pair

ANN, BOB, CYD = "a" * 32, "b" * 32, "c" * 32
QUICK = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def made(
    events: Iterable[dict[str, Any]] = (),
    pairs: Iterable[dict[str, Any]] = (),
    *,
    mode: str = "all",
    match: str = "normalized",
    policy: str = "majority",
    scores: tuple[float | None, float | None] = (None, None),
) -> tuple[StageResult, pl.DataFrame]:
    """The stage's result, and the rows with labels that it was given."""
    config = ConvertConfig(min_chosen_score=scores[0], max_rejected_score=scores[1])
    with tempfile.TemporaryDirectory() as folder:
        first = convert(keys_of(Path(folder), list(events), list(pairs)), config)
    rows = dedup(first.kept, DedupConfig(match=match)).kept
    rows = resolve_conflicts(rows, ConflictConfig(policy=policy)).kept
    rows = split(rows, SplitConfig(test_fraction=0.3)).kept
    comparisons = comparisons_of(first.kept, first.dropped)
    return make_pairs(rows, comparisons, PairsConfig(mode=mode), match=match, digest_in="d"), rows


def texts_of(result: StageResult, events: Iterable[dict[str, Any]], pairs: Iterable[dict[str, Any]]) -> list[tuple]:
    """Prompt, chosen and rejected text of each pair, and its origin."""
    known = {(one["event_id"], "completion"): (one["prompt"], one["completion"]) for one in events}
    known |= {(one["pair_id"], side): (one["prompt"], one[f"response_{side}"]) for one in pairs for side in "ab"}
    found = []
    for one in result.kept.iter_rows(named=True):
        prompt, chosen = known[one["chosen_text_id"], one["chosen_text_side"]]
        _, rejected = known[one["rejected_text_id"], one["rejected_text_side"]]
        found.append((prompt[0]["content"], chosen[0]["content"], rejected[0]["content"], one["origin"]))
    return sorted(found)


def reasons(result: StageResult) -> dict[str, int]:
    return dict(result.dropped.group_by("drop_reason").len().iter_rows())


def test_a_comparison_is_a_pair_with_its_winner_first() -> None:
    pairs = [pair("p", "good", "bad", "a"), pair("q", "bad", "good", "b")]
    result, rows = made(pairs=pairs)
    assert texts_of(result, [], pairs) == [("p", "good", "bad", "pair"), ("q", "good", "bad", "pair")]
    assert result.kept.schema == pl.Schema(PAIR_CANDIDATE)
    assert sorted(result.kept["row_id"]) == sorted(one["pair_id"] for one in pairs)
    assert dict(result.kept.select("group_id", "split").iter_rows()) == dict(
        rows.select("group_id", "split").iter_rows()
    )
    report = result.report
    assert (report.rows_in, report.rows_created, report.rows_kept, report.dropped) == (2, 0, 2, {})
    assert report.notes == ("2 pairs of answers that were compared side by side.",)


def test_a_pair_names_the_events_of_its_answers_whose_votes_count_no_more() -> None:
    """Ann judged the good answer twice, and her first vote may be whose text is shown."""
    events = [event("hi", "hello", minutes=n, rater_key=ANN, record=f"e{n}") for n in range(3)]
    events += [event("hi", "go away", False, rater_key=BOB, record="bad")]
    for pairs in ([], [pair(minutes=9, rater_key=CYD)]):
        result, rows = made(events, pairs)
        assert rows["other_event_ids"].drop_nulls().to_list() == [sorted(one["event_id"] for one in events[:2])]
        wanted = [*(one["event_id"] for one in events), *(one["pair_id"] for one in pairs)]
        assert result.kept["source_event_ids"].to_list() == [sorted(wanted)]


def test_ties_and_two_bad_answers_are_no_comparison() -> None:
    pairs = [pair("p", outcome="tie"), pair("q", outcome="both_bad"), pair("r", outcome="abstain")]
    result, _ = made(pairs=pairs)
    assert (result.report.rows_in, result.report.rows_kept) == (0, 0)


def test_a_comparison_that_the_majority_overruled_is_broken() -> None:
    """Two of three prefer b, so a is down and b is up: only b over a is a pair, with both judgements behind it."""
    right = [pair("p", "x", "y", "b", rater_key=ANN), pair("p", "x", "y", "b", rater_key=BOB)]
    wrong = pair("p", "x", "y", "a", rater_key=CYD)
    result, _ = made(pairs=[*right, wrong])
    assert texts_of(result, [], [*right, wrong]) == [("p", "y", "x", "pair")]
    assert reasons(result) == {DropReason.BROKEN_PAIR: 1, DropReason.REPEATED_PAIR: 1}
    assert result.kept["source_event_ids"].to_list() == [sorted(one["pair_id"] for one in [*right, wrong])]
    assert result.report.notes[1:] == (
        "1 comparison left out as of the same answers as another one, or nearly so: the pair is there once.",
        "1 comparison left out since an answer was left out by an earlier stage, or carries the other label.",
    )


def test_a_record_that_came_in_twice_counts_once() -> None:
    one = pair("p", "x", "y", rater_key=ANN)
    result, _ = made(pairs=[one, one])
    assert (result.report.rows_in, result.kept.height) == (2, 1)
    assert reasons(result) == {DropReason.DUPLICATE_RECORD: 1}
    assert result.kept["source_event_ids"].to_list() == [[one["pair_id"]]]


def test_an_undecided_contradiction_leaves_no_pair() -> None:
    pairs = [pair("p", "x", "y", "a", rater_key=ANN), pair("p", "x", "y", "b", rater_key=BOB)]
    assert reasons(made(pairs=pairs)[0]) == {DropReason.BROKEN_PAIR: 2}
    kept_both, _ = made(pairs=pairs, policy="keep_both")
    assert texts_of(kept_both, [], pairs) == [("p", "x", "y", "pair"), ("p", "y", "x", "pair")]


def test_an_answer_that_scored_too_low_is_not_chosen() -> None:
    """Also where another comparison shows the same answer with a better score."""
    low = pair("p", "x", "y", "a", score_a=2.0, score_b=1.0)
    high = pair("p", "x", "z", "a", score_a=8.0, score_b=1.0)
    result, _ = made(pairs=[low, high], scores=(5.0, None))
    assert texts_of(result, [], [low, high]) == [("p", "x", "z", "pair")]
    assert reasons(result) == {DropReason.BROKEN_PAIR: 1}


@pytest.mark.parametrize("match", ["normalized", "near"])
def test_a_pair_shows_the_texts_that_its_rows_show(match: str) -> None:
    """Of comparisons of the same answers the one stands whose texts the rows have; the others' ids stay with it."""
    shout, said = pair("p", "YES", "NO"), pair("p", "Yes", "No")
    more = [pair("p", "Yes", "No", record=str(number), rater_key=rater) for number, rater in enumerate((ANN, BOB))]
    result, rows = made(pairs=[shout, said, *more], match=match)
    assert texts_of(result, [], [shout, said, *more]) == [("p", "Yes", "No", "pair")]
    assert set(rows["text_id"]) <= {said["pair_id"], *(one["pair_id"] for one in more)}
    assert len(result.kept["source_event_ids"][0]) == 4
    exact, _ = made(pairs=[shout, said, *more], match="exact")
    assert texts_of(exact, [], [shout, said, *more]) == [("p", "YES", "NO", "pair"), ("p", "Yes", "No", "pair")]


def test_the_texts_of_the_rows_count_for_more_than_the_smallest_id() -> None:
    said = [pair("p", "Yes", "No", record=str(number), rater_key=rater) for number, rater in enumerate((ANN, BOB))]
    least = min(
        (pair("p", "YES", "NO", record=f"shout {number}") for number in range(60)), key=lambda one: one["pair_id"]
    )
    assert least["pair_id"] < min(one["pair_id"] for one in said)
    result, _ = made(pairs=[least, *said], match="normalized")
    assert texts_of(result, [], [least, *said]) == [("p", "Yes", "No", "pair")]


def test_answers_of_one_prompt_pair_off_each_once() -> None:
    """Three up and two down: two pairs; the prompt with ups only gives none."""
    events = [event("p", f"good {n}") for n in range(3)] + [event("p", f"bad {n}", False) for n in range(2)]
    events += [event("q", "good"), event("q", "fine")]
    result, rows = made(events)
    found = texts_of(result, events, [])
    assert [(prompt, chosen[:4], rejected[:3], origin) for prompt, chosen, rejected, origin in found] == [
        ("p", "good", "bad", "thumb"),
        ("p", "good", "bad", "thumb"),
    ]
    assert len({chosen for _, chosen, _, _ in found}) == len({rejected for _, _, rejected, _ in found}) == 2
    assert result.report.rows_created == 2
    assert (result.report.figures["answers"], result.report.figures["paired_answers"]) == (rows.height, 4)
    assert "the raters did not compare them side by side" in result.report.notes[0]
    assert made(events, mode="compared")[0].kept.is_empty()


def test_an_answer_with_both_labels_has_no_sibling() -> None:
    events = [event("p", "x", True, rater_key=ANN), event("p", "x", False, rater_key=BOB), event("p", "y", False)]
    assert made(events, policy="keep_both")[0].kept.is_empty()


def test_an_answer_in_a_comparison_needs_no_sibling() -> None:
    """The compared ones stay with each other; the third, down by a thumb, finds the fourth."""
    pairs, events = [pair("p", "x", "y")], [event("p", "z", False), event("p", "w", True)]
    result, _ = made(events, pairs)
    assert texts_of(result, events, pairs) == [("p", "w", "z", "thumb"), ("p", "x", "y", "pair")]


def test_a_pair_weighs_as_its_less_certain_answer() -> None:
    """Under `soft`, two ups and a down: (1 + 2) / (2 + 3) = 0.6, so the row up weighs |2 x 0.6 - 1| = 0.2."""
    events = [event("p", "x", label, rater_key=rater) for label, rater in ((True, ANN), (True, BOB), (False, CYD))]
    result, _ = made([*events, event("p", "y", False, rater_key=ANN)], policy="soft")
    assert result.kept["weight"].to_list() == pytest.approx([0.2])


def test_a_pair_rests_on_a_rater_who_is_behind_both_answers() -> None:
    events = [event("p", "x", True, rater_key=ANN), event("p", "y", False, rater_key=ANN)]
    events += [event("q", "x", True, rater_key=ANN), event("q", "y", False, rater_key=BOB)]
    result, rows = made(events, [pair("r", "x", "y", rater_key=CYD), pair("s", "x", "y")])
    ann = rows.filter(pl.col("rater_key").is_not_null())["rater_key"].unique()
    by_origin = dict(result.kept.group_by("origin").agg(pl.col("rater_key").drop_nulls().n_unique()).iter_rows())
    assert (len(ann), by_origin) == (3, {"thumb": 1, "pair": 1})
    assert result.kept["rater_key"].null_count() == 2


EVENTS = st.lists(
    st.builds(
        event,
        prompt=st.sampled_from(["p", "P", "q"]),
        completion=st.sampled_from(["c", "C", "d", "e"]),
        label=st.sampled_from([True, False, None]),
        record=st.integers(0, 30).map(str),
        rater_key=st.sampled_from([None, ANN, BOB]),
    ),
    max_size=20,
)
PAIRS = st.lists(
    st.builds(
        pair,
        prompt=st.sampled_from(["p", "q", "Q"]),
        a=st.sampled_from(["c", "d"]),
        b=st.sampled_from(["C", "e", "f"]),
        outcome=st.sampled_from(["a", "b", "tie", "both_bad"]),
        rater_key=st.sampled_from([None, ANN, BOB]),
    ),
    max_size=15,
)


@given(events=EVENTS, pairs=PAIRS, order=st.randoms(use_true_random=False))
@QUICK
def test_pairs_are_what_the_labels_say_whatever_the_order(events, pairs, order) -> None:
    """Against a slow oracle: comparisons whose answers kept their labels, then what is left of each prompt, in turn."""
    result, rows = made(events, pairs)
    texts = {one["event_id"]: (one["prompt"], one["completion"]) for one in events}
    texts |= {(one["pair_id"], side): (one["prompt"], one[f"response_{side}"]) for one in pairs for side in "ab"}

    def plain(row: dict[str, Any]) -> tuple[str, str]:
        prompt, answer = texts.get((row["text_id"], row["text_side"])) or texts[row["text_id"]]
        return prompt[0]["content"].casefold(), answer[0]["content"].casefold()

    label_of = {plain(row): row["label"] for row in rows.iter_rows(named=True)}
    compared = set()
    for one in pairs:
        sides = {"a": "ab", "b": "ba"}.get(one["outcome"], "")
        if sides:
            prompt = one["prompt"][0]["content"].casefold()
            compared.add((prompt, *(one[f"response_{side}"][0]["content"].casefold() for side in sides)))
    wanted = {(p, up, down) for p, up, down in compared if label_of.get((p, up)) and label_of.get((p, down)) is False}
    taken = {(p, text) for p, up, down in wanted for text in (up, down)}
    alone = [row for row in rows.iter_rows(named=True) if plain(row) not in taken]
    for prompt in {plain(row)[0] for row in alone}:
        ups, downs = (
            [row for row in alone if plain(row)[0] == prompt and row["label"] is is_up] for is_up in (True, False)
        )
        ranked = [sorted(side, key=lambda row: row["row_id"]) for side in (ups, downs)]
        wanted |= {(prompt, plain(up)[1], plain(down)[1]) for up, down in zip_longest(*ranked) if up and down}
    found = [tuple(text.casefold() for text in one[:3]) for one in texts_of(result, events, pairs)]
    assert sorted(found) == sorted(wanted)
    report = result.report
    assert report.rows_in + report.rows_created == result.kept.height + result.dropped.height
    assert report.rows_in == sum(one["outcome"] in ("a", "b") for one in pairs)
    assert result.kept["row_key"].is_sorted()
    order.shuffle(events)
    again, _ = made(events, pairs[::-1])
    assert again.kept.equals(result.kept)
    assert again.dropped.equals(result.dropped)
    assert again.report == report
