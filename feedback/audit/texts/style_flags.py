"""Marks of style in an answer: what flatters, agrees, apologises and refuses (in English), and how it is laid out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import polars as pl

from schemas.refusal import REFUSAL

__all__ = ["STYLES", "Style", "style_flags"]


@dataclass(frozen=True, slots=True)
class Style:
    """One mark of style.

    Args:
        name: its name, a column of the flags.
        title: its name in words, as it follows "answers with".
        pattern: regular expression that an answer with it matches.
        is_english: whether only English answers can match.
    """

    name: str
    title: str
    pattern: str
    is_english: bool = False


_FLATTERY: Final = (
    r"\b(?:great|good|excellent|wonderful|fantastic|brilliant|amazing|insightful|fascinating|terrific|superb|thoughtful)"
    r",? (?:question|point|idea|insight|observation|thinking|choice|thought|instinct)"
    r"|\bwhat an? (?:\w+ )?(?:great|wonderful|brilliant|fantastic|excellent|amazing|insightful|fascinating|lovely)\b"
    r"|\byou(?:['’]re| are) (?:so |very |clearly |really |truly |such )?(?:an? )?"
    r"(?:smart|brilliant|clever|insightful|genius|talented|amazing|wonderful|gifted|wise|thoughtful)"
    r"|\bi (?:really |absolutely |just )?(?:love|admire) (?:this|that|your|how you)\b"
)
_AGREEMENT: Final = (
    r"\byou(?:['’]re| are) (?:absolutely |completely |totally |entirely |quite |so |exactly |100% )?(?:right|correct)\b"
    r"|\bi (?:completely|totally|fully|wholeheartedly|absolutely) agree\b|\bi could(?:n['’]t| not) agree more\b"
    r"|\A\s*(?:absolutely|exactly|definitely|totally|of course|certainly)[!,.]"
    r"|\bthat['’]s (?:absolutely |completely |exactly )?(?:right|correct|true)[!.,]"
)
_APOLOGY: Final = (
    r"\b(?:i|we) (?:do |sincerely |deeply |really )*apologi[sz]e\b|\b(?:my|our) (?:sincere |deepest )?apologies\b"
    r"|\b(?:i['’]m|i am|we['’]re|we are) (?:so |very |really |truly |deeply |terribly )*sorry\b"
    r"|\bsorry (?:for|about|if)\b|\bmy (?:mistake|bad)\b|\A\s*(?:oh,? )?(?:so )?sorry\b"
)
_HEADING: Final = r"(?m)^ {0,3}#{1,6} \S"
_LIST: Final = r"(?m)^[ \t]*(?:[-*+•]|[0-9]{1,3}[.)]) +\S[^\n]*\n+[ \t]*(?:[-*+•]|[0-9]{1,3}[.)]) +\S"
_CODE: Final = r"```|`[^`\n]+`"
_OTHER_MARKDOWN: Final = r"\*\*[^*\n]+\*\*|__[^_\n]+__|(?m:^\|.*\|[ \t]*\n\|[ :|\-]+\|)"
_IN_MARKDOWN: Final = ("headings", "lists", "code")

STYLES: Final = (
    Style("flattery", "flattery", f"(?i){_FLATTERY}", is_english=True),
    Style("agreement", "agreement with the user", f"(?i){_AGREEMENT}", is_english=True),
    Style("apology", "an apology", f"(?i){_APOLOGY}", is_english=True),
    Style("refusal", "a refusal", f"(?i){REFUSAL}", is_english=True),
    Style("emoji", "emoji", r"[\p{Emoji_Presentation}\x{FE0F}]"),
    Style("headings", "headings", _HEADING),
    Style("lists", "lists", _LIST),
    Style("code", "code", _CODE),
    Style("markdown", "any markdown", _OTHER_MARKDOWN),
)
"""Every mark of style. `markdown` is any of headings, lists, code, bold words and tables."""


def style_flags(answer: pl.Expr) -> list[pl.Expr]:
    """A column for each of `STYLES`: whether the answer has it.

    >>> row = pl.DataFrame({"answer": ["Great question! You are right: `x`."]})
    >>> row.select(style_flags(pl.col("answer"))).row(0)
    (True, True, False, False, False, False, False, True, True)
    """
    flags = {style.name: answer.str.contains(style.pattern) for style in STYLES}
    flags["markdown"] = pl.any_horizontal(flags["markdown"], *(flags[name] for name in _IN_MARKDOWN))
    return [flag.alias(name) for name, flag in flags.items()]
