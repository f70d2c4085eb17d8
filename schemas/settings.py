"""Config files and overrides into validated, frozen settings; unknown keys are errors that list the known ones.

Settings are pydantic dataclasses made with `@settings`, so a value is checked wherever one is created: from TOML, from
`--set key=value`, or in Python.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from functools import wraps
from pathlib import Path
from typing import Any, Final, TypeVar, cast, dataclass_transform, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as pydantic_dataclass

from schemas.errors import ConfigError, InputNotFoundError, UnknownChoiceError
from schemas.paths import AnyPath, path_of

__all__ = ["apply_overrides", "load_settings", "read_toml", "settings", "settings_to_dict"]

T = TypeVar("T")
_NULL: Final = "null"
_STRICT: Final = ConfigDict(extra="forbid", validate_default=True, allow_inf_nan=False)


@dataclass_transform(frozen_default=True, kw_only_default=True)
def settings(cls: type[T]) -> type[T]:
    """Class decorator: a frozen, keyword-only dataclass whose fields are validated on creation.

    Creation raises what `load_settings` does.
    """
    made: Any = pydantic_dataclass(frozen=True, kw_only=True, config=_STRICT)(cls)
    create = made.__init__

    @wraps(create)
    def checked(self: Any, *given: Any, **named: Any) -> None:
        try:
            create(self, *given, **named)
        except ValidationError as error:
            alien = [one["loc"] for one in error.errors() if one["type"] == "unexpected_keyword_argument"]
            unknown = [str(place[0]) for place in alien if len(place) == 1]
            if unknown:
                known = (field.name for field in fields(made))
                raise UnknownChoiceError("config key", unknown[0], known, where=cls.__name__) from error
            raise _not_right(error, where=cls.__name__) from error

    made.__init__ = checked
    return cast("type[T]", made)


def load_settings(cls: type[T], values: Mapping[str, Any], *, where: object) -> T:
    """The settings `cls` made from nested plain values.

    Args:
        cls: a class made with `@settings`; its fields may be such classes too.
        values: plain values, as TOML gives them.
        where: the file or option that they came from, for error messages.

    Raises:
        UnknownChoiceError: a key that the settings do not have.
        ConfigError: a missing key or a value out of its range.
    """
    _refuse_unknown_keys(cls, values, where=where, path="")
    try:
        return TypeAdapter(cls).validate_python(dict(values))
    except ValidationError as error:
        raise _not_right(error, where=where, is_of_file=True) from error


def read_toml(path: AnyPath) -> dict[str, Any]:
    """The plain values of a TOML file; a byte order mark before them, as some editors write it, says nothing.

    Raises:
        InputNotFoundError: there is no such file.
        ConfigError: it is not TOML.
    """
    path = path_of(path)
    if not path.is_file():
        raise InputNotFoundError("no such config file", where=path)
    try:
        return tomllib.loads(path.read_text("utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"the file is not TOML ({error})", where=path) from error


def apply_overrides(values: Mapping[str, Any], overrides: str | Iterable[str]) -> dict[str, Any]:
    """A copy of `values` with every `dotted.key=value` of `overrides` set; a value is TOML, `null` or else plain text.

    One text is one override.

    >>> apply_overrides({"caps": {"min_raters": 1}}, ["caps.min_raters=2", "caps.max_rater_share=null", "seed=x"])
    {'caps': {'min_raters': 2, 'max_rater_share': None}, 'seed': 'x'}

    Raises:
        ConfigError: an override without `=`, or one that reaches into a plain value.
    """
    result: dict[str, Any] = {key: dict(item) if isinstance(item, Mapping) else item for key, item in values.items()}
    for override in [overrides] if isinstance(overrides, str) else overrides:
        key, equals, text = override.partition("=")
        if not equals or not key:
            raise ConfigError("an override is not key=value", where="--set", received=override)
        *parents, leaf = key.strip().split(".")
        table = result
        for parent in parents:
            below = table.get(parent, {})
            if not isinstance(below, Mapping):
                raise ConfigError(f"{parent!r} is a value, not a table", where="--set", received=override)
            table[parent] = dict(below)
            table = table[parent]
        table[leaf] = _toml_value(text.strip())
    return result


def settings_to_dict(value: Any) -> Any:
    """Settings as JSON values, for reports, manifests and run cards."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: settings_to_dict(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): settings_to_dict(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [settings_to_dict(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def _not_right(error: ValidationError, *, where: object, is_of_file: bool = False) -> ConfigError:
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    return ConfigError(
        f"config key {key!r} is not right ({first['msg'].lower()})",
        where=where,
        received=None if first["type"] in ("missing", "missing_argument") else first["input"],
        todo=f"Set it in the file or with --set {key}=VALUE" if is_of_file else None,
    )


def _toml_value(text: str) -> Any:
    if text == _NULL:
        return None
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _refuse_unknown_keys(cls: type, values: Mapping[str, Any], *, where: object, path: str) -> None:
    hints = get_type_hints(cls)
    known = {field.name for field in fields(cls)}
    for key, value in values.items():
        if key not in known:
            raise UnknownChoiceError("config key", f"{path}{key}", (f"{path}{name}" for name in known), where=where)
        kind = hints[key]
        if isinstance(kind, type) and is_dataclass(kind) and isinstance(value, Mapping):
            _refuse_unknown_keys(kind, value, where=where, path=f"{path}{key}.")
