"""Output folders that are whole or not there: built beside their place, then swapped in.

A folder that is not ours is never deleted, not even on request. The manifest is the last file of a dataset: where it
is, the folder is whole.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from feedback.dataset.card import dataset_card
from schemas.errors import OutputExistsError, ThumblineError
from schemas.lock import lock_of_output, locked_output
from schemas.manifest import MANIFEST_NAME, PREFERENCE_FOLDER, Manifest
from schemas.paths import beside, output_place

__all__ = [
    "built_folder",
    "finish_dataset",
    "is_unfinished",
    "refuse_to_replace",
    "remove_unfinished",
]

_STAGING: Final = "staging"
_UNFINISHED: Final = ".thumbline-unfinished"
_SHARDS: Final = "data"
_SHARD: Final = re.compile(r"\w+-\d+-of-\d+\.parquet|\..+\.partial")
_OURS: Final = {
    *(_SHARDS, "parts", "stages", _STAGING, _UNFINISHED, PREFERENCE_FOLDER),
    *("README.md", MANIFEST_NAME, f"{MANIFEST_NAME}.partial", "needs_retrain.json"),
}
_SHOWN: Final = 5


def refuse_to_replace(out: Path, *, overwrite: bool | None) -> None:
    """Pass if `out` may be written: it is absent or empty, or a dataset with nothing beside it and `overwrite` is set.

    A folder without a manifest is nobody's dataset, whatever the names in it: datasets appear whole.

    Args:
        out: the output.
        overwrite: whether a dataset may be replaced; null where whoever asks has no such choice.

    Raises:
        OutputExistsError: it holds another result, or files that are not ours.
    """
    if not _holds_anything(out):
        return
    if not (out / MANIFEST_NAME).is_file():
        raise OutputExistsError(
            "the output is no dataset of ours and would be lost",
            where=out,
            expected="a folder that does not exist or is empty",
            todo="Name another folder",
        )
    if not overwrite:
        raise OutputExistsError(
            "the folder holds a dataset made from other files or with another config",
            where=out,
            todo="Name another folder" if overwrite is None else "Name another folder, or use --overwrite",
        )
    if others := _not_ours(out):
        raise OutputExistsError(
            "the folder holds files beside its dataset, which would be lost",
            where=out,
            received=", ".join([*others[:_SHOWN], *(["..."] if len(others) > _SHOWN else [])]),
            todo="Move them away, or name another folder",
        )


@contextmanager
def built_folder(out: Path, *, overwrite: bool | None = None) -> Iterator[Path]:
    """A folder beside `out` to build in; it takes the place of `out` when the block ends without an error.

    It is empty, but for the stages of an earlier run that was broken off: where they are still right they are not run
    again. An error that the user must mend leaves nothing behind; of what breaks off a run by chance (an interrupt, a
    full disk, a lost cluster) the finished stages stay. It is called in `schemas.lock.locked_output`, as two runs would
    build in the same folder.

    Args:
        out: the output.
        overwrite: as for `refuse_to_replace`, which is asked once more before the swap.

    Raises:
        OutputExistsError: the folder to build in holds files that are not ours, or such came into `out` meanwhile.
    """
    out = output_place(out)
    work, old = _beside(out)
    for folder in (work, old):
        if _holds_anything(folder) and not (_has_mark(folder) and not _not_ours(folder)):
            raise OutputExistsError(
                "the folder to build in holds files that are not ours", where=folder, todo="Move it away"
            )
    work.mkdir(parents=True, exist_ok=True)
    (work / _UNFINISHED).touch()
    for path in work.iterdir():
        if path.name not in (_STAGING, _UNFINISHED):
            _remove(path)
    try:
        yield work
        refuse_to_replace(out, overwrite=overwrite)
        for name in (_STAGING, _UNFINISHED):
            _remove(work / name)
        _remove(old)
        if out.exists():
            out.rename(old)
        try:
            work.rename(out)
        except OSError:
            if old.exists():
                old.rename(out)
            raise
        _remove(old)
    except ThumblineError as error:
        # The root class itself stands for what went wrong around us, its children for what the user can mend.
        if type(error) is not ThumblineError:
            _remove(work)
        raise


def finish_dataset(folder: Path, manifest: Manifest) -> None:
    """Write the dataset card and then, last, the manifest into `folder`."""
    (folder / "README.md").write_text(dataset_card(manifest), encoding="utf-8", newline="\n")
    manifest.write(folder)


def is_unfinished(out: Path) -> bool:
    """Whether anything lies beside `out` of a run that was broken off, or that is at work."""
    return any(path.exists() for path in _beside(out))


def remove_unfinished(out: Path) -> list[str]:
    """Remove what broken-off runs left beside `out`; the names of what stays, as it holds files that are not ours.

    Raises:
        LockedError: a run that is not broken off is at work there.
    """
    left: list[str] = []
    if not any(path.exists() for path in (*_beside(out), lock_of_output(out))):
        return left
    with locked_output(out):
        for folder in _beside(out):
            if _has_mark(folder):
                for name in _OURS:
                    _remove(folder / name)
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()
            if folder.exists():
                left.append(folder.name)
    return left


def _beside(out: Path) -> tuple[Path, Path]:
    """Where a dataset is built, and where the one that it replaces lies for a moment."""
    out = out.resolve()
    return beside(out, "", ".partial"), beside(out, "", ".partial-old")


def _holds_anything(path: Path) -> bool:
    return path.exists() and not (path.is_dir() and not any(path.iterdir()))


def _has_mark(folder: Path) -> bool:
    return any((folder / mark).exists() for mark in (_UNFINISHED, _STAGING, MANIFEST_NAME))


def _not_ours(folder: Path) -> list[str]:
    """What lies in the folder of a dataset that no dataset has, by name."""
    shards = folder / _SHARDS
    inside = {path for path in shards.iterdir() if not _SHARD.fullmatch(path.name)} if shards.is_dir() else set()
    others = {path for path in folder.iterdir() if path.name not in _OURS} | inside
    return sorted(str(path.relative_to(folder)) for path in others)


def _remove(folder: Path) -> None:
    if folder.is_dir():
        shutil.rmtree(folder)
    elif folder.exists():
        folder.unlink()
