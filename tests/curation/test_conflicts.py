"""The stage `conflicts`: answers that carry both labels."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feedback.config import ConflictConfig
from feedback.conflicts import resolve_conflicts
from feedback.conflicts.notes import conflict_notes
from feedback.stage import StageResult, merge_reports
from schemas.errors import ConfigError
from tests.feedback_tables import at, candidate, key, reasons, table


def answer(label: bool, raters: dict[str, int | None] | int, **more: object) -> dict:
    """A row with a vote of each rater at a time, or with a number of votes whose raters are unknown."""
    known = dict.fromkeys(f"?{n}" for n in range(raters)) if isinstance(raters, int) else raters
    votes = [
        {
            "event_id": f"{name}-{label}",
            "rater_key": None if name.startswith("?") else key("rater", name),
            "event_ts": at(minutes),
            "label": label,
        }
        for name, minutes in known.items()
    ]
    return candidate(label=label, text_id="up" if label else "down", votes=votes, **more)


def near(*rows: dict) -> list[dict]:
    """The rows as one cluster of near-duplicate answers."""
    return [row | {"cluster_id": 7} for row in rows]


def judged_pairs(*judged: str, rater: str | None = None) -> list[dict]:
    """Rows as `dedup` leaves them of pairs like `a>b`, one event each: one row for each answer and label."""
    votes: dict[tuple[str, bool], list[dict]] = {}
    for number, text in enumerate(judged):
        for name, label in ((text[0], True), (text[2], False)):
            vote = {"event_id": f"{text}#{number}", "rater_key": rater, "event_ts": None, "label": label}
            votes.setdefault((name, label), []).append(vote)
    return [
        candidate(completion=name, label=label, text_id=f"{name} {'up' if label else 'down'}", votes=given)
        for (name, label), given in votes.items()
    ]


def resolved(*rows: dict, **config: object) -> StageResult:
    return resolve_conflicts(table(*rows), ConflictConfig(**config))


def test_answers_with_one_label_are_left_alone() -> None:
    rows = table(candidate("a"), candidate("b", label=False), candidate("b", "other"))
    result = resolve_conflicts(rows, ConflictConfig())
    assert result.kept.sort("row_id").equals(rows.sort("row_id"))
    assert (result.report.notes, result.report.figures["contested_answers"]) == ((), 0)


def test_the_latest_vote_of_one_rater_wins() -> None:
    result = resolved(answer(True, {"ann": 1}), answer(False, {"ann": 2}))
    assert reasons(result.dropped) == {"up": "superseded_vote"}
    assert [vote["event_id"] for vote in result.kept["votes"][0]] == ["ann-False"]
    assert result.report.notes == ("1 answer with both labels: 1 settled by the rater's own later vote.",)


@pytest.mark.parametrize("times", [(None, None), (1, None), (3, 3)])
def test_a_change_of_mind_without_known_order_is_not_guessed(times: tuple[int | None, int | None]) -> None:
    result = resolved(answer(True, {"ann": times[0]}), answer(False, {"ann": times[1]}), min_raters=1)
    assert reasons(result.dropped) == {"up": "contested", "down": "contested"}
    assert result.report.figures["changed_minds"] == 0


def test_a_majority_of_raters_outvotes_the_others() -> None:
    result = resolved(answer(True, {"ann": 1}), answer(False, {"bob": 1, "cyd": 1}))
    assert reasons(result.dropped) == {"up": "outvoted"}
    assert [vote["label"] for vote in result.kept["votes"][0]] == [True, False, False]
    assert result.report.figures == {
        "contested_answers": 1,
        "near_duplicates": 0,
        "changed_minds": 0,
        "ended": {"outvoted": 1},
        "cycles": {},
    }


def test_a_change_of_mind_is_settled_before_the_majority() -> None:
    """Ann's later vote makes it 2 to 1 for down; without it the votes would be 2 to 2."""
    result = resolved(answer(True, {"ann": 1, "bob": 1}), answer(False, {"ann": 5, "cyd": 1}))
    assert reasons(result.dropped) == {"up": "outvoted"}


