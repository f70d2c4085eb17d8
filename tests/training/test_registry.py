"""The log of decisions: one truth, written once, and a link that follows it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from align.champion.registry import CHAMPION_LINK, Decision, ModelEntry, Registry
from schemas.errors import CorruptionError, RegistryConflictError, UnknownChoiceError, UsageError


def entry(run: str, version: int = 1) -> ModelEntry:
    return ModelEntry(run, f"runs/{run}/model", digest=run * 2, dataset=f"runs/{run}/dataset", version=version)


def promote(registry: Registry, run: str, version: int) -> Decision:
    """A decision for `run`, behind whatever is there."""
    latest = registry.latest()
    previous = None if latest is None else latest.champion
    decision = Decision("promote", run, entry(run, version), previous, version, (f"{run} is better",), {"auc": 0.7})
    committed = registry.commit(decision, after=0 if latest is None else latest.number)
    registry.point_to_champion()
    return committed


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "models")


def test_empty_registry_has_no_champion_and_watermark_0(registry: Registry) -> None:
    assert (registry.history(), registry.champion(), registry.watermark()) == ([], None, 0)


def test_promotion_moves_champion_previous_watermark_and_link_together(registry: Registry) -> None:
    promote(registry, "a", 3)
    promote(registry, "b", 7)
    latest = registry.latest()
    assert latest is not None
    assert (latest.champion, latest.previous, latest.watermark) == (entry("b", 7), entry("a", 3), 7)
    assert (registry.folder / CHAMPION_LINK).readlink() == Path("runs/b/model")
    assert [decision.number for decision in registry.history()] == [1, 2]


def test_decision_is_read_as_it_was_written(registry: Registry) -> None:
    written = promote(registry, "a", 3)
    assert registry.history() == [written]
    assert Decision.from_dict(json.loads(json.dumps(written.to_dict()))) == written


def test_champion_that_is_kept_stays_while_the_watermark_moves(registry: Registry) -> None:
    promote(registry, "a", 3)
    registry.commit(Decision("keep", "b", entry("a", 3), None, 5, ("b loses",)), after=1)
    assert (registry.champion(), registry.watermark()) == (entry("a", 3), 5)
    assert (registry.folder / CHAMPION_LINK).readlink() == Path("runs/a/model")


def test_rollback_swaps_back_and_forth_and_leaves_the_watermark(registry: Registry) -> None:
    promote(registry, "a", 3)
    promote(registry, "b", 7)
    back = registry.rollback(reason="b is rude")
    assert (back.champion, back.previous, back.watermark) == (entry("a", 3), entry("b", 7), 7)
    assert back.reasons == ("b is rude",)
    assert (registry.folder / CHAMPION_LINK).readlink() == Path("runs/a/model")
    assert registry.rollback().champion == entry("b", 7)


def test_rollback_to_any_earlier_champion(registry: Registry) -> None:
    for version, run in enumerate("abc", start=1):
        promote(registry, run, version)
    assert registry.rollback(to="a").champion == entry("a", 1)
    with pytest.raises(UnknownChoiceError, match="unknown model: got 'x'; expected one of a, b, c"):
        registry.rollback(to="x")
    with pytest.raises(UsageError, match="the model is the champion already: got 'a'"):
        registry.rollback(to="a")


def test_rollback_without_an_earlier_champion_is_refused(registry: Registry) -> None:
    with pytest.raises(UsageError, match="there is no champion to roll back"):
        registry.rollback()
    promote(registry, "a", 1)
    with pytest.raises(UsageError, match="no champion came before this one: got 'a'"):
        registry.rollback()


def test_two_decisions_after_the_same_one_give_one_conflict(registry: Registry) -> None:
    """Nothing is overwritten, and nothing half-written stays."""
    first = promote(registry, "a", 1)
    with pytest.raises(RegistryConflictError, match="somebody else has decided in the meantime"):
        registry.commit(replace(first, run="b"), after=0)
    assert registry.history() == [first]
    assert [path.name for path in (registry.folder / "decisions").iterdir()] == ["000001.json"]


def test_link_that_was_lost_or_lags_behind_is_made_anew(registry: Registry) -> None:
    """A process that is killed between decision and link leaves the link of before."""
    promote(registry, "a", 1)
    promote(registry, "b", 2)
    link = registry.folder / CHAMPION_LINK
    link.unlink()
    link.symlink_to("runs/a/model")
    registry.point_to_champion()
    assert link.readlink() == Path("runs/b/model")


def test_decision_about_a_run_outlives_its_rollback(registry: Registry) -> None:
    promote(registry, "a", 1)
    promote(registry, "b", 2)
    registry.rollback()
    found = registry.decided("b")
    assert found is not None
    assert (found.kind, found.number) == ("promote", 2)
    assert registry.decided("c") is None
    assert list(registry.models()) == ["a", "b"]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda log: (log / "000001.json").write_text(""), "the decision cannot be read"),
        (lambda log: (log / "000001.json").write_text('{"kind": "promote"}'), "the decision cannot be read"),
        (lambda log: (log / "000001.json").unlink(), "decision 1 is missing"),
        (lambda log: (log / "000001.json").write_bytes((log / "000002.json").read_bytes()), "another number"),
    ],
)
def test_damaged_log_is_corruption(registry: Registry, damage: object, message: str) -> None:
    promote(registry, "a", 1)
    promote(registry, "b", 2)
    assert callable(damage)
    damage(registry.folder / "decisions")
    with pytest.raises(CorruptionError, match=message):
        registry.champion()
