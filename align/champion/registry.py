"""Which model is the champion, and how it came to be: a log of decisions, each a file that is written once.

    FOLDER/
      decisions/000001.json   promote, keep, stop or roll back: who is champion since then, and why
      champion                a link to the champion's model, for servers; it follows the log

The newest decision is the truth. It holds the champion, the one before and the watermark, so that they change together
or not at all. A decision is on disk before its name is there, and a name is never given twice: of two processes that
decide at once, one fails and nothing is lost. The link is made from the log, and anew where it is wrong.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal

from schemas.errors import CorruptionError, RegistryConflictError, UnknownChoiceError, UsageError
from schemas.manifest import flush_to_disk

__all__ = ["CHAMPION_LINK", "LOCK_NAME", "Decision", "DecisionKind", "ModelEntry", "Registry"]

CHAMPION_LINK: Final = "champion"
LOCK_NAME: Final = "retrain.lock"
"""The file whose lock is held by whoever is about to decide, see `schemas.lock`."""

DecisionKind = Literal["promote", "keep", "stop", "rollback"]
"""`promote`: the run's model is champion; `keep`: it was measured and is not; `stop`: it was not trained, since the
data broke a gate; `rollback`: an earlier champion is champion again."""

_DECISIONS: Final = "decisions"


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """A model that is or was champion.

    Args:
        run: id of the run that made it.
        folder: the model's folder, relative to the registry's.
        digest: digest of its weights, see `align.models.model_files.model_digest`.
        dataset: the dataset that it was trained on, relative to the registry's folder; empty where it is not kept.
        version: version of the store up to which its data reaches, at least 0.
    """

    run: str
    folder: str
    digest: str
    dataset: str = ""
    version: int = 0


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided about a run.

    Args:
        kind: see `DecisionKind`.
        run: id of the run.
        champion: the champion from now on; null where there is none yet.
        previous: the champion before it, which `rollback` goes back to; null where there is none.
        watermark: version of the store up to which feedback has been decided about, at least 0.
        reasons: why, a sentence each.
        figures: what was measured, JSON values only.
        decided_at: when, ISO 8601 in UTC. It orders nothing.
        number: place in the log, from 1; 0 before it is there.
    """

    kind: DecisionKind
    run: str
    champion: ModelEntry | None
    previous: ModelEntry | None
    watermark: int
    reasons: tuple[str, ...] = ()
    figures: Mapping[str, Any] = field(default_factory=dict)
    decided_at: str = ""
    number: int = 0

    def to_dict(self) -> dict[str, Any]:
        """JSON values of this decision."""
        return {**asdict(self), "reasons": list(self.reasons), "figures": dict(self.figures)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Decision:
        """The decision that `to_dict` described."""
        entries = {name: values[name] and ModelEntry(**values[name]) for name in ("champion", "previous")}
        return cls(**{**values, **entries, "reasons": tuple(values["reasons"])})


class Registry:
    """The decisions of one folder.

    Args:
        folder: the registry's folder; it need not exist yet.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def history(self) -> list[Decision]:
        """Every decision, oldest first.

        Raises:
            CorruptionError: a decision cannot be read, or one is missing between others.
        """
        paths = sorted((self.folder / _DECISIONS).glob("[0-9]*.json"))
        for number, path in enumerate(paths, start=1):
            if path.stem != f"{number:06d}":
                raise CorruptionError(
                    f"decision {number} is missing",
                    where=self.folder / _DECISIONS,
                    received=path.name,
                    todo="Restore the folder from a copy; decisions are never deleted",
                )
        return [_read(path, number) for number, path in enumerate(paths, start=1)]

    def latest(self) -> Decision | None:
        """The newest decision; null where there is none."""
        return next(reversed(self.history()), None)

    def champion(self) -> ModelEntry | None:
        """The champion; null where there is none yet."""
        latest = self.latest()
        return None if latest is None else latest.champion

    def watermark(self) -> int:
        """Version of the store up to which feedback has been decided about; 0 at the beginning."""
        latest = self.latest()
        return 0 if latest is None else latest.watermark

    def decided(self, run: str) -> Decision | None:
        """The newest decision about a run that is not its rollback; null where there is none."""
        found = [decision for decision in self.history() if decision.run == run and decision.kind != "rollback"]
        return found[-1] if found else None

    def models(self) -> dict[str, ModelEntry]:
        """Every model that ever was champion, by run, oldest first."""
        entries = [decision.champion for decision in self.history() if decision.champion is not None]
        return {entry.run: entry for entry in entries}

    def commit(self, decision: Decision, *, after: int) -> Decision:
        """Put a decision at the end of the log and return it; `point_to_champion` then moves the link.

        Args:
            decision: what was decided; its number is given here.
            after: number of the newest decision that it takes account of, 0 at the beginning.

        Raises:
            RegistryConflictError: somebody else has decided since.
        """
        numbered = replace(decision, number=after + 1)
        log = self.folder / _DECISIONS
        log.mkdir(parents=True, exist_ok=True, mode=0o700)
        _write_once(log / f"{numbered.number:06d}.json", numbered)
        return numbered

    def point_to_champion(self) -> None:
        """Make the link `champion` what the log says, in one step; where it is right, nothing is done."""
        entry, link = self.champion(), self.folder / CHAMPION_LINK
        if entry is None or (link.is_symlink() and link.readlink() == Path(entry.folder)):
            return
        partial = link.with_name(f".{CHAMPION_LINK}.partial")
        partial.unlink(missing_ok=True)
        partial.symlink_to(entry.folder, target_is_directory=True)
        partial.replace(link)
        flush_to_disk(self.folder)

    def rollback(self, to: str | None = None, *, reason: str = "", decided_at: str = "") -> Decision:
        """Make an earlier champion champion again, and return the decision. Its feedback is not looked at again.

        Args:
            to: id of the run whose model is wanted; null takes the champion before this one.
            reason: why, for the log.
            decided_at: when, ISO 8601 in UTC.

        Raises:
            UsageError: there is no champion, none before it, or it is the one that is wanted.
            UnknownChoiceError: no champion was of that run.
        """
        latest = self.latest()
        current = None if latest is None else latest.champion
        if latest is None or current is None:
            raise UsageError("there is no champion to roll back", where=self.folder)
        wanted = latest.previous if to is None else self._model(to)
        if wanted is None:
            raise UsageError("no champion came before this one", where=self.folder, received=current.run)
        if wanted.run == current.run:
            raise UsageError("the model is the champion already", where=self.folder, received=wanted.run)
        back = Decision(
            kind="rollback",
            run=current.run,
            champion=wanted,
            previous=current,
            watermark=latest.watermark,
            reasons=(reason,) if reason else (),
            decided_at=decided_at,
        )
        committed = self.commit(back, after=latest.number)
        self.point_to_champion()
        return committed

    def _model(self, run: str) -> ModelEntry:
        known = self.models()
        if run not in known:
            raise UnknownChoiceError("model", run, known, where=self.folder)
        return known[run]


def _write_once(path: Path, decision: Decision) -> None:
    """Write a decision under a name that nobody has used, whole or not at all."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    with partial.open("w", encoding="utf-8", newline="\n") as stream:
        json.dump(decision.to_dict(), stream, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
        stream.write("\n")
        stream.flush()
        os.fsync(stream.fileno())
    try:
        path.hardlink_to(partial)  # unlike a rename, it fails where the name is taken
    except FileExistsError as error:
        raise RegistryConflictError(
            "somebody else has decided in the meantime",
            where=path,
            todo="Run the command again; it starts from that decision",
        ) from error
    finally:
        partial.unlink()
    flush_to_disk(path.parent)


def _read(path: Path, number: int) -> Decision:
    try:
        decision = Decision.from_dict(json.loads(path.read_text("utf-8")))
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptionError(
            f"the decision cannot be read ({error})", where=path, todo="Restore the file from a copy"
        ) from error
    if decision.number != number:
        raise CorruptionError("the decision has another number than its file", where=path, received=decision.number)
    return decision