def test_raters_count_and_not_their_votes() -> None:
    """Ann voted up three times and counts once."""
    up = answer(True, {"ann": 1})
    up["votes"] = [{**up["votes"][0], "event_id": f"ann{n}"} for n in range(3)]
    assert reasons(resolved(up, answer(False, {"bob": 1, "cyd": 1})).dropped) == {"up": "outvoted"}


def test_unknown_raters_count_each() -> None:
    assert reasons(resolved(answer(True, 1), answer(False, 2)).dropped) == {"up": "outvoted"}


def test_a_tie_is_contested_on_both_sides() -> None:
    result = resolved(answer(True, 2), answer(False, 2))
    assert reasons(result.dropped) == {"up": "contested", "down": "contested"}
    assert "1 left out with both labels because the votes do not decide" in result.report.notes[0]
    assert [len(votes) for votes in result.dropped["votes"]] == [2, 2]


def test_a_tie_is_contested_even_outside_the_band() -> None:
    assert resolved(answer(True, 2), answer(False, 2), band_low=0.0, band_high=0.1).kept.height == 0


def test_a_share_within_the_soft_band_is_contested() -> None:
    """3 of 5 up is 0.6: inside [0.4, 0.6], outside [0.45, 0.55]."""
    rows = answer(True, 3), answer(False, 2)
    assert set(reasons(resolved(*rows, band_low=0.4, band_high=0.6).dropped).values()) == {"contested"}
    assert reasons(resolved(*rows, band_low=0.45, band_high=0.55).dropped) == {"down": "outvoted"}


def test_a_majority_needs_its_number_of_raters() -> None:
    rows = answer(True, 2), answer(False, 1)
    assert reasons(resolved(*rows, min_raters=4).dropped) == {"up": "too_few_raters", "down": "too_few_raters"}
    assert reasons(resolved(*rows, min_raters=3).dropped) == {"down": "outvoted"}


def test_the_policy_drop_leaves_out_both_labels() -> None:
    result = resolved(answer(True, 9), answer(False, 1), policy="drop")
    assert reasons(result.dropped) == {"up": "contested", "down": "contested"}


def test_the_policy_keep_both_still_settles_a_change_of_mind() -> None:
    both = resolved(answer(True, 2), answer(False, 1), policy="keep_both")
    assert (both.kept.height, both.report.figures["ended"]) == (2, {"kept_both": 1})
    assert resolved(answer(True, {"a": 1}), answer(False, {"a": 2}), policy="keep_both").kept.height == 1


def test_the_policy_off_looks_at_nothing() -> None:
    result = resolved(answer(True, {"a": 1}), answer(False, {"a": 2}), policy="off")
    assert (result.kept.height, result.report.notes) == (2, ())


def test_answers_are_compared_after_normalisation() -> None:
    result = resolved(answer(True, 1, completion="Yes"), answer(False, 2, completion="yes"))
    assert reasons(result.dropped) == {"up": "outvoted"}


def test_one_pair_whose_answers_are_alike_decides_nothing() -> None:
    """The pair says up and down of one answer at one time."""
    rows = answer(True, {"ann": 1}), answer(False, {"ann": 1})
    for row in rows:
        row["votes"][0]["event_id"] = "pair"
    assert resolved(*rows, min_raters=1).report.dropped == {"contested": 2}


def test_the_share_of_up_starts_from_its_prior() -> None:
    """2 up and 1 down: (1 + 2) / (2 + 3) = 0.6 is outside [0.4, 0.59], (9 + 2) / (18 + 3) = 0.52 is inside."""
    rows = answer(True, 2), answer(False, 1)
    assert reasons(resolved(*rows, band_low=0.4, band_high=0.59).dropped) == {"down": "outvoted"}
    doubted = resolved(*rows, band_low=0.4, band_high=0.59, prior_up=9.0, prior_down=9.0)
    assert reasons(doubted.dropped) == {"up": "contested", "down": "contested"}
    note = "A share of up within [0.4, 0.59] is contested and left out; the share starts from 9 up and 9 down."
    assert doubted.report.notes[1] == note


