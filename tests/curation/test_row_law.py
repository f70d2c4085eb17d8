"""The law of rows, for every stage: nothing vanishes, and what survives depends on the rows and not on their order."""

from __future__ import annotations

import tempfile
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from feedback.caps import cap_influence
from feedback.config import CapsConfig, ConflictConfig, ConvertConfig, DedupConfig, RebalanceConfig, SplitConfig
from feedback.conflicts import resolve_conflicts
from feedback.convert import convert
from feedback.dedup import dedup
from feedback.rebalance import rebalance
from feedback.split import split
from feedback.stage import CANDIDATE_TYPES, StageResult, write_stage
from schemas.reasons import DropReason
from schemas.report import StageReport
from tests.feedback_tables import candidate, event, keys_of, pair, table

QUICK = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
RATERS = st.sampled_from([None, "ann", "bob", "cyd"])
RATER_IDS = st.sampled_from([None, "a" * 32, "b" * 32, "c" * 32])
MINUTES = st.sampled_from([None, 1, 2, 3])
CAPS = CapsConfig(max_rater_share=0.5, share_from_raters=1, max_rows_per_rater_day=5, max_rows_per_group=9)

CANDIDATES = st.lists(
    st.builds(
        candidate,
        prompt=st.sampled_from(["p", "P", "q", "r"]),
        completion=st.sampled_from(["c", "C", "d"]),
        label=st.booleans(),
        rater_key=RATERS,
        minutes=MINUTES,
        source=st.sampled_from(["log", "duel"]),
        split=st.sampled_from(["train", "test"]),
        text_id=st.integers(0, 30).map("e{}".format),
    ),
    max_size=40,
)
EVENTS = st.lists(
    st.builds(
        event,
        prompt=st.sampled_from(["p", "P", "q"]),
        completion=st.sampled_from(["c", "C"]),
        label=st.sampled_from([True, False, None]),
        record=st.integers(0, 9).map(str),
        minutes=MINUTES,
        updated=MINUTES,
        op=st.sampled_from(["create", "update", "retract"]),
        rater_key=RATER_IDS,
    ),
    min_size=1,
    max_size=25,
)
PAIRS = st.lists(
    st.builds(
        pair,
        prompt=st.sampled_from(["p", "q"]),
        a=st.sampled_from(["c", "d"]),
        b=st.sampled_from(["C", "e"]),
        outcome=st.sampled_from(["a", "b", "tie", "both_bad", "abstain"]),
        margin=st.sampled_from([None, 0.5, 2.0]),
        score_a=st.sampled_from([None, 1.0, 9.0]),
        score_b=st.sampled_from([None, 1.0, 9.0]),
        rater_key=RATER_IDS,
        minutes=MINUTES,
    ),
    min_size=1,
    max_size=15,
)


def stages(match: str = "normalized", policy: str = "majority", mode: str = "both", seed: int = 0) -> dict:
    return {
        "dedup": lambda rows, digest: dedup(rows, DedupConfig(match=match), digest_in=digest),
        "conflicts": lambda rows, digest: resolve_conflicts(rows, ConflictConfig(policy=policy), digest_in=digest),
        "caps": lambda rows, digest: cap_influence(rows, CAPS, seed=seed, digest_in=digest),
        "split": lambda rows, digest: split(rows, SplitConfig(test_fraction=0.3), seed=seed, digest_in=digest),
        "rebalance": lambda rows, digest: rebalance(rows, RebalanceConfig(mode=mode), seed=seed, digest_in=digest),
    }


def unique(rows: list[dict]) -> list[dict]:
    """One row for each id: two rows of one id are always the same record."""
    return list({row["row_id"]: row for row in rows}.values())


def holds(rows_in: pl.DataFrame, result: StageResult) -> None:
    """Every row that came in is kept or dropped, once, with a known reason."""
    report = result.report
    assert report.rows_in + report.rows_created == result.kept.height + result.dropped.height
    assert sorted([*result.kept["row_id"], *result.dropped["row_id"]]) == sorted(rows_in["row_id"])
    assert result.kept.schema == CANDIDATE_TYPES
    assert result.dropped.schema == {**CANDIDATE_TYPES, "drop_reason": pl.String}
    assert set(result.dropped["drop_reason"]) <= set(DropReason)
    assert result.kept["row_id"].is_sorted()


def events_behind(rows: pl.DataFrame) -> dict[str, set[str]]:
    """The events behind each row, by its id."""
    columns = rows.select("row_id", "votes", "other_event_ids").iter_rows()
    return {row_id: {vote["event_id"] for vote in votes} | {*(others or [])} for row_id, votes, others in columns}


def loses_no_event(rows_in: pl.DataFrame, result: StageResult) -> None:
    """What was behind a row is behind it still, that of its text among it, and merged rows leave theirs to others."""
    before, after = events_behind(rows_in), events_behind(result.kept)
    assert all(before[row_id] <= events for row_id, events in after.items())
    for votes, others in result.kept.select("votes", "other_event_ids").iter_rows():
        assert others is None or (others and others == sorted({*others} - {vote["event_id"] for vote in votes}))
    if result.report.stage == "dedup":
        assert set().union(*before.values()) == set().union(*after.values())


