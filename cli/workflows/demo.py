"""The whole way on the sample data: raw logs in, an aligned model out, and a page that says what came of it.

    sample_data ─► audit ─► curate ─► audit ─► train (KTO) ─► evaluate, answer ─► results.md, results.json

Every part leaves its result in the folder and is not done again where that is there, so the demo goes on after a stop.
No click here: the command line and tests call `run_demo`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from cli.workflows.answers import answer_side_by_side
from cli.workflows.results import results_sections, to_markdown
from schemas.errors import InputNotFoundError, OutputExistsError
from schemas.manifest import Manifest, file_sha256, write_last
from schemas.progress import Progress, silent

if TYPE_CHECKING:  # they load torch and polars
    from align.artifacts.card import RunCard
    from feedback.audit import AuditReport
    from feedback.config import SourceConfig

__all__ = ["DEMO_MODEL", "MAX_NEW_TOKENS", "QUESTIONS", "SAMPLE_FILES", "TRAINING", "run_demo"]

DEMO_MODEL: Final = "builtin:smollm2-135m-instruct"
SAMPLE_FILES: Final = {"thumbs.jsonl": "thumbs", "pairs.jsonl": "trl", "open_webui.json": "open_webui"}
"""The files of the sample data, with their formats."""

QUESTIONS: Final = (
    "How do I share a whole notebook with my team?",
    "What should I write in a birthday card for a colleague?",
    "How do I keep a meeting short?",
)
"""What both models are asked at the end; none of these is in the sample data."""

TRAINING: Final[dict[str, Any]] = {
    "batch": {"batch_size": 16},
    "optimizer": {"learning_rate": 2e-5, "schedule": "linear"},
    "epochs": 3,
    "evaluation": {"max_rows": 40},
    "checkpoint": {"every_steps": 5, "keep": 1},
}
"""Settings of the run that differ from the defaults: short, and saved often enough to stop at any time."""

MAX_NEW_TOKENS: Final = 48
"""Longest answer that is shown."""

_SAMPLE_FOLDER: Final = Path(__file__).parents[2] / "sample_data"
_IDENTITY: Final = "demo.json"
_CLOCK: Final = "seconds.json"
_RESULTS: Final = "results.json"


def _say_nothing(sentence: str) -> None:
    del sentence


def run_demo(
    out: Path,
    *,
    model: str = DEMO_MODEL,
    steps: int = 12,
    data: Path | None = None,
    progress: Progress = silent,
    tell: Callable[[str], None] = _say_nothing,
) -> dict[str, Any]:
    """Go the whole way, or what is left of it, and return the results as in `results.json`.

    Args:
        out: folder for everything; one that holds another demo is refused.
        model: the model to align.
        steps: optimizer steps, at least 1.
        data: folder of the sample data; null takes that of the project.
        progress: told about every long part.
        tell: called with a sentence before each part.

    Raises:
        InputNotFoundError: the sample data is not there.
        OutputExistsError: `out` holds a demo of other data, another model or other settings.
        ModelError: the model cannot be loaded.
    """
    data = data or _SAMPLE_FOLDER
    _claim_folder(out, {"model": model, "steps": steps, "questions": list(QUESTIONS), "data": _digests(data)})
    if (out / _RESULTS).is_file():
        tell("This demo was finished before; its results:")
        finished: dict[str, Any] = _read(out / _RESULTS)
        return finished
    clock = _Clock(out / _CLOCK)
    tell("1 of 5: reading the raw logs and auditing them")
    with clock("audit before"):
        before = _audit_raw(out, data, progress)
    tell("2 of 5: curating them into a dataset")
    with clock("curate"):
        manifest = _curate(out, data, progress)
    tell("3 of 5: auditing the dataset")
    with clock("audit after"):
        after = _audit_dataset(out, before)
    tell(f"4 of 5: training {model} with KTO for {steps} steps, the longest part")
    with clock("train"):
        card = _train(out, model, steps, progress)
    tell(f"5 of 5: asking the model {len(QUESTIONS)} questions, before and after")
    with clock("answers"):
        trained = str(out / "run" / "model")
        answers = answer_side_by_side(model, trained, QUESTIONS, max_new_tokens=MAX_NEW_TOKENS, progress=progress)
    results = _results(before, manifest, after, card, answers, clock.seconds)
    page = to_markdown("Results of the demo", results_sections(results, out))
    write_last(out / "results.md", page)
    write_last(out / _RESULTS, json.dumps(results, indent=2, ensure_ascii=False) + "\n")
    return results


def _claim_folder(out: Path, identity: dict[str, Any]) -> None:
    """Make `out` the folder of this demo; what is in it is only used where it is of this very demo."""
    path = out / _IDENTITY
    if path.is_file():
        if _read(path) != identity:
            raise OutputExistsError(
                "the folder holds a demo of other data, another model or other settings",
                where=out,
                todo="Name another folder with -o, or delete this one",
            )
        return
    if out.exists() and any(out.iterdir()):
        raise OutputExistsError("the folder is not empty and not a demo's", where=out, todo="Name another with -o")
    out.mkdir(parents=True, exist_ok=True)
    write_last(path, json.dumps(identity, indent=2) + "\n")


def _digests(data: Path) -> dict[str, str]:
    for name in SAMPLE_FILES:
        if not (data / name).is_file():
            raise InputNotFoundError(
                "the sample data is not there",
                where=data / name,
                todo="It is part of the repository: run the demo from a clone, or name its folder with --data",
            )
    return {name: file_sha256(data / name) for name in SAMPLE_FILES}


class _Clock:
    """Seconds of each part, summed over all sessions of a demo."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.seconds: dict[str, float] = _read(path) if path.is_file() else {}

    @contextmanager
    def __call__(self, part: str) -> Iterator[None]:
        began = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[part] = round(self.seconds.get(part, 0.0) + time.perf_counter() - began, 1)
            write_last(self._path, json.dumps(self.seconds) + "\n")