def test_a_prior_for_one_label_decides_a_tie() -> None:
    rows = answer(True, 2), answer(False, 2)
    assert reasons(resolved(*rows, prior_up=2.0).dropped) == {"down": "outvoted"}


def test_the_votes_of_a_rater_may_count_more_than_once() -> None:
    """Ann's three ups count twice: 2 to 2, and once more 3 to 2."""
    up = answer(True, {"ann": 1})
    up["votes"] = [{**up["votes"][0], "event_id": f"ann{n}"} for n in range(3)]
    down = answer(False, {"bob": 1, "cyd": 1})
    assert set(reasons(resolved(up, down, votes_per_rater=2).dropped).values()) == {"contested"}
    result = resolved(up, down, votes_per_rater=3)
    assert reasons(result.dropped) == {"down": "outvoted"}
    assert result.report.notes[1] == "A rater counts up to 3 times for a label."


def test_the_policy_soft_keeps_the_winner_with_a_weight_that_falls_with_the_doubt() -> None:
    """3 up, 1 down: p = 4/6, weight |2p - 1| = 1/3; times the weight that the row had."""
    rows = answer(True, 3, weight=0.6), answer(False, 1)
    result = resolved(*rows, policy="soft")
    assert reasons(result.dropped) == {"down": "outvoted"}
    assert result.kept["weight"].to_list() == [pytest.approx(0.2)]
    assert result.report.figures["ended"] == {"softened": 1}


def test_within_a_narrower_band_the_weight_rises_to_one_at_its_edge() -> None:
    """p = 4/6 is 1/6 from a half: of [0.25, 0.75] that is 2/3 of the way, and outside [0.4, 0.6] the weight is 1."""
    rows = answer(True, 3), answer(False, 1)
    soft = resolved(*rows, policy="soft", band_low=0.25, band_high=0.75)
    assert soft.kept["weight"].to_list() == [pytest.approx(2 / 3)]
    outside = resolved(*rows, policy="soft", band_low=0.4, band_high=0.6)
    assert (outside.kept["weight"].to_list(), outside.report.figures["ended"]) == ([1.0], {"outvoted": 1})


def test_under_the_policy_soft_a_tie_has_no_weight_left_and_goes() -> None:
    assert set(reasons(resolved(answer(True, 2), answer(False, 2), policy="soft").dropped).values()) == {"contested"}


def test_a_soft_band_beside_the_tie_is_refused() -> None:
    with pytest.raises(ConfigError, match="does not reach to both sides"):
        ConflictConfig(policy="soft", band_low=0.6)


def test_near_duplicates_with_different_labels_are_one_answer() -> None:
    """Two raters for the one text, one against the other: decided together, and told apart in the figures."""
    up, down = answer(True, {"ann": 1}, completion="yes"), answer(False, {"bob": 1, "cyd": 1}, completion="yes!")
    result = resolved(*near(up, down))
    assert reasons(result.dropped) == {"up": "outvoted"}
    assert result.report.figures["near_duplicates"] == 1
    assert result.report.notes[1].startswith("1 of them in near-duplicate texts only: the texts stay apart")


def test_votes_of_a_near_duplicate_stay_with_it() -> None:
    rows = near(answer(True, 1, completion="yes"), answer(False, 2, completion="yes!"))
    result = resolved(*rows, policy="keep_both")
    assert {row["text_id"]: len(row["votes"]) for row in result.kept.to_dicts()} == {"up": 1, "down": 2}


