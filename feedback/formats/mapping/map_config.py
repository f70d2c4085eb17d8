"""Settings of the format `mapped`: every key that a map file may have."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import Field

from feedback.formats.mapping.undecided import refuse_undecided
from schemas.errors import ConfigError, UnknownChoiceError
from schemas.settings import load_settings, read_toml, settings

__all__ = [
    "MapConfig",
    "MapEach",
    "MapFields",
    "MapJoin",
    "MapOptions",
    "MapThresholds",
    "MapTree",
    "named_paths",
    "read_map",
]

_WAYS: Final = {
    "events": (("prompt", "completion", "label"), ("conversation_messages", "label")),
    "pairs": (("prompt", "chosen", "rejected"), ("prompt", "response_a", "response_b", "outcome")),
}


@settings
class MapFields:
    """Path of every field, see the module; all are optional here, and `mapped_format` checks which are needed."""

    prompt: str | None = None
    completion: str | None = None
    conversation_messages: str | None = None
    label: str | None = None
    chosen: str | None = None
    rejected: str | None = None
    response_a: str | None = None
    response_b: str | None = None
    outcome: str | None = None
    system: str | None = None
    id: str | None = None
    user: str | None = None
    time: str | None = None
    updated: str | None = None
    model: str | None = None
    model_a: str | None = None
    model_b: str | None = None
    conversation: str | None = None
    message: str | None = None
    comment: str | None = None
    reasons: str | None = None
    strength: str | None = None
    margin: str | None = None
    score_a: str | None = None
    score_b: str | None = None
    presented_first: str | None = None
    lang: str | None = None
    consent: str | None = None
    tools: str | None = None


@settings
class MapThresholds:
    """Numbers as labels.

    Args:
        up_from: at least this is desirable.
        down_to: at most this is undesirable; what lies between the two gives no label.
    """

    up_from: float
    down_to: float


@settings
class MapOptions:
    """How values are read.

    Args:
        signal: what kind of judgement it is.
        rater_kind: who judges.
        time_unit: of times that are numbers.
        role_key: path of the speaker in a message.
        content_key: path of the text in a message.
        json: fields whose text is not text but JSON, for example messages in the cell of a table.
    """

    signal: str = "thumb"
    rater_kind: Literal["end_user", "annotator", "llm_judge", "code", "unknown"] = "end_user"
    time_unit: Literal["s", "ms", "us", "ns"] = "s"
    role_key: str = "role"
    content_key: str = "content"
    json: tuple[str, ...] = ()


@settings
class MapJoin:
    """What lies in another file: its record stands in this one under `into`, and paths go on into it.

    Args:
        key: path of the id in the record.
        other: path of the same id in the records of the other file.
        into: name under which the other record stands, or with `many` the list of all that have the id.
        what: what the other file holds, in the plural, for messages.
        many: whether several records of the other file may have the id.
        itself: whether the other file is the same file.
        file: the other file, relative to the map; `--join FILE` wins over it.
    """

    key: str
    other: str
    into: str
    what: str = "records"
    many: bool = False
    itself: bool = False
    file: str | None = None


@settings
class MapEach:
    """A list in the record, or an object with ids as keys, of which each item gives a draft.

    Args:
        list: path of it.
        name: the item stands in the record under this name; behind it `_before` names the items before it, `_place` its
            number from 0 and `_key` its key in an object.
        only: path of what an item must have to be read; the others give no draft. All are read where it is null.
    """

    list: str
    name: str = "item"
    only: str | None = None


@settings
class MapTree:
    """A tree of messages, each of which names its parent: the way from the root to the rated one stands under `name`.

    Args:
        nodes: path of the messages: a list, or an object with their ids as keys.
        rated: path of the rated message's id.
        parent: path of the parent's id in a message.
        id: path of a message's own id in it; in an object its key is the id.
        name: name of the way, a list that ends with the rated message.
        only: path of what a message must have to be part of the way. All are where it is null.
        roots: values of `parent` that mean that there is none, beside null.
    """

    nodes: str
    rated: str
    parent: str
    id: str = "id"
    name: str = "thread"
    only: str | None = None
    roots: tuple[str, ...] = ()


@settings
class MapConfig:
    """A whole map file."""

    kind: Literal["events", "pairs"] = "events"
    join: MapJoin | None = None
    each: tuple[MapEach, ...] = ()
    tree: MapTree | None = None
    fields: MapFields
    labels: dict[str, Literal["up", "down", "none"]] = Field(default_factory=dict)
    outcomes: dict[str, Literal["a", "b", "tie", "both_bad", "abstain"]] = Field(default_factory=dict)
    thresholds: MapThresholds | None = None
    constants: dict[str, Any] = Field(default_factory=dict)
    roles: dict[str, Literal["system", "user", "assistant", "tool"]] = Field(default_factory=dict)
    options: MapOptions = MapOptions()


def read_map(path: Path) -> MapConfig:
    """The map in the TOML file `path`.

    Raises:
        InputNotFoundError: there is no such file.
        UnknownChoiceError: a key that no map has; the known ones are listed.
        ConfigError: a wrong value, something undecided, or a field that is needed and not mapped.
    """
    values = read_toml(path)
    refuse_undecided(values, path)
    if isinstance(values.get("each"), dict):
        values["each"] = [values["each"]]
    config = load_settings(MapConfig, values, where=path)
    _refuse_wrong_constants(config, path)
    _refuse_unknown_fields(config.options.json, "options", path)
    _refuse_incomplete(config, path)
    _refuse_same_names(config, path)
    return config


def named_paths(config: MapConfig) -> list[tuple[str, str]]:
    """Each mapped field and its path."""
    named = ((field.name, getattr(config.fields, field.name)) for field in fields(config.fields))
    return [(name, path) for name, path in named if path is not None]


def _refuse_incomplete(config: MapConfig, where: Path) -> None:
    given = {name for name, _ in named_paths(config)} | set(config.constants)
    ways = _WAYS[config.kind]
    if not any(set(way) <= given for way in ways):
        raise ConfigError(
            f"the map does not give all fields of {config.kind}",
            where=f"{where} [fields]",
            received=sorted(given),
            expected=" or ".join(", ".join(way) for way in ways),
        )
    if config.kind == "events" and not (config.labels or config.thresholds):
        raise ConfigError(
            "the map does not say what the labels mean",
            where=where,
            expected="a table [labels] with 'up', 'down' or 'none' for every value, or [thresholds]",
        )
    limits = config.thresholds
    if limits is not None and limits.down_to >= limits.up_from:
        raise ConfigError(
            "down_to is not below up_from",
            where=f"{where} [thresholds]",
            received=f"down_to = {limits.down_to:g}, up_from = {limits.up_from:g}",
            expected="values between them that are neither up nor down",
        )
    if config.kind == "pairs" and not config.fields.chosen and not config.outcomes:
        raise ConfigError(
            "the map does not say what the outcomes mean",
            where=where,
            expected="a table [outcomes] with 'a', 'b', 'tie', 'both_bad' or 'abstain' for every value",
        )


def _refuse_same_names(config: MapConfig, where: Path) -> None:
    names = [
        *([] if config.join is None else [config.join.into]),
        *(one.name for one in config.each),
        *([] if config.tree is None else [config.tree.name]),
    ]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(
            "two tables of the map use one name", where=where, received=twice[0], expected="one name each"
        )


def _refuse_wrong_constants(config: MapConfig, where: Path) -> None:
    _refuse_unknown_fields(config.constants, "constants", where)
    for name in config.constants:
        if name in dict(named_paths(config)):
            raise ConfigError(f"field {name!r} is both mapped and constant", where=f"{where} [constants]")


def _refuse_unknown_fields(names: Iterable[str], table: str, where: Path) -> None:
    known = [field.name for field in fields(MapFields)]
    for name in names:
        if name not in known:
            what = "constant" if table == "constants" else "field"
            raise UnknownChoiceError(what, name, known, where=f"{where} [{table}]")
