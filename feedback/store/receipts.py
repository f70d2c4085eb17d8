"""Receipts of what was forgotten, in the store: written when a call begins, and again when all of it is done."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from feedback.store.durable import private_folder, write_durably
from feedback.store.erased_outputs import ErasedOutput
from feedback.store.raw_erasure import ErasedRaw
from feedback.store.tombstones import SubjectKind
from schemas.errors import CorruptionError

__all__ = ["Receipt", "read_receipts", "unfinished_receipts", "write_receipt"]

_RECEIPTS: Final = "forgotten"


@dataclass(frozen=True, slots=True)
class Receipt:
    """What was forgotten; nothing in it says who it was without the store's key.

    Args:
        receipt: its id.
        kind: `rater` or `conversation`.
        subject: keyed hash of the id.
        is_done: whether all of it is done; a receipt that is not was begun by a call that was broken off.
        version: version of the store without the rows; null while it is not done.
        rows: rows taken out, by kind of row.
        raw: what was erased from raw copies.
        datasets: datasets that saw them.
        runs: runs that saw them.
        reports: reports in other folders that quoted them.
        files: old files of the store that were deleted.
    """

    receipt: str
    kind: SubjectKind
    subject: str
    is_done: bool = False
    version: int | None = None
    rows: dict[str, int] | None = None
    raw: ErasedRaw | None = None
    datasets: tuple[ErasedOutput, ...] = ()
    runs: tuple[ErasedOutput, ...] = ()
    reports: tuple[ErasedOutput, ...] = ()
    files: int = 0

    def to_dict(self) -> dict[str, Any]:
        """JSON values of this receipt."""
        return asdict(self)


def unfinished_receipts(folder: Path) -> list[str]:
    """Ids of receipts that were begun and not ended: their calls must be made again.

    Args:
        folder: the store's folder.
    """
    return [one.receipt for one in read_receipts(folder) if not one.is_done]


def read_receipts(folder: Path) -> list[Receipt]:
    """All receipts of a store, by their ids.

    Args:
        folder: the store's folder.

    Raises:
        CorruptionError: one cannot be read.
    """
    return [_read(path) for path in sorted((folder / _RECEIPTS).glob("*.json"))]


def write_receipt(folder: Path, receipt: Receipt) -> None:
    """Write a receipt, or write it anew.

    Args:
        folder: the store's folder.
        receipt: the receipt.
    """
    path = private_folder(folder / _RECEIPTS) / f"{receipt.receipt}.json"
    content = json.dumps(receipt.to_dict(), indent=2, ensure_ascii=False) + "\n"
    write_durably(path, content.encode(), point="receipt")


def _read(path: Path) -> Receipt:
    try:
        values: dict[str, Any] = json.loads(path.read_text("utf-8"))
        raw = values["raw"]
        return Receipt(
            **{
                **values,
                "raw": None if raw is None else ErasedRaw(**{**raw, **_tuples(raw)}),
                **{
                    name: tuple(ErasedOutput(**{**one, **_tuples(one)}) for one in values[name])
                    for name in ("datasets", "runs", "reports")
                },
            }
        )
    except (ValueError, TypeError, KeyError) as error:
        raise CorruptionError(f"a receipt cannot be read ({error})", where=path) from error


def _tuples(values: dict[str, Any]) -> dict[str, tuple[Any, ...]]:
    return {name: tuple(value) for name, value in values.items() if isinstance(value, list)}
