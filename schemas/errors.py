"""Every error a caller can act on, each with the exit code that the command line returns for it.

    ThumblineError                    1
    ├── UsageError                    2   the call is wrong
    │   ├── ConfigError                   a key or a value of a config file or an option
    │   └── UnknownChoiceError            a name that is not in a known list
    ├── InputError                    1   a file is not what it was said to be
    │   ├── InputNotFoundError            no such file, or a glob that matches nothing
    │   └── FormatMismatchError           a file that is not in the named format
    ├── OutputExistsError             1   a folder that holds another result
    ├── MissingExtraError             1   an optional dependency is not installed
    ├── DataGateError                 3   the data must not be used as it is
    │   ├── TooManyRejectedError          more rows in quarantine than allowed
    │   ├── OneLabelError                 only desirable or only undesirable rows
    │   ├── EmptySplitError               a split without rows
    │   ├── RatioUnreachableError         no downsampling or weight reaches the wanted ratio
    │   ├── AuditGateError                an audit gate failed
    │   └── StepPlanError                 an optimizer step cannot be built from the rows
    ├── EvaluationGateError           4   the model is not good enough
    ├── CorruptionError               5   bytes on disk are not the bytes that were written
    ├── NotNowError                  75   nothing was done, and the same call may do it later
    │   ├── LockedError                   another process is at work in the folder
    │   ├── NothingToDoError              there is nothing new
    │   └── RegistryConflictError         somebody else has decided about the champion in the meantime
    ├── ModelError                    1   a model cannot be loaded
    │   └── UnsafeModelError              pickle weights or remote code
    ├── TrainingError                 1   training cannot go on
    │   ├── NonFiniteLossError            a loss that is NaN, infinite or exactly 0
    │   ├── ReferenceMismatchError        policy and reference differ before the first step
    │   └── CheckpointMismatchError       a checkpoint of another run
    └── ShapeError                    1   tensors or columns that do not fit together

`RecordRejectedError` stands apart: a reader raises it for one record, and `ingest` turns it into a quarantined row.
"""

from __future__ import annotations

import copyreg
from collections.abc import Iterable
from typing import Any, ClassVar

from schemas.redaction import without_passwords

__all__ = [
    "AuditGateError",
    "CheckpointMismatchError",
    "ConfigError",
    "CorruptionError",
    "DataGateError",
    "EmptySplitError",
    "EvaluationGateError",
    "FormatMismatchError",
    "InputError",
    "InputNotFoundError",
    "LockedError",
    "MissingExtraError",
    "ModelError",
    "NonFiniteLossError",
    "NotNowError",
    "NothingToDoError",
    "OneLabelError",
    "OutputExistsError",
    "RatioUnreachableError",
    "RecordRejectedError",
    "ReferenceMismatchError",
    "RegistryConflictError",
    "ShapeError",
    "StepPlanError",
    "ThumblineError",
    "TooManyRejectedError",
    "TrainingError",
    "UnknownChoiceError",
    "UnsafeModelError",
    "UsageError",
]


class ThumblineError(Exception):
    """Root of all errors of this project; the message is made from its parts. Passwords in URLs are taken out of them.

    Args:
        what: what is wrong, as a clause without a full stop.
        where: file, line, column, config key or step that it is wrong in.
        received: the value found, shown with `repr`.
        expected: what would have been right.
        todo: what the reader can do about it, as a sentence without a full stop.
    """

    exit_code: ClassVar[int] = 1

    def __init__(
        self,
        what: str,
        *,
        where: object = None,
        received: object = None,
        expected: str | None = None,
        todo: str | None = None,
    ) -> None:
        self.what = without_passwords(what)
        self.where = None if where is None else without_passwords(str(where))
        self.received = without_passwords(received) if isinstance(received, str) else received
        self.expected = None if expected is None else without_passwords(expected)
        self.todo = None if todo is None else without_passwords(todo)
        super().__init__(self._message())

    def __reduce__(self) -> tuple[Any, ...]:
        return _reduced(self)

    def _message(self) -> str:
        head = self.what if self.where is None else f"{self.where}: {self.what}"
        if self.received is not None:
            head += f": got {without_passwords(repr(self.received))}"
        if self.expected is not None:
            head += f"; expected {self.expected}"
        return f"{head}. {self.todo}." if self.todo else f"{head}."


class UsageError(ThumblineError):
    """The call itself is wrong: an option, an argument or a combination of them."""

    exit_code = 2


