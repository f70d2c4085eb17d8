"""Contradictions, duplicates, raters, leakage and the waterfall: by hand on a few rows."""

import pytest

from feedback.audit import audit_candidates
from schemas.report import StageReport
from tests.audit_rows import audited, found, many, row, table

# --- contradictions -----------------------------------------------------------------------------------------------


def test_contradictions_tell_a_change_of_mind_from_a_dispute() -> None:
    """Four answers: one flipped by its rater, one disputed by two, one agreed by two, one alone."""
    rows = [
        row(0, True, answer="flip", prompt="p", rater="x", day=1),
        row(1, False, answer="flip", prompt="p", rater="x", day=2),
        row(2, True, answer="dispute", prompt="p", rater="x"),
        row(3, False, answer="dispute", prompt="p", rater="y"),
        row(4, True, answer="agreed", prompt="p", rater="x"),
        row(5, True, answer="agreed", prompt="p", rater="y"),
        row(6, False, answer="alone", prompt="p", rater="x"),
    ]
    metric = found(audited(rows, min_rows=1), "contradictions")
    assert metric.value == 0.5
    assert metric.details == {
        "answers": 4,
        "contradicted": 2,
        "across_raters": 1,
        "same_rater": 1,
        "between_pairs": 0,
        "rows_between_pairs": 0,
        "rows_lost_between_pairs": 0,
    }
    assert "1 because one rater changed their mind, 1 because raters disagree" in metric.sentence
    assert metric.severity == "warn"


def test_unknown_raters_are_different_people() -> None:
    rows = [row(0, True, answer="a", prompt="p", rater=None), row(1, False, answer="a", prompt="p", rater=None)]
    assert found(audited(rows), "contradictions").details["across_raters"] == 1


def test_few_answers_warn_of_nothing() -> None:
    rows = [row(0, True, answer="a", prompt="p"), row(1, False, answer="a", prompt="p")]
    assert found(audited(rows), "contradictions").severity == "info"


def test_disagreement_is_the_mean_of_4p_1_minus_p_over_answers_with_two_votes() -> None:
    """p = 1/2 gives 1, p = 1 gives 0: mean 1/2. The answer with one vote does not count."""
    rows = [row(0, True, answer="a", prompt="p"), row(1, False, answer="a", prompt="p")]
    rows += [row(2, True, answer="b", prompt="p"), row(3, True, answer="b", prompt="p"), row(4, True)]
    metric = found(audited(rows), "disagreement")
    assert (metric.value, metric.n) == (0.5, 2)


def test_settled_rows_contradict_nothing_but_their_votes_still_disagree() -> None:
    votes = [{"event_id": str(n), "rater_key": None, "event_ts": None, "label": n < 2} for n in range(3)]
    report = audited([row(0, True, votes=votes), row(1, False)])
    assert found(report, "contradictions").value == 0
    assert found(report, "disagreement").value == pytest.approx(4 * 2 / 3 * 1 / 3)


# --- duplicates ---------------------------------------------------------------------------------------------------


def test_duplicates_are_counted_by_kind_and_never_twice() -> None:
    """Seven rows: one read twice, one copied, one alike but for case, one nearly alike, one with the other label."""
    rows = [
        row(0, True, prompt="p", answer="a"),
        row(0, True, prompt="p", answer="a"),
        row(1, True, prompt="p", answer="a"),
        row(2, True, prompt="p", answer="A"),
        row(3, False, prompt="p", answer="a"),
        row(4, True, prompt="p", answer="a a") | {"cluster_id": row(0, True, prompt="p", answer="a")["cluster_id"]},
        row(5, True),
    ]
    report = audited(rows)
    names = ("repeated_records", "exact_duplicates", "normalized_duplicates", "near_duplicates")
    assert [found(report, name).details["rows"] for name in names] == [1, 1, 1, 1]
    assert found(report, "exact_duplicates").sentence.startswith("14% of 7 rows (1) repeat")
    assert found(report, "near_duplicates").sentence.startswith("14% of 7 rows (1) share most of their words")
    told = [advice.text for advice in report.advice if advice.metric == "exact_duplicates"]
    assert told[0].startswith("2 rows would be trained on more than once, 1 of them as records read again, whose vote")


def test_records_read_again_alone_call_for_merging() -> None:
    (told,) = (one for one in audited([row(0, True), row(1, False)] * 2).advice if one.metric == "exact_duplicates")
    assert told.text.startswith("2 rows would be trained on more than once, 2 of them as records read again")
    assert not [one for one in audited([row(0, True), row(1, False)]).advice if one.metric == "exact_duplicates"]


