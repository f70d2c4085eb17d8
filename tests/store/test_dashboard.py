"""The site of a folder of retraining: from decisions and reports alone, whole, escaped, and on the loopback only."""

from __future__ import annotations

import html
import json
import re
import shutil
import threading
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from align.champion.registry import Decision, ModelEntry, Registry
from cli.main import run
from cli.workflows.dashboard import dashboard_server, write_dashboard
from cli.workflows.page_frame import Page, Sheet, cells, render_page
from feedback.config import SourceConfig
from feedback.store import Store
from schemas.errors import OutputExistsError

SCRIPT = "<script>alert(1)</script>"


def entry(name: str, version: int) -> ModelEntry:
    return ModelEntry(name, f"runs/{name}/training/model", digest=f"digest-{name}", version=version)


def write_run(folder: Path, decision: Decision, accuracy: float | None) -> None:
    """A decided run with its report and its pages."""
    place = folder / "runs" / decision.run
    place.mkdir(parents=True)
    measure: dict[str, Any] = {"name": "reward_accuracy", "title": "Reward accuracy", "outcome": "held"}
    contest = None if accuracy is None else {"measures": [{**measure, "before": 0.5, "after": accuracy}]}
    came_in = {"since": 0, "until": decision.watermark, "events": 1234, "pairs": 0, "quarantine": 5}
    report = {"decision": decision.to_dict(), "came_in": came_in, "contest": contest, "audit": {"gates": []}}
    (place / "report.json").write_text(json.dumps(report))
    (place / "report.html").write_text("<p>report</p>")
    (place / "audit.html").write_text("<p>audit</p>")


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """Two promotions, a stop with a hostile reason, and a rollback."""
    folder = tmp_path / "models"
    registry = Registry(folder)
    a, b = entry("aaa", 3), entry("bbb", 5)
    steps = [
        (Decision("promote", "aaa", a, None, 3, ("first",), decided_at="2026-01-01T02:00:00+00:00"), 0.7),
        (Decision("promote", "bbb", b, a, 5, ("better",), decided_at="2026-01-08T02:00:00+00:00"), 0.8),
        (Decision("stop", "ccc", b, a, 5, (SCRIPT,), decided_at="2026-01-15T02:00:00+00:00"), None),
    ]
    for number, (decision, accuracy) in enumerate(steps):
        write_run(folder, registry.commit(decision, after=number), accuracy)
    registry.rollback(reason="rude", decided_at="2026-01-16T09:00:00+00:00")
    return folder


def test_site_tells_decisions_measures_and_champions(models: Path, tmp_path: Path) -> None:
    page = write_dashboard(models, tmp_path / "site").read_text()
    assert "Run aaa is champion" in page
    for text in ("promote", "stop", "rollback", "better", "rude", "1,234", "digest-bbb", "0.800", "<svg"):
        assert text in page
    targets = set(re.findall(r'href="([^"#]+)"', page))
    assert targets == {f"runs/{name}/{kind}.html" for name in ("aaa", "bbb", "ccc") for kind in ("report", "audit")}
    assert all((tmp_path / "site" / target).is_file() for target in targets)


def test_a_rollback_is_no_contest(models: Path, tmp_path: Path) -> None:
    """It names a run whose contest another decision has shown."""
    page = write_dashboard(models, tmp_path / "site").read_text()
    assert re.findall(r"in (\d+) contests", page) == ["2"]


def test_page_is_escaped_and_loads_nothing(models: Path, tmp_path: Path) -> None:
    page = write_dashboard(models, tmp_path / "site").read_text()
    assert SCRIPT not in page
    assert html.escape(SCRIPT) in page
    assert "default-src 'none'" in html.unescape(page)
    without_namespaces = re.sub(r'xmlns(:\w+)?="[^"]*"', "", page)
    assert not re.search(r"https?://|<script|<link|<img|@import|url\((?!#)", without_namespaces)


