"""How the audit writes numbers and names: the same in the terminal, the page and the sentences."""

from __future__ import annotations

import math
import unicodedata
from typing import Final

__all__ = ["count", "number", "percent", "plural", "safe_name"]

_LONGEST: Final = 80


def count(value: int) -> str:
    """A whole number with separators of thousands.

    >>> count(4120)
    '4,120'
    """
    return f"{value:,}"


def number(value: float) -> str:
    """A number with as many digits as matter here.

    >>> number(5.7024), number(4 / 3), number(1.0), number(0.0004), number(float("inf"))
    ('5.7', '1.33', '1', '0.0004', 'infinite')
    """
    if math.isinf(value):
        return "infinite"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    text = f"{value:.2f}" if abs(value) >= 0.1 or value == 0 else f"{value:.2g}"
    return text.rstrip("0").rstrip(".") if "." in text and "e" not in text else text


def percent(share: float) -> str:
    """A share as a percentage: whole from 10% to 90%, else to a tenth, never rounded to 0% or 100%.

    >>> percent(0.853), percent(0.05), percent(0.023), percent(0.99996), percent(0.00001), percent(1)
    ('85%', '5%', '2.3%', '>99.9%', '<0.1%', '100%')
    """
    if 0 < share < 0.001:
        return "<0.1%"
    if 0.999 < share < 1:
        return ">99.9%"
    digits = 0 if 0.1 <= share <= 0.9 or share in (0, 1) else 1
    return f"{100 * share:.{digits}f}".removesuffix(".0") + "%"


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