def _sources(data: Path) -> tuple[SourceConfig, ...]:
    from feedback.config import SourceConfig

    return tuple(SourceConfig(path=str(data / name), format=known) for name, known in SAMPLE_FILES.items())


def _audit_raw(out: Path, data: Path, progress: Progress) -> AuditReport:
    from feedback.audit import AuditReport, render_html
    from feedback.audit.sources import audit_files

    path = out / "audit_before.json"
    if not path.is_file():
        report = audit_files(_sources(data), with_examples=True, progress=progress)
        write_last(out / "audit_before.html", render_html(report))
        write_last(path, report.to_json())
    # Always as it was written, so that a demo that was stopped ends with the same figures.
    return AuditReport.from_json(path.read_text("utf-8"))


def _curate(out: Path, data: Path, progress: Progress) -> Manifest:
    from feedback.config import CurateConfig
    from feedback.pipeline import curate

    return curate(CurateConfig(sources=_sources(data)), out / "dataset", progress=progress).manifest


def _audit_dataset(out: Path, before: AuditReport) -> AuditReport:
    from feedback.audit import AuditReport, render_html
    from feedback.audit.sources import audit_dataset

    path = out / "audit_after.json"
    if not path.is_file():
        report = audit_dataset(out / "dataset", with_examples=True)
        write_last(out / "audit_after.html", render_html(report, before))
        write_last(path, report.to_json())
    return AuditReport.from_json(path.read_text("utf-8"))


def _train(out: Path, model: str, steps: int, progress: Progress) -> RunCard:
    from align.config import TrainConfig
    from align.trainer import train
    from schemas.settings import load_settings

    config = load_settings(TrainConfig, {**TRAINING, "max_steps": steps}, where="the demo")
    return train(config, dataset=out / "dataset", model=model, out=out / "run", progress=progress)


def _results(
    before: AuditReport,
    manifest: Manifest,
    after: AuditReport,
    card: RunCard,
    answers: list[dict[str, str]],
    seconds: dict[str, float],
) -> dict[str, Any]:
    """Everything that the page shows, as JSON values."""
    measured = before.metric("label_ratio")
    return {
        "model": card.model["name"],
        "files": [source.name for source in manifest.sources],
        "waterfall": [stage.to_dict() for stage in manifest.stages],
        "rows": {split: counts["kept"] for split, counts in card.rows.items()},
        "ratio": {
            "before": {
                "desirable": before.rows["desirable"],
                "undesirable": before.rows["undesirable"],
                "value": None if measured is None else measured.value,
            },
            "after": {key: card.ratio[key] for key in ("desirable", "undesirable", "value")},
            "wanted": [card.ratio["low"], card.ratio["high"]],
        },
        "warnings": {
            when: [gate.title for gate in report.gates if gate.severity in ("fail", "warn")]
            for when, report in (("before", before), ("after", after))
        },
        "training": {**card.steps, "batch_size": card.config["batch"]["batch_size"], **card.device},
        "evaluation": {"before": card.evaluation["first"], "after": card.evaluation["last"]},
        "answers": answers,
        "seconds": seconds,
    }


def _read(path: Path) -> Any:
    return json.loads(path.read_text("utf-8"))
