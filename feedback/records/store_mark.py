"""Whether a folder is a feedback store, told by the file that every store has, without loading what reads one."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from schemas.errors import InputNotFoundError

__all__ = ["STORE_FILE", "is_store"]

STORE_FILE: Final = "store.json"
"""Name of the file that a feedback store has; see `feedback.store.opened`."""

_BUCKET: Final = "s3://"


def is_store(path: str | Path) -> bool:
    """Whether a folder holds a feedback store; told without loading what reads one. Of a bucket (`s3://`) it is asked.

    Raises:
        InputError: the object store cannot be reached.
    """
    if not str(path).startswith(_BUCKET):
        return (Path(path) / STORE_FILE).is_file()
    from feedback.records.object_store import find_objects

    try:
        return bool(find_objects(f"{str(path).rstrip('/')}/{STORE_FILE}"))
    except InputNotFoundError:
        return False
