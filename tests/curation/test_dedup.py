"""The stage `dedup`: one row for each prompt, completion and label."""

from __future__ import annotations

import polars as pl

from feedback.config import DedupConfig
from feedback.dedup import dedup
from feedback.stage import StageResult
from tests.feedback_tables import candidate, key, reasons, table


def deduped(*rows: dict, **config: str) -> StageResult:
    return dedup(table(*rows), DedupConfig(**config))


def vote_ids(result: StageResult, row: int = 0) -> list[str]:
    return [vote["event_id"] for vote in result.kept["votes"][row]]


def test_the_same_record_twice_counts_once() -> None:
    for match in ("off", "exact", "normalized"):
        result = deduped(candidate(text_id="e1"), candidate(text_id="e1"), match=match)
        assert result.report.dropped == {"duplicate_record": 1}
        assert vote_ids(result) == ["e1"]


def test_an_exact_duplicate_is_dropped_and_its_vote_is_kept() -> None:
    result = deduped(candidate(text_id="e1"), candidate(text_id="e2"), candidate("other", text_id="e3"))
    assert list(reasons(result.dropped).values()) == ["exact_duplicate"]
    (merged,) = (votes for votes in result.kept["votes"].to_list() if len(votes) == 2)
    assert [vote["event_id"] for vote in merged] == ["e1", "e2"]


def test_a_normalized_duplicate_is_named_so() -> None:
    rows = candidate("Hi", text_id="e1"), candidate("hi", text_id="e2"), candidate("hi", text_id="e3")
    result = deduped(*rows)
    assert reasons(result.dropped)["e1"] == "normalized_duplicate"
    assert sorted(result.report.dropped.items()) == [("exact_duplicate", 1), ("normalized_duplicate", 1)]
    assert deduped(*rows, match="exact").kept.height == 2
    assert deduped(*rows, match="off").kept.height == 3


def test_labels_are_never_merged() -> None:
    result = deduped(candidate(label=True), candidate(label=False))
    assert result.kept.height == 2
    assert not result.report.dropped


def test_the_spelling_with_the_most_votes_survives() -> None:
    """ "hi" was judged twice and "Hi" once, so "hi" stays, whatever the ids are."""
    for names in (("a", "b", "c"), ("c", "b", "a")):
        texts = zip(("Hi", "hi", "hi"), names, strict=True)
        result = deduped(*(candidate(text, text_id=name, completion_chars=9) for text, name in texts))
        assert result.kept["prompt_hash"].to_list() == table(candidate("hi"))["prompt_hash"].to_list()


def test_the_newest_or_the_longest_row_survives_where_wanted() -> None:
    old = candidate("hi  there", text_id="e1", prompt_key=7, minutes=1)
    new = candidate("hi there", text_id="e2", prompt_key=7, minutes=2)
    undated = candidate("Hi there", text_id="e3", prompt_key=7)
    assert deduped(old, new, undated, match="normalized", keep="newest").kept["text_id"].to_list() == ["e2"]
    assert deduped(old, new, undated, match="normalized", keep="longest").kept["text_id"].to_list() == ["e1"]


def test_ties_go_to_the_smallest_row_id() -> None:
    rows = table(*(candidate(text_id=f"e{n}") for n in range(9)))
    for keep in ("most_votes", "newest", "longest"):
        assert dedup(rows, DedupConfig(keep=keep)).kept["row_id"].to_list() == [rows["row_id"].min()]


def test_one_rater_counts_once_and_unknown_raters_count_each() -> None:
    rows = [candidate(text_id=f"e{n}", rater_key="r1", minutes=n) for n in range(3)]
    rows += [candidate(text_id="n1"), candidate(text_id="n2")]
    assert vote_ids(deduped(*rows)) == ["e2", "n1", "n2"]


def test_of_two_votes_at_one_time_that_with_the_smallest_id_counts() -> None:
    for order in (("e1", "e2"), ("e2", "e1")):
        rows = [candidate(text_id=name, rater_key="r1", minutes=3) for name in order]
        assert vote_ids(deduped(*rows)) == ["e1"]