class ConfigError(UsageError):
    """A key that does not exist or a value that is not allowed in a config."""


class UnknownChoiceError(UsageError):
    """A name that is not among the known ones; the message lists them.

    Args:
        kind: what the name stands for, for example "format".
        received: the name that was given.
        known: the names that would have been right.
        where: where the name was given.
        todo: what else the reader can do.
    """

    def __init__(
        self, kind: str, received: object, known: Iterable[str], *, where: object = None, todo: str | None = None
    ) -> None:
        self.kind = kind
        self.known = tuple(sorted(known))
        listed = ", ".join(self.known) or "nothing (none is known here)"
        super().__init__(f"unknown {kind}", where=where, received=received, expected=f"one of {listed}", todo=todo)


class InputError(ThumblineError):
    """A file that was named cannot be used as what it was said to be."""


class InputNotFoundError(InputError):
    """A path that does not exist, or a glob that matches no file."""


class FormatMismatchError(InputError):
    """A file whose records are not in the named format."""


class OutputExistsError(ThumblineError):
    """The output folder holds another result, which would be overwritten."""


class MissingExtraError(ThumblineError):
    """An optional dependency is needed here and not installed.

    Args:
        package: the import that failed.
        extra: the extra of the distribution that brings it.
    """

    def __init__(self, package: str, extra: str) -> None:
        self.package = package
        self.extra = extra
        super().__init__(
            f"package {package!r} is not installed", todo=f"Install it with: pip install 'thumbline[{extra}]'"
        )


class DataGateError(ThumblineError):
    """The data breaks a gate: using it as it is would spoil what comes after."""

    exit_code = 3


class TooManyRejectedError(DataGateError):
    """More rows went to quarantine than the allowed share; nothing was written."""


class OneLabelError(DataGateError):
    """All rows are desirable, or all are undesirable, where both are needed."""


class EmptySplitError(DataGateError):
    """A split has no rows, or only one label where both are needed."""


class RatioUnreachableError(DataGateError):
    """No allowed downsampling or weight brings the label ratio into the range."""


class AuditGateError(DataGateError):
    """An audit gate with severity `fail` did not hold."""


class StepPlanError(DataGateError):
    """An optimizer step cannot be built from the rows, for example because all share one prompt."""


class EvaluationGateError(ThumblineError):
    """The model failed an evaluation gate."""

    exit_code = 4


class CorruptionError(ThumblineError):
    """Bytes on disk differ from what was recorded when they were written, or a part is missing."""

    exit_code = 5


class NotNowError(ThumblineError):
    """Nothing was done and nothing is wrong: the same call may do it later. Schedulers take it as skipped."""

    exit_code = 75


class LockedError(NotNowError):
    """Another process holds the lock of the folder; the message names it."""


class NothingToDoError(NotNowError):
    """There is nothing new to work on."""


class RegistryConflictError(NotNowError):
    """Somebody else has decided about the champion since this process looked."""


class ModelError(ThumblineError):
    """A model or tokenizer cannot be found or loaded."""


class UnsafeModelError(ModelError):
    """Loading the model would run code or unpickle bytes; neither is ever done."""


class TrainingError(ThumblineError):
    """Training cannot go on."""


class NonFiniteLossError(TrainingError):
    """A step's loss or gradient is NaN, infinite or exactly 0; the message names its rows."""


class ReferenceMismatchError(TrainingError):
    """Policy and reference disagree before the first step, so rewards would be noise."""


class CheckpointMismatchError(TrainingError):
    """A checkpoint was written by a run with another plan, config or model."""


class ShapeError(ThumblineError):
    """Tensors or columns differ in length or shape where they must agree."""


class RecordRejectedError(Exception):
    """One record that a reader cannot accept; `ingest` quarantines it under `reason`.

    Args:
        reason: a `schemas.reasons.RejectReason`.
        detail: one sentence with the field and the value, shown beside the reason.
    """

    def __init__(self, reason: str, detail: str) -> None:
        self.reason = str(reason)
        self.detail = detail
        super().__init__(f"{self.reason}: {detail}")

    def __reduce__(self) -> tuple[Any, ...]:
        return _reduced(self)


def _reduced(error: Exception) -> tuple[Any, ...]:
    """How `error` is pickled: as it is, since its message cannot be given to its constructor again."""
    return copyreg.__newobj__, (type(error), *error.args), error.__dict__  # type: ignore[attr-defined]
