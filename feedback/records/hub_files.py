"""Files of a dataset repository on the Hugging Face hub, fetched once into the hub's own cache.

    hf://datasets/OWNER/NAME[@REVISION]                      its data files, where they are all of one split
    hf://datasets/OWNER/NAME[@REVISION]/PATH                 a file, a folder or a glob in it
    hf://datasets/OWNER/NAME[@REVISION][/CONFIG]/SPLIT       what its card calls so, else what its file names say

A token, another endpoint, the cache's place and work without network are the hub's own: HF_TOKEN, HF_ENDPOINT,
HF_HOME, HF_HUB_OFFLINE. The revision `~parquet` is the hub's conversion to Parquet, `refs/convert/parquet`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from glob import escape, has_magic
from pathlib import Path
from typing import Final

from feedback.records.data_names import SUFFIXES, data_names, matches_glob
from feedback.records.hub_splits import declared_files, split_of
from schemas.error_text import first_line
from schemas.errors import InputError, InputNotFoundError, UsageError

__all__ = ["find_hub_files"]

_PREFIX: Final = "hf://datasets/"
_CARD: Final = "README.md"
_CONVERTED: Final = {"~parquet": "refs/convert/parquet"}


def find_hub_files(url: str) -> list[Path]:
    """The files that `url` names, in the hub's cache on this machine, sorted by their path in the repository.

    Raises:
        UsageError: the URL names no dataset, or files of several splits without saying which.
        InputNotFoundError: there is no such repository, revision or file.
        InputError: the hub cannot be reached, or refuses.
    """
    repository, revision, path = _parts(url)
    snapshot = _fetch(url, repository, revision, [_CARD])
    # The folder is named by its commit: what follows is of the same one, whatever is pushed meanwhile.
    commit = snapshot.name
    names = _list(url, repository, commit, snapshot)
    patterns = _declared(url, declared_files(snapshot / _CARD), path)
    if patterns is None and has_magic(path) and path not in names:
        patterns = [path]
    if patterns is None:
        chosen = _of_path(url, names, path)
    else:
        chosen = [name for name in names if any(matches_glob(name, pattern) for pattern in patterns)]
    if not chosen:
        raise InputNotFoundError(
            "the dataset has no such file, folder, config or split",
            where=url,
            received=path or None,
            expected=f"files ending in {', '.join(SUFFIXES)}",
        )
    folder = _fetch(url, repository, commit, [escape(name) for name in chosen])
    return [folder / name for name in chosen]


def _parts(url: str) -> tuple[str, str | None, str]:
    parts = url.removeprefix(_PREFIX).split("/") if url.startswith(_PREFIX) else []
    owner, name = [*parts, "", ""][:2]
    name, _, revision = name.partition("@")
    if not owner or not name:
        raise UsageError("the URL names no dataset", where=url, expected="hf://datasets/OWNER/NAME[@REVISION][/PATH]")
    rest = parts[2:]
    if revision == "refs" and len(rest) >= 2:
        revision, rest = "/".join(["refs", *rest[:2]]), rest[2:]
    revision = _CONVERTED.get(revision, revision.replace("%2F", "/"))
    return f"{owner}/{name}", revision or None, "/".join(rest).strip("/")


def _declared(url: str, declared: dict[str, dict[str, list[str]]], path: str) -> list[str] | None:
    """The patterns that the card names for a config and split; None where it names none for `path`."""
    if not declared or (path and "/" in path and path.split("/")[0] not in declared):
        return None
    first, _, second = path.partition("/")
    config, split = (first, second) if first in declared else ("", path)
    if not config:
        config = "default" if "default" in declared else next(iter(declared)) if len(declared) == 1 else ""
    if not config:
        if path:
            return None
        raise UsageError(
            "the dataset has several configs", where=url, expected=f"{url}/CONFIG with one of {', '.join(declared)}"
        )
    splits = declared[config]
    if split in splits:
        return splits[split]
    if split:
        return None
    if len(splits) > 1:
        raise _which_split(url, splits)
    return next(iter(splits.values()), None)


def _of_path(url: str, names: Sequence[str], path: str) -> list[str]:
    """The file at `path`, the data files of the folder at it, or those of its last part as a split."""
    if path in names:
        return [path]
    inside = _below(names, path)
    if inside:
        splits = sorted({split for name in inside if (split := split_of(name)) is not None})
        if len(splits) > 1:
            raise _which_split(url, splits)
        return inside
    folder, _, split = path.rpartition("/")
    return [name for name in _below(names, folder) if split_of(name) == split]


def _below(names: Sequence[str], folder: str) -> list[str]:
    start = f"{folder}/" if folder else ""
    return [start + name for name in data_names(name[len(start) :] for name in names if name.startswith(start))]


def _which_split(url: str, splits: Sequence[str] | dict[str, list[str]]) -> UsageError:
    return UsageError(
        "the files are of several splits, and what is held out must not be trained on",
        where=url,
        expected=f"{url.rstrip('/')}/SPLIT with one of {', '.join(splits)}",
        todo="Or name files with a glob",
    )


def _list(url: str, repository: str, commit: str, snapshot: Path) -> list[str]:
    """Paths of all files of the repository; without network, of those that the cache has."""
    from huggingface_hub import HfApi, constants

    if constants.HF_HUB_OFFLINE:
        return sorted(one.relative_to(snapshot).as_posix() for one in snapshot.rglob("*") if one.is_file())
    with _told(url):
        return sorted(HfApi().list_repo_files(repository, repo_type="dataset", revision=commit))


def _fetch(url: str, repository: str, revision: str | None, patterns: Sequence[str]) -> Path:
    """The folder of the cache with the repository's files that match; what it has already is not fetched again."""
    from huggingface_hub import snapshot_download

    with _told(url):
        found = snapshot_download(
            repository, repo_type="dataset", revision=revision, allow_patterns=list(patterns), max_workers=4
        )
    return Path(found)


@contextmanager
def _told(url: str) -> Iterator[None]:
    from huggingface_hub import errors

    try:
        yield
    except errors.LocalEntryNotFoundError as error:
        raise _no_answer(url, error) from error
    except errors.GatedRepoError as error:
        raise InputError(
            "the dataset is gated", where=url, todo="Ask for access on its page, and set HF_TOKEN"
        ) from error
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError, errors.EntryNotFoundError) as error:
        raise InputNotFoundError(
            "no such dataset or revision", where=url, todo="Check the name; where it is private, set HF_TOKEN"
        ) from error
    except errors.HFValidationError as error:
        raise UsageError("the name of the dataset is not one", where=url, received=str(error)) from error
    except (errors.HfHubHTTPError, OSError) as error:
        raise _no_answer(url, error) from error


def _no_answer(url: str, error: Exception) -> InputError:
    return InputError(
        f"the hub did not answer ({first_line(error)})",
        where=url,
        todo="Check the network, HF_ENDPOINT, and HF_HUB_OFFLINE, under which only what is in the cache is read",
    )
