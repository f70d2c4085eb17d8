"""The plain records of a map: those whose fields are texts, numbers and messages, straight at the map's paths.

A field may have two shapes, text or messages, and so a map has a shape for each choice of these. A map that goes
further than paths, with a join, a list, a tree or a turn of the system, has none: its records are read one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import chain, combinations
from typing import Any, Final

import polars as pl
import pyarrow as pa

from feedback.formats.mapping.map_config import MapConfig, named_paths
from feedback.formats.mapping.map_labels import first_shown, json_of, label_of, outcome_of, told_values
from feedback.formats.mapping.mapped_values import are_digits, read_scaled_time, scaled_times
from feedback.formats.mapping.paths import parse_path
from feedback.formats.mapping.turn_shapes import TURN_FIELDS, TurnShape, turn_shapes
from feedback.formats.parts.bare_messages import CALLS
from feedback.formats.parts.cells import bool_cell, number_cell
from feedback.formats.parts.field_columns import are_said, id_of, is_id, number_of, text_of
from feedback.formats.parts.fields import (
    optional_id,
    optional_rater,
    optional_text,
    optional_words,
)
from feedback.formats.plain import (
    BOOLEAN,
    ID,
    NUMBER,
    TEXT,
    TIME,
    WORDS,
    PlainRecords,
    Types,
    path_of,
    schema_steps,
)
from schemas.errors import RecordRejectedError

__all__ = ["plain_shapes"]

_JUDGED: Final[Types] = (pa.string(), pa.int64(), pa.bool_(), pa.float64())
_WORDS: Final = pl.List(pl.String)
_NO_CONSTANTS: Final = frozenset({"tools", "system", "conversation_messages", *TURN_FIELDS})


@dataclass(frozen=True, slots=True)
class _Field:
    """How a field of a map is read that is copied.

    Args:
        into: the draft's field.
        types: what it may be.
        tell: what the draft has, from the field's path.
        kind: type of that.
        read: the same of one record.
        where: where it is plain; None: everywhere.
    """

    into: str
    types: Types
    tell: Callable[[str], pl.Expr]
    kind: pl.DataType | type[pl.DataType]
    read: Callable[[Mapping[str, Any], str], Any]
    where: Callable[[str], pl.Expr] | None = None


def _id(into: str, read: Callable[[Mapping[str, Any], str], Any] = optional_id) -> _Field:
    return _Field(into, ID, id_of, pl.String, read, is_id)


def _number(into: str) -> _Field:
    return _Field(into, NUMBER, number_of, pl.Float64, number_cell)


def _text(into: str) -> _Field:
    return _Field(into, TEXT, text_of, pl.String, optional_text)


def _words_of(path: str) -> pl.Expr:
    return pl.col(path).fill_null([])


def _is_margin(path: str) -> pl.Expr:
    return pl.col(path).is_null() | (pl.col(path) >= 0)


_FIELDS: Final = {
    "events": {
        "id": _id("record_id"),
        "user": _id("rater", optional_rater),
        "model": _id("model_id"),
        "conversation": _id("conversation_id"),
        "message": _id("message_id"),
        "comment": _text("comment"),
        "lang": _text("lang"),
        "consent": _Field("consent", BOOLEAN, pl.col, pl.Boolean, bool_cell),
        "reasons": _Field("reason_codes", WORDS, _words_of, _WORDS, optional_words, are_said),
        "strength": _number("strength"),
    },
    "pairs": {
        "id": _id("record_id"),
        "user": _id("rater", optional_rater),
        "model_a": _id("model_a"),
        "model_b": _id("model_b"),
        "conversation": _id("conversation_id"),
        "margin": _Field("margin", NUMBER, number_of, pl.Float64, number_cell, _is_margin),
        "score_a": _number("score_a"),
        "score_b": _number("score_b"),
    },
}
_TIMES: Final = {"events": {"time": "event_time", "updated": "updated_time"}, "pairs": {"time": "event_time"}}


def plain_shapes(config: MapConfig, where: object) -> tuple[PlainRecords, ...]:
    """The shapes that plain records of a map can have; none where it does more than name paths.

    Args:
        config: the map.
        where: its file, for errors.

    Raises:
        ConfigError: a path that cannot be read.
    """
    found = {name: path_of(*parse_path(path, where)) for name, path in named_paths(config)}
    paths = {name: path for name, path in found.items() if path is not None}
    if config.join or config.each or config.tree or paths.keys() != found.keys():
        return ()
    if not _NO_CONSTANTS.isdisjoint(config.constants):
        return ()
    told = _Told(config, paths)
    try:
        told.tell_all()
    except RecordRejectedError:
        return ()
    return tuple(told.shape(turns) for turns in turn_shapes(config, paths) if told.is_whole(turns))


class _Told:
    """What the plain records of a map tell, put together field by field.

    Args:
        config: the map.
        paths: the path of each field.
    """

    def __init__(self, config: MapConfig, paths: Mapping[str, str]) -> None:
        self._config = config
        self._paths = paths
        self._types: dict[str, Types] = {}
        self._columns: dict[str, tuple[str, Any]] = {}
        self._fields: dict[str, pl.Expr] = {"rater_kind": pl.lit(config.options.rater_kind)}
        self._where: list[pl.Expr] = [pl.lit(True)]
        self._nulls: tuple[str, ...] = ()
        self._used: set[str] = set()

    def tell_all(self) -> None:
        """Tell all but the turns.

        Raises:
            RecordRejectedError: a constant that no record can have.
        """
        kind = self._config.kind
        for name, field in _FIELDS[kind].items():
            self._tell_field(name, field)
        for name, into in _TIMES[kind].items():
            self._tell_time(name, into)
        if kind == "events":
            self._fields["signal"] = pl.lit(self._config.options.signal)
            self._tell_judged("label", label_of, pl.Boolean())
        elif "chosen" in self._paths:
            self._fields |= {"outcome": pl.lit("a"), "raw_value": pl.lit('"chosen"')}
        else:
            self._tell_judged("outcome", outcome_of, pl.String())
        if kind == "pairs":
            self._tell_judged("presented_first", first_shown, pl.String())
        if "tools" in self._paths and len(schema_steps(self._paths["tools"])) == 1:
            self._used.add("tools")
            self._nulls = (self._paths["tools"],)

    def is_whole(self, turns: TurnShape) -> bool:
        """Whether all that the map names is told, and no field lies in another or has to be of two types."""
        copied = {path for one in turns.turns.values() if (path := one.path) not in turns.types}
        if self._used | turns.used != self._paths.keys() or (copied | turns.types.keys()) & self._types.keys():
            return False
        paths = sorted({schema_steps(path) for path in chain(copied, turns.types, self._types, self._nulls)})
        return all(self._types.values()) and not any(
            longer[: len(path)] == path for path, longer in combinations(paths, 2)
        )

    def shape(self, turns: TurnShape) -> PlainRecords:
        """The shape with such turns."""
        return PlainRecords(
            kind=self._config.kind,
            turns=turns.turns,
            types={**self._types, **turns.types},
            columns={**self._columns, **turns.columns},
            fields=self._fields,
            where=pl.all_horizontal(self._where),
            nulls=self._nulls,
            seen=(*CALLS, *(schema_steps(path)[0] for path in self._nulls)),
        )

    def _at(self, name: str, types: Types) -> str:
        """The path of a field, which is of one of some types; fields at one path have their types in common."""
        path = self._paths[name]
        self._used.add(name)
        self._types[path] = tuple(one for one in self._types.get(path, types) if one in types)
        return path

    def _tell_field(self, name: str, field: _Field) -> None:
        if name in self._paths:
            path = self._at(name, field.types)
            self._fields[field.into] = field.tell(path)
            self._where += [] if field.where is None else [field.where(path)]
        elif (value := field.read(self._config.constants, name)) is not None:
            self._fields[field.into] = pl.lit(list(value) if isinstance(value, tuple) else value, field.kind)

    def _tell_time(self, name: str, into: str) -> None:
        unit = self._config.options.time_unit
        if name in self._paths:
            path = self._at(name, TIME)
            self._columns[f"[{name}]"] = (path, partial(scaled_times, unit=unit))
            self._columns[f"[{name} digits]"] = (path, are_digits)
            self._where.append(~pl.col(f"[{name} digits]"))
            self._fields[into] = pl.col(f"[{name}]")
        elif (value := read_scaled_time(self._config.constants, name, unit)) is not None:
            self._fields[into] = pl.lit(value)

    def _tell_judged(self, name: str, read: Callable[[MapConfig, Any], Any], kind: pl.DataType) -> None:
        """Tell a label or an outcome, which is the record's raw value, or which answer was shown first."""
        ask, into = partial(read, self._config), name
        if name in self._paths:
            column = f"[{name}]"
            self._columns[column] = (self._at(name, _JUDGED), partial(told_values, read=ask, kind=kind))
            told = pl.col(column).struct
            self._where.append(told.field("is_known"))
            means, raw = told.field("means"), told.field("raw_value")
        else:
            value = self._config.constants.get(name)
            means, raw = pl.lit(ask(value), kind), pl.lit(json_of(value))
        self._fields[into] = means
        if name != "presented_first":
            self._fields["raw_value"] = raw
