"""Who is told of a run: a webhook, metrics for the textfile collector of Prometheus, a model registry of MLflow.

A notice never fails a run.
"""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from align.champion.registry import Decision, Registry
from cli.workflows.retrain.config import NoticesConfig
from cli.workflows.retrain.metrics import write_metrics
from cli.workflows.retrain.mlflow_mirror import mirror_champion
from cli.workflows.retrain.report import read_report
from cli.workflows.retrain.skips import note_skip, read_skips
from schemas.errors import CorruptionError, NotNowError

__all__ = ["send_notices", "tell_of_skip", "webhook_body"]


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
        told["prometheus"] = write_metrics(Path(config.prometheus), report, history, read_skips(folder))
    if config.mlflow is not None:
        told["mlflow"] = mirror_champion(config, report["decision"]["champion"], folder)
    return told


def tell_of_skip(config: NoticesConfig, registry: Registry, error: NotNowError) -> str | None:
    """Count a call that ended with 75 in the metrics, beside the newest decided run.

    Args:
        config: who is told.
        registry: the decisions.
        error: why it ended so.

    Returns:
        `sent`, or what went wrong; null where no metrics are wanted.
    """
    if config.prometheus is None:
        return None
    try:
        note_skip(registry.folder, error)
        history = registry.history()
        decided = [one.run for one in history if one.kind != "rollback"]
        report = read_report(registry.folder / "runs" / decided[-1]) if decided else None
    except (OSError, ValueError, CorruptionError) as failed:
        return f"not written: {failed}"
    return write_metrics(Path(config.prometheus), report, history, read_skips(registry.folder))


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