def test_site_is_written_anew_but_never_over_other_files(models: Path, tmp_path: Path) -> None:
    first = write_dashboard(models, tmp_path / "site").read_bytes()
    assert write_dashboard(models, tmp_path / "site").read_bytes() == first
    for name in ("thesis.md", "index.html"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).write_text("words")
        with pytest.raises(OutputExistsError, match="not a site of ours"):
            write_dashboard(models, tmp_path / name)
        assert (tmp_path / name / name).read_text() == "words"


def test_store_is_shown_version_by_version(models: Path, tmp_path: Path) -> None:
    path = tmp_path / "votes.jsonl"
    path.write_text('{"prompt": "secretquestion", "completion": "a", "label": "up"}\n')
    Store.open(tmp_path / "store", create=True).ingest([SourceConfig(path=str(path), format="thumbs")])
    page = write_dashboard(models, tmp_path / "site", tmp_path / "store").read_text()
    assert "The store" in page
    assert "ingest" in page
    assert "secretquestion" not in page


def test_folder_without_a_decision_has_a_page_too(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    assert "There is no champion yet" in write_dashboard(tmp_path / "models", tmp_path / "site").read_text()


def test_site_of_runs_is_not_emptied_from_a_folder_without_a_decision(models: Path, tmp_path: Path) -> None:
    """Another folder was meant. A site that shows no run yet is written anew every night."""
    (tmp_path / "other").mkdir()
    site = tmp_path / "site"
    for _ in range(2):
        write_dashboard(tmp_path / "other", site)
    write_dashboard(models, site)
    before = {path: path.read_bytes() for path in site.rglob("*.html")}
    with pytest.raises(OutputExistsError, match=r"shows runs, and the folder .* has no decision: got '.*other'"):
        write_dashboard(tmp_path / "other", site)
    assert {path: path.read_bytes() for path in site.rglob("*.html")} == before


def test_pages_of_a_run_that_is_gone_go_from_the_site_too(models: Path, tmp_path: Path) -> None:
    """And an audit that was erased; what somebody else put there stays."""
    site = tmp_path / "site"
    write_dashboard(models, site)
    shutil.rmtree(models / "runs" / "aaa")
    (models / "runs" / "bbb" / "audit.html").unlink()
    shutil.rmtree(models / "runs" / "ccc")
    (site / "runs" / "ccc" / "mine.txt").write_text("words")
    page = write_dashboard(models, site).read_text()
    assert set(re.findall(r'href="(runs[^"#]+)"', page)) == {"runs/bbb/report.html"}
    left = sorted(path.relative_to(site / "runs").as_posix() for path in (site / "runs").rglob("*"))
    assert left == ["bbb", "bbb/report.html", "ccc", "ccc/mine.txt"]


def test_port_that_is_taken_is_refused_before_anything_is_said(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with dashboard_server(tmp_path) as other:
        port = other.server_port
        assert run(["dashboard", str(models), "-o", str(tmp_path / "site"), "--serve", "--port", str(port)]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert re.search(rf"--port: nothing can be served on this port \(.+\): got {port}\. Name another one", said.err)
    assert not (tmp_path / "site").exists()


def test_site_is_served_on_the_loopback_address_only(models: Path, tmp_path: Path) -> None:
    write_dashboard(models, tmp_path / "site")
    (tmp_path / "secret.txt").write_text("secret")
    with dashboard_server(tmp_path / "site") as server:
        assert server.server_address[0] == "127.0.0.1"
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        address = f"http://127.0.0.1:{server.server_port}"
        with urllib.request.urlopen(f"{address}/") as answer:
            assert b"Models over time" in answer.read()
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(f"{address}/../secret.txt")
        assert caught.value.code == 404
        caught.value.close()
        server.shutdown()
        thread.join()


def test_command_writes_the_site(models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["dashboard", str(models), "-o", str(tmp_path / "site"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"page": str(tmp_path / "site" / "index.html")}


def test_plain_page_needs_no_charts() -> None:
    page = render_page(Page("T", "s", (Sheet("Part", "note", ("a", "b"), (cells("x", None),)),)))
    assert '<h2 id="part-1">Part</h2>' in page
    assert "<td>–</td>" in page
