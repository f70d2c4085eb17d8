"""Telephone numbers: those with a country's code anywhere, others where a named region would write them so.

A country's code stands behind + or 00, or behind 011 where people of the USA write.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from functools import cache, lru_cache
from itertools import zip_longest
from typing import Final

import numpy as np
import phonenumbers
from numpy.typing import NDArray

from feedback.config import PHONE_REGIONS
from feedback.personal.pattern import Pattern, Span
from feedback.personal.signs import SignCounts
from schemas.errors import UnknownChoiceError

__all__ = ["phone_pattern", "phone_spans"]

_BETWEEN: Final = (
    r"[ \t\u00a0\u2000-\u200b\u2010-\u2015\u2212\u30fc\uff0d\-./()\[\]~\u2053\u223c\uff5e\uff08\uff09\uff3b\uff3d]"
)
_RUN: Final = re.compile(
    rf"(?<![\w@])(?<!\d[.,\-])[(\[\uff08]?(?:[+\uff0b] ?)?[(\[\uff08]?\d(?:{_BETWEEN}{{0,4}}\d){{5,}}"
)
_CALLED: Final = re.compile(
    r"(?:tel|phone|mobile|cell|call|fax|whatsapp|dial|text|sms|handy|telefon|mobil|t[ée]l[ée]phone|m[óo]vil|"
    r"電話|电话|телефон|тел)[\s.:#()\w]{0,12}$",
    re.IGNORECASE,
)
_DATE: Final = re.compile(r"(?:(?:19|20)\d\d[-/.]\d\d?[-/.]\d\d?|\d\d?[-/.]\d\d?[-/.](?:19|20)\d\d)(?!\d)")
_CUT: Final = re.compile(r"[\s/]")
_GROUP: Final = re.compile(r"\d+")
_AMERICAN: Final = re.compile(r"(?<!\d)(?<!\d-)(?:1[-. ])?(?:\(\d{3}\) ?|\d{3}-)\d{3}-\d{4}(?!\d|-\d)")
_AMERICAN_GROUPS: Final = re.compile(
    r"\D{0,2}(?:1\D{1,4})?"
    r"(?:\d{3}\D{1,4}\d{3}\D{1,4}|(?<=[(\[\uff08\uff3b])\d{3}[)\]\uff09\uff3d]\D{0,3}\d{3}\D{0,4})\d{4}(?!\d)"
)
_ZERO: Final = r"[0\u0660\u06f0\u0966\uff10]"
_ABROAD: Final = re.compile(
    rf"(?<!\d)(?<!\d[.,:\-])(?P<opening>[(\[\uff08]?)(?P<prefix>{_ZERO}{{2}}(?=\d)|(?<!\d\s){_ZERO}{{2}}|011)"
    r"(?P<gap>[)\]\uff09]?[ \t\u00a0\u2000-\u200b\u2010-\u2015\-./]{0,2})"
    rf"(?=[(\[\uff08]?(?!{_ZERO})\d)"
)
_NUMBERED: Final = re.compile(
    r"(?:\b(?:row|line|order|invoice|ticket|case|id|item|part|serial|batch|lot|article|account|reference|ref|sku)|#|№)"
    r"[\s.:#()\w]{0,12}$",
    re.IGNORECASE,
)
_OPENING, _CLOSING = "([\uff08\uff3b", ")]\uff09\uff3d"
_FEWEST, _MOST, _MOST_GROUPS = 7, 17, 16
_BEFORE, _BEHIND, _LONGEST = 24, 16, 64
_MORE_THAN_IN_DELHI = 9
"""Digits behind 011, which is also where numbers of Delhi and Leeds begin; those have 8 more."""


def phone_pattern(regions: Sequence[str]) -> Pattern:
    """The pattern of telephone numbers.

    Args:
        regions: ISO 3166 codes of two letters, such as `US`; none looks only for numbers with a country's code.

    Raises:
        UnknownChoiceError: a region that there is not.
    """
    for region in regions:
        if region not in phonenumbers.SUPPORTED_REGIONS:
            raise UnknownChoiceError("region of telephone numbers", region, sorted(phonenumbers.SUPPORTED_REGIONS))
    wanted = tuple(regions)
    hint = r"\d(?:[^\p{L}\d\n]{0,4}\d){6}"
    return Pattern("phone", "telephone numbers", hint, lambda text: phone_spans(text, wanted), _may_match)


def phone_spans(text: str, regions: tuple[str, ...] = PHONE_REGIONS) -> Iterator[Span]:
    """Every telephone number in `text` that is valid and grouped as its country groups them.

    A number without + must also be written in groups, or stand behind a word such as "phone": ten digits alone are
    an order's number more often, and two numbers beside each other a width and a height.

    >>> list(phone_spans("Call +49 30 901820 or (212) 736-5000; order 2127365000, 2026-01-05 10:30:00"))
    [(5, 18), (22, 36)]
    >>> list(phone_spans("From abroad 0044 20 7946 0958; 1920 2073600"))
    [(12, 29)]

    Source: the numbering plans in libphonenumber, through `phonenumbers`.
    """
    for found in _RUN.finditer(text):
        date = _DATE.match(found[0])
        start = found.start() + (date.end() if date else 0)
        for span in _spans_abroad(text, start, found.end(), regions):
            yield from _spans_without_prefix(text, start, span[0], regions)
            yield span
            start = span[1]
        yield from _spans_without_prefix(text, start, found.end(), regions)


def _may_match(signs: SignCounts) -> NDArray[np.bool_]:
    return (signs.digits >= _FEWEST) | (signs.wide > 0)


def _spans_abroad(text: str, first: int, last: int, regions: tuple[str, ...]) -> Iterator[Span]:
    """The numbers in a run of groups whose 00 or 011 stands for the + before a country's code."""
    begins = [one for one in _ABROAD.finditer(text, first, last) if one["prefix"] != "011" or "US" in regions]
    for begin, following in zip_longest(begins, begins[1:]):
        if begin.start() < first:
            continue
        ends = (last + _BEHIND, following.start()) if following else (last + _BEHIND,)
        if span := next(filter(None, (_span_abroad(text, begin, end) for end in ends)), None):
            yield span
            first = span[1]


