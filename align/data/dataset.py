"""Datasets on disk: the curated dataset of `thumbline curate`, or a folder or file made elsewhere.

A folder with a manifest is read as it says, after every shard was compared with its sha256; its pairs are
a dataset of their own, see `align.data.parts`. Anything else is found by `datasets`, locally, which opens Parquet; JSON
lines are read by `align.data.json_columns`. Columns are `prompt`, `completion` and a boolean `label`, or for objectives
of pairs `prompt`, `chosen` and `rejected`. Where all rows lie in one file, a column `split` says which are to train on,
see `align.data.split_column`. Nothing is downloaded.
"""

from __future__ import annotations

import glob
import hashlib
import shlex
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from align.config import WeightRule
from align.data.json_columns import read_json
from align.data.library_bars import without_library_bars
from align.data.parts import DatasetType, is_part
from align.data.rows import LabelledRow, PreferenceRow, labelled_rows, preference_rows
from align.data.split_column import files_of, rows_of
from align.data.weights import weigh_rows
from schemas.errors import CorruptionError, EmptySplitError, InputError, InputNotFoundError
from schemas.manifest import MANIFEST_NAME, Manifest, file_sha256
from schemas.paths import AnyPath, path_of

__all__ = ["dataset_digest", "read_any", "read_pairs", "read_split"]

_COLUMNS: Final[dict[DatasetType, tuple[str, ...]]] = {
    "unpaired_preference": ("prompt", "completion", "label"),
    "preference": ("prompt", "chosen", "rejected"),
}
_OF_TYPE: Final = {"unpaired_preference": "labelled answers", "preference": "pairs"}
_READERS: Final = {".parquet": "parquet", ".jsonl": "json", ".ndjson": "json", ".json": "json"}


def read_split(folder: AnyPath, split: str, weights: Sequence[WeightRule] = ()) -> list[LabelledRow]:
    """The rows of a split, in the order in which they lie on disk.

    Args:
        folder: a curated dataset, a folder that `datasets` can open, or one Parquet or JSON file.
        split: `train` or `test`. A single file is the split `train`, but for the rows whose column `split` says else.
        weights: rules that multiply the weights of rows; in the split `train` each must fit one.

    Returns:
        The rows; none where the dataset has no such split, except for `train`.

    Raises:
        InputNotFoundError: there is nothing at `folder`.
        CorruptionError: a shard is not what the manifest says.
        InputError: it is no dataset of labelled answers, a row is not one, its column `split` does not name its split,
            or a rule of weights does not fit.
        EmptySplitError: there is no row in the split `train`.
    """
    folder = path_of(folder, name="dataset")
    table = _read_table(folder, split, "unpaired_preference", weights)
    return [] if table is None else labelled_rows(table, where=f"{folder.name}, split {split!r}")


def read_pairs(folder: AnyPath, split: str, weights: Sequence[WeightRule] = ()) -> list[PreferenceRow]:
    """The pairs of a split, as `read_split` reads labelled rows; errors are the same."""
    folder = path_of(folder, name="dataset")
    table = _read_table(folder, split, "preference", weights)
    return [] if table is None else preference_rows(table, where=f"{folder.name}, split {split!r}")


def read_any(folder: AnyPath, split: str) -> list[LabelledRow] | list[PreferenceRow]:
    """The rows of a split, labelled answers or pairs, whichever the dataset holds; errors are those of `read_split`."""
    folder = path_of(folder, name="dataset")
    if (folder / MANIFEST_NAME).is_file():
        is_pairs = Manifest.read(folder).dataset_type == "preference"
    else:
        table = _read_foreign(folder, split) if folder.exists() else None
        is_pairs = table is not None and set(_COLUMNS["preference"]) <= set(table.column_names)
    return read_pairs(folder, split) if is_pairs else read_split(folder, split)


def dataset_digest(folder: AnyPath) -> str:
    """Digest of a dataset, 32 hex digits: the manifest's, or one over names and bytes of the data files.

    Args:
        folder: as in `read_split`.

    Raises:
        InputNotFoundError: there is no data file.
        CorruptionError: the manifest cannot be read.
    """
    folder = path_of(folder, name="dataset")
    if (folder / MANIFEST_NAME).is_file():
        return Manifest.read(folder).digest
    files = [folder] if folder.is_file() else sorted(path for path in folder.rglob("*") if path.suffix in _READERS)
    if not files:
        raise InputNotFoundError("no data file in the folder", where=folder, expected=_known_files())
    digest = hashlib.blake2b(digest_size=16)
    for path in files:
        name = path.name if path == folder else path.relative_to(folder).as_posix()
        digest.update(f"{name}\0{file_sha256(path)}\n".encode())
    return digest.hexdigest()


def _read_table(folder: Path, split: str, kind: DatasetType, weights: Sequence[WeightRule]) -> pa.Table | None:
    if not folder.exists():
        raise InputNotFoundError("no such dataset", where=folder)
    is_curated = (folder / MANIFEST_NAME).is_file()
    table = _read_curated(folder, split, kind) if is_curated else _read_foreign(folder, split)
    if table is None or table.num_rows == 0:
        if split == "train":
            raise EmptySplitError("the dataset has no rows in the split 'train'", where=folder)
        return None
    _check_columns(table, folder, kind)
    return weigh_rows(table, weights, where=f"{folder.name}, split {split!r}", must_fit=split == "train")


