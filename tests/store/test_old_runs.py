"""Old runs lose what is large, and nothing that somebody still needs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from align.champion.registry import Decision, DecisionKind, ModelEntry, Registry
from cli.workflows.retrain.old_runs import PINNED, clear_old_runs
from cli.workflows.rolled_back import roll_back
from schemas.errors import InputNotFoundError

SMALL = {"run.json", "report.html", "report.json", "audit.json", "contest.json"}
CARDS = {"training/run_card.json", "training/run.json"}
LARGE = {"dataset/manifest.json", "mixed/data/a.parquet", "training/model/model.safetensors", "training/plan.parquet"}


def made(registry: Registry, run: str, kind: DecisionKind) -> None:
    """A decided run and its files."""
    folder = registry.folder / "runs" / run
    for name in SMALL | CARDS | LARGE:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    latest = registry.latest()
    champion, previous = (None, None) if latest is None else (latest.champion, latest.previous)
    if kind == "promote":
        champion, previous = ModelEntry(run, f"runs/{run}/training/model", "d"), champion
    registry.commit(Decision(kind, run, champion, previous, 1), after=0 if latest is None else latest.number)


def left(registry: Registry, run: str) -> set[str]:
    folder = registry.folder / "runs" / run
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    """Seven runs: the champion is the fifth, the one before it the second."""
    registry = Registry(tmp_path / "models")
    kinds: list[DecisionKind] = ["promote", "promote", "keep", "stop", "promote", "keep", "keep"]
    for number, kind in enumerate(kinds, start=1):
        made(registry, f"r{number}", kind)
    return registry


def test_old_runs_keep_their_pages_and_cards(registry: Registry) -> None:
    assert clear_old_runs(registry, 1) == ("r6", "r4", "r3", "r1")
    for run in ("r1", "r3", "r4", "r6"):
        assert left(registry, run) == SMALL | CARDS
    for run in ("r2", "r5", "r7"):
        assert left(registry, run) == SMALL | CARDS | LARGE
    assert clear_old_runs(registry, 1) == ()


def test_all_runs_are_kept_unless_asked(registry: Registry) -> None:
    assert clear_old_runs(registry, None) == clear_old_runs(registry, 7) == ()


def test_a_pinned_run_and_one_that_was_not_decided_are_kept(registry: Registry) -> None:
    (registry.folder / "runs" / "r1" / PINNED).touch()
    (registry.folder / "runs" / "half" / "dataset").mkdir(parents=True)
    assert clear_old_runs(registry, 3) == ("r4", "r3")
    assert left(registry, "r1") >= LARGE
    assert (registry.folder / "runs" / "half" / "dataset").is_dir()


def test_a_model_that_a_kept_adapter_lies_on_is_kept(registry: Registry) -> None:
    base, adapter = (registry.folder / "runs" / run / "training" / "model" for run in ("r3", "r7"))
    (base / "config.json").write_text("{}")
    config = {"base_model_name_or_path": str(base.resolve())}
    (adapter / "adapter_config.json").write_text(json.dumps(config))
    assert clear_old_runs(registry, 1) == ("r6", "r4", "r1")
    assert left(registry, "r3") >= LARGE


def test_champions_after_a_rollback_are_kept(registry: Registry) -> None:
    roll_back(registry.folder)
    clear_old_runs(registry, 1)
    assert left(registry, "r2") >= LARGE
    assert left(registry, "r5") >= LARGE


def test_a_rollback_to_a_run_that_was_cleared_is_refused(registry: Registry) -> None:
    clear_old_runs(registry, 1)
    with pytest.raises(InputNotFoundError, match="not there any more"):
        roll_back(registry.folder, "r1")


def test_what_a_crash_left_is_cleared_by_the_next_call(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("shutil.rmtree", lambda path: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            clear_old_runs(registry, 1)
    assert (registry.folder / "runs" / "r6" / "dataset.cleared.partial").is_dir()
    clear_old_runs(registry, 1)
    assert left(registry, "r6") == SMALL | CARDS
