"""The value rules of every table, each stated once as a polars expression that is true where a row keeps it.

    Rule (reason, claim, expression) ──► violations   one pass over all rules, for the stages
                                    └──► as_pandera   the same expressions as a pandera schema, for everybody else

A rule's reason is the `RejectReason` that a failing row is quarantined or refused under, so that the rule, the
quarantine and the documentation cannot drift apart. This is the only room of `schemas` that imports pandera and polars;
pandera takes half a second to load, so only `as_pandera` does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import polars as pl
import pyarrow as pa

from schemas.datasets import ORIGINS, PREFERENCE, SPLITS, UNPAIRED_PREFERENCE
from schemas.errors import ShapeError
from schemas.events import FEEDBACK_EVENT, OPERATIONS, RATER_KINDS, TIME_QUALITIES
from schemas.messages import ROLES
from schemas.pairs import OUTCOMES, PREFERENCE_PAIR
from schemas.reasons import RejectReason

if TYPE_CHECKING:
    import pandera.polars as pandera

__all__ = [
    "FeedbackEventRules",
    "PreferencePairRules",
    "PreferenceRules",
    "Rule",
    "Rules",
    "UnpairedPreferenceRules",
    "Violation",
    "as_pandera",
    "violations",
]

_FIRST_TIME: Final = pl.datetime(1990, 1, 1, time_zone="UTC")
_LAST_TIME: Final = pl.datetime(2100, 1, 1, time_zone="UTC")
_RANKS: Final = {reason: place for place, reason in enumerate(RejectReason)}


@dataclass(frozen=True, slots=True)
class Rule:
    """The reason that a row is refused under, what the rule says, and whether a row keeps it (null: it does not)."""

    reason: RejectReason
    claim: str
    holds: pl.Expr


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules of one table.

    Args:
        name: what messages call them.
        types: type of every column that a rule reads; the table may have others.
        rules: the rules.
        unique: a column whose value no two rows share; null asks for none.
    """

    name: str
    types: Mapping[str, pl.DataType]
    rules: tuple[Rule, ...]
    unique: str | None = None


class Violation(tuple[int, str, str]):
    """A row that breaks a rule: (row number, reason, detail)."""

    __slots__ = ()

    @property
    def row(self) -> int:
        """Number of the row in the checked table, from 0."""
        return self[0]

    @property
    def reason(self) -> str:
        """The `RejectReason` that the broken rule is named after."""
        return self[1]

    @property
    def detail(self) -> str:
        """What the broken rule says."""
        return self[2]


def violations(frame: pl.DataFrame, rules: Rules) -> list[Violation]:
    """The first broken rule of every row that breaks one, in row order.

    Args:
        frame: the table to check.
        rules: one of the tables of rules of this module.

    Raises:
        ShapeError: a column is missing or has another type, so that no single row is at fault.
    """
    _refuse_other_shape(frame, rules)
    kept = frame.select(rule.holds.fill_null(value=False).alias(str(place)) for place, rule in enumerate(rules.rules))
    first: dict[int, tuple[int, str, str]] = {}
    for rule, column in zip(rules.rules, kept, strict=True):
        if not column.all():
            _note(first, (~column).arg_true(), rule)
    if rules.unique is not None and frame[rules.unique].n_unique() < frame.height:
        _note(first, frame[rules.unique].is_duplicated().arg_true(), _unique(rules.unique))
    return [Violation((row, reason, detail)) for row, (_, reason, detail) in sorted(first.items())]


def as_pandera(rules: Rules) -> pandera.DataFrameSchema:
    """The rules as a pandera schema over polars: its checks are the same expressions, named by their reasons.

    Args:
        rules: one of the tables of rules of this module.
    """
    import pandera.polars as pandera

    columns = {
        # Whether a null is right is for the rules to say, so that it has a reason too.
        name: pandera.Column(kind, nullable=True, unique=name == rules.unique)
        for name, kind in rules.types.items()
    }
    return pandera.DataFrameSchema(columns, checks=[_as_check(rule) for rule in rules.rules], name=rules.name)


def _as_check(rule: Rule) -> pandera.Check:
    import pandera.polars as pandera

    holds = rule.holds.fill_null(value=False)
    return pandera.Check(lambda data: data.lazyframe.select(holds), name=rule.reason.value, error=rule.claim)


def _refuse_other_shape(frame: pl.DataFrame, rules: Rules) -> None:
    for name, kind in rules.types.items():
        found = frame.schema.get(name)
        if found != kind:
            raise ShapeError(
                f"the table breaks its schema: column {name!r} "
                + ("is missing" if found is None else "has another type"),
                where=rules.name,
                received=None if found is None else str(found),
                expected=str(kind),
            )


def _note(first: dict[int, tuple[int, str, str]], rows: pl.Series, rule: Rule) -> None:
    """Remember the broken rule for every row that has none before it in the order of reasons."""
    ranked = (_RANKS[rule.reason], rule.reason.value, rule.claim)
    for row in rows.to_list():
        first[row] = min(first.get(row, ranked), ranked)


def _unique(column: str) -> Rule:
    return Rule(RejectReason.RULE_VIOLATION, f"{column}: no two rows have the same", pl.col(column).is_unique())


def _is_prompt(column: str) -> pl.Expr:
    is_text = pl.element().struct.field("content").str.strip_chars() != ""
    return pl.col(column).list.eval(is_text).list.any()


