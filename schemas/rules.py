"""The value rules of every table, each stated once as a pandera model over polars.

A check's name is the `RejectReason` or `rule` that a failing row is quarantined or refused under, so that the rule, the
quarantine and the documentation cannot drift apart. This is the only room of `schemas` that imports pandera and polars.
"""

from __future__ import annotations

from collections.abc import Iterator

import pandera.polars as pa
import polars as pl
from pandera.polars import PolarsData

from schemas.errors import ShapeError
from schemas.events import OPERATIONS, RATER_KINDS, TIME_QUALITIES
from schemas.messages import ROLES
from schemas.pairs import OUTCOMES
from schemas.reasons import RejectReason

__all__ = ["FeedbackEventRules", "PreferencePairRules", "UnpairedPreferenceRules", "Violation", "violations"]

_MESSAGES = pl.List(pl.Struct({"role": pl.String, "content": pl.String}))
_FIRST_TIME = pl.datetime(1990, 1, 1, time_zone="UTC")
_LAST_TIME = pl.datetime(2100, 1, 1, time_zone="UTC")


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
        """Which column broke which check."""
        return self[2]


def _contents(column: str) -> pl.Expr:
    return pl.col(column).list.eval(pl.element().struct.field("content").str.strip_chars() != "")


def _is_prompt(column: str) -> pl.Expr:
    return _contents(column).list.any()


def _is_answer(column: str) -> pl.Expr:
    return pl.col(column).list.last().struct.field("content").str.strip_chars().fill_null("") != ""


def _ends_with(column: str, roles: tuple[str, ...]) -> pl.Expr:
    return (pl.col(column).list.len() == 0) | pl.col(column).list.last().struct.field("role").is_in(roles)


def _has_known_roles(column: str) -> pl.Expr:
    return pl.col(column).list.eval(pl.element().struct.field("role").is_in(ROLES)).list.all()


def _are_roles_right(prompt: str, *answers: str) -> pl.Expr:
    rule = _ends_with(prompt, ("user", "tool")) & _has_known_roles(prompt)
    for answer in answers:
        rule = rule & _ends_with(answer, ("assistant",)) & _has_known_roles(answer)
    return rule


def _is_plausible_time(column: str) -> pl.Expr:
    return pl.col(column).is_null() | pl.col(column).is_between(_FIRST_TIME, _LAST_TIME)


class _RatedAnswerRules(pa.DataFrameModel):
    """Rules of every table with a prompt and one completion."""

    @pa.dataframe_check(name=RejectReason.EMPTY_PROMPT.value)
    def has_prompt(cls, data: PolarsData) -> pl.LazyFrame:
        """A prompt holds at least one message that is not blank."""
        return data.lazyframe.select(_is_prompt("prompt"))

    @pa.dataframe_check(name=RejectReason.EMPTY_COMPLETION.value)
    def has_completion(cls, data: PolarsData) -> pl.LazyFrame:
        """A completion's last message is not blank."""
        return data.lazyframe.select(_is_answer("completion"))

    @pa.dataframe_check(name=RejectReason.BAD_ROLES.value)
    def has_right_roles(cls, data: PolarsData) -> pl.LazyFrame:
        """A prompt ends with user or tool, a completion with assistant, and every role is known."""
        return data.lazyframe.select(_are_roles_right("prompt", "completion"))


class FeedbackEventRules(_RatedAnswerRules):
    """Rules of `schemas.events.FEEDBACK_EVENT` that Arrow types cannot say."""

    event_id: str = pa.Field(str_matches=r"^[0-9a-f]{32}$")
    source: str = pa.Field(str_length={"min_value": 1})
    op: str = pa.Field(isin=OPERATIONS)
    ts_quality: str = pa.Field(isin=TIME_QUALITIES)
    rater_kind: str = pa.Field(isin=RATER_KINDS)

    @pa.dataframe_check(name=RejectReason.BAD_TIME.value)
    def has_plausible_time(cls, data: PolarsData) -> pl.LazyFrame:
        """Times lie between 1990 and 2100."""
        return data.lazyframe.select(_is_plausible_time("event_ts") & _is_plausible_time("updated_ts"))