def _read_curated(folder: Path, split: str, kind: DatasetType) -> pa.Table | None:
    manifest = Manifest.read(folder)
    if manifest.dataset_type != kind:
        raise _other_type(folder, kind, received=manifest.dataset_type)
    manifest.verify(folder)
    paths = [folder / shard.path for shard in manifest.shards if shard.split == split]
    try:
        tables = [pq.ParquetFile(path).read() for path in paths]
        return pa.concat_tables(tables) if tables else None
    except pa.ArrowInvalid as error:
        raise CorruptionError(f"a shard cannot be read ({error})", where=folder) from error


def _read_foreign(path: Path, split: str) -> pa.Table | None:
    import datasets
    from datasets.exceptions import DatasetGenerationError
    from datasets.packaged_modules.json.json import Json as JsonFiles

    if path.is_file() and path.suffix not in _READERS:
        raise InputError("not a dataset file", where=path, received=path.suffix, expected=_known_files())
    with tempfile.TemporaryDirectory(prefix="thumbline-") as cache, without_library_bars():
        plain = _without_pattern(path, Path(cache))
        options: dict[str, Any] = {"path": str(plain)}
        if path.is_file():
            options = {"path": _READERS[path.suffix], "data_files": {"train": str(plain)}}
        try:
            builder = datasets.load_dataset_builder(**options, cache_dir=cache)
            if isinstance(builder, JsonFiles):
                splits = builder.config.data_files
                found = splits.get(named := files_of(split, splits))
                table = None if found is None else read_json([Path(file) for file in found])
            else:
                splits = datasets.load_dataset(**options, cache_dir=cache, keep_in_memory=True)
                found = splits.get(named := files_of(split, splits))
                table = None if found is None else found.data.table
        except (DatasetGenerationError, FileNotFoundError, ValueError, pa.ArrowInvalid) as error:
            reason = error.__cause__ or error
            raise InputError(f"the dataset cannot be read ({reason})", where=path, expected=_known_files()) from error
    is_whole = set(splits) == {"train"}
    return None if table is None else rows_of(table, split if is_whole else named, is_whole=is_whole, where=path)


def _without_pattern(path: Path, folder: Path) -> Path:
    """The path; or links to its files in the folder, where `datasets` takes its name for a pattern: `a[1]` is `a1`."""
    if not glob.has_magic(str(path)):
        return path
    plain = folder / f"dataset{path.suffix if path.is_file() else ''}"
    for file in [path] if path.is_file() else (one for one in path.rglob("*") if one.is_file()):
        link = plain / file.relative_to(path)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(file.resolve())
    return plain


def _known_files() -> str:
    return "a curated dataset, or files that end in " + ", ".join(_READERS)


def _check_columns(table: pa.Table, where: Path, kind: DatasetType) -> None:
    missing = [name for name in _COLUMNS[kind] if name not in table.column_names]
    if missing:
        others = [one for one, names in _COLUMNS.items() if one != kind and set(names) <= set(table.column_names)]
        if others:
            raise _other_type(where, kind, received=others[0])
        raise InputError(
            f"the dataset has no column {missing[0]!r}",
            where=where,
            received=sorted(table.column_names),
            expected=f"{_COLUMNS[kind][0]}, {_COLUMNS[kind][1]} and {_COLUMNS[kind][2]}",
            todo="Curate it first with: thumbline curate",
        )
    if kind == "preference":
        return
    label = table.schema.field("label").type
    if not pa.types.is_boolean(label):
        raise InputError(
            "column 'label' is not boolean; labels are never guessed",
            where=where,
            received=str(label),
            expected="bool: true for desirable, false for undesirable",
            todo="Map its values with: thumbline convert --from mapped",
        )


def _other_type(where: Path, kind: DatasetType, *, received: str) -> InputError:
    is_curated = (where / MANIFEST_NAME).is_file()
    if received == "preference" and is_part(where):
        todo = f"Name {shlex.quote(str(where.parent))}, which holds the labelled answers; or name another objective"
        return _wrong_type(where, kind, received, todo)
    source = f"'{where}/data/train-*.parquet'" if is_curated else shlex.quote(str(where))
    again = ", the same with test" if is_curated else ""
    todo = (
        f"Convert it with: thumbline convert {source} --from trl --to trl --type {kind} -o NEW/train.parquet"
        f"{again}, and train on NEW; or name another objective"
    )
    return _wrong_type(where, kind, received, todo)


def _wrong_type(where: Path, kind: DatasetType, received: str, todo: str) -> InputError:
    return InputError(
        f"the objective trains on {_OF_TYPE[kind]}, and the dataset holds {_OF_TYPE.get(received, received)}",
        where=where,
        received=received,
        expected=kind,
        todo=todo,
    )
