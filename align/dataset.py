"""Labelled rows from disk: the curated dataset of `thumbline curate`, or a folder or file made elsewhere.

A folder with a manifest is read as it says, after every shard was compared with its sha256. Anything else is opened by
`datasets`, locally: Parquet or JSON lines with `prompt`, `completion` and a boolean `label`; prompt and completion are
texts or lists of turns. Labels are never guessed. Nothing is downloaded.
"""

from __future__ import annotations

import hashlib
import json
import math
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from align.library_bars import without_library_bars
from schemas.errors import CorruptionError, EmptySplitError, InputError, InputNotFoundError
from schemas.manifest import MANIFEST_NAME, Manifest, file_sha256
from schemas.messages import ROLES, Message

__all__ = ["LabelledRow", "dataset_digest", "read_split"]

_TYPE: Final = "unpaired_preference"
_READERS: Final = {".parquet": "parquet", ".jsonl": "json", ".ndjson": "json", ".json": "json"}


@dataclass(frozen=True, slots=True)
class LabelledRow:
    """A prompt, one completion, and whether it is desirable.

    Args:
        row_id: names the row in plans, metrics and errors.
        prompt: turns up to the rated answer.
        completion: the rated answer; its last turn is the assistant's.
        label: True where desirable.
        weight: factor of the row's loss, at least 0.
        group_id: rows of one group count as having the same prompt.
        tools: JSON list of the tools that the assistant had, or none.
    """

    row_id: str
    prompt: list[Message]
    completion: list[Message]
    label: bool
    weight: float
    group_id: str
    tools: str | None


def read_split(folder: Path, split: str) -> list[LabelledRow]:
    """The rows of a split, in the order in which they lie on disk.

    Args:
        folder: a curated dataset, a folder that `datasets` can open, or one Parquet or JSON file.
        split: `train` or `test`. A single file is the split `train`.

    Returns:
        The rows; none where the dataset has no such split, except for `train`.

    Raises:
        InputNotFoundError: there is nothing at `folder`.
        CorruptionError: a shard is not what the manifest says.
        InputError: it is no dataset of labelled answers, or a row is not one.
        EmptySplitError: there is no row in the split `train`.
    """
    if not folder.exists():
        raise InputNotFoundError("no such dataset", where=folder)
    table = _read_curated(folder, split) if (folder / MANIFEST_NAME).is_file() else _read_foreign(folder, split)
    if table is None or table.num_rows == 0:
        if split == "train":
            raise EmptySplitError("the dataset has no rows in the split 'train'", where=folder)
        return []
    _check_columns(table, folder)
    return _rows(table, where=f"{folder.name}, split {split!r}")


def dataset_digest(folder: Path) -> str:
    """Digest of a dataset, 32 hex digits: the manifest's, or one over names and bytes of the data files.

    Args:
        folder: as in `read_split`.

    Raises:
        InputNotFoundError: there is no data file.
        CorruptionError: the manifest cannot be read.
    """
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


def _read_curated(folder: Path, split: str) -> pa.Table | None:
    manifest = Manifest.read(folder)
    if manifest.dataset_type != _TYPE:
        raise InputError(
            "the dataset is of another type",
            where=folder,
            received=manifest.dataset_type,
            expected=_TYPE,
            todo="Turn pairs into labelled answers with: thumbline convert DATASET --from trl --to trl -o OUT",
        )
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

    if path.is_file() and path.suffix not in _READERS:
        raise InputError("not a dataset file", where=path, received=path.suffix, expected=_known_files())
    options: dict[str, Any] = {"path": str(path)}
    if path.is_file():
        options = {"path": _READERS[path.suffix], "data_files": {"train": str(path)}}
    with tempfile.TemporaryDirectory(prefix="thumbline-") as cache, without_library_bars():
        try:
            splits = datasets.load_dataset(**options, cache_dir=cache, keep_in_memory=True)
        except (DatasetGenerationError, FileNotFoundError, ValueError, pa.ArrowInvalid) as error:
            reason = error.__cause__ or error
            raise InputError(f"the dataset cannot be read ({reason})", where=path, expected=_known_files()) from error
        return splits[split].data.table if split in splits else None