class PreferencePairRules(pa.DataFrameModel):
    """Rules of `schemas.pairs.PREFERENCE_PAIR` that Arrow types cannot say."""

    pair_id: str = pa.Field(str_matches=r"^[0-9a-f]{32}$")
    source: str = pa.Field(str_length={"min_value": 1})
    outcome: str = pa.Field(isin=OUTCOMES)
    ts_quality: str = pa.Field(isin=TIME_QUALITIES)
    rater_kind: str = pa.Field(isin=RATER_KINDS)

    @pa.dataframe_check(name=RejectReason.EMPTY_PROMPT.value)
    def has_prompt(cls, data: PolarsData) -> pl.LazyFrame:
        """A prompt holds at least one message that is not blank."""
        return data.lazyframe.select(_is_prompt("prompt"))

    @pa.dataframe_check(name=RejectReason.EMPTY_COMPLETION.value)
    def has_answers(cls, data: PolarsData) -> pl.LazyFrame:
        """The last message of each answer is not blank."""
        return data.lazyframe.select(_is_answer("response_a") & _is_answer("response_b"))

    @pa.dataframe_check(name=RejectReason.BAD_ROLES.value)
    def has_right_roles(cls, data: PolarsData) -> pl.LazyFrame:
        """The prompt ends with user or tool, both answers with assistant, and every role is known."""
        return data.lazyframe.select(_are_roles_right("prompt", "response_a", "response_b"))

    @pa.dataframe_check(name=RejectReason.IDENTICAL_RESPONSES.value)
    def has_two_answers(cls, data: PolarsData) -> pl.LazyFrame:
        """The two answers are different texts."""
        return data.lazyframe.select(pl.col("response_a_hash") != pl.col("response_b_hash"))

    @pa.dataframe_check(name=RejectReason.BAD_TIME.value)
    def has_plausible_time(cls, data: PolarsData) -> pl.LazyFrame:
        """The time lies between 1990 and 2100."""
        return data.lazyframe.select(_is_plausible_time("event_ts"))


class UnpairedPreferenceRules(_RatedAnswerRules):
    """Rules of `schemas.datasets.UNPAIRED_PREFERENCE`, checked on everything that is exported."""

    row_id: str = pa.Field(str_matches=r"^[0-9a-f]{32}$", unique=True)
    label: bool
    weight: float = pa.Field(gt=0)
    n_up: int = pa.Field(ge=0)
    n_down: int = pa.Field(ge=0)
    split: str = pa.Field(isin=("train", "test"))


def violations(frame: pl.DataFrame, rules: type[pa.DataFrameModel]) -> list[Violation]:
    """The first broken rule of every row that breaks one, in row order.

    Args:
        frame: the table to check.
        rules: one of the models of this module.

    Raises:
        ShapeError: a column is missing or has another type, so that no single row is at fault.
    """
    try:
        rules.validate(frame, lazy=True)
    except pa.errors.SchemaErrors as error:
        return sorted(_first_by_row(error.failure_cases, rules.__name__))
    return []


def _first_by_row(cases: pl.DataFrame, table: str) -> Iterator[Violation]:
    known = {reason.value: position for position, reason in enumerate(RejectReason)}
    first: dict[int, tuple[int, str, str]] = {}
    for case in cases.iter_rows(named=True):
        if case["index"] is None:
            raise ShapeError(f"the table breaks its schema: {case['check']}", where=f"{table}.{case['column']}")
        reason = case["check"] if case["check"] in known else RejectReason.RULE_VIOLATION.value
        detail = f"{case['column']}: {case['check']}"
        ranked = (known[reason], reason, detail)
        first[case["index"]] = min(first.get(case["index"], ranked), ranked)
    for row, (_, reason, detail) in first.items():
        yield Violation((row, reason, detail))
