"""One run from new feedback to a decision: an idempotent command that can be called every night.

    new feedback ─► audit gates ─► curate ─► train ─► contest ─► decision ─► report, notices
                        │ stop                          │ keep or promote

The decision is one file: with it champion and watermark change, or not at all. Everything before it is done again only
where it is not there, so after a crash the next call goes on; everything behind it is made from what lies on disk, so
the next call makes up for it. No click here: the command line, schedulers and tests call `retrain`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from align.champion.registry import LOCK_NAME, Decision, DecisionKind, ModelEntry, Registry
from align.models.model_files import model_digest
from cli.workflows.retrain.config import RetrainConfig
from cli.workflows.retrain.gates import stopping_reasons
from cli.workflows.retrain.notices import send_notices, tell_of_skip
from cli.workflows.retrain.old_runs import clear_old_runs
from cli.workflows.retrain.page import render_report
from cli.workflows.retrain.plan import RunPlan, begin_run, clear_partials, plan_run
from cli.workflows.retrain.report import REPORT_NAME, run_report
from cli.workflows.retrain.steps import audit_step, contest_step, dataset_step, train_step
from cli.workflows.retrain.waits import refuse_waiting
from feedback.audit.wording import agree
from feedback.store import Store
from feedback.store.durable import private_folder, write_durably
from feedback.store.faults import faultpoint
from schemas.errors import DataGateError, EvaluationGateError, NothingToDoError, NotNowError, ThumblineError
from schemas.lock import folder_lock
from schemas.progress import Progress, silent

__all__ = ["RetrainResult", "retrain"]

Tell = Callable[[str], None]


def _say_nothing(sentence: str) -> None:
    del sentence


@dataclass(frozen=True, slots=True)
class RetrainResult:
    """A run whose challenger was promoted.

    Args:
        run: the run's id.
        decision: the decision.
        folder: the run's folder.
        report: what the run says of itself, as in `report.json`.
    """

    run: str
    decision: Decision
    folder: Path
    report: dict[str, Any]


def retrain(config: RetrainConfig, *, progress: Progress = silent, tell: Tell = _say_nothing) -> RetrainResult:
    """Retrain on what has come in, and promote the challenger where it wins.

    Args:
        config: the config, see `load_retrain_config`.
        progress: told of every long part.
        tell: called with a sentence before each part.

    Raises:
        LockedError: another process works in the folder or on the store; it is named.
        NothingToDoError: nothing new has come in, or too little to train on.
        DataGateError: the new feedback must not be trained on; nothing was, and the champion stays.
        EvaluationGateError: the challenger lost, and the champion stays.
        CorruptionError: a file is not what was written.
        InputNotFoundError: there is no store, or no safety list where the config names one.
        InputError: the safety list is none.
    """
    registry = Registry(Path(config.folder))
    private_folder(registry.folder)
    try:
        return _retrain(config, registry, progress, tell)
    except NotNowError as error:
        tell_of_skip(config.notices, registry, error)
        raise


def _retrain(config: RetrainConfig, registry: Registry, progress: Progress, tell: Tell) -> RetrainResult:
    with folder_lock(registry.folder / LOCK_NAME, purpose="thumbline retrain"):
        store = Store.open(config.store)
        _catch_up(registry, config)
        plan = plan_run(config, store, registry)
        known = registry.decided(plan.id)
        if known is not None:
            raise _decided_before(known, plan)
        refuse_waiting(plan, config)
        begin_run(plan, config)
        decision = _decide(plan, config, store, registry, progress, tell)
        report = _finish(plan, config, registry, decision)
        cleared = clear_old_runs(registry, config.keep_runs)
        if cleared:
            tell(f"Cleared datasets and models of {len(cleared)} old runs; their pages stay")
    return _outcome(decision, plan, report)


def _decide(
    plan: RunPlan, config: RetrainConfig, store: Store, registry: Registry, progress: Progress, tell: Tell
) -> Decision:
    """Go from the new feedback to the decision, which is on disk when this returns."""
    new = plan.counts["events"] + plan.counts["pairs"]
    try:
        if new:
            tell(f"1 of 4: auditing {new:,} new events and pairs, of versions {plan.since + 1} to {plan.version}")
            audit = audit_step(plan, config, store, progress)
            unjudged = sum(gate.severity == "info" for gate in audit.gates)
            if unjudged:
                tell(f"{unjudged} of {len(audit.gates)} gates {agree(unjudged, 'have')} too few cases to say anything")
            reasons = stopping_reasons(audit, config.gates, plan.kind)
            if reasons:
                return _commit(plan, registry, "stop", reasons)
        tell("2 of 4: curating the whole history")
        dataset = dataset_step(plan, config, store, progress)
        tell(f"3 of 4: training from {'the champion' if plan.goes_on else 'the base model'}, the longest part")
        train_step(plan, config, store, dataset, progress)
        tell("4 of 4: the challenger against the champion")
        found = contest_step(plan, config, registry.folder, progress)
    except DataGateError as error:
        return _commit(plan, registry, "stop", (str(error),))
    kind: DecisionKind = "promote" if found["wins"] else "keep"
    return _commit(plan, registry, kind, tuple(found["reasons"]), found)


def _commit(
    plan: RunPlan, registry: Registry, kind: DecisionKind, reasons: Sequence[str], figures: dict[str, Any] | None = None
) -> Decision:
    """Put the decision into the log. Only a stop leaves the watermark: its feedback is looked at again."""
    latest = plan.latest
    champion, previous = plan.champion, None if latest is None else latest.previous
    if kind == "promote":
        champion, previous = _entry(plan, registry), plan.champion
    decision = Decision(
        kind=kind,
        run=plan.id,
        champion=champion,
        previous=previous,
        watermark=plan.since if kind == "stop" else plan.version,
        reasons=tuple(reasons),
        figures=figures or {},
        decided_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    faultpoint("retrain.decision.before", registry.folder)
    committed = registry.commit(decision, after=0 if latest is None else latest.number)
    faultpoint("retrain.decision.after", registry.folder)
    registry.point_to_champion()
    faultpoint("retrain.pointer.after", registry.folder)
    return committed


def _entry(plan: RunPlan, registry: Registry) -> ModelEntry:
    model = plan.training / "model"
    return ModelEntry(
        run=plan.id,
        folder=model.relative_to(registry.folder).as_posix(),
        digest=model_digest(model),
        dataset=plan.dataset.relative_to(registry.folder).as_posix(),
        version=plan.version,
    )


def _finish(plan: RunPlan, config: RetrainConfig, registry: Registry, decision: Decision) -> dict[str, Any]:
    """Write the run's report and page, and tell who is to be told; the JSON is written last."""
    clear_partials(plan.folder)
    report = run_report(plan, registry, decision)
    faultpoint("retrain.report.before", plan.folder)
    write_durably(plan.folder / "report.html", render_report(report).encode(), point="retrain.page")
    report["notices"] = send_notices(config.notices, report, registry.history(), registry.folder)
    text = json.dumps(report, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"
    write_durably(plan.folder / REPORT_NAME, text.encode(), point="retrain.report")
    return report


def _catch_up(registry: Registry, config: RetrainConfig) -> None:
    """Make up for what a crash behind a decision left undone: the link, and the report of the run."""
    registry.point_to_champion()
    latest = registry.latest()
    if latest is None or latest.kind == "rollback":
        return
    folder = registry.folder / "runs" / latest.run
    if (folder / "run.json").is_file() and not (folder / REPORT_NAME).is_file():
        _finish(_plan_of(latest, registry), config, registry, latest)


def _plan_of(decision: Decision, registry: Registry) -> RunPlan:
    """The plan of a decided run, as far as its report needs it."""
    folder = registry.folder / "runs" / decision.run
    known = json.loads((folder / "run.json").read_text("utf-8"))
    earlier = registry.history()[decision.number - 2] if decision.number > 1 else None
    return RunPlan(
        id=decision.run,
        folder=folder,
        version=known["store"]["version"],
        since=known["since"],
        counts=known["counts"],
        champion=None if earlier is None else earlier.champion,
        latest=earlier,
        start=known["start"],
        goes_on=known["goes_on"],
        is_forgotten=known["is_forgotten"],
        frozen=registry.folder / "evaluation",
        makes_frozen=known["makes_frozen"],
        identity={key: known[key] for key in ("store", "config", "code", "base")},
    )


def _decided_before(decision: Decision, plan: RunPlan) -> ThumblineError:
    """The same run again: a stop stands as long as the feedback is the same; else there is nothing to do."""
    if decision.kind == "stop":
        return _stopped(decision, plan)
    return NothingToDoError(
        f"the run was decided before ({decision.kind})",
        where=plan.folder,
        todo="Take feedback in with `thumbline ingest`, or change the config",
    )


def _outcome(decision: Decision, plan: RunPlan, report: dict[str, Any]) -> RetrainResult:
    if decision.kind == "stop":
        raise _stopped(decision, plan)
    if decision.kind == "keep":
        raise EvaluationGateError(
            f"the challenger loses: {'; '.join(decision.reasons)}",
            where=plan.folder,
            todo="The champion stays. The page report.html beside it says what was measured",
        )
    return RetrainResult(plan.id, decision, plan.folder, report)


def _stopped(decision: Decision, plan: RunPlan) -> DataGateError:
    versions = ", ".join(str(number) for number in range(plan.since + 1, plan.version + 1))
    return DataGateError(
        " | ".join(reason.rstrip(".") for reason in decision.reasons),
        where=plan.folder,
        todo="Nothing was trained and the champion stays. Look at report.html there; then change the threshold, leave "
        f"the feedback out with exclude_versions (of {versions}), or forget who spoilt it",
    )
