"""Metrics for the textfile collector of Prometheus: the newest decided run, all decisions, calls that were skipped."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from align.champion.registry import Decision
from cli.workflows.retrain.skips import Skips
from schemas.errors import MissingExtraError

__all__ = ["metrics_text", "write_metrics"]

_KINDS: Final = ("promote", "keep", "stop", "rollback")
_NO_SKIPS: Final = Skips()


def write_metrics(path: Path, report: Mapping[str, Any] | None, history: Sequence[Decision], skips: Skips) -> str:
    """Write the metrics beside their place and rename them, so that the collector never reads half a file.

    Args:
        path: the file.
        report: as for `metrics_text`.
        history: likewise.
        skips: likewise.

    Returns:
        `sent`, or why it could not be written.
    """
    try:
        text = metrics_text(report, history, skips)
        partial = path.with_name(f"{path.name}.{os.getpid()}.partial")  # a call that is locked out may write too
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(text, encoding="utf-8")
        partial.chmod(0o644)  # the collector is another user; there is nothing but numbers in it
        partial.replace(path)
    except (OSError, MissingExtraError) as error:
        return f"not written: {error}"
    return "sent"


def metrics_text(report: Mapping[str, Any] | None, history: Sequence[Decision], skips: Skips = _NO_SKIPS) -> str:
    """The numbers in Prometheus' text format.

    Args:
        report: the report of the newest decided run; null where there is none yet.
        history: every decision.
        skips: calls that ended with 75.

    Raises:
        MissingExtraError: the extra `operate` is not installed.
    """
    try:
        from prometheus_client import CollectorRegistry, Gauge, generate_latest
    except ImportError as error:
        raise MissingExtraError("prometheus_client", "operate") from error

    registry = CollectorRegistry()
    gauges: dict[str, Any] = {}

    def gauge(name: str, text: str, value: float | None, **labels: str) -> None:
        """A number, where there is one."""
        if value is None:
            return
        known = gauges.get(name)
        if known is None:
            known = gauges[name] = Gauge(f"thumbline_retrain_{name}", text, list(labels), registry=registry)
        (known.labels(**labels) if labels else known).set(value)

    if report is not None:
        _of_run(gauge, report)
    for kind in _KINDS:
        count = sum(one.kind == kind for one in history)
        gauge("decisions", "Decisions so far, by kind.", count, kind=kind)
    for why, count in skips.counts.items():
        gauge("skipped_calls", "Calls so far that ended with 75, by why.", count, why=why)
    gauge("last_skipped_timestamp_seconds", "When the newest of them was.", _seconds(skips.last_at))
    text: bytes = generate_latest(registry)
    return text.decode("utf-8")


def _of_run(gauge: Any, report: Mapping[str, Any]) -> None:
    decision, came = report["decision"], report["came_in"]
    gauge("last_decision_timestamp_seconds", "When the newest run was decided.", _seconds(decision["decided_at"]))
    gauge("last_exit_code", "Exit code of the newest decided run.", report["exit_code"])
    for name in ("events", "pairs", "quarantine"):
        gauge("new_rows", "What came in for the newest run, by kind.", came[name], kind=name)
    gauge("watermark_version", "Version of the store that was decided about.", decision["watermark"])
    for one in [] if report["contest"] is None else report["contest"]["measures"]:
        for model, key in (("champion", "before"), ("challenger", "after")):
            gauge("measure", "What the newest contest measured.", one[key], measure=one["name"], model=model)


def _seconds(moment: str | None) -> float | None:
    return None if moment is None else datetime.fromisoformat(moment).timestamp()
