"""Open Assistant's trees: which ranked answers become pairs, which thumbs events, and what is left out or rejected."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedback.audit import AuditReport
from feedback.audit.sources import audit
from feedback.config import Ranking, SourceConfig
from feedback.formats import FORMATS, Draft, EventDraft, PairDraft
from feedback.ingest.source_format import open_format
from feedback.transcode import convert_files
from schemas.errors import ConfigError, RecordRejectedError, UnknownChoiceError
from schemas.reasons import RejectReason
from schemas.settings import load_settings

TREES = Path(__file__).parents[2].parent / "shared" / "data" / "oasst_tree"
POLICIES: tuple[Ranking, ...] = ("extremes", "neighbours", "off")


def node(name: str, *replies: dict[str, Any], role: str = "assistant", **fields: Any) -> dict[str, Any]:
    """A message whose text is its id; the ids of its replies begin with its own."""
    return {"message_id": name, "role": role, "text": name, "replies": list(replies), **fields}


def ask(name: str, *replies: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return node(name, *replies, role="prompter", **fields)


def tree(root: dict[str, Any]) -> dict[str, Any]:
    return {"message_tree_id": root["message_id"], "tree_state": "ready_for_export", "prompt": root}


def drafts(root: dict[str, Any], ranking: Ranking = "extremes") -> list[Draft]:
    return list(open_format("oasst_tree", None, ranking).parse(tree(root)))


def said(draft: Draft) -> Iterator[tuple[str, str]]:
    """Winner and loser of a pair, or answer and thumb of an event."""
    if isinstance(draft, PairDraft):
        assert draft.outcome == "a"
        yield draft.response_a[0]["content"], draft.response_b[0]["content"]
    else:
        yield draft.completion[0]["content"], str(draft.raw_value)


def told(root: dict[str, Any], ranking: Ranking = "extremes") -> list[tuple[str, str]]:
    return [one for draft in drafts(root, ranking) for one in said(draft)]


def reason_of(record: dict[str, Any], ranking: Ranking = "extremes") -> tuple[str, str]:
    with pytest.raises(RecordRejectedError) as caught:
        list(open_format("oasst_tree", None, ranking).parse(record))
    return caught.value.reason, caught.value.detail


FOUR = ask("q", node("c", rank=2), node("a", rank=0), node("d", rank=3), node("b", rank=1))


def test_the_best_answer_stands_against_the_worst() -> None:
    assert told(FOUR) == [("a", "d")]
    assert list(FORMATS["oasst_tree"].parse(tree(FOUR))) == drafts(FOUR)


def test_neighbours_in_rank_stand_against_each_other() -> None:
    assert told(FOUR, "neighbours") == [("a", "b"), ("b", "c"), ("c", "d")]


def test_a_pair_keeps_all_that_the_tree_says() -> None:
    best = node("a", rank=0, synthetic=True, model_name="m", user_id="author", emojis={"-1": 2})
    (draft,) = drafts(ask("q", best, node("b", rank=2, synthetic=False)))
    assert draft == PairDraft(
        prompt=[{"role": "user", "content": "q"}],
        response_a=[{"role": "assistant", "content": "a"}],
        response_b=[{"role": "assistant", "content": "b"}],
        outcome="a",
        raw_value=[0, 2],
        record_id="a>b",
        rater_kind="annotator",
        margin=2.0,
        model_a="m",
        conversation_id="q",
        flags=("synthetic",),
    )


def test_an_answer_without_a_rank_is_in_no_pair() -> None:
    root = ask("q", node("a", rank=0), node("x"), node("y", rank=None), node("b", rank=1))
    assert told(root) == told(root, "neighbours") == [("a", "b")]


def test_answers_of_one_rank_do_not_stand_against_each_other() -> None:
    """0, 0, 1, 2, 2: both of the best beat both of the worst, and no order among equals is guessed."""
    root = ask("q", *(node(name, rank=rank) for name, rank in zip("abcde", (0, 0, 1, 2, 2), strict=True)))
    assert told(root) == [("a", "d"), ("a", "e"), ("b", "d"), ("b", "e")]
    assert told(root, "neighbours") == [("a", "c"), ("b", "c"), ("c", "d"), ("c", "e")]
    tied = tree(ask("q", node("a", rank=0), node("b", rank=0)))
    assert reason_of(tied)[0] == RejectReason.NO_JUDGEMENT


def test_ranks_of_the_prompters_replies_are_no_judgement_of_an_answer() -> None:
    follow_ups = ask("a-1", rank=0), ask("a-2", rank=1)
    assert reason_of(tree(ask("q", node("a", *follow_ups))))[0] == RejectReason.NO_JUDGEMENT


def test_the_prompt_is_the_way_from_the_root() -> None:
    later = ask("q2", node("a2", rank=0), node("b2", rank=1))
    drafted = drafts(ask("q1", node("b1", rank=1), node("a1", later, rank=0)))
    assert [draft.prompt[-1]["content"] for draft in drafted] == ["q1", "q2"]
    assert [(turn["role"], turn["content"]) for turn in drafted[1].prompt] == [
        ("user", "q1"),
        ("assistant", "a1"),
        ("user", "q2"),
    ]


@pytest.mark.parametrize("mark", [{"deleted": True}, {"review_result": False}])
def test_what_was_taken_out_is_not_read_and_nothing_behind_it(mark: dict[str, bool]) -> None:
    below = ask("q2", node("a2", rank=0), node("b2", rank=1))
    root = ask("q", {**node("z", below, rank=0), **mark}, node("a", rank=1), node("b", rank=2))
    assert told(root) == [("a", "b")]
    assert reason_of(tree({**root, **mark}))[0] == RejectReason.NO_JUDGEMENT


def test_a_review_that_is_not_there_yet_takes_nothing_out() -> None:
    assert told(ask("q", node("a", rank=0, review_result=None, deleted=None), node("b", rank=1))) == [("a", "b")]


def test_without_ranks_every_thumb_is_an_event() -> None:
    liked = node("a", rank=1, emojis={"+1": 2, "-1": 1, "_skip_reply": 4, "red_flag": 1}, lang="en", synthetic=True)
    root = ask("q", liked, node("b", rank=0), emojis={"+1": 9})
    drafted = drafts(root, "off")
    assert told(root, "off") == [("a", "+1"), ("a", "+1"), ("a", "-1")]
    assert drafted[2] == EventDraft(
        prompt=[{"role": "user", "content": "q"}],
        completion=[{"role": "assistant", "content": "a"}],
        signal="thumb",
        raw_value="-1",
        label=False,
        record_id="a:-1:0",
        rater_kind="annotator",
        conversation_id="q",
        message_id="a",
        lang="en",
        flags=("synthetic",),
    )


def test_a_tree_in_which_nothing_is_judged_is_rejected_as_that() -> None:
    bare = tree(ask("q", node("a")))
    assert reason_of(bare) == (RejectReason.NO_JUDGEMENT, "no prompt of the tree has two answers of different rank")
    assert reason_of(bare, "off") == (RejectReason.NO_JUDGEMENT, "no answer of the tree has a thumb")
    assert reason_of(tree(ask("q", node("a", emojis={"+1": 0}))), "off")[0] == RejectReason.NO_JUDGEMENT


@pytest.mark.parametrize(
    ("root", "reason", "detail"),
    [
        (None, "missing_field", "field 'prompt'"),
        (3, "wrong_type", "prompt is 3; expected a message"),
        (node("q"), "bad_roles", "prompt is said by the assistant and begins the tree"),
        ({**ask("q"), "role": "narrator"}, "bad_roles", "prompter, assistant"),
        (ask("q", node("a", node("b"))), "bad_roles", r"prompt.replies\[0\].replies\[0\] is said by the assistant and"),
        ({**ask("q"), "text": None}, "missing_field", "field 'text'"),
        ({**ask("q"), "replies": "none"}, "wrong_type", r"prompt.replies is 'none'"),
        (ask("q", {**node("a"), "parent_id": "x"}), "broken_thread", r"prompt.replies\[0\] names another parent"),
        (ask("q", node("a", rank="0")), "wrong_type", "field 'rank'"),
        (ask("q", node("a", rank=True)), "wrong_type", "field 'rank'"),
        (ask("q", node("a", rank=0), {**node("b", rank=1), "message_id": None}), "missing_field", "'message_id'"),
        (ask("q", node("a", deleted="no")), "wrong_type", "field 'deleted'"),
    ],
)
def test_what_is_no_tree_is_rejected_with_its_place(root: Any, reason: str, detail: str) -> None:
    record = {"message_tree_id": "q", "prompt": root}
    with pytest.raises(RecordRejectedError, match=detail) as caught:
        list(FORMATS["oasst_tree"].parse(record))
    assert caught.value.reason == reason


@pytest.mark.parametrize("emojis", [{"+1": -1}, {"+1": True}, {"-1": 1.0}, {"+1": 10_001}, {"-1": None}, ["+1"]])
def test_thumbs_are_counts(emojis: object) -> None:
    assert reason_of(tree(ask("q", node("a", emojis=emojis))), "off")[0] == RejectReason.WRONG_TYPE


def test_a_deep_tree_is_read_to_its_end() -> None:
    """The walk keeps its own stack; how deep a record may be, the JSON reader says."""
    root = ask("q", node("a", rank=0), node("b", rank=1))
    for number in range(2_000):
        root = ask(f"q{number}", node(f"a{number}", root))
    assert len(drafts(root)) == 1


def test_a_ranking_belongs_to_formats_that_rank() -> None:
    with pytest.raises(ConfigError, match=r"the format 'trl' does not rank answers: got 'off'; .*: oasst_tree"):
        open_format("trl", None, "off")
    with pytest.raises(ConfigError, match="does not rank answers"):
        open_format("mapped", "map.toml", "neighbours")
    with pytest.raises(UnknownChoiceError, match="extremes, neighbours, off"):
        open_format("oasst_tree", None, "best")
    with pytest.raises(ConfigError, match="ranking"):
        load_settings(SourceConfig, {"path": "x", "format": "oasst_tree", "ranking": "best"}, where="a.toml")
    assert open_format("trl", None).parse is FORMATS["trl"].parse


ranks = st.lists(st.none() | st.integers(0, 4), min_size=2, max_size=7)


@given(ranks)
def test_under_the_default_no_answer_wins_and_loses(given_ranks: list[int | None]) -> None:
    """Under neighbours exactly the answers between the best and the worst rank do."""
    root = ask("q", *(node(f"a{place}", rank=rank) for place, rank in enumerate(given_ranks)))
    levels = sorted({rank for rank in given_ranks if rank is not None})
    if len(levels) < 2:
        assert reason_of(tree(root))[0] == RejectReason.NO_JUDGEMENT
        return
    won, lost = ({one[side] for one in told(root)} for side in (0, 1))
    assert not won & lost
    won, lost = ({one[side] for one in told(root, "neighbours")} for side in (0, 1))
    middle = {f"a{place}" for place, rank in enumerate(given_ranks) if rank in levels[1:-1]}
    assert won & lost == middle
    steps = [(given_ranks[int(a[1:])], given_ranks[int(b[1:])]) for a, b in told(root, "neighbours")]
    assert set(steps) == set(pairwise(levels))


def put(folder: Path, *roots: dict[str, Any]) -> Path:
    path = folder / "trees.jsonl"
    path.write_text("".join(json.dumps(tree(root)) + "\n" for root in roots), encoding="utf-8")
    return path


def test_every_tree_is_accepted_or_in_quarantine(tmp_path: Path) -> None:
    path = put(tmp_path, FOUR, ask("q2", node("a2", rank=0), node("b2", rank=1)), ask("q3", node("a3")))
    report = audit([path], source_format="oasst_tree", ranking="neighbours")
    assert (report.waterfall[0].rows_in, report.waterfall[0].rows_kept) == (3, 4)
    assert report.waterfall[0].dropped == {"quarantined": 1}
    assert report.waterfall[0].figures["rejected"] == {"no_judgement": 1}
    assert report.rows["total"] == 8


def test_trees_are_written_as_pairs_or_as_thumbs(tmp_path: Path) -> None:
    path = put(tmp_path, FOUR, ask("q2", node("a2", emojis={"+1": 1})))
    convert_files([path], "oasst_tree", "openai", tmp_path / "p.jsonl", max_rejected_share=1, ranking="neighbours")
    assert len((tmp_path / "p.jsonl").read_text("utf-8").splitlines()) == 3
    convert_files([path], "oasst_tree", "thumbs", tmp_path / "t.jsonl", max_rejected_share=1, ranking="off")
    (line,) = (tmp_path / "t.jsonl").read_text("utf-8").splitlines()
    assert json.loads(line)["label"] == "up"


def contradictions(report: AuditReport) -> tuple[int, int, str]:
    (metric,) = [one for one in report.metrics if one.name == "contradictions"]
    return metric.details["contradicted"], metric.n, metric.sentence


@pytest.mark.skipif(not TREES.exists(), reason="the shared data is not here")
def test_no_real_reply_gets_both_labels_under_the_default() -> None:
    report = audit([TREES], source_format="oasst_tree")
    assert report.rows["total"] == 2 * 212
    assert contradictions(report) == (0, 424, "None of 424 answers carries both labels.")


@pytest.mark.skipif(not TREES.exists(), reason="the shared data is not here")
def test_a_third_of_real_replies_gets_both_labels_under_neighbours() -> None:
    """641 ranked replies to 212 prompts: all but the best and the worst, 641 - 2 * 212 = 217."""
    report = audit([TREES], source_format="oasst_tree", ranking="neighbours")
    contradicted, answers, sentence = contradictions(report)
    assert (contradicted, answers) == (217, 641)
    assert sentence.startswith("34% of 641 answers carry both labels (217)")
    assert any("--from oasst_tree --ranking neighbours" in one.command for one in report.advice)


@pytest.mark.skipif(not TREES.exists(), reason="the shared data is not here")
def test_real_thumbs_are_read_where_ranks_are_not() -> None:
    report = audit([TREES], source_format="oasst_tree", ranking="off")
    assert (report.rows["desirable"], report.rows["undesirable"]) == (854, 372)
    assert report.waterfall[0].figures["rejected"] == {"no_judgement": 8}


def test_a_message_alone_says_where_the_trees_are() -> None:
    row = {"message_id": "a", "parent_id": "t", "text": "A", "role": "assistant", "rank": 0, "message_tree_id": "t"}
    with pytest.raises(RecordRejectedError, match=r"the record is one message, not a tree.*\.trees\.jsonl\.gz"):
        list(FORMATS["oasst_tree"].parse(row))
