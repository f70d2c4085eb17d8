"""Whether an output is to be made: it is there already, this run alone may make it, or it is refused.

look ─► the same and whole ─► nothing is done
  └──► nothing is lost ─► lock ─► nobody has made it since ─► make it
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from feedback.dataset.folders import refuse_to_replace
from schemas import __version__
from schemas.errors import CorruptionError, LockedError
from schemas.lock import locked_output
from schemas.manifest import MANIFEST_NAME, Manifest

__all__ = ["claimed_output", "is_made_of", "is_whole", "same_result"]


@contextmanager
def claimed_output(
    out: Path, is_same: Callable[[Manifest], bool], *, overwrite: bool = False
) -> Iterator[Manifest | None]:
    """The manifest of `out` where nothing is to be done; None where this run alone may make it, while the block runs.

    Args:
        out: the dataset's folder.
        is_same: whether a manifest tells of what would be made again.
        overwrite: replace another dataset that is there.

    Raises:
        OutputExistsError: `out` holds something else.
        LockedError: another run makes a dataset there, or has just made one.
    """
    seen = _manifest_bytes(out)
    found = same_result(out, is_same)
    if found is not None and is_whole(found, out):
        yield found
        return
    refuse_to_replace(out, overwrite=overwrite or found is not None)
    with locked_output(out):
        if _manifest_bytes(out) != seen:
            raise LockedError("another run has just written this output", where=out, todo="Run the same command again")
        yield None


def is_made_of(known: Manifest, parent: Manifest, config: Mapping[str, Any]) -> bool:
    """Whether a manifest tells of the dataset that a config makes of another dataset."""
    return known.config == config and known.parent_digest == parent.digest


def same_result(out: Path, is_same: Callable[[Manifest], bool]) -> Manifest | None:
    """The manifest of `out` if it tells of what would be made again, else None."""
    if not (out / MANIFEST_NAME).is_file():
        return None
    known = Manifest.read(out)
    return known if known.thumbline_version == __version__ and is_same(known) else None


def is_whole(manifest: Manifest, folder: Path) -> bool:
    """Whether the shards are as they were written; if not, the same result is made again in their place."""
    try:
        manifest.verify(folder)
    except CorruptionError:
        return False
    return True


def _manifest_bytes(out: Path) -> bytes | None:
    try:
        return (out / MANIFEST_NAME).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
