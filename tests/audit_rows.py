"""Rows of candidates for the tests of the audit, in a line each, and the audit of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl

from feedback.audit import AuditConfig, AuditReport, Metric, audit_candidates
from feedback.hashing import hex_key, stable_id
from feedback.stage import CANDIDATE_TYPES

START = datetime(2026, 1, 5, tzinfo=UTC)


def row(number: int, label: bool, **changes: object) -> dict[str, object]:
    """One vote of a rater of its own for an answer of its own; `changes` say what differs."""
    prompt, answer = str(changes.pop("prompt", number)), str(changes.pop("answer", number))
    rater = changes.pop("rater", f"rater {number}")
    day = changes.pop("day", number)
    made = {
        "row_id": stable_id("row", str(number)),
        "row_key": _key("row", str(number)),
        "text_id": stable_id("event", str(number)),
        "text_side": "completion",
        "source": "thumbs",
        "origin": "thumb",
        "prompt_hash": _key("prompt", prompt),
        "completion_hash": _key("answer", answer),
        "prompt_key": _key("prompt", prompt.casefold()),
        "completion_key": _key("answer", answer.casefold()),
        "group_id": _key("prompt", prompt.casefold()),
        "cluster_id": _key("cluster", prompt.casefold(), answer.casefold()),
        "label": label,
        "weight": 1.0,
        "rater_key": None if rater is None else _key("rater", str(rater)),
        "rater_kind": "end_user",
        "model_id": None,
        "event_ts": START + timedelta(days=int(str(day))),
        "prompt_chars": 10,
        "completion_chars": 100,
        "capped_rater": None,
        "split": None,
    } | changes
    vote = {name: made[name] for name in ("rater_key", "event_ts", "label")}
    made.setdefault("votes", [{"event_id": made["text_id"], **vote}])
    return made


def _key(*parts: str) -> int:
    return hex_key(stable_id(*parts))


def table(*rows: dict[str, object]) -> pl.DataFrame:
    """A table of candidates."""
    return pl.DataFrame(list(rows), schema=CANDIDATE_TYPES)


def many(up: int, down: int, **changes: object) -> list[dict[str, object]]:
    """So many up and down rows, each of its own prompt, answer and rater."""
    return [row(number, number < up, **changes) for number in range(up + down)]


def audited(rows: list[dict[str, object]], **options: float) -> AuditReport:
    """The audit of the rows, with other thresholds where `options` name them."""
    return audit_candidates(table(*rows), config=AuditConfig(**options) if options else None)


def found(report: AuditReport, name: str) -> Metric:
    """The metric of that name, which must be there."""
    metric = report.metric(name)
    assert metric is not None, name
    return metric


def pair(number: int, chosen: str, rejected: str, **changes: object) -> list[dict[str, object]]:
    """The two rows of a pair of answers to one prompt; `chosen_chars` and `rejected_chars` are their lengths."""
    chars = [changes.pop(f"{side}_chars", 100) for side in ("chosen", "rejected")]
    shared = {"origin": "pair", "text_id": stable_id("pair", str(number)), "rater": f"rater {number}", "day": 0}
    rows = []
    for place, (answer, length) in enumerate(zip((chosen, rejected), chars, strict=True)):
        side = {"answer": answer, "completion_chars": length, "text_side": "ab"[place]}
        rows.append(row(2 * number + place, place == 0, **{**shared, **side, **changes}))
    return rows


def asked(*pairs: tuple[str, str, str, str | None], scores: tuple[tuple[float, float], ...] = ()) -> pl.DataFrame:
    """What only pairs know: answers a and b, the outcome and which was first, and their scores."""
    return pl.DataFrame(
        [
            {
                "text_id": str(number),
                "source": "pairs",
                "prompt_key": 1,
                "response_a_key": _key("answer", answer_a),
                "response_b_key": _key("answer", answer_b),
                "outcome": outcome,
                "presented_first": first,
                "score_a": scores[number][0] if scores else None,
                "score_b": scores[number][1] if scores else None,
            }
            for number, (answer_a, answer_b, outcome, first) in enumerate(pairs)
        ],
        schema_overrides={"response_a_key": pl.UInt64, "response_b_key": pl.UInt64, "presented_first": pl.String}
        | dict.fromkeys(("score_a", "score_b"), pl.Float64),
    )
