"""Gradio's log.csv: four cells under five columns, toggles, pairs and messages, and what is no answer."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from feedback.config import SourceConfig
from feedback.convert import find_revisions
from feedback.engine import read_rows
from feedback.formats import EventDraft, PairDraft, find_format
from feedback.ingest import ingest
from feedback.ingest.rater_key import ENVIRONMENT_VARIABLE
from schemas.errors import RecordRejectedError
from schemas.reasons import RejectReason
from tests.format_records import bot, parse, reason_of, user

TIME = "2026-01-05 09:51:39.123456"


def said(role: str, content: Any, title: str | None = None) -> dict[str, Any]:
    return {"role": role, "metadata": {"title": title}, "content": content, "options": None}


CHAT = [said("user", "q1"), said("assistant", "a1"), said("user", "q2"), said("assistant", "a2")]


def row(liked: str | None = "Like", index: object = 1, conversation: Any = CHAT, **changes: Any) -> dict[str, Any]:
    """A row as the CSV reader gives it: four cells, under the first four of five names; an empty cell is absent."""
    cells = {"conversation": json.dumps(conversation), "index": str(index), "value": liked, "flag": TIME}
    return {key: value for key, value in {**cells, **changes}.items() if value is not None}


def test_a_row_of_four_cells_has_its_flag_under_value_and_its_time_under_flag() -> None:
    draft = parse("gradio_flagged", row("Dislike"))
    assert draft == EventDraft(
        prompt=[user("q1")],
        completion=[bot("a1")],
        signal="thumb",
        raw_value="Dislike",
        label=False,
        record_id=draft.record_id,
        event_time=TIME,
    )
    assert draft.record_id.startswith("thread:")


def test_a_row_of_five_cells_is_read_as_the_header_says() -> None:
    whole = {**row(), "value": "a1", "flag": "Like", "timestamp": TIME}
    assert parse("gradio_flagged", whole) == parse("gradio_flagged", row())


def test_an_index_names_the_rated_message_and_later_ones_are_not_read() -> None:
    later = parse("gradio_flagged", row(index=3))
    assert (later.prompt, later.completion) == ([user("q1"), bot("a1"), user("q2")], [bot("a2")])


def test_pairs_are_read_with_an_index_of_row_and_side() -> None:
    pairs = [[None, "hello"], ["q1", "a1"], ["q2", "a2"]]
    for index in ("[1, 1]", "(1, 1)", "[1,1]"):
        draft = parse("gradio_flagged", row(index=index, conversation=pairs))
        assert (draft.prompt, draft.completion) == ([bot("hello"), user("q1")], [bot("a1")])
    assert reason_of("gradio_flagged", row(index="[1, 0]", conversation=pairs)) == RejectReason.BAD_ROLES


def test_an_apostrophe_before_a_cell_is_not_part_of_it() -> None:
    chat = [said("user", "a ,-b"), said("assistant", "c")]
    cell = "'" + json.dumps(chat)
    assert parse("gradio_flagged", row(conversation=chat)) == parse(
        "gradio_flagged", row(conversation=chat) | {"conversation": cell}
    )


def test_an_empty_flag_is_a_vote_taken_back_and_has_the_id_of_the_vote() -> None:
    back = parse("gradio_flagged", row(None))
    assert (back.op, back.label, back.event_time) == ("retract", None, TIME)
    longer = [*CHAT, said("user", "q3"), said("assistant", "a3")]
    ids = {
        parse("gradio_flagged", one).record_id
        for one in (row(), row("Dislike"), row(None), row(conversation=longer), row(None, flag=None, timestamp=TIME))
    }
    assert len(ids) == 1
    assert parse("gradio_flagged", row(index=3)).record_id not in ids


@pytest.mark.parametrize("flag", ["Spam", "Other", "like", "LIKE", "True", "1", "0"])
def test_other_flags_need_a_map_and_the_message_says_so(flag: str) -> None:
    with pytest.raises(RecordRejectedError) as caught:
        list(find_format("gradio_flagged").parse(row(flag)))
    assert caught.value.reason == RejectReason.UNKNOWN_LABEL
    assert f"{flag!r}; expected Like or Dislike. Other flags need a map and the format mapped" in caught.value.detail


def test_thoughts_are_no_turns_and_flagged() -> None:
    chat = [said("user", "q"), said("assistant", "searching", "Used a tool"), said("assistant", "a")]
    draft = parse("gradio_flagged", row(index=2, conversation=chat))
    assert (draft.prompt, draft.completion, draft.flags) == ([user("q")], [bot("a")], ("thought",))
    assert reason_of("gradio_flagged", row(index=1, conversation=chat)) == RejectReason.RULE_VIOLATION


def test_text_parts_of_newer_versions_are_read() -> None:
    chat = [said("user", [{"type": "text", "text": "q"}]), said("assistant", [{"type": "text", "text": "a"}])]
    assert parse("gradio_flagged", row(conversation=chat)).prompt == [user("q")]


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (row(conversation=None) | {"conversation": None}, RejectReason.MISSING_FIELD),
        (row(index=None) | {"index": None}, RejectReason.MISSING_FIELD),
        (row("Like", flag=None), RejectReason.MISSING_FIELD),
        (row(conversation="x") | {"conversation": "[{"}, RejectReason.INVALID_JSON),
        (row() | {"conversation": '[{"role": "user", "content": "\\ud800"}]'}, RejectReason.LONE_SURROGATE),
        (row(conversation={"a": 1}), RejectReason.WRONG_TYPE),
        (row(index="x"), RejectReason.WRONG_TYPE),
        (row(index=-1), RejectReason.WRONG_TYPE),
        (row(index="[0, 2]"), RejectReason.WRONG_TYPE),
        (row(index="[0, 1]"), RejectReason.WRONG_TYPE),
        (row(conversation=[["q", "a"], ["r", "b"]]), RejectReason.WRONG_TYPE),
        (row(conversation=[said("user", {"path": "p"}), said("assistant", "a")]), RejectReason.WRONG_TYPE),
        (row(index=4), RejectReason.BROKEN_THREAD),
        (row(index=0), RejectReason.BAD_ROLES),
        (row(conversation=[said("robot", "q"), said("assistant", "a")]), RejectReason.BAD_ROLES),
    ],
)
def test_a_row_that_breaks_a_rule_is_rejected(record: dict[str, Any], reason: str) -> None:
    assert reason_of("gradio_flagged", record) == reason


def written(*rows: tuple[Any, ...]) -> str:
    """A file as Gradio writes it: a header with five names, and rows with four cells."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(["conversation", "index", "value", "flag", "timestamp"])
    writer.writerows((json.dumps(chat), *cells) for chat, *cells in rows)
    return out.getvalue()


