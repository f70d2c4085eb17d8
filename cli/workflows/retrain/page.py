"""The page of a run: what came in, what changed, what was decided, and why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from cli.workflows.page_frame import TONES, Cell, Page, Sheet, cells, render_page
from feedback.audit.wording import agree

__all__ = ["render_report"]

_HEADLINES: Final = {
    "promote": "The challenger is champion now",
    "keep": "The champion stays: the challenger loses",
    "stop": "Nothing was trained: the new feedback must be looked at first",
    "rollback": "An earlier champion is champion again",
}
_KINDS: Final = {"unpaired_preference": "labelled answers", "preference": "pairs"}
_OUTCOMES: Final = {"held": "ok", "undecided": "warn", "lost": "fail"}


def render_report(report: Mapping[str, Any]) -> str:
    """The page of a run's report, as HTML.

    Args:
        report: of `cli.workflows.retrain.report.run_report`.
    """
    decision, came = report["decision"], report["came_in"]
    links = [("Audit of the new feedback", "audit.html")] if report["audit"] is not None else []
    return render_page(
        Page(
            title=f"Retraining run {report['run']}",
            subject=f"Versions {came['since'] + 1} to {came['until']} of the store, decided {decision['decided_at']}",
            sections=tuple(_sections(report)),
            tone=TONES[decision["kind"]],
            headline=_HEADLINES[decision["kind"]],
            sentences=tuple(reason[:1].upper() + reason[1:] for reason in decision["reasons"]),
            links=tuple(links),
        )
    )


def _sections(report: Mapping[str, Any]) -> Iterator[Sheet]:
    yield _came_in(report["came_in"])
    if report["audit"] is not None:
        yield _gates(report["audit"])
    if report["dataset"] is not None:
        yield _stages(report["dataset"])
    if report["changed"] is not None:
        yield _changed(report["changed"])
    if report["training"] is not None:
        yield _training(report["training"])
    if report["contest"] is not None:
        yield _contest(report["contest"])
    yield _decision(report["decision"])


def _came_in(came: Mapping[str, Any]) -> Sheet:
    names = {
        "events": "events, every revision",
        "pairs": "pairs",
        "quarantine": "rejected records",
        "desirable": "answers voted up",
        "undesirable": "answers voted down",
    }
    note = f"What came into the store after version {came['since']}."
    if came["is_forgotten"]:
        note += " Somebody is forgotten whom the champion was trained on, so training begins from the base model."
    return Sheet(
        "What came in",
        note,
        ("what", "rows"),
        tuple(cells(title, came[key]) for key, title in names.items() if key in came),
    )


def _gates(audit: Mapping[str, Any]) -> Sheet:
    rows = tuple(
        cells(gate["title"], Cell(gate["severity"], gate["severity"]), gate["sentence"]) for gate in audit["gates"]
    )
    held = f"{audit['held']} gates hold"
    unjudged = audit.get("unjudged", 0)
    held += f", {unjudged} {agree(unjudged, 'have')} too few cases to say." if unjudged else "."
    return Sheet("Gates of the audit that do not hold", held, ("gate", "severity", "what was found"), rows)


def _stages(dataset: Mapping[str, Any]) -> Sheet:
    rows = []
    for stage in dataset["stages"]:
        dropped = ", ".join(f"{count:,} {reason}" for reason, count in sorted(stage["dropped"].items()))
        rows.append(cells(stage["stage"], stage["rows_in"], stage["rows_created"], dropped or "–", stage["rows_kept"]))
    ratio = "" if dataset["ratio"] is None else f" R = {dataset['ratio']:.3f}."
    pairs = dataset.get("pairs")
    note = (
        f"The whole history is {dataset['rows']['train']:,} rows to train on and {dataset['rows']['test']:,} held out "
        f"(digest {dataset['digest']})."
    )
    if pairs is not None:
        note += f" It holds {pairs['train']:,} pairs to train on and {pairs['test']:,} held out."
    note += f" Trained on: {_KINDS[dataset.get('kind', 'unpaired_preference')]}.{ratio}"
    return Sheet(
        "From the store to what is trained on", note, ("stage", "in", "created", "dropped", "kept"), tuple(rows)
    )


def _changed(changed: Mapping[str, Any]) -> Sheet:
    names = {
        "came": "that came",
        "went": "that went",
        "label": "with another label",
        "split": "in the other split",
        "weight": "with another weight",
        "same": "that stayed as they were",
    }
    note = f"The dataset of the champion had {changed['rows_before']:,} rows, this one has {changed['rows_after']:,}."
    rows = [cells(f"rows {names[key]}", changed["counts"][key]) for key in names]
    pairs = changed.get("pairs")
    if pairs is not None:
        note += f" It had {pairs['rows_before']:,} pairs, this one has {pairs['rows_after']:,}."
        rows += [cells(f"pairs {names[key]}", pairs["counts"][key]) for key in names if key != "label"]
    return Sheet("What changed in the dataset", note, ("what", "count"), tuple(rows))


def _training(training: Mapping[str, Any]) -> Sheet:
    first, last = training["evaluation"].get("first"), training["evaluation"].get("last")
    figures = ("reward_accuracy", "reward_margin", "loss")
    rows = [
        cells(name.replace("_", " "), first and first.get(name), last and last.get(name))
        for name in figures
        if last is not None
    ]
    steps = training["steps"]
    note = (
        f"{training.get('objective', 'kto')}: {steps['steps']:,} steps over {steps['examples']:,} examples in "
        f"{training['seconds']['training']:.0f} s, "
        f"from the {training['start']} model {training['base']['digest']}. Rewards are relative to that model."
    )
    return Sheet("Training", note, ("held-out rows of this dataset", "before", "after"), tuple(rows))


def _contest(contest: Mapping[str, Any]) -> Sheet:
    rows = tuple(
        cells(
            one["title"],
            one["before"],
            one["after"],
            one["value"],
            f"{_end(one['low'])} to {_end(one['high'])}",
            one["cases"],
            one["limit"],
            Cell(one["outcome"], _OUTCOMES[one["outcome"]]),
        )
        for one in contest["measures"]
    )
    headings = ("measure", "champion", "challenger", "difference", "95% interval", "cases", "limit", "outcome")
    note = "Both models on the same rows and prompts; rewards are relative to the base model."
    return Sheet("Champion and challenger", note, headings, rows)


def _decision(decision: Mapping[str, Any]) -> Sheet:
    champion, previous = decision["champion"], decision["previous"]
    rows = (
        cells("decision", f"{decision['number']}: {decision['kind']}"),
        cells("champion", "none" if champion is None else f"{champion['run']} ({champion['digest']})"),
        cells("champion before", "none" if previous is None else f"{previous['run']} ({previous['digest']})"),
        cells("feedback decided about", f"up to version {decision['watermark']}"),
    )
    return Sheet("The decision", "", ("what", "value"), rows)


def _end(value: float | None) -> str:
    return "no bound" if value is None else f"{value:+.3f}"