def _known_files() -> str:
    return "a curated dataset, or files that end in " + ", ".join(_READERS)


def _check_columns(table: pa.Table, where: Path) -> None:
    missing = [name for name in ("prompt", "completion", "label") if name not in table.column_names]
    if missing:
        raise InputError(
            f"the dataset has no column {missing[0]!r}",
            where=where,
            received=sorted(table.column_names),
            expected="prompt, completion and label",
            todo="Curate it first with: thumbline curate",
        )
    kind = table.schema.field("label").type
    if not pa.types.is_boolean(kind):
        raise InputError(
            "column 'label' is not boolean; labels are never guessed",
            where=where,
            received=str(kind),
            expected="bool: true for desirable, false for undesirable",
            todo="Map its values with: thumbline convert --from mapped",
        )


def _rows(table: pa.Table, *, where: str) -> list[LabelledRow]:
    seen: Counter[str] = Counter()
    return [_row(record, seen, f"{where}, row {place}") for place, record in enumerate(_records(table))]


def _records(table: pa.Table) -> Iterable[dict[str, Any]]:
    for batch in table.to_batches(max_chunksize=1024):
        yield from batch.to_pylist()


def _row(record: Mapping[str, Any], seen: Counter[str], where: str) -> LabelledRow:
    prompt = _messages(record["prompt"], "user", where=f"{where}, column 'prompt'")
    completion = _messages(record["completion"], "assistant", where=f"{where}, column 'completion'")
    if record["label"] is None:
        raise InputError("label is null", where=where, expected="true or false", todo="Leave such rows out")
    _check_roles([turn["role"] for turn in prompt], [turn["role"] for turn in completion], where=where)
    weight = record.get("weight")
    weight = 1.0 if weight is None else weight
    if not isinstance(weight, int | float) or not math.isfinite(weight) or weight < 0:
        raise InputError("weight is not a number", where=where, received=weight, expected="a finite number, at least 0")
    tools = record.get("tools") or None
    return LabelledRow(
        row_id=str(record.get("row_id") or _row_id(prompt, completion, record["label"], seen)),
        prompt=prompt,
        completion=completion,
        label=record["label"],
        weight=float(weight),
        group_id=str(record.get("group_id") or _digest(prompt)),
        tools=tools if tools is None or isinstance(tools, str) else json.dumps(tools, ensure_ascii=False),
    )


def _messages(value: object, role: str, *, where: str) -> list[Message]:
    """Turns as they are, or a text as one turn of `role`."""
    if isinstance(value, str) and value.strip():
        return [{"role": role, "content": value}]
    if not isinstance(value, list) or not value:
        raise InputError("not a text or a list of turns", where=where, received=value, expected="something not blank")
    turns: list[Message] = []
    for turn in value:
        known = isinstance(turn, Mapping) and turn.get("role") in ROLES and isinstance(turn.get("content"), str)
        if not known:
            raise InputError(
                "a turn is not a role and a text",
                where=where,
                received=turn,
                expected=f"content as text, and a role of {', '.join(ROLES)}",
            )
        turns.append({"role": turn["role"], "content": turn["content"]})
    return turns


def _check_roles(prompt: list[str], completion: list[str], *, where: str) -> None:
    if prompt[-1] not in ("user", "tool"):
        raise InputError("the prompt does not end with user or tool", where=where, received=prompt[-1])
    if completion[-1] != "assistant" or not {"assistant", "tool"}.issuperset(completion):
        raise InputError(
            "the completion is not the assistant's",
            where=where,
            received=completion,
            expected="turns of assistant and tool, the last one of the assistant",
        )


def _row_id(prompt: list[Message], completion: list[Message], label: bool, seen: Counter[str]) -> str:
    base = _digest([prompt, completion, label])
    seen[base] += 1
    return base if seen[base] == 1 else f"{base}#{seen[base]}"


def _digest(value: object) -> str:
    return hashlib.blake2b(json.dumps(value, ensure_ascii=True).encode(), digest_size=16).hexdigest()
