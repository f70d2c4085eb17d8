"""Output folders that are whole or not there: built beside their place, then swapped in.

A folder that is not ours is never deleted, not even on request. The manifest is the last file of a dataset: where it
is, the folder is whole.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from feedback.card import dataset_card
from schemas import __version__
from schemas.errors import CorruptionError, InputNotFoundError, OutputExistsError, ThumblineError
from schemas.manifest import MANIFEST_NAME, PREFERENCE_FOLDER, Manifest

__all__ = [
    "STORE_FILE",
    "built_folder",
    "finish_dataset",
    "is_store",
    "is_whole",
    "refuse_to_replace",
    "same_result",
]

STORE_FILE: Final = "store.json"
"""Name of the file that a feedback store has; see `feedback.store.opened`."""

_BUCKET: Final = "s3://"
_STAGING: Final = "staging"
_OURS: Final = {
    *("data", "parts", "stages", _STAGING, PREFERENCE_FOLDER, "README.md", MANIFEST_NAME, f"{MANIFEST_NAME}.partial"),
}


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


def refuse_to_replace(out: Path, *, overwrite: bool) -> None:
    """Pass if `out` may be written: it is absent, empty, or left unfinished by us; or a dataset and `overwrite` is set.

    Raises:
        OutputExistsError: it holds another result, or files that are not ours.
    """
    if (out / MANIFEST_NAME).is_file():
        if overwrite:
            return
        raise OutputExistsError(
            "the folder holds a dataset made from other files or with another config",
            where=out,
            todo="Name another folder, or use --overwrite",
        )
    if out.exists() and not _is_unfinished(out):
        raise OutputExistsError(
            "the output is not an unfinished dataset of ours and would be lost",
            where=out,
            expected="a folder that does not exist or is empty",
            todo="Name another folder",
        )


@contextmanager
def built_folder(out: Path) -> Iterator[Path]:
    """A folder beside `out` to build in; it takes the place of `out` when the block ends without an error.

    It is empty, but for the stages of an earlier run that was broken off: where they are still right they are not run
    again. An error that the user must mend leaves nothing behind; of what breaks off a run by chance (an interrupt, a
    full disk, a lost cluster) the finished stages stay.

    Raises:
        OutputExistsError: the folder to build in holds files that are not ours.
    """
    out = out.resolve()
    work = out.with_name(f"{out.name}.partial")
    if work.exists() and not _is_unfinished(work):
        raise OutputExistsError("the folder to build in holds files that are not ours", where=work, todo="Move it away")
    work.mkdir(parents=True, exist_ok=True)
    for path in work.iterdir():
        if path.name != _STAGING:
            _remove(path)
    try:
        yield work
        _remove(work / _STAGING)
        old = out.with_name(f"{out.name}.partial-old")
        _remove(old)
        if out.exists():
            out.rename(old)
        try:
            work.rename(out)
        except OSError:
            old.rename(out)
            raise
        _remove(old)
    except ThumblineError as error:
        # The root class itself stands for what went wrong around us, its children for what the user can mend.
        if type(error) is not ThumblineError:
            _remove(work)
        raise


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


def finish_dataset(folder: Path, manifest: Manifest) -> None:
    """Write the dataset card and then, last, the manifest into `folder`."""
    (folder / "README.md").write_text(dataset_card(manifest), encoding="utf-8", newline="\n")
    manifest.write(folder)


def _is_unfinished(folder: Path) -> bool:
    return folder.is_dir() and {path.name for path in folder.iterdir()} <= _OURS


def _remove(folder: Path) -> None:
    if folder.is_dir():
        shutil.rmtree(folder)
    elif folder.exists():
        folder.unlink()