# --- raters -------------------------------------------------------------------------------------------------------


def test_rater_shares_are_of_judgements_whose_rater_is_known() -> None:
    """Rater x gives 3 of 4 known judgements; a fifth is anonymous."""
    rows = [row(number, True, rater="x") for number in range(3)] + [row(3, True, rater="y"), row(4, True, rater=None)]
    report = audited(rows, min_rows=1)
    metric = found(report, "top_rater")
    assert (metric.value, metric.n, metric.severity) == (0.75, 4, "warn")
    assert "A rater is known for 80% of 5 judgements." in metric.sentence
    assert found(report, "rater_gini").value == 0.25


def test_pair_is_one_judgement_though_it_labels_two_answers() -> None:
    pair = [row(0, True, text_id="pair", text_side="a"), row(1, False, text_id="pair", text_side="b", rater="rater 0")]
    assert found(audited([*pair, row(2, True)]), "top_rater").n == 2


def test_nobody_known_is_said_and_no_gate() -> None:
    metric = found(audited(many(3, 3, rater=None)), "top_rater")
    assert metric.value is None
    assert not metric.is_gate


def test_rater_curve_ends_at_one_and_hangs_below_the_diagonal() -> None:
    rows = [row(number, True, rater=min(number, 5)) for number in range(40)]
    curve = audited(rows).table("rater_curve")
    assert curve is not None
    assert curve.rows[0] == (0, 0)
    assert curve.rows[-1] == (1, 1)
    assert all(judgements <= raters for raters, judgements in curve.rows)


def test_raw_user_id_fails_and_is_shown_nowhere() -> None:
    report = audited([row(0, True), row(1, False, rater_key=3141592653, rater=None)])
    assert found(report, "raw_rater_ids").severity == "fail"
    assert "3141592653" not in report.to_json()


def test_raw_user_id_inside_votes_is_found_too() -> None:
    votes = [{"event_id": "e", "rater_key": 42, "event_ts": None, "label": True}]
    report = audited([row(0, True, votes=votes), row(1, False)])
    assert found(report, "raw_rater_ids").value == 1
    assert "(raw id)" in str(report.table("raters"))


# --- leakage and waterfall ----------------------------------------------------------------------------------------


def test_prompt_on_both_sides_of_the_split_fails() -> None:
    rows = [
        row(0, True, split="train", prompt="p"),
        row(1, False, split="train"),
        row(2, True, split="test", prompt="p"),
    ]
    metric = found(audited(rows), "leakage")
    assert (metric.value, metric.severity) == (1, "fail")


def test_cluster_on_both_sides_fails_though_the_prompts_differ() -> None:
    rows = [
        row(0, True, split="train", group_id=7),
        row(1, True, split="test", group_id=7),
        row(2, False, split="train"),
    ]
    assert found(audited(rows), "leakage").severity == "fail"


def test_separate_prompts_do_not_leak() -> None:
    rows = [row(0, True, split="train"), row(1, False, split="train"), row(2, True, split="test")]
    assert found(audited(rows), "leakage").severity == "ok"


def test_waterfall_that_sums_is_in_order() -> None:
    reports = [StageReport("ingest", 5, 1, 4, {"quarantined": 2}), StageReport("convert", 4, 0, 2, {"neutral": 2})]
    report = audit_candidates(table(row(0, True), row(1, False)), reports=reports)
    metric = found(report, "waterfall")
    assert (metric.value, metric.severity) == (0, "ok")
    dropped = report.table("dropped")
    assert dropped is not None
    assert dropped.rows[1] == ("convert", "neutral", 2, "The feedback says neither up nor down.")


@pytest.mark.parametrize(
    ("stages", "words"),
    [
        ([(5, 5), (4, 2)], "1 row vanishes between ingest and convert"),
        ([(5, 5), (7, 2)], "2 rows appear between ingest and convert"),
        ([(5, 5), (5, 3)], "1 row vanishes between convert and the table"),
    ],
)
def test_waterfall_with_a_gap_fails(stages: list[tuple[int, int]], words: str) -> None:
    reports = [
        StageReport(name, came, 0, kept, {"neutral": came - kept} if came > kept else {})
        for name, (came, kept) in zip(("ingest", "convert"), stages, strict=True)
    ]
    metric = found(audit_candidates(table(row(0, True), row(1, False)), reports=reports), "waterfall")
    assert metric.severity == "fail"
    assert words in metric.sentence