def test_votes_of_a_text_that_do_not_stand_stay_behind_its_row() -> None:
    """Ann gave the text and took her vote back; of a near-duplicate nothing is behind the row."""
    up = answer(True, {"ann": 1, "bob": 1, "cyd": 1, "eve": 1}) | {"other_event_ids": ["bob-before"]}
    down = answer(False, {"ann": 2}) | {"other_event_ids": ["cyd-before"]}
    far = answer(False, {"dee": 1}, completion="yes!") | {"text_id": "far"}
    result = resolved(*near(up, down, far))
    assert reasons(result.dropped) == {"down": "outvoted", "far": "outvoted"}
    assert [vote["event_id"] for vote in result.kept["votes"][0]] == ["ann-False", "bob-True", "cyd-True", "eve-True"]
    assert result.kept["other_event_ids"].to_list() == [["ann-True", "bob-before", "cyd-before"]]
    assert result.dropped.sort("text_id")["other_event_ids"].to_list() == [["cyd-before"], None]


def test_the_text_of_a_pair_that_is_left_out_stays_behind_its_row() -> None:
    rows = [*judged_pairs("a>b", "a>b", "b>c", "b>c", "c>a")]
    thumb = {"event_id": "thumb", "rater_key": None, "event_ts": None, "label": False}
    for row in rows:
        if row["text_id"] == "a down":
            row["votes"].append(thumb)
    kept = resolved(*rows, cycles="drop", policy="keep_both").kept
    assert kept.filter(pl.col("text_id") == "a down")["other_event_ids"].to_list() == [["c>a#4"]]


def test_a_text_with_both_labels_is_no_near_contradiction() -> None:
    rows = near(answer(True, 1), answer(False, 2), candidate(completion="hello!"))
    assert resolved(*rows).report.figures["near_duplicates"] == 0


def test_a_rater_changes_their_mind_about_near_duplicates_too() -> None:
    """Ann's later down on the second text takes back her up on the first, which nobody else gave."""
    first = answer(True, {"ann": 1}, completion="yes")
    second, third = answer(False, {"ann": 2}, completion="yes!"), answer(True, {"bob": 1}, completion="yes!")
    result = resolved(*near(first, second, third | {"text_id": "bob"}), policy="keep_both")
    assert reasons(result.dropped) == {"up": "superseded_vote"}
    assert result.report.figures["changed_minds"] == 1


def test_circles_among_pairs_are_reported() -> None:
    result = resolved(*judged_pairs("a>b", "b>c", "c>a"), policy="keep_both")
    assert result.kept.height == 6
    assert result.report.figures["cycles"] == {
        "found": 1,
        "prompts": 1,
        "answers": 3,
        "judgements": 3,
        "reversals": 1,
        "approximate": 0,
        "pairs_left_out": 0,
    }
    assert result.report.notes[1] == (
        "1 circle of preferences, in 1 prompt and over 3 answers: at least 1 of 3 judgements must be turned round to "
        "leave an order."
    )


def test_pairs_against_the_fewest_reversals_can_be_left_out() -> None:
    """c>a is the one arrow to turn round: a is then only good and c only bad; b is still both, 2 to 2."""
    rows = judged_pairs("a>b", "a>b", "b>c", "b>c", "c>a")
    result = resolved(*rows, cycles="drop")
    dropped = reasons(result.dropped)
    assert dropped == {
        "a down": "preference_cycle",
        "c up": "preference_cycle",
        "b up": "contested",
        "b down": "contested",
    }
    assert set(result.kept["text_id"]) == {"a up", "c down"}
    assert result.report.figures["ended"] == {"contested": 1, "preference_cycle": 2}
    assert result.report.notes[2] == "1 pair that some such order turns round left out."


def test_a_row_left_by_a_dropped_pair_keeps_its_other_votes() -> None:
    rows = [*judged_pairs("a>b", "a>b", "b>c", "b>c", "c>a")]
    thumb = {"event_id": "thumb", "rater_key": None, "event_ts": None, "label": False}
    for row in rows:
        if row["text_id"] == "a down":
            row["votes"].append(thumb)
    kept = resolved(*rows, cycles="drop", policy="keep_both").kept
    votes = kept.filter(pl.col("text_id") == "a down")["votes"][0]
    assert [vote["event_id"] for vote in votes] == ["a>b#0", "a>b#1", "thumb"]


