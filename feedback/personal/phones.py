"""Telephone numbers: those with a country's code anywhere, others where a named region would write them so."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from functools import cache, lru_cache
from typing import Final

import phonenumbers

from feedback.config import PHONE_REGIONS
from feedback.personal.pattern import Pattern, Span
from schemas.errors import UnknownChoiceError

__all__ = ["phone_pattern", "phone_spans"]

_BETWEEN: Final = (
    r"[ \t\u00a0\u2000-\u200b\u2010-\u2015\u2212\u30fc\uff0d\-./()\[\]~\u2053\u223c\uff5e\uff08\uff09\uff3b\uff3d]"
)
_RUN: Final = re.compile(rf"(?<![\w@])[(\[\uff08]?(?:[+\uff0b] ?)?[(\[\uff08]?\d(?:{_BETWEEN}{{0,4}}\d){{5,}}")
_CALLED: Final = re.compile(
    r"(?:tel|phone|mobile|cell|call|fax|whatsapp|dial|text|sms|handy|telefon|mobil|t[ée]l[ée]phone|m[óo]vil|"
    r"電話|电话|телефон|тел)[\s.:#()\w]{0,12}$",
    re.IGNORECASE,
)
_DATE: Final = re.compile(r"(?:19|20)\d\d[-/.]\d\d?[-/.]\d\d?(?!\d)|\d\d?[-/.]\d\d?[-/.](?:19|20)\d\d(?!\d)")
_NUMBER: Final = re.compile(r"\d+(?:\.\d+)?")
_SEPARATED: Final = re.compile(r"\d\D+\d")
_AMERICAN: Final = re.compile(r"(?:\(\d{3}\) ?|(?<![\d(])\d{3}-)\d{3}-\d{4}$")
_OPENING, _CLOSING = "([\uff08\uff3b", ")]\uff09\uff3d"
_FEWEST, _MOST, _LONGEST = 7, 17, 13
_BEFORE, _BEHIND = 24, 16


def phone_pattern(regions: Sequence[str]) -> Pattern:
    """The pattern of telephone numbers.

    Args:
        regions: ISO 3166 codes of two letters, such as `US`; none looks only for numbers that begin with +.

    Raises:
        UnknownChoiceError: a region that there is not.
    """
    for region in regions:
        if region not in phonenumbers.SUPPORTED_REGIONS:
            raise UnknownChoiceError("region of telephone numbers", region, sorted(phonenumbers.SUPPORTED_REGIONS))
    wanted = tuple(regions)
    hint = r"\d(?:[^\p{L}\d\n]{0,4}\d){6}"
    return Pattern("phone", "telephone numbers", hint, lambda text: phone_spans(text, wanted))


def phone_spans(text: str, regions: tuple[str, ...] = PHONE_REGIONS) -> Iterator[Span]:
    """Every telephone number in `text` that is valid and grouped as its country groups them.

    A number without + must also be written in groups, or stand behind a word such as "phone": ten digits alone are
    an order's number more often.

    >>> list(phone_spans("Call +49 30 901820 or (212) 736-5000; order 2127365000, 2026-01-05 10:30:00"))
    [(5, 18), (22, 36)]

    Source: the numbering plans in libphonenumber, through `phonenumbers`.
    """
    for found in _RUN.finditer(text):
        start, end = _without_open_bracket(found.start(), found[0])
        run = text[start:end]
        before = text[max(0, start - _BEFORE) : start]
        if "US" in regions and _AMERICAN.fullmatch(run):
            # Also numbers that nobody has, as 555-0123: whoever writes one so means a telephone.
            yield start, end
        elif asked := _asked_regions(run, before, regions):
            behind = text[end : end + _BEHIND].partition("\n")[0]
            first = start - len(before[-2:])
            matched = ((first + low, first + high) for low, high in _matched(before[-2:] + run + behind, asked))
            yield from ((low, high) for low, high in matched if low < end)


def _asked_regions(run: str, before: str, regions: tuple[str, ...]) -> tuple[str | None, ...]:
    """Whose numbers the run may be: anybody's behind a +, the regions' where it is written like one, else nobody's."""
    digits = "".join(str(unicodedata.digit(sign)) for sign in run if sign.isdigit())
    if len(digits) < _FEWEST:
        return ()
    if "+" in run or "\uff0b" in run:
        return (None,)
    is_plain = _DATE.match(run) or _NUMBER.fullmatch(run) or not _SEPARATED.search(run)
    if len(digits) > _MOST or (is_plain and not _CALLED.search(before)):
        return ()
    # The matcher takes a tenth of a millisecond for each region, and hardly any number gets that far.
    return tuple(region for region in regions if _is_possible(digits, region))


def _is_possible(digits: str, region: str) -> bool:
    pattern = _national(region)
    found = pattern.match(digits) if len(digits) > _LONGEST else pattern.fullmatch(digits)
    return found is not None


@cache
def _national(region: str) -> re.Pattern[str]:
    """The numbers of a region as it writes them, digits only; with their 0 where no way of writing goes without."""
    metadata = phonenumbers.PhoneMetadata.metadata_for_region(region)
    if metadata is None or metadata.general_desc is None:  # of a supported region neither is
        return re.compile("(?!)")
    rules = [form.national_prefix_formatting_rule for form in metadata.number_format]
    is_optional = any(form.national_prefix_optional_when_formatting for form in metadata.number_format)
    has_zero = metadata.national_prefix == "0" and all("0" in rule for rule in rules if rule)
    prefix = metadata.national_prefix_for_parsing or metadata.national_prefix or ""
    repeat = "" if has_zero and not is_optional else "?"
    return re.compile(f"(?:{prefix}){repeat}(?:{metadata.general_desc.national_number_pattern})")


@lru_cache(maxsize=1024)
def _matched(text: str, regions: tuple[str | None, ...]) -> tuple[Span, ...]:
    """The finds of the first region that has any."""
    for region in regions:
        leniency = phonenumbers.Leniency.VALID if region is None else phonenumbers.Leniency.STRICT_GROUPING
        matches = phonenumbers.PhoneNumberMatcher(text, region, leniency=leniency)
        if found := tuple(_without_open_bracket(match.start, match.raw_string) for match in matches):
            return found
    return ()


def _without_open_bracket(start: int, number: str) -> Span:
    """The span of a number; a bracket before it that does not close in it is not its own."""
    opened, closed = (sum(map(number.count, signs)) for signs in (_OPENING, _CLOSING))
    return start + (number[0] in _OPENING and opened > closed), start + len(number)
