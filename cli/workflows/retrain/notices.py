"""Who is told of a run: a webhook, metrics for the textfile collector of Prometheus, a model registry of MLflow.

A notice never fails a run.
"""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from align.champion.registry import Decision
from cli.workflows.retrain.config import NoticesConfig
from cli.workflows.retrain.mlflow_mirror import mirror_champion
from schemas.errors import MissingExtraError

__all__ = ["metrics_text", "send_notices", "webhook_body"]

_KINDS: Final = ("promote", "keep", "stop", "rollback")


def send_notices(
    config: NoticesConfig, report: Mapping[str, Any], history: Sequence[Decision], folder: Path = Path()
) -> dict[str, str]:
    """Tell whoever is to be told, and say what became of it.

    Args:
        config: who is told.
        report: the run's report.
        history: every decision.
        folder: the folder of runs.

    Returns:
        For `webhook`, `prometheus` and `mlflow`, where wanted, `sent`, or what went wrong, without the address.
    """
    told = {}
    if config.webhook is not None:
        told["webhook"] = _post(config.webhook, webhook_body(report), config.webhook_timeout_s)
    if config.prometheus is not None:
        told["prometheus"] = _write(Path(config.prometheus), report, history)
    if config.mlflow is not None:
        told["mlflow"] = mirror_champion(config, report["decision"]["champion"], folder)
    return told


def webhook_body(report: Mapping[str, Any]) -> dict[str, Any]:
    """What a webhook is sent: the outcome and its numbers, as JSON values."""
    decision = report["decision"]
    champion = decision["champion"]
    measures = [] if report["contest"] is None else report["contest"]["measures"]
    return {
        "event": "thumbline.retrain",
        "run": report["run"],
        "decision": decision["kind"],
        "exit_code": report["exit_code"],
        "reasons": decision["reasons"],
        "champion": None if champion is None else {"run": champion["run"], "digest": champion["digest"]},
        "came_in": report["came_in"],
        "measures": {one["name"]: {key: one[key] for key in ("before", "after", "outcome")} for one in measures},
        "decided_at": decision["decided_at"],
        # `text` is what chat tools show of a webhook.
        "text": f"thumbline retrain: {decision['kind']} ({'; '.join(decision['reasons'])})",
    }


def metrics_text(report: Mapping[str, Any], history: Sequence[Decision]) -> str:
    """The run's numbers in Prometheus' text format.

    Args:
        report: the run's report.
        history: every decision.

    Raises:
        MissingExtraError: the extra `operate` is not installed.
    """
    try:
        from prometheus_client import CollectorRegistry, Gauge, generate_latest
    except ImportError as error:
        raise MissingExtraError("prometheus_client", "operate") from error

    registry = CollectorRegistry()

    def gauge(name: str, text: str, value: float | None, **labels: str) -> None:
        """A number, where there is one."""
        if value is None:
            return
        known = gauges.get(name)
        if known is None:
            known = gauges[name] = Gauge(f"thumbline_retrain_{name}", text, list(labels), registry=registry)
        (known.labels(**labels) if labels else known).set(value)

    gauges: dict[str, Any] = {}
    decision, came = report["decision"], report["came_in"]
    decided_at = datetime.fromisoformat(decision["decided_at"]).timestamp()
    gauge("last_decision_timestamp_seconds", "When the newest run was decided.", decided_at)
    gauge("last_exit_code", "Exit code of the newest decided run.", report["exit_code"])
    for kind in _KINDS:
        count = sum(one.kind == kind for one in history)
        gauge("decisions", "Decisions so far, by kind.", count, kind=kind)
    for name in ("events", "pairs", "quarantine"):
        gauge("new_rows", "What came in for the newest run, by kind.", came[name], kind=name)
    gauge("watermark_version", "Version of the store that was decided about.", decision["watermark"])
    for one in [] if report["contest"] is None else report["contest"]["measures"]:
        for model, key in (("champion", "before"), ("challenger", "after")):
            gauge("measure", "What the newest contest measured.", one[key], measure=one["name"], model=model)
    text: bytes = generate_latest(registry)
    return text.decode("utf-8")


def _post(url: str, body: Mapping[str, Any], timeout_s: float) -> str:
    """Send JSON by POST; what became of it. Errors are told by their kind, as their texts may hold the address."""
    parts = urlsplit(url)
    request = urllib.request.Request(  # noqa: S310 - the config allows http and https only
        url,
        data=json.dumps(body, ensure_ascii=False).encode(),
        headers={"Content-Type": "application/json; charset=utf-8", "User-Agent": "thumbline"},
        method="POST",
    )
    opener = urllib.request.build_opener(_NoRedirect)
    try:
        with opener.open(request, timeout=timeout_s) as answer:
            answer.read(1024)
            return "sent"
    except urllib.error.HTTPError as error:
        return f"not sent: {parts.hostname} answered {error.code}"
    except (OSError, http.client.HTTPException, ValueError) as error:
        return f"not sent to {parts.hostname}: {type(error).__name__}"


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """What a run says goes to the address that was named, and to no other."""

    def redirect_request(self, *args: Any, **more: Any) -> None:
        del args, more


def _write(path: Path, report: Mapping[str, Any], history: Sequence[Decision]) -> str:
    """Write the metrics beside their place and rename them, so that the collector never reads half a file."""
    try:
        text = metrics_text(report, history)
        partial = path.with_name(path.name + ".partial")
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(text, encoding="utf-8")
        partial.chmod(0o644)  # the collector is another user; there is nothing but numbers in it
        partial.replace(path)
    except (OSError, MissingExtraError) as error:
        return f"not written: {error}"
    return "sent"
