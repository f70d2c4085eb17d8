"""Payment cards and bank accounts: numbers with a check that a random one fails."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

from stdnum import iban, luhn

from feedback.personal.pattern import Pattern, Span

__all__ = ["CARD", "IBAN", "card_spans", "iban_spans"]

_DIGITS: Final = re.compile(r"(?<![\w.,+/])(?<![\w]-)[0-9]+(?:[ \-][0-9]+)*(?!\w|[.,][0-9]|-\w)")
_GROUP: Final = re.compile(r"[0-9]+")
_GROUPS: Final = frozenset({(4, 4, 4, 4), (4, 4, 4, 4, 3), (4, 6, 5), (4, 6, 4), (4, 4, 4, 1), (6, 13), (4, 4, 5)})
_MOST_GROUPS: Final = 5
_PLAIN: Final = range(13, 20)
"""Digits of a card whose number is written in one."""

_BRANDS: Final = (
    (re.compile(r"4"), {13, 16, 19}),  # Visa
    (re.compile(r"5[1-5]|222[1-9]|22[3-9]|2[3-6]|27[01]|2720"), {16}),  # Mastercard
    (re.compile(r"3[47]"), {15}),  # American Express
    (re.compile(r"3(?:0[0-59]|[689])"), {14, 16}),  # Diners Club
    (re.compile(r"35(?:2[89]|[3-8])"), {16, 17, 18, 19}),  # JCB
    (re.compile(r"6011|64[4-9]|65"), {16, 17, 18, 19}),  # Discover
    (re.compile(r"62"), {16, 17, 18, 19}),  # UnionPay
    (re.compile(r"5[0678]|6[0-9]"), {13, 16, 19}),  # Maestro, RuPay
    (re.compile(r"220[0-4]"), {16, 17, 18, 19}),  # Mir
)
_IBAN: Final = re.compile(r"(?<![A-Za-z0-9])[A-Za-z]{2}[0-9]{2}(?:[ \-\u00a0]?[A-Za-z0-9]){11,30}")
_SEPARATORS: Final = re.compile(r"[ \-\u00a0]")
_SHORTEST_IBAN: Final = 15


def card_spans(text: str) -> Iterator[Span]:
    """Every payment card number in `text`: a known brand and length, grouped as cards are, with the right last digit.

    One number in ten has the right last digit by chance, so an ISBN, a time in microseconds or an order's number
    must also begin and be grouped like a card to be taken for one.

    >>> list(card_spans("4111 1111 1111 1111, order 4111 1111 1111 1112"))
    [(0, 19)]

    Source: ISO/IEC 7812-1 (check digit by Luhn's formula); ranges of the brands as they publish them.
    """
    for found in _DIGITS.finditer(text):
        groups = [group.span() for group in _GROUP.finditer(text, *found.span())]
        first = 0
        while first < len(groups):
            taken = _groups_of_card(text, groups[first:])
            if taken:
                yield groups[first][0], groups[first + taken - 1][1]
            first += taken or 1


def iban_spans(text: str) -> Iterator[Span]:
    """Every IBAN in `text`: country, length and form of that country, and remainder 1 modulo 97.

    >>> list(iban_spans("to DE89 3704 0044 0532 0130 00 please"))
    [(3, 30)]

    Source: ISO 13616; the registry of countries in python-stdnum.
    """
    for found in _IBAN.finditer(text):
        for end in _ends(found):
            if iban.is_valid(_SEPARATORS.sub("", text[found.start() : end])):
                yield found.start(), end
                break


def _groups_of_card(text: str, groups: Sequence[Span]) -> int:
    """How many of the groups make a card, from the first on; an expiry date or a code may stand behind it."""
    lengths = tuple(end - start for start, end in groups[:_MOST_GROUPS])
    for count in range(len(lengths), 0, -1):
        is_grouped = lengths[0] in _PLAIN if count == 1 else lengths[:count] in _GROUPS
        number = "".join(text[start:end] for start, end in groups[:count]) if is_grouped else ""
        if is_grouped and len(set(number)) > 1 and _is_of_a_brand(number) and luhn.is_valid(number):
            return count
    return 0


def _is_of_a_brand(number: str) -> bool:
    return any(prefix.match(number) and len(number) in lengths for prefix, lengths in _BRANDS)


def _ends(found: re.Match[str]) -> Iterator[int]:
    """Where an IBAN that begins here may end, the longest first: behind a word, since what follows looks alike."""
    text, end = found.string, found.end()
    if end == len(text) or not text[end].isalnum():
        yield end
    for place in range(end - 1, found.start() + _SHORTEST_IBAN - 1, -1):
        if _SEPARATORS.match(text[place]):
            yield place


CARD: Final = Pattern(
    "card",
    "payment cards",
    r"(?-u)[0-9](?:[ -]?[0-9]){12}",
    card_spans,
    lambda signs: signs.digits >= 13,
)
IBAN: Final = Pattern(
    "iban",
    "bank accounts",
    r"[A-Za-z]{2}[0-9]{2}(?:[ \-\x{a0}]?[A-Za-z0-9]){11}",
    iban_spans,
    lambda signs: signs.digits >= 2,
)
