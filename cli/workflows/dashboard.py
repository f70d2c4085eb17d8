"""A static site of a folder of `thumbline retrain`: the store, the runs, the audits and the models over time.

    OUT/
      index.html              champion, decisions, measures, store
      runs/ID/report.html     the page of each run, and its audit

Every page is whole by itself and loads nothing, so the folder can lie on any web server, or be opened as files.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

from align.champion.registry import Decision, Registry
from cli.workflows.page_frame import TONES, Cell, Drawing, Page, Sheet, cells, render_page
from schemas.errors import OutputExistsError, UsageError
from schemas.manifest import write_last

__all__ = ["dashboard_server", "write_dashboard"]

_MARK: Final = "index.html"
_GENERATOR: Final = '<meta name="generator" content="thumbline">'
_OURS: Final = {_MARK, "runs"}
_SHOWN: Final = ("report.html", "audit.html")
_WIDTH: Final = 620


def write_dashboard(folder: Path, out: Path, store: str | Path | None = None) -> Path:
    """Write the site, anew where it is there, and return its first page. Pages that a run has no more go from it too.

    Args:
        folder: folder of `thumbline retrain`.
        out: folder of the site.
        store: folder or URL of the store; null leaves it out.

    Raises:
        OutputExistsError: `out` holds files that are not a site of ours; or runs, and `folder` has no decision.
        CorruptionError: a decision or the store cannot be read.
    """
    if not _is_ours(out):
        raise OutputExistsError("the folder holds files that are not a site of ours", where=out, todo="Name another")
    history = Registry(folder).history()
    if not history and _shows_runs(out):
        raise OutputExistsError(
            "the site shows runs, and the folder that it would be made from has no decision",
            where=out,
            received=str(folder),
            expected="a folder of thumbline retrain",
            todo="Name the folder whose runs they are, or another output",
        )
    reports = {one.run: known for one in history if (known := _report(folder, one.run)) is not None}
    _remove_pages(out, folder)
    for run in reports:
        target = out / "runs" / run
        target.mkdir(parents=True, exist_ok=True)
        for name in _SHOWN:
            if (folder / "runs" / run / name).is_file():
                shutil.copyfile(folder / "runs" / run / name, target / name)
    out.mkdir(parents=True, exist_ok=True)
    versions = [] if store is None else _versions(store)
    write_last(out / _MARK, render_page(_page(folder, history, reports, versions)))
    return out / _MARK


def _is_ours(out: Path) -> bool:
    """Whether a folder may be written anew: it is not there, or holds a site that says who made it."""
    if not out.exists():
        return True
    names = {path.name for path in out.iterdir()} if out.is_dir() else {out.name}
    return names <= _OURS and (_MARK not in names or _GENERATOR in (out / _MARK).read_text("utf-8", "replace"))


def _shows_runs(out: Path) -> bool:
    """Whether a site has the page of a run. Decisions are never deleted, so one without any is of another folder."""
    return any(next((out / "runs").glob(f"*/{name}"), None) is not None for name in _SHOWN)


def _remove_pages(out: Path, folder: Path) -> None:
    """Remove from a site of ours the pages that are not in the folder of their run any more."""
    if not (out / _MARK).is_file():
        return
    for place in [path for path in (out / "runs").glob("*") if path.is_dir()]:
        for name in _SHOWN:
            if not (folder / "runs" / place.name / name).is_file():
                (place / name).unlink(missing_ok=True)
        if not any(place.iterdir()):
            place.rmdir()


def dashboard_server(out: Path, port: int = 0) -> ThreadingHTTPServer:
    """A server of the site on the loopback address, which no other machine reaches; not yet serving.

    Args:
        out: folder of the site.
        port: the port; 0 takes a free one.

    Raises:
        UsageError: the system does not give the port, as another program has it, for example.
    """
    handler: Callable[..., SimpleHTTPRequestHandler] = partial(_QuietHandler, directory=str(out))
    try:
        return ThreadingHTTPServer(("127.0.0.1", port), handler)
    except OSError as error:
        raise UsageError(
            f"nothing can be served on this port ({error.strerror})",
            where="--port",
            received=port,
            todo="Name another one, or leave it out for a free one",
        ) from error


class _QuietHandler(SimpleHTTPRequestHandler):
    """Files of one folder; requests are not logged."""

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class names it so
        del format, args


def _report(folder: Path, run: str) -> dict[str, Any] | None:
    """The report of a run, which says that there is an audit only where its page is there."""
    place = folder / "runs" / run
    path = place / "report.json"
    known: dict[str, Any] | None = json.loads(path.read_text("utf-8")) if path.is_file() else None
    return known if known is None or (place / "audit.html").is_file() else {**known, "audit": None}


def _versions(store: str | Path) -> list[dict[str, Any]]:
    from feedback.store import Store

    return Store.open(store).history()


def _page(
    folder: Path, history: Sequence[Decision], reports: dict[str, dict[str, Any]], versions: list[dict[str, Any]]
) -> Page:
    latest = history[-1] if history else None
    champion = None if latest is None else latest.champion
    headline = "There is no champion yet" if champion is None else f"Run {champion.run} is champion"
    sentences = (
        []
        if latest is None
        else [f"The newest decision, {latest.decided_at}: {latest.kind}.", *map(_sentence, latest.reasons)]
    )
    return Page(
        title="Models over time",
        subject=f"{len(history)} decisions in {folder.resolve().name}",
        sections=tuple(_sections(history, reports, versions)),
        tone="info" if latest is None else TONES[latest.kind],
        headline=headline,
        sentences=tuple(sentences),
    )


def _sentence(reason: str) -> str:
    return reason[:1].upper() + reason[1:]


def _sections(
    history: Sequence[Decision], reports: dict[str, dict[str, Any]], versions: list[dict[str, Any]]
) -> Iterator[Sheet]:
    decided = [one for one in history if one.kind != "rollback"]  # its run's contest is another decision's
    measured = [(one, report) for one in decided if (report := reports.get(one.run)) and report["contest"]]
    if measured:
        yield _measures(measured)
    yield _decisions(history, reports)
    models = [one for one in history if one.kind in ("promote", "rollback")]
    if models:
        yield _models(models)
    if versions:
        yield _store(versions)


def _measures(measured: Sequence[tuple[Decision, dict[str, Any]]]) -> Sheet:
    """Reward accuracy on the frozen set, run by run, and the rest of what contests measured."""
    points = [
        {"decision": one.number, "model": model, "accuracy": report["contest"]["measures"][0][key]}
        for one, report in measured
        for model, key in (("champion", "before"), ("challenger", "after"))
    ]
    rows = tuple(
        cells(
            one.number,
            Cell(one.run, target=f"runs/{one.run}/report.html"),
            measure["title"],
            measure["before"],
            measure["after"],
            measure["outcome"],
        )
        for one, report in measured[-5:]
        for measure in report["contest"]["measures"]
    )
    drawing = Drawing(
        _accuracy_chart(points),
        f"Reward accuracy of champion and challenger in {len(measured)} contests",
        "Reward accuracy on the frozen set, of the champion (orange) and of the challenger (blue), by decision.",
    )
    headings = ("decision", "run", "measure", "champion", "challenger", "outcome")
    return Sheet("Measures", "Of the five newest contests.", headings, rows, (drawing,))


def _accuracy_chart(points: list[dict[str, Any]]) -> str:
    import altair as alt

    from feedback.audit.svg import COLOURS, point_data, render_svg

    base = alt.Chart(point_data(points)).encode(
        x=alt.X("decision:Q", axis=alt.Axis(title="decision", tickMinStep=1, format="d")),
        y=alt.Y("accuracy:Q", axis=alt.Axis(title="reward accuracy"), scale=alt.Scale(domain=[0, 1])),
        color=alt.Color(
            "model:N",
            scale=alt.Scale(domain=["champion", "challenger"], range=[COLOURS["k1"], COLOURS["k0"]]),
            legend=None,
        ),
    )
    chart = alt.layer(base.mark_line(strokeWidth=2), base.mark_point(filled=True, size=30))
    return render_svg(chart.properties(width=_WIDTH, height=180), "accuracy")


def _decisions(history: Sequence[Decision], reports: dict[str, dict[str, Any]]) -> Sheet:
    rows = []
    for one in reversed(history):
        report = reports.get(one.run)
        came = {} if report is None or one.kind == "rollback" else report["came_in"]
        audit = Cell("–") if not (report and report["audit"]) else Cell("audit", target=f"runs/{one.run}/audit.html")
        run = Cell(one.run, target=f"runs/{one.run}/report.html" if report else "")
        rows.append(
            cells(
                one.number,
                one.decided_at,
                Cell(one.kind, TONES[one.kind]),
                run,
                came.get("events"),
                came.get("quarantine"),
                one.watermark,
                audit,
                "; ".join(one.reasons) or "–",
            )
        )
    headings = ("", "decided", "what", "run", "new events", "rejected", "up to version", "audit", "why")
    return Sheet("Decisions", "The newest first.", headings, tuple(rows))


def _models(decisions: Sequence[Decision]) -> Sheet:
    rows = []
    for one in reversed(decisions):
        champion = one.champion
        if champion is None:
            continue
        rows.append(cells(champion.run, one.decided_at, one.kind, champion.version, champion.digest))
    return Sheet("Champions", "Who served since when.", ("run", "since", "by", "feedback up to", "digest"), tuple(rows))


def _store(versions: Sequence[dict[str, Any]]) -> Sheet:
    rows = []
    for version in sorted(versions, key=lambda one: -int(one["version"])):
        time_ms = version["time_ms"]
        when = "–" if time_ms is None else datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(timespec="seconds")
        known = {"version", "operation", "time_ms"}
        rest = ", ".join(
            f"{key} {value:,}"
            for key, value in sorted(version.items())
            if key not in known and isinstance(value, int) and not isinstance(value, bool)
        )
        rows.append(cells(version["version"], when, version["operation"], rest or "–"))
    return Sheet("The store", "Its versions, the newest first.", ("version", "when", "what", "numbers"), tuple(rows))