def test_no_row_of_a_log_is_lost_and_the_last_click_on_a_message_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, "a key that is for tests only")
    other = [said("user", 'q9, with "quotes"\nand a line'), said("assistant", "a9")]
    log = written(
        (CHAT, 1, "Like", "2026-01-05 09:00:00.1"),
        (CHAT, 1, "", "2026-01-05 09:00:01.1"),
        (CHAT, 1, "Dislike", "2026-01-05 09:00:02.1"),
        (CHAT, 3, "Like", "2026-01-05 09:00:03.1"),
        (other, 1, "Like", "2026-01-05 09:00:04.1"),
        (other, 1, "Spam", "2026-01-05 09:00:05.1"),
        (other, 1, "Like", "yesterday"),
    )
    (tmp_path / "log.csv").write_text(log, encoding="utf-8")
    source = SourceConfig(path=str(tmp_path / "log.csv"), format="gradio_flagged")
    result = ingest([source], tmp_path / "out", max_rejected_share=0.5)
    assert (result.report.rows_in, result.report.rows_kept) == (7, 5)
    assert result.rejected == {"unknown_label": 1, "bad_time": 1}
    events = pl.concat(map(read_rows, result.events))
    assert events["ts_quality"].unique().to_list() == ["naive"]
    assert events["prompt"].list.last().struct.field("content").to_list()[-1] == 'q9, with "quotes"\nand a line'
    revisions = find_revisions(result.event_keys)
    assert (revisions.height, revisions["is_order_known"].all()) == (1, True)
    (latest,) = events.filter(pl.col("event_id").is_in(revisions["latest_id"].implode())).iter_rows(named=True)
    assert latest["label"] is False


def test_a_map_reads_flags_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the rejection advises works: the flag lies under `value`."""
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, "a key that is for tests only")
    (tmp_path / "log.csv").write_text(written((CHAT[:2], 1, "Spam", TIME)), encoding="utf-8")
    (tmp_path / "map.toml").write_text(
        '[fields]\nprompt = "conversation[0].content"\ncompletion = "conversation[1].content"\nlabel = "value"\n'
        'time = "flag"\n[labels]\nSpam = "down"\n',
        encoding="utf-8",
    )
    source = SourceConfig(path=str(tmp_path / "log.csv"), format="mapped", map=str(tmp_path / "map.toml"))
    events = pl.concat(map(read_rows, ingest([source], tmp_path / "out").events))
    assert events["label"].to_list() == [False]


def test_the_format_gives_events_only() -> None:
    assert not any(isinstance(draft, PairDraft) for draft in find_format("gradio_flagged").parse(row()))
