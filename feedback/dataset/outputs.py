"""Whether an output is to be made: it is there already, this run alone may make it, or it is refused.

look ─► the same and whole ─► nothing is done
  └──► nothing is lost ─► lock ─► nobody has made it since ─► make it
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from feedback.dataset.folders import refuse_to_replace
from schemas import __version__
from schemas.errors import CorruptionError, InputError, LockedError
from schemas.lock import locked_output
from schemas.manifest import MANIFEST_NAME, Manifest
from schemas.paths import output_place

__all__ = ["Claim", "claimed_output", "is_made_of", "is_whole"]


@dataclass(frozen=True, slots=True)
class Claim:
    """What is to be done about an output.

    Args:
        place: where it is, without links and `..`.
        found: the manifest of what is there, where nothing is to be done; else null, and this run alone may make it.
        overwrite: whether `built_folder` may replace the dataset that is there; null as for `claimed_output`.
    """

    place: Path
    found: Manifest | None
    overwrite: bool | None


@contextmanager
def claimed_output(
    out: Path, is_same: Callable[[Manifest], bool], *, by_any_version: bool = False, overwrite: bool | None = None
) -> Iterator[Claim]:
    """What is to be done about `out`: nothing where it is there already, else this run alone makes it in the block.

    Args:
        out: the dataset's folder.
        is_same: whether a manifest tells of what would be made again.
        by_any_version: whether that counts where another version of thumbline made it.
        overwrite: replace another dataset that is there; null where whoever asks has no such choice.

    Raises:
        OutputExistsError: `out` holds something else.
        LockedError: another run makes a dataset there, or has just made one.
    """
    out = output_place(out)
    seen = _manifest_bytes(out)
    found = _same_result(out, is_same, by_any_version=by_any_version, overwrite=overwrite)
    if found is not None and is_whole(found, out):
        yield Claim(out, found, overwrite)
        return
    may_replace = overwrite if found is None else True
    refuse_to_replace(out, overwrite=may_replace)
    with locked_output(out):
        if _manifest_bytes(out) != seen:
            raise LockedError("another run has just written this output", where=out, todo="Run the same command again")
        yield Claim(out, None, may_replace)


def is_made_of(known: Manifest, parent: Manifest, config: Mapping[str, Any]) -> bool:
    """Whether a manifest tells of the dataset that a config makes of another dataset."""
    return known.config == config and known.parent_digest == parent.digest


def is_whole(manifest: Manifest, folder: Path) -> bool:
    """Whether the shards are as they were written; if not, the same result is made again in their place."""
    try:
        manifest.verify(folder)
    except (CorruptionError, InputError):
        return False
    return True


def _same_result(
    out: Path, is_same: Callable[[Manifest], bool], *, by_any_version: bool, overwrite: bool | None
) -> Manifest | None:
    """The manifest of `out` if it tells of what would be made again; one that cannot be read does not."""
    if not (out / MANIFEST_NAME).is_file():
        return None
    try:
        known = Manifest.read(out)
    except (CorruptionError, InputError):
        if not overwrite:
            raise
        return None
    return known if (by_any_version or known.thumbline_version == __version__) and is_same(known) else None


def _manifest_bytes(out: Path) -> bytes | None:
    try:
        return (out / MANIFEST_NAME).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