def _span_abroad(text: str, begin: re.Match[str], end: int) -> Span | None:
    """The number behind a prefix, read as if + stood in its place."""
    opening = "" if begin["gap"][:1] in tuple(_CLOSING) else begin["opening"]
    behind = text[begin.end() : min(end, begin.end() + _LONGEST)].partition("\n")[0]
    found = _matched(f"{opening}+{behind}", None, is_strict=False)
    if not found or found[0][0] > len(opening):
        return None
    low, high = found[0]
    span = begin.start() + low, begin.end() + high - len(opening) - 1
    return span if _is_called(text, span[0]) or _is_grouped_abroad(text, begin, span) else None


def _is_grouped_abroad(text: str, begin: re.Match[str], span: Span) -> bool:
    """Whether a valid number is written as people write numbers, and not as counters with zeros before them."""
    number, national = text[span[0] : span[1]], text[begin.end() : span[1]]
    groups = _GROUP.findall(number)
    if begin["prefix"] == "011" and sum(map(len, _GROUP.findall(national))) < _MORE_THAN_IN_DELHI:
        return False
    if national.startswith("1"):
        return _AMERICAN_GROUPS.match(national) is not None
    if len(groups) < 3:
        is_numbered = _NUMBERED.search(text[max(0, span[0] - _BEFORE) : span[0]]) is not None
        return len(groups) == 2 and len(groups[0]) > 3 and not is_numbered
    if len({len(group) for group in groups}) == 1:  # a row of a table, or a network card's address
        return "-" not in number and (0, len(national) + 1) in _matched(f"+{national}", None, is_strict=True)
    return True


