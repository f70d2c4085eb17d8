"""The map of formats whose scores have names that a user chose: which names count, and what their values mean.

One TOML file with a table for each name; a score under any other name is left out and counted.

    [scores.user-thumb]                # the name, key or question of the score, as the tool shows it
    labels = { 1 = "up", 0 = "down", null = "none" }
    rater_kind = "end_user"            # who gives it, where the tool does not say; a machine stays one

    [scores.helpfulness]               # numbers: from 4 on up, to 2 down, between them no label
    up_from = 4
    down_to = 2

    [scores.better]                    # a choice between two answers, where the record holds both
    outcomes = { left = "a", right = "b" }
    texts = { response_a = "answer_1", response_b = "answer_2" }

    [scores.order]                     # a ranking: the best against the worst
    answers = { first = "answer_1", second = "answer_2" }

    [scores.rewrite]
    corrections = true                 # an answer written by the rater is preferred to the one it corrects

    [texts]                            # paths into the data that scores are about, where a table names none
    prompt = "question"                # text or messages; unnamed: the place that the tool itself has for it
    completion = "output.text"         # also system, for a turn in front of the prompt, response_a and response_b

    [join]                             # which ids join the other file, where not those of the format
    key = "observationId"
    other = "id"

A value is named as it stands in JSON, so that `1` is the number (also 1.0) and the text, and `true` is the boolean; a
key with a dot needs quotes. `null` is a score without a value. A value that a table does not name is rejected.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, Literal, NoReturn

from pydantic import Field

from feedback.formats.drafts import Join
from feedback.formats.mapping.mapped_values import json_text
from feedback.formats.mapping.paths import find_value, parse_path
from feedback.formats.mapping.undecided import refuse_undecided
from feedback.formats.parts.fields import reject, shown
from schemas.errors import ConfigError
from schemas.reasons import RejectReason
from schemas.settings import load_settings, read_toml, settings

__all__ = ["NO_SCORES", "JoinPaths", "ScoreMap", "ScoreRule", "ScoreTable", "read_score_map"]

TextName = Literal["prompt", "completion", "response_a", "response_b", "system"]
"""What a path leads to."""

_FEW: Final = frozenset({bool, int, type(None)})
"""Types of which scores have few values; not so floats, of which 0.0 and -0.0 are equal and not the same in JSON."""
_LABELS: Final = {"up": True, "down": False, "none": None}
_MAPPING: Final = "labels, up_from, down_to, outcomes, answers or corrections"


@settings
class JoinPaths:
    """The ids that join the other file, where they are not those of the format.

    Args:
        key: path of the id in the record.
        other: path of the same id in the records of the other file.
    """

    key: str | None = None
    other: str | None = None


@settings
class ScoreTable:
    """What the scores of one name mean.

    Args:
        labels: `up`, `down` or `none` for every value.
        up_from: numbers from this on are desirable; null: none is.
        down_to: numbers up to this are undesirable; null: none is.
        outcomes: `a`, `b`, `tie`, `both_bad` or `abstain` for every value of a choice between two answers.
        answers: path of the text for every name in a ranking of answers.
        corrections: whether an answer that the rater wrote is preferred to the one that it corrects.
        texts: paths for these scores alone, see the module.
        rater_kind: who gives the scores, where the tool does not say.
        signal: the kind of judgement in the tables; null takes the name of the score.
    """

    labels: dict[str, Literal["up", "down", "none"]] = Field(default_factory=dict)
    up_from: float | None = None
    down_to: float | None = None
    outcomes: dict[str, Literal["a", "b", "tie", "both_bad", "abstain"]] = Field(default_factory=dict)
    answers: dict[str, str] = Field(default_factory=dict)
    corrections: bool = False
    texts: dict[TextName, str] = Field(default_factory=dict)
    rater_kind: Literal["end_user", "annotator", "llm_judge", "code", "unknown"] = "unknown"
    signal: str | None = None


@settings
class _MapFile:
    """A whole map file; the tables in `scores` are read one by one."""

    scores: dict[str, dict[str, Any]]
    texts: dict[TextName, str] = Field(default_factory=dict)
    join: JoinPaths = JoinPaths()


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreRule:
    """One table of a map, ready to read scores.

    Args:
        name: the name of the score.
        table: what the map says of it.
        paths: steps of every mapped path, by what lies there.
        answers: steps of the path of every answer of a ranking, by its name there.
    """

    name: str
    table: ScoreTable
    paths: Mapping[str, Sequence[str | int]]
    answers: Mapping[str, Sequence[str | int]]

    @property
    def signal(self) -> str:
        """What kind of judgement the score is."""
        return self.table.signal or self.name

    @property
    def gives_labels(self) -> bool:
        """Whether a score may become a label."""
        return bool(self.table.labels) or self.table.up_from is not None or self.table.down_to is not None

    def label(self, values: Sequence[Any]) -> bool | None:
        """The label of a score.

        Args:
            values: what the tool gives as its value, the most telling first; null where it gives none.

        Raises:
            RecordRejectedError: the map does not name the value.
        """
        table = self.table
        word = _named(values, table.labels) if table.labels else None
        if word is not None:
            return _LABELS[word]
        up_from, down_to = table.up_from, table.down_to
        number = self.number(values)
        if number is None:
            return self._refuse(values, table.labels)
        if up_from is not None and number >= up_from:
            return True
        return False if down_to is not None and number <= down_to else None

    def number(self, values: Sequence[Any]) -> float | None:
        """The number behind the label, where numbers make labels."""
        if self.table.up_from is None and self.table.down_to is None:
            return None
        for value in values:
            if (number := _number(value)) is not None:
                return number
        return None

    def outcome(self, values: Sequence[Any]) -> str:
        """The outcome of a choice between two answers, by the same values as a label.

        Raises:
            RecordRejectedError: the map does not name the value.
        """
        return _named(values, self.table.outcomes) or self._refuse(values, self.table.outcomes)

    def find(self, what: str, data: Any) -> Any:
        """The value at the mapped path of `what` in `data`, or None where there is none.

        Raises:
            RecordRejectedError: text on the way is not JSON.
        """
        return find_value(data, self.paths[what])

    def find_answer(self, name: str, data: Any) -> Any:
        """The value at the path of an answer of a ranking, likewise."""
        return find_value(data, self.answers[name])

    def _refuse(self, values: Sequence[Any], known: Mapping[str, str]) -> NoReturn:
        value = next((value for value in values if value is not None), None)
        if value is None:
            reject(RejectReason.MISSING_FIELD, f"score {self.name!r} has no value, and the map has no 'null' for it")
        listed = ", ".join(sorted(known)) or "a number"
        reject(RejectReason.UNKNOWN_LABEL, f"score {self.name!r} is {shown(value)}; the map knows {listed}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreMap:
    """A map file, ready to read scores.

    Args:
        rules: what the scores mean, by their names.
        join: the ids that join the other file.
    """

    rules: Mapping[str, ScoreRule] = field(default_factory=dict)
    join: JoinPaths = field(default_factory=JoinPaths)

    def joined(self, join: Join | None) -> Join | None:
        """`join` with the ids that the map names."""
        if join is None:
            return None
        return replace(join, key=self.join.key or join.key, other=self.join.other or join.other)


NO_SCORES: Final = ScoreMap()
"""The map that asks for nothing: whatever record is in a format is left out by it."""


def read_score_map(path: Path, *, needs: Mapping[str, Sequence[str]], can: Sequence[str]) -> ScoreMap:
    """The map in the TOML file `path`.

    Args:
        path: the file.
        needs: texts whose paths must be named, by the key of the table that needs them.
        can: keys of the tables that the format has a use for, of labels, outcomes, answers, corrections.

    Raises:
        InputNotFoundError: there is no such file.
        UnknownChoiceError: a key that no map has; the known ones are listed.
        ConfigError: a wrong value, something undecided, a path that cannot be read, or a table that says too little or
            too much.
    """
    values = read_toml(path)
    refuse_undecided(values, path)
    config = load_settings(_MapFile, values, where=path)
    if not config.scores:
        raise ConfigError("the map names no score", where=path, expected="a table [scores.NAME] for each that counts")
    rules = {name: _rule(name, values, config.texts, path) for name, values in config.scores.items()}
    for rule in rules.values():
        _refuse_misfit(rule, needs, can, path)
    return ScoreMap(rules=rules, join=config.join)


def _rule(name: str, values: dict[str, Any], texts: Mapping[TextName, str], path: Path) -> ScoreRule:
    where = f"{path} [scores.{name}]"
    table = load_settings(ScoreTable, values, where=where)
    return ScoreRule(
        name=name,
        table=table,
        paths={what: parse_path(one, where) for what, one in {**texts, **table.texts}.items()},
        answers={answer: parse_path(one, where) for answer, one in table.answers.items()},
    )


def _refuse_misfit(rule: ScoreRule, needs: Mapping[str, Sequence[str]], can: Sequence[str], path: Path) -> None:
    table, where = rule.table, f"{path} [scores.{rule.name}]"
    says = {
        "labels": rule.gives_labels,
        "outcomes": bool(table.outcomes),
        "answers": bool(table.answers),
        "corrections": table.corrections,
    }
    said = [key for key, is_said in says.items() if is_said]
    if not said:
        raise ConfigError("the map does not say what the values mean", where=where, expected=_MAPPING)
    if len(set(said) - {"corrections"}) > 1:
        raise ConfigError("a score means one thing", where=where, received=said, expected="one of them")
    for key in said:
        if key not in can:
            raise ConfigError(f"the format has no use for {key!r}", where=where, expected=" or ".join(can))
        missing = [what for what in needs.get(key, ()) if what not in rule.paths]
        if missing:
            raise ConfigError(
                f"the map does not say where {' and '.join(missing)} lie",
                where=where,
                expected="their paths, in this table or in [texts]",
            )
    if table.up_from is not None and table.down_to is not None and table.down_to >= table.up_from:
        raise ConfigError(
            "down_to is not below up_from",
            where=where,
            received=f"down_to = {table.down_to:g}, up_from = {table.up_from:g}",
            expected="values between them that are neither up nor down",
        )


def _named(values: Sequence[Any], known: Mapping[str, str]) -> str | None:
    """What the map says of the first value that it names; null is a value only where there is no other."""
    is_given = False
    for value in values:
        if value is not None:
            is_given = True
            for name in _names(value):
                if name in known:
                    return known[name]
    return None if is_given else known.get("null")


def _names(value: Any) -> Sequence[str]:
    return _names_of_few(value) if type(value) in _FEW else _names_of(value)


@lru_cache(maxsize=1024, typed=True)
def _names_of_few(value: bool | int | None) -> Sequence[str]:
    return _names_of(value)


def _names_of(value: Any) -> Sequence[str]:
    text = json_text(value)
    return (text, text.removesuffix(".0")) if not isinstance(value, dict | list) else (text,)


def _number(value: Any) -> float | None:
    """The number that `value` is, or that a CSV file gives as text; None of one that no float can hold."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None
