"""How the audit writes numbers and names: the same in the terminal, the page and the sentences."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence
from typing import Final

__all__ = ["agree", "count", "none_of", "number", "percent", "plural", "safe_name"]

_LONGEST: Final = 80
_MOST_DIGITS: Final = 10
_SINGULAR: Final = {"are": "is", "have": "has", "were": "was", "carry": "carries"}


def agree(value: int, claim: str) -> str:
    """A claim, which begins with its verb in the plural, as it is said of so many.

    >>> agree(2, "carry both labels"), agree(1, "carry both labels"), agree(1, "hold nothing")
    ('carry both labels', 'carries both labels', 'holds nothing')
    """
    if value != 1:
        return claim
    verb, space, rest = claim.partition(" ")
    return _SINGULAR.get(verb, f"{verb}s") + space + rest


def count(value: int) -> str:
    """A whole number with separators of thousands.

    >>> count(4120)
    '4,120'
    """
    return f"{value:,}"


def none_of(value: int, noun: str) -> str:
    """The subject of a sentence that says something of none of so many; its verb stands in the singular.

    >>> none_of(60, "answer"), none_of(1, "answer")
    ('None of 60 answers', 'No answer (of 1)')
    """
    return f"No {noun} (of 1)" if value == 1 else f"None of {plural(value, noun)}"


def number(value: float, *bounds: float) -> str:
    """A number with as many digits as matter here.

    Args:
        value: the number.
        bounds: what it is compared with in the same sentence; it gets the digits that tell it from them.

    >>> number(5.7024), number(4 / 3), number(1.0), number(0.0004), number(float("inf"))
    ('5.7', '1.33', '1', '0.0004', 'infinite')
    >>> number(0.9966, 1, 4 / 3), number(1.335, 1, 4 / 3), number(1.33334, 1, 4 / 3), number(4 / 3, 1, 4 / 3)
    ('0.997', '1.335', '1.333', '1.33')
    """
    if math.isinf(value):
        return "infinite"
    plain = _plain_number(value)
    return _told_apart(value, plain, [(bound, _plain_number(bound)) for bound in bounds], scale=1)


def percent(share: float, *bounds: float) -> str:
    """A share as a percentage: whole from 10% to 90%, else to a tenth, never rounded to 0% or 100%.

    Args:
        share: the share, in [0, 1].
        bounds: shares that it is compared with in the same sentence; it gets the digits that tell it from them.

    >>> percent(0.853), percent(0.05), percent(0.023), percent(0.99996), percent(0.00001), percent(1)
    ('85%', '5%', '2.3%', '>99.9%', '<0.1%', '100%')
    >>> percent(0.101, 0.1), percent(0.05004, 0.05), percent(0.1, 0.1), percent(0.2, 0.1)
    ('10.1%', '5.004%', '10%', '20%')
    """
    plain = _plain_percent(share)
    return _told_apart(share, plain, [(bound, _plain_percent(bound)) for bound in bounds], scale=100)


def plural(value: int, noun: str) -> str:
    """A count with its noun.

    >>> plural(1, "row"), plural(2000, "row")
    ('1 row', '2,000 rows')
    """
    return f"{count(value)} {noun}" if value == 1 else f"{count(value)} {noun}s"


def safe_name(name: str) -> str:
    r"""A source's or model's name that can be shown: no control, format or bidirectional characters, and not too long.

    >>> safe_name("gpt\x1b[31m\u202e-x"), len(safe_name("x" * 200))
    ('gpt�[31m�-x', 80)
    """
    shown = "".join("�" if unicodedata.category(sign)[0] == "C" or sign in "\u2028\u2029" else sign for sign in name)
    return shown if len(shown) <= _LONGEST else shown[: _LONGEST - 1] + "…"


def _plain_number(value: float) -> str:
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    text = f"{value:.2f}" if abs(value) >= 0.1 or value == 0 else f"{value:.2g}"
    return text.rstrip("0").rstrip(".") if "." in text and "e" not in text else text


def _plain_percent(share: float) -> str:
    if 0 < share < 0.001:
        return "<0.1%"
    if 0.999 < share < 1:
        return ">99.9%"
    digits = 0 if 0.1 <= share <= 0.9 or share in (0, 1) else 1
    return f"{100 * share:.{digits}f}".removesuffix(".0") + "%"


def _told_apart(value: float, plain: str, bounds: Sequence[tuple[float, str]], *, scale: int) -> str:
    """`plain`, or the shortest text of `value` that lies on the same side of each bound's text as `value` does."""
    sign = "%" if scale == 100 else ""
    sides = [(_read(text), value > bound) for bound, text in bounds if not math.isclose(value, bound, rel_tol=1e-9)]
    texts = [plain, *(f"{scale * value:.{digits}f}{sign}" for digits in range(1, _MOST_DIGITS + 1))]
    for text in texts:
        if all(_read(text) != shown and (_read(text) > shown) == is_above for shown, is_above in sides):
            return text
    # Between a bound and its rounded text, such as 1.3332 below 4/3: no digits help, and nothing is out of range.
    return plain


def _read(text: str) -> float:
    return float(text.strip("<>%").replace(",", ""))
