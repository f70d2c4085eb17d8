"""A dataset of what a store holds: the same stages, and the same dataset as of the same raw files, each row once."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from feedback.config import CurateConfig
from feedback.dataset.outputs import claimed_output
from feedback.engine import Engine
from feedback.hashing import stable_id
from feedback.ingest import ValidatedFiles, ingest_validated
from feedback.pipeline.run import CurateResult, build_dataset
from feedback.run_config import resolved_config
from schemas.errors import ThumblineError, UsageError
from schemas.paths import AnyPath, path_of
from schemas.progress import Progress, silent
from schemas.settings import apply_overrides, load_settings, read_toml

if TYPE_CHECKING:  # it loads deltalake, which nobody needs who has no store
    from feedback.store import Store

__all__ = ["curate_store", "store_config"]

_SOURCE: Final = {"path": "store", "format": "store"}


def store_config(overrides: Iterable[str] = (), *, path: AnyPath | None = None) -> CurateConfig:
    """The config that curates a store; its one source stands for the store.

    Args:
        overrides: `dotted.key=value` texts.
        path: a TOML file with the settings; sources in it are not read. Null takes the default settings.

    Raises:
        InputNotFoundError: there is no such file.
        ConfigError: a key or a value is not right.
    """
    values = {**({} if path is None else read_toml(path)), "sources": [_SOURCE]}
    return load_settings(CurateConfig, apply_overrides(values, overrides), where=path or "--set")


def curate_store(
    store: Store,
    config: CurateConfig,
    out: AnyPath,
    *,
    version: int | None = None,
    exclude: Sequence[int] = (),
    overwrite: bool = False,
    engine: Engine | None = None,
    progress: Progress = silent,
) -> CurateResult:
    """The curated dataset of a version of a store in the folder `out`, recorded in the store.

    Args:
        store: the store.
        config: settings; its sources are not read.
        out: the dataset's folder. Where it already holds this very dataset, nothing is done.
        version: the version; null takes the latest. The dataset keeps it from being cleared up.
        exclude: versions whose rows are left out, of a week that was found to be spoilt for example.
        overwrite: replace another dataset that is there.
        engine: who runs the stages; None opens the one of `config`.
        progress: told about every stage.

    Raises:
        InputNotFoundError: the store has no such version.
        UsageError: a version is no whole number.
        OutputExistsError: `out` holds something else.
        DataGateError: one label only, an empty split, or a ratio that cannot be reached.
        CorruptionError: a file of the store is damaged.
        LockedError: somebody works on the store who must be alone, or another run makes `out`.
    """
    out, exclude = path_of(out, name="out"), _numbers(exclude)
    with store.locked("curate", exclusive=False):
        number = _number(store.version if version is None else version)
        store.opened.log.files(number)  # refused before anything is recorded, where there is none
        described = _described(config, store, number, exclude)
        with claimed_output(out, lambda known: known.config == described, overwrite=overwrite) as claim:
            if claim.found is not None:
                store.register_dataset(out, claim.found.digest, number)
                return CurateResult(out, claim.found, was_done=True)
            store.begin_dataset(out, number)
            key = stable_id(json.dumps(described, sort_keys=True))
            try:
                with _files(store, number, exclude) as files:
                    read = partial(ingest_validated, files)
                    manifest = build_dataset(config, claim, described, key, read=read, engine=engine, progress=progress)
            except ThumblineError:
                store.withdraw_dataset(out)
                raise
            store.register_dataset(out, manifest.digest, number)
        return CurateResult(out, manifest)


def _number(version: int) -> int:
    from feedback.store.log import version_number

    return version_number(version)


def _numbers(versions: Sequence[int]) -> tuple[int, ...]:
    if not isinstance(versions, Iterable):
        raise UsageError("these are no versions", where="exclude", received=versions, expected="a list of them")
    return tuple(map(_number, versions))


@contextmanager
def _files(store: Store, version: int, exclude: Sequence[int]) -> Iterator[ValidatedFiles]:
    """The rows of a version: the store's own files, or, where some are left out, copies that are removed again."""
    if not exclude:
        yield store.validated(version)
        return
    from feedback.store.selection import select_rows

    with tempfile.TemporaryDirectory(prefix="thumbline-") as work:
        yield select_rows(store, Path(work), until=version, exclude=exclude)


def _described(config: CurateConfig, store: Store, version: int, exclude: Sequence[int]) -> dict[str, Any]:
    values = resolved_config(config)
    del values["sources"]
    left_out = {"exclude": sorted(set(exclude))} if exclude else {}
    return {**values, "store": {"id": store.id, "version": version, **left_out}}
