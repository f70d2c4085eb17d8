"""Settings of the format `mapped`: every key that a map file may have."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any, Final, Literal

from pydantic import Field

from schemas.errors import ConfigError, UnknownChoiceError
from schemas.settings import load_settings, read_toml, settings

__all__ = ["MapConfig", "MapFields", "MapOptions", "MapThresholds", "named_paths", "read_map"]

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
    lang: str | None = None
    consent: str | None = None
    tools: str | None = None


@settings
class MapThresholds:
    """Numbers as labels: at least `up_from` is desirable, at most `down_to` undesirable, between them no label."""

    up_from: float
    down_to: float


@settings
class MapOptions:
    """How values are read."""

    signal: str = "thumb"
    rater_kind: Literal["end_user", "annotator", "llm_judge", "code", "unknown"] = "end_user"
    time_unit: Literal["s", "ms", "us"] = "s"
    role_key: str = "role"
    content_key: str = "content"


@settings
class MapConfig:
    """A whole map file."""

    kind: Literal["events", "pairs"] = "events"
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
        ConfigError: a wrong value, or a field that is needed and not mapped.
    """
    config = load_settings(MapConfig, read_toml(path), where=path)
    _refuse_wrong_constants(config, path)
    _refuse_incomplete(config, path)
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
        raise ConfigError("down_to is not below up_from", where=f"{where} [thresholds]")
    if config.kind == "pairs" and not config.fields.chosen and not config.outcomes:
        raise ConfigError(
            "the map does not say what the outcomes mean",
            where=where,
            expected="a table [outcomes] with 'a', 'b', 'tie', 'both_bad' or 'abstain' for every value",
        )


def _refuse_wrong_constants(config: MapConfig, where: Path) -> None:
    known = [field.name for field in fields(MapFields)]
    for name in config.constants:
        if name not in known:
            raise UnknownChoiceError("constant", name, known, where=f"{where} [constants]")
        if name in dict(named_paths(config)):
            raise ConfigError(f"field {name!r} is both mapped and constant", where=f"{where} [constants]")