def _spans_without_prefix(text: str, first: int, last: int, regions: tuple[str, ...]) -> Iterator[Span]:
    if "+" in text[first:last] or "\uff0b" in text[first:last]:
        yield from _spans_at(text, first, last, None)
    elif any(regions):
        yield from _national_spans(text, first, last, regions)


def _is_called(text: str, first: int) -> bool:
    return _CALLED.search(text[max(0, first - _BEFORE) : first]) is not None


def _national_spans(text: str, first: int, last: int, regions: tuple[str, ...]) -> Iterator[Span]:
    """The numbers without a country's code in a run of groups; a list's number or a date may stand before them."""
    if "US" in regions:
        for american in _AMERICAN.finditer(text, first, last):
            # Also numbers that nobody has, as 555-0123: whoever writes one so means a telephone.
            yield american.span()
            first = american.end()
    is_called = _is_called(text, first)
    groups = [(found[0], *found.span()) for found in _GROUP.finditer(text, first, last)]
    if len(groups) > _MOST_GROUPS:  # a table of numbers
        return
    for low, high in _windows(text, groups):
        digits = "".join(words for words, _, _ in groups[low:high])
        if not _FEWEST <= len(digits) <= _MOST or not (is_called or high - low > 1):
            continue
        for region in regions:
            if not _is_possible(_ascii(digits), region):
                continue
            end = groups[high - 1][2]
            found = _spans_at(text, groups[low][1], end, region)
            if found and (is_called or _is_grouped(text, found[0], region)):
                yield from found
                yield from _national_spans(text, max(end, found[-1][1]), last, regions)
                return


def _is_grouped(text: str, span: Span, region: str) -> bool:
    """Whether a number of North America has its 3, 3 and 4 digits apart, or its area in brackets.

    The matcher lets any of the groups run together, and with them the 1 that stands before some.
    """
    return phonenumbers.country_code_for_region(region) != 1 or _AMERICAN_GROUPS.match(text, *span) is not None


def _windows(text: str, groups: Sequence[tuple[str, int, int]]) -> Iterator[tuple[int, int]]:
    """All groups, then without some at the end, then without some at the beginning; cut at spaces and slashes only."""
    last = len(groups)
    cuts = [place for place in range(1, last) if _CUT.search(text, groups[place - 1][2], groups[place][1])]
    yield 0, last
    yield from ((0, high) for high in reversed(cuts))
    yield from ((low, last) for low in cuts)


def _spans_at(text: str, start: int, end: int, region: str | None) -> tuple[Span, ...]:
    """The finds that begin in a part of the text; what stands around it says whether it is one."""
    before = text[max(0, start - 2) : start]
    before = before if before[-1:] in _OPENING or not any(sign.isdigit() for sign in before) else ""
    behind = text[end : end + _BEHIND].partition("\n")[0]
    first = start - len(before)
    matched = _matched(before + text[start:end] + behind, region, is_strict=region is not None)
    return tuple((first + low, first + high) for low, high in matched if first + low < end)


def _ascii(digits: str) -> str:
    return digits if digits.isascii() else "".join(str(unicodedata.digit(sign)) for sign in digits)


def _is_possible(digits: str, region: str) -> bool:
    # The matcher takes a tenth of a millisecond, and hardly any number gets that far.
    return _national(region).fullmatch(digits) is not None


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
def _matched(text: str, region: str | None, *, is_strict: bool) -> tuple[Span, ...]:
    leniency = phonenumbers.Leniency.STRICT_GROUPING if is_strict else phonenumbers.Leniency.VALID
    matches = phonenumbers.PhoneNumberMatcher(text, region, leniency=leniency)
    return tuple(_without_open_bracket(match.start, match.raw_string) for match in matches)


def _without_open_bracket(start: int, number: str) -> Span:
    """The span of a number; a bracket before it that does not close in it is not its own."""
    opened, closed = (sum(map(number.count, signs)) for signs in (_OPENING, _CLOSING))
    return start + (number[0] in _OPENING and opened > closed), start + len(number)
