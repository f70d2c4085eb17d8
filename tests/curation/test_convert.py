"""The stage `convert`: from events and pairs to labelled rows without text."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import polars as pl
import pytest

from feedback.config import ConvertConfig
from feedback.convert import Keys, convert, find_revisions
from feedback.hashing import answer_id, hex_key, messages_hash, side_ids
from feedback.stage import CANDIDATE_TYPES, StageResult, merge_reports
from tests.feedback_tables import (
    at,
    event,
    key,
    keys_of,
    keys_of_events,
    pair,
    reasons,
    turns,
    write_keys,
)


def converted(folder: Path, events: list[dict] = [], pairs: list[dict] = [], **config: object) -> StageResult:  # noqa: B006
    return convert(keys_of(folder, events, pairs), ConvertConfig(**config))


def test_an_event_gives_one_row_with_keys_and_one_vote(tmp_path: Path) -> None:
    said = event("Hi  THERE", "Hello", False, rater_key="1b" * 16, minutes=3, model_id="m1")
    result = converted(tmp_path, [said])
    (row,) = result.kept.to_dicts()
    assert result.kept.schema == CANDIDATE_TYPES
    assert (row["row_id"], row["row_key"]) == (said["event_id"], hex_key(said["event_id"]))
    assert row["prompt_hash"] == hex_key(messages_hash(turns("user", "Hi  THERE")))
    assert row["prompt_key"] == row["group_id"] == keys_of_events([event("hi there")])["prompt_key"].item()
    assert row["prompt_hash"] != row["prompt_key"]
    assert row["cluster_id"] == answer_id(*(result.kept[f"{side}_key"].to_numpy() for side in ("prompt", "completion")))
    assert (row["prompt_chars"], row["completion_chars"], row["label"]) == (9, 5, False)
    vote = {"event_id": said["event_id"], "rater_key": 0x1B1B1B1B1B1B1B1B, "event_ts": at(3), "label": False}
    assert (row["votes"], row["origin"], row["split"], row["weight"]) == ([vote], "thumb", None, 1.0)
    assert (row["rater_key"], row["capped_rater"], row["model_id"]) == (0x1B1B1B1B1B1B1B1B, None, "m1")


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


@pytest.mark.parametrize("minutes", [{}, {"minutes": 3}])
@pytest.mark.parametrize("record", "1234")
def test_at_one_time_a_retraction_is_behind_an_edit_and_an_edit_behind_its_vote(
    tmp_path: Path, minutes: dict[str, int], record: str
) -> None:
    """Whatever their ids, which depend on the record."""
    first = event(record=record, label=True, **minutes)
    edit = event(record=record, label=False, op="update", **minutes)
    gone = event(record=record, label=None, op="retract", **minutes)
    edited = converted(tmp_path, [edit, first])
    assert (edited.kept["text_id"].to_list(), edited.report.notes) == ([edit["event_id"]], ())
    taken_back = converted(tmp_path, [gone, edit, first])
    assert (taken_back.kept.height, taken_back.report.notes) == (0, ())
    assert reasons(taken_back.dropped)[gone["event_id"]] == "retracted"


def test_one_revision_without_a_time_leaves_the_order_unknown(tmp_path: Path) -> None:
    both = [event(record="7", label=True, minutes=1), event(record="7", label=False)]
    result = converted(tmp_path, both)
    assert result.kept["text_id"].to_list() == [both[0]["event_id"]]
    assert "1 record id with different contents" in result.report.notes[0]


def test_the_same_record_twice_is_left_to_dedup(tmp_path: Path) -> None:
    assert converted(tmp_path, [event(), event()]).kept.height == 2


def test_a_won_pair_gives_a_desirable_and_an_undesirable_row(tmp_path: Path) -> None:
    duel = pair(outcome="b", model_a="old", model_b="new", rater_key="1b" * 16)
    result = converted(tmp_path, pairs=[duel])
    by_side = {row["text_side"]: row for row in result.kept.to_dicts()}
    assert (by_side["a"]["label"], by_side["b"]["label"]) == (False, True)
    assert (by_side["a"]["model_id"], by_side["b"]["model_id"]) == ("old", "new")
    assert by_side["a"]["completion_hash"] == hex_key(duel["response_a_hash"])
    assert by_side["a"]["row_id"] == side_ids(pl.Series([duel["pair_id"]]), "a").item()
    assert by_side["a"]["row_id"] != by_side["b"]["row_id"]
    assert {row["text_id"] for row in by_side.values()} == {duel["pair_id"]}
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
    assert report.figures == {"events": 2, "pairs": 2, "won_pairs": 1, "bad_pairs": 1, "unordered_records": 0}
    assert report.notes == (
        "A desirable and an undesirable row from each of 1 pair won.",
        "Two undesirable rows from each of 1 pair with two bad answers.",
    )


def test_no_input_gives_no_rows(tmp_path: Path) -> None:
    result = converted(tmp_path)
    assert (result.kept.schema, result.report.rows_in) == (CANDIDATE_TYPES, 0)
    assert result.dropped.schema["drop_reason"] == pl.String


def test_a_revision_is_found_in_whatever_file_it_is(tmp_path: Path) -> None:
    """The record read twice is no revision; of two that differ, the later one is the latest wherever it lies."""
    first, second = event(record="7", minutes=1), event(record="7", label=False, minutes=2)
    others = [event("x", record="8"), event("x", record="8")]
    whole = find_revisions(write_keys(tmp_path, keys_of_events([first, second, *others])))
    assert whole["latest_id"].to_list() == [second["event_id"]]
    assert whole["is_order_known"].to_list() == [True]
    for number, parts in enumerate(([[first], [second, *others]], [[others[0], second], [first, others[1]]])):
        files = [
            path
            for place, rows in enumerate(parts)
            for path in write_keys(tmp_path, keys_of_events(rows), f"part-{number}-{place}.parquet")
        ]
        assert find_revisions(files).equals(whole)
    assert find_revisions(write_keys(tmp_path, keys_of_events(others), "copies.parquet")).is_empty()


def test_an_event_and_a_pair_with_one_record_id_are_no_revisions_of_each_other(tmp_path: Path) -> None:
    events = [event(record="7", minutes=1), event(record="7", label=False, minutes=2)]
    pairs = [pair(record="7", source="log", minutes=3), pair("other", record="7", source="log", minutes=4)]
    result = converted(tmp_path, events, pairs)
    assert reasons(result.dropped) == dict.fromkeys((events[0]["event_id"], pairs[0]["pair_id"]), "superseded_revision")
    assert (result.report.rows_created, result.kept.height) == (1, 3)


def test_rows_in_parts_are_those_of_the_whole(tmp_path: Path) -> None:
    """Each prompt in a part of its own; a revision that moved to another prompt is superseded there all the same."""
    events = [event("p", record="7", minutes=1), event("q", record="7", minutes=2), event("q", label=None)]
    events += [event("p", record="9"), event("q", record="9")]
    pairs = [pair(prompt, b=f"no {n}") for prompt in "pq" for n in range(3)]
    whole = keys_of(tmp_path, events, pairs)
    config = ConvertConfig(max_pairs_per_prompt=2)
    one = convert(whole, config)
    parts = []
    for prompt in "pq":
        part_events, part_pairs = (
            keys.filter(pl.col("prompt_key") == keys_of_events([event(prompt)])["prompt_key"].item())
            for keys in (whole.events, whole.pairs)
        )
        parts.append(convert(Keys(events=part_events, pairs=part_pairs, revisions=whole.revisions), config))
    assert pl.concat([part.kept for part in parts]).sort("row_key").equals(one.kept)
    assert pl.concat([part.dropped for part in parts]).sort("row_key").equals(one.dropped)
    merged = merge_reports([part.report for part in parts], notes=one.report.notes)
    assert merged.figures == one.report.figures
    assert (merged.rows_in, merged.rows_created, merged.dropped) == (
        one.report.rows_in,
        one.report.rows_created,
        one.report.dropped,
    )
    assert one.report.figures["unordered_records"] == 1


def test_near_duplicates_get_the_group_and_the_cluster_that_were_found(tmp_path: Path) -> None:
    """Groups are of prompts and clusters of answers; what is in none is its own."""
    keys = keys_of(tmp_path, [event("p", "a"), event("q", "a"), event("r", "a")], [pair("p", "a", "b")])
    by_prompt = dict(zip("pqr", keys.events["prompt_key"], strict=True))
    groups = pl.DataFrame({"prompt_key": [by_prompt["p"], by_prompt["q"]], "group_id": [by_prompt["q"]] * 2})
    clusters = keys.events.select("prompt_key", "completion_key").head(2)
    clusters = clusters.with_columns(cluster_id=pl.lit(key("cluster"), dtype=pl.UInt64))
    groups = groups.cast(pl.UInt64)
    found = convert(Keys(events=keys.events, pairs=keys.pairs, groups=groups, clusters=clusters), ConvertConfig()).kept
    assert found.schema == CANDIDATE_TYPES
    of_prompt = dict(found.select("prompt_key", "group_id").iter_rows())
    assert of_prompt == {by_prompt["p"]: by_prompt["q"], by_prompt["q"]: by_prompt["q"], by_prompt["r"]: by_prompt["r"]}
    in_cluster = found.filter(cluster_id=key("cluster"))
    assert sorted(in_cluster["origin"]) == ["pair", "thumb", "thumb"]
    alone = found.filter(pl.col("cluster_id") != key("cluster"))
    own = answer_id(alone["prompt_key"].to_numpy(), alone["completion_key"].to_numpy())
    assert alone["cluster_id"].to_list() == own.tolist()