def test_a_vote_that_counts_no_more_stays_behind_the_row() -> None:
    """The text that survives may be that of a vote which its rater gave again elsewhere."""
    rows = [candidate(text_id=f"e{n}", row_id=f"{n:032x}", rater_key="r1", minutes=n) for n in range(3)]
    result = deduped(*rows, candidate(text_id="n1", row_id="f" * 32))
    assert result.kept["text_id"].to_list() == ["e0"]
    assert vote_ids(result) == ["e2", "n1"]
    assert result.kept["other_event_ids"].to_list() == [["e0", "e1"]]
    assert dedup(result.kept, DedupConfig()).kept.equals(result.kept)
    later = candidate(text_id="e9", row_id="e" * 32, rater_key="r1", minutes=9)
    again = dedup(pl.concat([result.kept, table(later)]), DedupConfig())
    assert again.kept["other_event_ids"].to_list() == [["e0", "e1", "e2"]]
    assert (
        again.report.digest_out != dedup(again.kept.with_columns(other_event_ids=None), DedupConfig()).report.digest_out
    )


def test_rows_all_of_whose_votes_count_have_no_other_events() -> None:
    assert deduped(candidate(text_id="e1"), candidate(text_id="e2")).kept["other_event_ids"].to_list() == [None]


def test_votes_are_not_counted_twice_when_run_again() -> None:
    rows = table(*(candidate(text_id=f"e{n}", rater_key=f"r{n}") for n in range(4)))
    once = dedup(rows, DedupConfig())
    twice = dedup(once.kept, DedupConfig())
    assert twice.kept.equals(once.kept)
    assert dedup(pl.concat([once.kept, rows]), DedupConfig()).kept["votes"].to_list() == once.kept["votes"].to_list()


def test_the_notes_say_what_was_merged() -> None:
    copy = candidate(text_id="e1")
    notes = deduped(copy, copy, candidate(text_id="e2")).report.notes
    assert notes[0] == "1 row left out as the same record read again: no vote is counted twice."
    assert notes[1].endswith("label; 1 row kept with several votes.")


def near(*texts: str, **more: object) -> list[dict]:
    """Rows of answers that are nearly the same: one cluster, different texts."""
    return [candidate("p", text, cluster_id=key("cluster"), text_id=f"e-{text}", **more) for text in texts]


def test_near_duplicates_of_one_label_are_merged_and_named_so() -> None:
    """Of three spellings the one with most votes stays, with the votes of all."""
    rows = [*near("one", "two", "three"), candidate("p", "two", cluster_id=key("cluster"), text_id="again")]
    result = deduped(*rows, candidate("p", "else", text_id="alone"))
    assert set(result.kept["text_id"]) & {"e-one", "e-three"} == set()
    assert sorted(result.report.dropped.items()) == [("exact_duplicate", 1), ("near_duplicate", 2)]
    (merged,) = (votes for votes in result.kept["votes"].to_list() if len(votes) > 1)
    assert {vote["event_id"] for vote in merged} == {"e-one", "e-two", "e-three", "again"}
    assert result.report.figures["near"] == 2
    assert any("2 rows left out as nearly the same" in note for note in result.report.notes)


def test_near_duplicates_with_different_labels_are_left_to_conflicts() -> None:
    result = deduped(*near("one", "two"), *near("three", "four", label=False))
    assert sorted(result.kept["label"]) == [False, True]
    assert result.kept["cluster_id"].n_unique() == 1
    assert result.report.dropped == {"near_duplicate": 2}
    assert result.report.figures["near_across_labels"] == 1
    assert any("1 cluster of near-duplicates with both labels: not merged" in note for note in result.report.notes)


def test_the_same_answer_with_both_labels_is_no_near_contradiction() -> None:
    same = candidate("p", "one"), candidate("p", "one", label=False)
    assert deduped(*same).report.figures["near_across_labels"] == 0


def test_near_duplicates_stay_where_only_the_same_text_counts() -> None:
    for match in ("normalized", "exact", "off"):
        assert deduped(*near("one", "two"), match=match).kept.height == 2


def test_the_newest_or_the_longest_near_duplicate_survives_where_wanted() -> None:
    rows = [*near("long text", minutes=1), *near("text", minutes=2), *near("texts")]
    assert deduped(*rows, keep="newest").kept["text_id"].to_list() == ["e-text"]
    assert deduped(*rows, keep="longest").kept["text_id"].to_list() == ["e-long text"]


def test_a_rater_who_judged_two_near_duplicates_counts_once() -> None:
    rows = [*near("one", rater_key="r1", minutes=1), *near("two", rater_key="r1", minutes=2), *near("three")]
    (votes,) = deduped(*rows).kept["votes"].to_list()
    assert sorted(vote["event_id"] for vote in votes) == ["e-three", "e-two"]