@pytest.mark.parametrize("name", ["dedup", "conflicts", "caps", "split", "rebalance"])
@given(
    rows=CANDIDATES.map(unique),
    match=st.sampled_from(["near", "exact", "normalized", "off"]),
    policy=st.sampled_from(["majority", "soft", "drop", "keep_both", "off"]),
    order=st.randoms(use_true_random=False),
)
@QUICK
def test_every_row_is_kept_or_dropped_whatever_the_order(name, rows, match, policy, order) -> None:
    """The row law, order independence and idempotence of each stage."""
    both = [candidate("x", split="train", text_id="x"), candidate("y", label=False, split="train", text_id="y")]
    stage = stages(match, policy, "downsample")[name]
    rows = table(*rows, *both)
    result = stage(rows, "")
    holds(rows, result)
    loses_no_event(rows, result)
    shuffled = rows.sample(fraction=1.0, shuffle=True, seed=order.randrange(2**31))
    again = stage(shuffled, "")
    assert again.kept.equals(result.kept)
    assert again.dropped.equals(result.dropped)
    assert again.report == result.report
    twice = stage(result.kept, "")
    assert twice.kept.equals(result.kept)
    assert not twice.report.dropped


@given(events=EVENTS, pairs=PAIRS, order=st.randoms(use_true_random=False))
@QUICK
def test_all_stages_in_a_row_lose_nothing(events, pairs, order) -> None:
    """From files to the rebalanced rows: counts chain, digests chain, shuffled or split files give the same rows."""
    config = ConvertConfig(min_margin=1.0, min_chosen_score=5.0, max_rejected_score=5.0, max_pairs_per_prompt=3)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        result = convert(keys_of(folder, events, pairs), config, digest_in="d")
        order.shuffle(events)
        again = convert(keys_of(folder, events, pairs[::-1]), config, digest_in="d")
        assert again.kept.equals(result.kept)
        assert again.report == result.report
    assert result.report.rows_in == len(events) + len(pairs)
    reports = [result.report]
    for name, stage in stages(mode="off").items():
        rows = result.kept
        result = stage(rows, result.report.digest_out)
        if name != "dedup":
            holds(rows, result)
        assert result.report.rows_in == reports[-1].rows_kept
        assert result.report.digest_in == reports[-1].digest_out
        reports.append(result.report)
    assert len({report.digest_out for report in reports}) == 6
    contested = result.kept.group_by("prompt_key", "completion_key").agg(pl.col("label").n_unique())
    assert contested.filter(pl.col("label") > 1).height == 0


@given(rows=CANDIDATES.map(unique), seed=st.integers(0, 3))
@QUICK
def test_no_group_is_on_both_sides_and_labels_are_never_invented(rows, seed) -> None:
    rows = table(*rows)
    result = split(rows, SplitConfig(test_fraction=0.4), seed=seed)
    assert result.kept.group_by("group_id").agg(pl.col("split").n_unique()).filter(pl.col("split") > 1).height == 0
    merged = dedup(rows, DedupConfig())
    given_labels = set(rows.select("prompt_key", "completion_key", "label").iter_rows())
    assert set(merged.kept.select("prompt_key", "completion_key", "label").iter_rows()) == given_labels


def test_a_change_anywhere_changes_every_digest_after_it() -> None:
    rows = table(*(candidate(f"p{n}", label=n % 3 > 0, split="train") for n in range(30)))
    first = dedup(rows, DedupConfig(), digest_in="a")
    assert dedup(rows, DedupConfig(), digest_in="a").report.digest_out == first.report.digest_out
    others = [
        dedup(rows, DedupConfig(), digest_in="b"),
        dedup(rows, DedupConfig(match="exact"), digest_in="a"),
        dedup(rows.head(29), DedupConfig(), digest_in="a"),
        dedup(rows.with_columns(label=~pl.col("label")), DedupConfig(), digest_in="a"),
    ]
    assert len({first.report.digest_out, *(other.report.digest_out for other in others)}) == 5


def test_a_digest_does_not_depend_on_the_keys_of_raters() -> None:
    """They are keyed hashes, so another installation has other keys for the same people."""
    digests = set()
    for names in ("ann", "bob"), ("zoe", "abe"):
        rows = [candidate(label=n > 0, rater_key=names[n % 2], text_id=f"e{n}", minutes=n) for n in range(5)]
        merged = dedup(table(*rows), DedupConfig())
        resolved = resolve_conflicts(merged.kept, ConflictConfig(), digest_in=merged.report.digest_out)
        digests.add(resolved.report.digest_out)
    assert len(digests) == 1


def test_a_stage_on_disk_ends_with_its_report(tmp_path: Path) -> None:
    result = dedup(table(candidate(text_id="e1"), candidate(text_id="e2")), DedupConfig())
    write_stage(result, tmp_path)
    assert pl.read_parquet(tmp_path / "kept-00000.parquet").equals(result.kept)
    assert pl.read_parquet(tmp_path / "dropped-00000.parquet")["drop_reason"].to_list() == ["exact_duplicate"]
    assert StageReport.from_json((tmp_path / "report.json").read_text("utf-8")) == result.report
