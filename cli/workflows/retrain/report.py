"""What a run says of itself, as JSON values: what came in, what changed, what was decided. Never text of users."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from align.artifacts.card import RunCard, find_run_card
from align.champion.dataset_diff import diff_datasets
from align.champion.registry import Decision, Registry
from align.data.parts import part_for
from cli.workflows.retrain.plan import RunPlan
from feedback.audit import AuditReport
from schemas import __version__
from schemas.datasets import SPLITS
from schemas.manifest import MANIFEST_NAME, PREFERENCE_FOLDER, Manifest

__all__ = ["EXIT_CODES", "REPORT_NAME", "read_report", "run_report"]

REPORT_NAME: Final = "report.json"
EXIT_CODES: Final[Mapping[str, int]] = {"promote": 0, "keep": 4, "stop": 3, "rollback": 0}
"""The exit code of the command by what was decided."""

_FORMAT: Final = 1


def run_report(plan: RunPlan, registry: Registry, decision: Decision) -> dict[str, Any]:
    """Everything that is known of a decided run, from the files in its folder.

    Args:
        plan: the run.
        registry: the decisions.
        decision: the one about this run.
    """
    audit, card = _audit(plan.folder / "audit.json"), find_run_card(plan.training)
    return {
        "format_version": _FORMAT,
        "thumbline_version": __version__,
        "run": plan.id,
        "decision": decision.to_dict(),
        "exit_code": EXIT_CODES[decision.kind],
        "came_in": _came_in(plan, audit),
        "audit": None if audit is None else _gates(audit),
        "dataset": _dataset(plan),
        "changed": _changed(plan, registry),
        "training": None if card is None else _training(plan, card),
        "contest": _read(plan.folder / "contest.json"),
        "identity": plan.identity,
    }


def read_report(folder: Path) -> dict[str, Any] | None:
    """The report of a run's folder; null where it has none."""
    known: dict[str, Any] | None = _read(folder / REPORT_NAME)
    return known


def _came_in(plan: RunPlan, audit: AuditReport | None) -> dict[str, Any]:
    rows = {} if audit is None else {key: audit.rows[key] for key in ("desirable", "undesirable")}
    return {"since": plan.since, "until": plan.version, **plan.counts, **rows, "is_forgotten": plan.is_forgotten}


def _gates(audit: AuditReport) -> dict[str, Any]:
    broken = [gate for gate in audit.gates if gate.severity in ("fail", "warn")]
    unjudged = sum(gate.severity == "info" for gate in audit.gates)
    return {
        "severity": audit.severity,
        "gates": [
            {"name": gate.name, "title": gate.title, "severity": gate.severity, "sentence": gate.sentence}
            for gate in broken
        ],
        "held": len(audit.gates) - len(broken) - unjudged,
        "unjudged": unjudged,
    }


def _dataset(plan: RunPlan) -> dict[str, Any] | None:
    """The history and what of it was trained on."""
    if not (plan.dataset / MANIFEST_NAME).is_file():
        return None
    whole = Manifest.read(plan.dataset)
    is_mixed = (plan.mixed / MANIFEST_NAME).is_file()
    trained_on = Manifest.read(part_for(plan.mixed if is_mixed else plan.dataset, plan.kind))
    return {
        "digest": whole.digest,
        "trained_on": trained_on.digest,
        "kind": plan.kind,
        "rows": _rows(whole),
        "pairs": _rows(Manifest.read(plan.dataset / PREFERENCE_FOLDER)) if whole.has_pairs else None,
        "stages": [stage.to_dict() for stage in trained_on.stages],
        "ratio": None if trained_on.ratio is None else trained_on.ratio.value,
        "frozen": Manifest.read(plan.frozen).digest if (plan.frozen / MANIFEST_NAME).is_file() else None,
    }


def _rows(manifest: Manifest) -> dict[str, int]:
    return {split: sum(one.rows for one in manifest.shards if one.split == split) for split in SPLITS}


def _changed(plan: RunPlan, registry: Registry) -> dict[str, Any] | None:
    """The history against that of the champion; null where there was none, or its dataset is gone or was cleaned."""
    if plan.champion is None or not plan.champion.dataset or not (plan.dataset / MANIFEST_NAME).is_file():
        return None
    before = registry.folder / plan.champion.dataset
    if not (before / MANIFEST_NAME).is_file() or before.resolve() == plan.dataset.resolve():
        return None
    return diff_datasets(before, plan.dataset).to_dict()


def _training(plan: RunPlan, card: RunCard) -> dict[str, Any]:
    return {
        "objective": card.config["objective"]["name"],
        "start": "champion" if plan.goes_on else "base",
        "base": dict(card.model),
        "rows": card.rows,
        "ratio": card.ratio,
        "steps": card.steps,
        "seconds": card.seconds,
        "evaluation": card.evaluation,
        "warnings": list(card.warnings),
    }


def _audit(path: Path) -> AuditReport | None:
    return AuditReport.from_json(path.read_text("utf-8")) if path.is_file() else None


def _read(path: Path) -> Any:
    return json.loads(path.read_text("utf-8")) if path.is_file() else None
