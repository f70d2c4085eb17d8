"""The stage `conflicts`: answers that carry both labels."""

from __future__ import annotations

import pytest

from feedback.config import ConflictConfig
from feedback.conflicts import resolve_conflicts
from feedback.stage import StageResult
from schemas.errors import ConfigError
from tests.feedback_tables import at, candidate, reasons, table


def answer(label: bool, raters: dict[str, int | None] | int, **more: object) -> dict:
    """A row with a vote of each rater at a time, or with a number of votes whose raters are unknown."""
    known = dict.fromkeys(f"?{n}" for n in range(raters)) if isinstance(raters, int) else raters
    votes = [
        {
            "event_id": f"{name}-{label}",
            "rater_key": None if name.startswith("?") else name,
            "event_ts": at(minutes),
            "label": label,
        }
        for name, minutes in known.items()
    ]
    return candidate(label=label, text_id="up" if label else "down", votes=votes, **more)


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


def test_a_majority_of_raters_outvotes_the_others() -> None:
    result = resolved(answer(True, {"ann": 1}), answer(False, {"bob": 1, "cyd": 1}))
    assert reasons(result.dropped) == {"up": "outvoted"}
    assert [vote["label"] for vote in result.kept["votes"][0]] == [True, False, False]
    assert result.report.figures == {"contested_answers": 1, "ended": {"outvoted": 1}}


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


def test_a_band_upside_down_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"band_low is greater than band_high: got \(0.6, 0.4\)"):
        ConflictConfig(band_low=0.6, band_high=0.4)
