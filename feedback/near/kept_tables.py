"""The tables of `feedback.near.code_points` on disk: they take a sixth of a second to build and none to read.

They follow from Python's `unicodedata` alone, so a file is named by its version and by what the tables are made with.
A file that cannot be read is built anew; where none can be written, nothing is kept.
"""

from __future__ import annotations

import platform
import tempfile
import unicodedata
import zipfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from platformdirs import user_cache_dir

from schemas import __version__

__all__ = ["Tables", "kept_tables"]

Tables = Mapping[str, NDArray[Any]]
"""Tables by their names."""

_NAME: Final = f"code-points-{unicodedata.unidata_version}-{platform.python_version()}-{__version__}.npz"


def kept_tables(build: Callable[[], Tables], source: Path, sizes: Mapping[str, int]) -> Tables:
    """What `build` gives, from disk if it was built before.

    Args:
        build: makes the tables.
        source: the file of the code that makes them; a kept file that is older is not used.
        sizes: entries of tables, by name; a kept file with others is not used.
    """
    path = Path(user_cache_dir("thumbline")) / _NAME
    try:
        if path.stat().st_mtime_ns > source.stat().st_mtime_ns:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
                tables = {name: stored[name] for name in stored.files}
            if all(len(tables[name]) == size for name, size in sizes.items()):
                return tables
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        pass
    built = build()
    _keep(built, path)
    return built


def _keep(tables: Tables, path: Path) -> None:
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            whole = Path(folder) / path.name
            np.savez(whole, allow_pickle=False, **dict(tables))
            whole.replace(path)
