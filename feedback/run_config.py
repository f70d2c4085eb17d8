"""The config of a curation run: from a file, from a list of inputs, and as it is recorded in the manifest.

What is recorded names no folder: the same files in another place give the same dataset, byte for byte.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from feedback.config import CurateConfig, Ranking, SourceConfig, SplitConfig
from feedback.hashing import stable_id
from feedback.ingest.rater_key import load_rater_key
from feedback.ingest.source_files import find_source_files
from feedback.records.places import Place, input_name, place_name, place_state, relative_input
from feedback.records.sources import tally_of
from schemas.errors import UsageError
from schemas.manifest import Manifest, SourceFile, file_sha256
from schemas.paths import AnyPath, path_of, path_texts
from schemas.settings import apply_overrides, load_settings, read_toml, settings_to_dict

__all__ = ["config_of_inputs", "default_config", "is_same_input", "load_curate_config", "plan_key", "resolved_config"]


def load_curate_config(path: AnyPath, overrides: Iterable[str] = ()) -> CurateConfig:
    """The config in a TOML file; paths in it are relative to the file.

    Args:
        path: the file.
        overrides: `dotted.key=value` texts that win over the file.

    Raises:
        InputNotFoundError: there is no such file.
        ConfigError: it is not TOML, or a key or value is not right.
    """
    path = path_of(path)
    config = load_settings(CurateConfig, apply_overrides(read_toml(path), overrides), where=path)
    return replace(
        config,
        sources=tuple(_relative_to(source, path.parent) for source in config.sources),
        split=_relative_held_out(config.split, path.parent),
    )


def default_config(
    inputs: AnyPath | Iterable[AnyPath],
    format: str,  # noqa: A002 - the option of the command line has this name
    *,
    name: str | None = None,
    map: AnyPath | None = None,  # noqa: A002 - the same
    ranking: Ranking = "extremes",
    join: str | None = None,
    sql: str | None = None,
    overrides: Iterable[str] = (),
) -> CurateConfig:
    """The config that curates `inputs` with the default settings.

    Args:
        inputs: files, globs, folders or URLs of one format, one or several.
        format: their format.
        name: name of the source; null takes the format's.
        map: the TOML map of the format `mapped`.
        ranking: which ranked answers become pairs, for formats that rank.
        join: a file, a glob or a folder with what the records lack, for formats that judge in one file what lies in
            another.
        sql: the query, where the inputs are databases.
        overrides: `dotted.key=value` texts.

    Raises:
        UsageError: no input or a blank one.
        ConfigError: an override is not right.
    """
    source = {"format": format, "name": name, "map": map, "ranking": ranking, "join": join, "sql": sql}
    sources = [{"path": text, **source} for text in path_texts(inputs)]
    return load_settings(CurateConfig, apply_overrides({"sources": sources}, overrides), where="--set")


def config_of_inputs(
    inputs: AnyPath | Iterable[AnyPath],
    source_format: str | None,
    *,
    map_path: AnyPath | None = None,
    ranking: Ranking = "extremes",
    join: str | None = None,
    sql: str | None = None,
    overrides: Iterable[str] = (),
) -> CurateConfig:
    """The config that a file holds, or the default one for files of a named format.

    Args:
        inputs: one config file (.toml), or files, globs, folders or URLs of one format.
        source_format: their format.
        map_path: the TOML map of the format `mapped`.
        ranking: which ranked answers become pairs, for formats that rank.
        join: a file, a glob or a folder with what the records lack.
        sql: the query, where the inputs are databases.
        overrides: `dotted.key=value` texts.

    Raises:
        UsageError: there is no format and no config file, or a config file and what it says itself.
        ConfigError: a key or value is not right.
    """
    inputs = path_texts(inputs)
    if len(inputs) == 1 and inputs[0].endswith(".toml"):
        given = {"--from": source_format, "--map": map_path, "--join": join, "--sql": sql}
        given["--ranking"] = None if ranking == "extremes" else ranking
        named = [f"{option} {value}" for option, value in given.items() if value is not None]
        if named:
            raise UsageError(
                "a config file says itself how its sources are read",
                where=inputs[0],
                received=", ".join(named),
                todo="Say it in the file's [[sources]], or name the raw files instead of the config file",
            )
        return load_curate_config(Path(inputs[0]), overrides)
    if source_format is not None:
        return default_config(
            inputs, source_format, map=map_path, ranking=ranking, join=join, sql=sql, overrides=overrides
        )
    from feedback.formats.sniffing.unnamed import unnamed_format  # looks into the files, which no right call needs

    todo = "Or write a config file and name that"
    raise unnamed_format(inputs, problem="no format is given for the input", todo=todo)


def resolved_config(config: CurateConfig) -> dict[str, Any]:
    """`config` as JSON values, with names of files instead of paths, and digests of maps and of a frozen set.

    The engine is not in it: it decides nothing.
    """
    values: dict[str, Any] = settings_to_dict(config)
    del values["engine"]
    if config.split.held_out is not None:
        values["split"]["held_out"] = Manifest.read(path_of(config.split.held_out, name="split.held_out")).digest
    values["sources"] = [_without_folder(source) for source in config.sources]
    return values


def is_same_input(sources: Sequence[SourceConfig], known: Sequence[SourceFile]) -> bool:
    """Whether the files of `sources` are, byte for byte, the `known` ones; what comes from a stream never is.

    Of a query it is the rows that are compared, whatever their order.
    """
    if any(source.path == "-" for source in sources):
        return False
    places = _places(sources)
    if sorted(place_name(place) for place in places) != sorted(file.name for file in known):
        return False
    return sorted(tally_of(place).sha256 for place in places) == sorted(file.sha256 for file in known)


def plan_key(config: CurateConfig) -> str:
    """What an interrupted run is known by: the config, its files as they lie there now, and the key for user ids.

    Files are known by place, size and time of change, since they are not read twice. A stream is never the same, nor
    is a query of a server.
    """
    described = [json.dumps(resolved_config(config), sort_keys=True), stable_id(load_rater_key().decode())]
    for place in _places(config.sources):
        described += place_state(place) or (uuid.uuid4().hex,)
    return stable_id(*described)


def _places(sources: Sequence[SourceConfig]) -> list[Place]:
    """Every place of the sources: those with the records, then the other ones that they join, each once."""
    found = [find_source_files(source) for source in sources]
    return [*(path for files in found for path in files.read), *dict.fromkeys(path for f in found for path in f.other)]


def _relative_held_out(config: SplitConfig, folder: Path) -> SplitConfig:
    """The config with the place of its frozen set relative to the folder of the config file."""
    if config.held_out is None:
        return config
    return replace(config, held_out=str(folder / path_of(config.held_out, name="split.held_out")))


def _relative_to(source: SourceConfig, folder: Path) -> SourceConfig:
    return replace(
        source,
        path=relative_input(source.path, folder),
        map=None if source.map is None else str(folder / source.map),
        join=None if source.join is None else relative_input(source.join, folder),
    )


def _without_folder(source: SourceConfig) -> dict[str, Any]:
    values: dict[str, Any] = {**settings_to_dict(source), "path": input_name(source.path)}
    if source.map is not None:
        path = Path(source.map)
        values["map"] = {"name": path.name, "sha256": file_sha256(path) if path.is_file() else None}
    if source.join is not None:
        values["join"] = Path(source.join).name
    return values
