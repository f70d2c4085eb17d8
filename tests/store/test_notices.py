"""Who is told of a run: a webhook on the loopback address, and metrics that Prometheus' own parser reads."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from align.champion.registry import Decision, ModelEntry
from cli.workflows.retrain.config import NoticesConfig
from cli.workflows.retrain.metrics import metrics_text
from cli.workflows.retrain.notices import send_notices, webhook_body
from schemas.errors import ConfigError
from schemas.settings import load_settings

ENTRY = ModelEntry("r1", "runs/r1/model", "d1", version=7)
DECISION = Decision("promote", "r1", ENTRY, None, 7, ("better",), decided_at="2026-01-05T02:10:00+00:00", number=1)
REPORT: dict[str, Any] = {
    "run": "r1",
    "decision": DECISION.to_dict(),
    "exit_code": 0,
    "came_in": {"since": 3, "until": 7, "events": 120, "pairs": 0, "quarantine": 4, "is_forgotten": False},
    "contest": {"measures": [{"name": "reward_accuracy", "before": 0.5, "after": 0.75, "outcome": "held", "low": 0.1}]},
}


@contextmanager
def receiver(status: int = 200, location: str | None = None) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """The address of a server that keeps what it is sent."""
    got: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            got.append({"path": self.path, "type": self.headers["Content-Type"], "body": json.loads(body)})
            self.send_response(status)
            if location:
                self.send_header("Location", location)
            self.end_headers()

        def log_message(self, *args: Any) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", got
        server.shutdown()
        thread.join()


def test_webhook_gets_the_outcome_as_json() -> None:
    with receiver() as (address, got):
        told = send_notices(NoticesConfig(webhook=f"{address}/hook?token=s3cret"), REPORT, [DECISION])
    assert told == {"webhook": "sent"}
    assert got == [
        {"path": "/hook?token=s3cret", "type": "application/json; charset=utf-8", "body": webhook_body(REPORT)}
    ]
    body = got[0]["body"]
    assert (body["decision"], body["exit_code"], body["champion"]["run"]) == ("promote", 0, "r1")
    assert body["measures"]["reward_accuracy"] == {"before": 0.5, "after": 0.75, "outcome": "held"}
    assert body["text"] == "thumbline retrain: promote (better)"


def test_webhook_that_fails_is_told_without_its_token_and_fails_nothing() -> None:
    with receiver(status=500) as (address, _):
        told = send_notices(NoticesConfig(webhook=f"{address}/?token=s3cret"), REPORT, [DECISION])
    assert told == {"webhook": "not sent: 127.0.0.1 answered 500"}
    told = send_notices(NoticesConfig(webhook=f"{address}/?token=s3cret", webhook_timeout_s=2), REPORT, [DECISION])
    assert told["webhook"].startswith("not sent to 127.0.0.1: ")
    assert "s3cret" not in str(told)


def test_redirect_is_not_followed() -> None:
    with receiver() as (other, got), receiver(status=302, location=f"{other}/elsewhere") as (address, _):
        told = send_notices(NoticesConfig(webhook=address), REPORT, [DECISION])
    assert told == {"webhook": "not sent: 127.0.0.1 answered 302"}
    assert got == []


def test_metrics_are_what_prometheus_reads(tmp_path: Path) -> None:
    path = tmp_path / "made" / "thumbline.prom"
    stopped = replace(DECISION, kind="stop", number=2)
    assert send_notices(NoticesConfig(prometheus=str(path)), REPORT, [DECISION, stopped]) == {"prometheus": "sent"}
    samples = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(path.read_text())
        for sample in family.samples
    }
    assert samples["thumbline_retrain_last_exit_code",] == 0
    assert samples["thumbline_retrain_last_decision_timestamp_seconds",] == 1767579000
    assert samples["thumbline_retrain_decisions", "promote"] == samples["thumbline_retrain_decisions", "stop"] == 1
    assert samples["thumbline_retrain_new_rows", "events"] == 120
    assert samples["thumbline_retrain_watermark_version",] == 7
    measured = {key: value for key, value in samples.items() if key[0] == "thumbline_retrain_measure"}
    assert sorted(measured.values()) == [0.5, 0.75]
    assert [one.name for one in path.parent.iterdir()] == ["thumbline.prom"]


def test_run_without_a_contest_has_metrics_too() -> None:
    assert "thumbline_retrain_measure" not in metrics_text({**REPORT, "contest": None}, [])


def test_missing_extra_and_a_place_that_cannot_be_written_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    config = NoticesConfig(prometheus=str(tmp_path / "file" / "x.prom"))
    assert send_notices(config, REPORT, [])["prometheus"].startswith("not written: ")
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    told = send_notices(NoticesConfig(prometheus=str(tmp_path / "x.prom")), REPORT, [])
    assert "pip install 'thumbline[operate]'" in told["prometheus"]


def test_nobody_is_told_unless_asked() -> None:
    assert send_notices(NoticesConfig(), REPORT, [DECISION]) == {}


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URI of a registry of MLflow in a database file."""
    for package in ("mlflow", "sqlalchemy", "alembic"):
        pytest.importorskip(package, reason="a registry of MLflow needs mlflow-skinny, sqlalchemy and alembic")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    return f"sqlite:///{tmp_path}/registry.db"


@pytest.mark.filterwarnings("ignore")  # of the packages behind MLflow
def test_the_alias_in_mlflow_follows_the_champion(registry: str, tmp_path: Path) -> None:
    """Also back; a run has one version, however often it is champion."""
    from mlflow import MlflowClient

    config = NoticesConfig(mlflow=registry, mlflow_model="chat", mlflow_alias="live")
    second = replace(ENTRY, run="r2", folder="runs/r2/model", digest="d2")
    told = []
    for entry in (ENTRY, ENTRY, second, ENTRY):
        report = {**REPORT, "decision": replace(DECISION, champion=entry).to_dict()}
        told.append(send_notices(config, report, [], tmp_path)["mlflow"])
    assert told == [f"sent: version {number} of chat is live" for number in (1, 1, 2, 1)]
    client = MlflowClient(registry, registry)
    alive = client.get_model_version_by_alias("chat", "live")
    assert alive.source == (tmp_path / "runs/r1/model").as_uri()
    assert alive.tags == {"thumbline.run": "r1", "thumbline.digest": "d1"}
    assert len(client.search_model_versions("name='chat'")) == 2


@pytest.mark.filterwarnings("ignore")
def test_a_registry_out_of_reach_is_told_without_its_address(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mlflow", reason="mlflow-skinny is not installed")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    told = send_notices(NoticesConfig(mlflow="http://me:s3cret@127.0.0.1:9"), REPORT, [])
    assert told["mlflow"].startswith("not mirrored: ")
    assert "s3cret" not in told["mlflow"]


def test_a_mirror_without_mlflow_or_champion_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    config = NoticesConfig(mlflow="http://registry")
    assert "pip install 'thumbline[mlflow]'" in send_notices(config, REPORT, [])["mlflow"]
    none = {**REPORT, "decision": replace(DECISION, champion=None).to_dict()}
    assert send_notices(config, none, [])["mlflow"].startswith("nothing to mirror")
    with pytest.raises(ConfigError, match="mlflow_model"):
        load_settings(NoticesConfig, {"mlflow_model": "it's"}, where="test")