def _is_answer(column: str) -> pl.Expr:
    return pl.col(column).list.last().struct.field("content").str.strip_chars() != ""


def _are_roles_right(column: str, *last: str) -> pl.Expr:
    known = pl.col(column).list.eval(pl.element().struct.field("role").is_in(ROLES)).list.all()
    return known & ((pl.col(column).list.len() == 0) | pl.col(column).list.last().struct.field("role").is_in(last))


def _is_plausible_time(column: str) -> pl.Expr:
    return pl.col(column).is_null() | pl.col(column).is_between(_FIRST_TIME, _LAST_TIME)


def _has_prompt() -> Rule:
    return Rule(RejectReason.EMPTY_PROMPT, "prompt: at least one message is not blank", _is_prompt("prompt"))


def _has_answers(*columns: str) -> Rule:
    holds = pl.all_horizontal(_is_answer(column) for column in columns)
    return Rule(RejectReason.EMPTY_COMPLETION, f"{' and '.join(columns)}: the last message is not blank", holds)


def _has_right_roles(*answers: str) -> Rule:
    holds = pl.all_horizontal(
        _are_roles_right("prompt", "user", "tool"), *(_are_roles_right(column, "assistant") for column in answers)
    )
    claim = f"prompt ends with user or tool, {' and '.join(answers)} with assistant, and every role is known"
    return Rule(RejectReason.BAD_ROLES, claim, holds)


def _has_two_answers() -> Rule:
    holds = pl.col("response_a_hash") != pl.col("response_b_hash")
    return Rule(RejectReason.IDENTICAL_RESPONSES, "response_a and response_b: different texts", holds)


def _has_plausible_times(*columns: str) -> Rule:
    holds = pl.all_horizontal(_is_plausible_time(column) for column in columns)
    return Rule(RejectReason.BAD_TIME, f"{' and '.join(columns)}: between 1990 and 2100", holds)


def _other(column: str, claim: str, holds: pl.Expr) -> Rule:
    return Rule(RejectReason.RULE_VIOLATION, f"{column}: {claim}", holds)


def _is_id(column: str) -> Rule:
    return _other(column, "32 hex digits", pl.col(column).str.contains(r"\A[0-9a-f]{32}\z"))


def _is_one_of(column: str, values: tuple[str, ...]) -> Rule:
    return _other(column, f"one of {', '.join(values)}", pl.col(column).is_in(values))


def _is_filled(column: str) -> Rule:
    return _other(column, "not empty", pl.col(column) != "")


def _is_known(column: str) -> Rule:
    return _other(column, "not null", pl.col(column).is_not_null())


def _is_count(column: str) -> Rule:
    return _other(column, "at least 0", pl.col(column) >= 0)


def _is_weight(column: str) -> Rule:
    return _other(column, "a number greater than 0", (pl.col(column) > 0) & pl.col(column).is_finite())


def _rules(name: str, schema: pa.Schema, *rules: Rule, unique: str | None = None) -> Rules:
    """Rules of the table `schema`, with the types that it gives to the columns they read."""
    types = pl.Schema(schema)
    read = {column for rule in rules for column in rule.holds.meta.root_names()}
    return Rules(name, {column: kind for column, kind in types.items() if column in read}, rules, unique)


FeedbackEventRules: Final = _rules(
    "FeedbackEventRules",
    FEEDBACK_EVENT,
    _has_prompt(),
    _has_answers("completion"),
    _has_right_roles("completion"),
    _has_plausible_times("event_ts", "updated_ts"),
    _is_id("event_id"),
    _is_filled("source"),
    _is_one_of("op", OPERATIONS),
    _is_one_of("ts_quality", TIME_QUALITIES),
    _is_one_of("rater_kind", RATER_KINDS),
)
"""Rules of `schemas.events.FEEDBACK_EVENT` that Arrow types cannot say."""

PreferencePairRules: Final = _rules(
    "PreferencePairRules",
    PREFERENCE_PAIR,
    _has_prompt(),
    _has_answers("response_a", "response_b"),
    _has_right_roles("response_a", "response_b"),
    _has_two_answers(),
    _has_plausible_times("event_ts"),
    _is_id("pair_id"),
    _is_filled("source"),
    _is_one_of("outcome", OUTCOMES),
    _is_one_of("ts_quality", TIME_QUALITIES),
    _is_one_of("rater_kind", RATER_KINDS),
)
"""Rules of `schemas.pairs.PREFERENCE_PAIR` that Arrow types cannot say."""

UnpairedPreferenceRules: Final = _rules(
    "UnpairedPreferenceRules",
    UNPAIRED_PREFERENCE,
    _has_prompt(),
    _has_answers("completion"),
    _has_right_roles("completion"),
    _is_id("row_id"),
    _is_known("label"),
    _is_weight("weight"),
    _is_count("n_up"),
    _is_count("n_down"),
    _is_one_of("split", SPLITS),
    unique="row_id",
)
"""Rules of `schemas.datasets.UNPAIRED_PREFERENCE`, checked on everything that is exported."""

PreferenceRules: Final = _rules(
    "PreferenceRules",
    PREFERENCE,
    _has_prompt(),
    _has_answers("chosen", "rejected"),
    _has_right_roles("chosen", "rejected"),
    _is_id("row_id"),
    _is_weight("weight"),
    _is_one_of("origin", ORIGINS),
    _is_one_of("split", SPLITS),
    unique="row_id",
)
"""Rules of `schemas.datasets.PREFERENCE`, checked on everything that is exported."""