def test_of_equally_good_orders_none_is_chosen() -> None:
    result = resolved(*judged_pairs("a>b", "b>c", "c>a"), cycles="drop")
    assert result.report.dropped == {"preference_cycle": 6}
    assert result.report.figures["ended"] == {"preference_cycle": 3}


def test_circles_are_not_looked_for_when_off() -> None:
    result = resolved(*judged_pairs("a>b", "b>c", "c>a"), policy="keep_both", cycles="off")
    assert result.report.figures["cycles"] == {}


ROWS = st.lists(
    st.builds(
        lambda text, label, voters, cluster: (
            answer(label, voters, completion=text) | {"cluster_id": cluster, "text_id": f"{text} {label} {cluster}"}
        ),
        text=st.sampled_from("abcd"),
        label=st.booleans(),
        voters=st.dictionaries(
            st.sampled_from(["ann", "bob", "cyd", "?1", "?2"]), st.sampled_from([1, 2, 3]), min_size=1
        ),
        cluster=st.sampled_from([1, 2]),
    ),
    max_size=16,
)
CONFIGS = st.builds(
    ConflictConfig,
    policy=st.sampled_from(["majority", "soft", "drop", "keep_both", "off"]),
    min_raters=st.integers(1, 3),
    votes_per_rater=st.integers(1, 2),
    cycles=st.sampled_from(["report", "drop", "off"]),
)
JUDGED = st.lists(st.sampled_from([f"{a}>{b}" for a in "abcde" for b in "abcde" if a != b]), max_size=20)


@given(rows=ROWS, judged=JUDGED, config=CONFIGS, order=st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_nothing_vanishes_whatever_the_order_and_twice_is_once(rows, judged, config, order) -> None:
    """The row law, order independence and idempotence, over thumbs, near-duplicates and pairs."""
    rows = list({row["row_id"]: row for row in rows}.values())
    frame = table(*[row | {"prompt_key": row["cluster_id"]} for row in rows], *judged_pairs(*judged))
    frame = frame.unique("row_id").sort("row_key")
    result = resolve_conflicts(frame, config)
    assert sorted([*result.kept["row_id"], *result.dropped["row_id"]]) == frame["row_id"].sort().to_list()
    assert (result.kept["weight"] > 0).all()
    assert (result.kept["votes"].list.len() > 0).all()
    shuffled = frame.sample(fraction=1.0, shuffle=True, seed=order.randrange(2**31))
    again = resolve_conflicts(shuffled, config)
    assert again.kept.equals(result.kept)
    assert again.dropped.equals(result.dropped)
    assert again.report == result.report
    twice = resolve_conflicts(result.kept, config)
    assert twice.kept.equals(result.kept)
    assert not twice.report.dropped


@given(rows=ROWS, judged=JUDGED, config=CONFIGS)
@settings(max_examples=30, deadline=None)
def test_parts_of_the_rows_give_the_same_as_the_whole(rows, judged, config) -> None:
    """Notes made of summed figures are those of one run."""
    rows = list({row["row_id"]: row for row in rows}.values())
    thumbs, pairs = table(*[row | {"prompt_key": row["cluster_id"]} for row in rows]), table(*judged_pairs(*judged))
    whole = resolve_conflicts(pl.concat([thumbs, pairs]), config)
    parts = [resolve_conflicts(part.sort("row_key"), config) for part in (thumbs, pairs)]
    assert pl.concat([part.kept for part in parts]).sort("row_key").equals(whole.kept)
    merged = merge_reports([part.report for part in parts])
    assert merged.figures == whole.report.figures
    assert merged.dropped == whole.report.dropped
    assert tuple(conflict_notes(merged.figures, config)) == whole.report.notes


def test_a_band_upside_down_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"band_low is greater than band_high: got \(0.6, 0.4\)"):
        ConflictConfig(band_low=0.6, band_high=0.4)
