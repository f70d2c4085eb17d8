"""The stage `convert`: from events and pairs to labelled rows without text."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import polars as pl
import pytest

from feedback.config import ConvertConfig
from feedback.convert import convert
from feedback.hashing import messages_key, stable_id
from feedback.stage import CANDIDATE_TYPES, StageResult
from tests.feedback_tables import at, event, pair, reasons, turns, write_events, write_pairs


def converted(folder: Path, events: list[dict] = [], pairs: list[dict] = [], **config: object) -> StageResult:  # noqa: B006
    event_files = write_events(folder, events) if events else []
    pair_files = write_pairs(folder, pairs) if pairs else []
    return convert(event_files, pair_files, ConvertConfig(**config))


def test_an_event_gives_one_row_with_keys_and_one_vote(tmp_path: Path) -> None:
    said = event("Hi  THERE", "Hello", False, rater_key="r1", minutes=3, model_id="m1")
    result = converted(tmp_path, [said])
    (row,) = result.kept.to_dicts()
    assert result.kept.schema == CANDIDATE_TYPES
    assert row["row_id"] == stable_id(said["event_id"], "completion")
    assert row["prompt_key"] == row["group_id"] == messages_key(turns("user", "hi there"))
    assert row["prompt_hash"] != row["prompt_key"]
    assert (row["prompt_chars"], row["completion_chars"], row["label"]) == (9, 5, False)
    vote = {"event_id": said["event_id"], "rater_key": "r1", "event_ts": at(3), "label": False}
    assert (row["votes"], row["origin"], row["split"], row["weight"]) == ([vote], "thumb", None, 1.0)


def test_a_rating_is_of_origin_score(tmp_path: Path) -> None:
    assert converted(tmp_path, [event(signal="rating")]).kept["origin"].to_list() == ["score"]


def test_neutral_feedback_is_dropped_as_neutral(tmp_path: Path) -> None:
    neutral = event(label=None)
    result = converted(tmp_path, [neutral, event("other")])
    assert reasons(result.dropped) == {neutral["event_id"]: "neutral"}
    assert result.dropped["votes"].to_list() == [[]]
    assert (result.report.labels_in.unlabelled, result.report.labels_in.desirable) == (1, 1)


def test_the_latest_revision_of_a_record_supersedes_the_others(tmp_path: Path) -> None:
    first = event(label=True, record="7", minutes=1)
    second = event(label=False, record="7", minutes=1, updated=9, op="update")
    result = converted(tmp_path, [second, first])
    assert result.kept["text_id"].to_list() == [second["event_id"]]
    assert result.kept["event_ts"].to_list() == [at(9)]
    assert reasons(result.dropped) == {first["event_id"]: "superseded_revision"}
    assert not result.report.notes


def test_a_retraction_drops_the_record_with_all_its_revisions(tmp_path: Path) -> None:
    first = event(record="7", minutes=1)
    gone = event(record="7", minutes=2, op="retract", label=None)
    result = converted(tmp_path, [first, gone])
    assert result.kept.height == 0
    assert reasons(result.dropped) == {first["event_id"]: "superseded_revision", gone["event_id"]: "retracted"}


def test_revisions_without_times_are_settled_by_id_and_said_so(tmp_path: Path) -> None:
    both = [event(record="7", label=True), event(record="7", label=False)]
    result = converted(tmp_path, both)
    assert result.kept["text_id"].to_list() == [max(row["event_id"] for row in both)]
    assert "1 record id with different contents" in result.report.notes[0]


def test_the_same_record_twice_is_left_to_dedup(tmp_path: Path) -> None:
    assert converted(tmp_path, [event(), event()]).kept.height == 2


def test_a_won_pair_gives_a_desirable_and_an_undesirable_row(tmp_path: Path) -> None:
    duel = pair(outcome="b", model_a="old", model_b="new", rater_key="r1")
    result = converted(tmp_path, pairs=[duel])
    by_side = {row["text_side"]: row for row in result.kept.to_dicts()}
    assert (by_side["a"]["label"], by_side["b"]["label"]) == (False, True)
    assert (by_side["a"]["model_id"], by_side["b"]["model_id"]) == ("old", "new")
    assert by_side["a"]["completion_hash"] == duel["response_a_hash"]
    assert by_side["a"]["row_id"] == stable_id(duel["pair_id"], "a")
    assert (result.report.rows_in, result.report.rows_created, result.report.rows_kept) == (1, 1, 2)


def test_two_bad_answers_give_two_undesirable_rows(tmp_path: Path) -> None:
    assert converted(tmp_path, pairs=[pair(outcome="both_bad")]).kept["label"].to_list() == [False, False]


@pytest.mark.parametrize("outcome", ["tie", "abstain"])
def test_a_tie_or_an_abstention_is_dropped_as_tie(tmp_path: Path, outcome: str) -> None:
    result = converted(tmp_path, pairs=[pair(outcome=outcome), pair("other")])
    assert result.report.dropped == {"tie": 1}
    assert result.dropped["label"].to_list() == [None]


def test_a_pair_below_the_margin_is_dropped_and_one_without_margin_is_not(tmp_path: Path) -> None:
    pairs = [pair("p", margin=0.5), pair("q", margin=1.0), pair("r")]
    result = converted(tmp_path, pairs=pairs, min_margin=1.0)
    assert reasons(result.dropped) == {pairs[0]["pair_id"]: "below_margin"}
    assert result.kept.height == 4


def test_score_thresholds_drop_single_answers(tmp_path: Path) -> None:
    """A winner that scored 3 is not good enough; the loser that scored 9 is not bad enough; the others stay."""
    pairs = [pair("p", score_a=3, score_b=1), pair("q", score_a=10, score_b=9)]
    result = converted(tmp_path, pairs=pairs, min_chosen_score=5, max_rejected_score=5)
    assert result.report.dropped == {"score_threshold": 2}
    assert result.kept.sort("label")["text_side"].to_list() == ["b", "a"]


def test_a_prompt_gives_no_more_pairs_than_the_cap_and_a_larger_cap_only_adds(tmp_path: Path) -> None:
    pairs = [pair("p", b=f"no {n}") for n in range(6)] + [pair("q")]
    kept = []
    for cap in (1, 3, 5, 9):
        result = converted(tmp_path, pairs=pairs, max_pairs_per_prompt=cap)
        kept.append(set(result.kept["row_id"]))
        assert result.report.rows_kept == 2 * (min(cap, 6) + 1)
        assert result.report.dropped.get("pair_cap", 0) == max(0, 6 - cap)
    assert kept == sorted(kept, key=len)
    assert all(small <= large for small, large in pairwise(kept))


def test_a_tie_does_not_use_up_the_cap(tmp_path: Path) -> None:
    pairs = [pair("p", b=f"no {n}", outcome="tie") for n in range(6)] + [pair("p")]
    assert converted(tmp_path, pairs=pairs, max_pairs_per_prompt=1).kept.height == 2


def test_events_and_pairs_are_counted_together(tmp_path: Path) -> None:
    report = converted(tmp_path, [event(), event("x", label=False)], [pair(), pair("y", outcome="both_bad")]).report
    assert (report.rows_in, report.rows_created, report.rows_kept) == (4, 2, 6)
    assert (report.labels_kept.desirable, report.labels_kept.undesirable) == (2, 4)
    assert report.figures == {"events": 2, "pairs": 2}
    assert report.notes == (
        "A desirable and an undesirable row from each of 1 pair with a winner.",
        "Two undesirable rows from each of 1 pair with two bad answers.",
    )


def test_no_input_gives_no_rows(tmp_path: Path) -> None:
    result = converted(tmp_path)
    assert (result.kept.schema, result.report.rows_in) == (CANDIDATE_TYPES, 0)
    assert result.dropped.schema["drop_reason"] == pl.String


def test_progress_hears_of_every_row(tmp_path: Path) -> None:
    from contextlib import contextmanager

    seen: list[int] = []

    @contextmanager
    def count(description: str, total: int | None = None):
        seen.append(-(total or 0))
        yield seen.append

    files = write_events(tmp_path, [event(), event("x"), event("y")])
    convert(files, [], ConvertConfig(), progress=count)
    assert sum(seen) == 0
    assert len(seen) > 1
