"""Keys and tokens that open something: known by the prefixes that their makers gave them."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterator
from typing import Final

from feedback.personal.pattern import Pattern, Span

__all__ = ["KEY", "key_spans"]

_TOKEN: Final = re.compile(
    r"(?<![A-Za-z0-9_\-])(?:"
    r"sk-[A-Za-z0-9_\-]{20,}"  # OpenAI, Anthropic and others
    r"|(?:sk|rk|pk)_(?:live|test)_[A-Za-z0-9]{16,}"  # Stripe
    r"|gh[pousr]_[A-Za-z0-9]{30,}|github_pat_[A-Za-z0-9_]{22,}"  # GitHub
    r"|(?:AKIA|ASIA)[A-Z0-9]{16}(?![A-Za-z0-9])"  # AWS
    r"|xox[abeprs]-[A-Za-z0-9\-]{10,}|xapp-[A-Za-z0-9\-]{20,}"  # Slack
    r"|AIza[A-Za-z0-9_\-]{35}"  # Google
    r"|hf_[A-Za-z0-9]{30,}"  # Hugging Face
    r"|glpat-[A-Za-z0-9_\-]{20,}"  # GitLab
    r"|npm_[A-Za-z0-9]{36}|pypi-[A-Za-z0-9_\-]{50,}"  # package registries
    r")"
)
_JWT: Final = re.compile(r"(?<![A-Za-z0-9_\-])(eyJ[A-Za-z0-9_\-]{8,})\.eyJ[A-Za-z0-9_\-]{4,}(?:\.[A-Za-z0-9_\-]*)?")
_BEGIN: Final = re.compile(r"-----BEGIN ((?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?)-----")
_BASE64_LINES: Final = re.compile(r"(?:[\sA-Za-z0-9+/=:,\\\-]{0,8}[A-Za-z0-9+/=]{16,}|\\n|\s)*")
_PART: Final = re.compile(r"[A-Za-z0-9]+")
_LONG_PART: Final = 12


def key_spans(text: str) -> Iterator[Span]:
    """Every key or token in `text`; of a private key, all of it, also where its end is missing.

    Behind a prefix there must be a part that no word is: of 12 letters and digits or more, both of them in it.

    >>> list(key_spans("use sk-proj-abcdef0123456789ABCDEF, not sk-how-to-choose-a-good-password"))
    [(4, 34)]

    Source: the prefixes as their makers document them.
    """
    for found in _TOKEN.finditer(text):
        if found[0].startswith(("AKIA", "ASIA")) or any(map(_is_random, _PART.findall(found[0]))):
            yield found.span()
    for found in _JWT.finditer(text):
        if _is_header(found[1]):
            yield found.span()
    end = 0
    for found in _BEGIN.finditer(text):
        if found.start() >= end:
            end = _end_of_block(text, found)
            yield found.start(), end


def _is_random(part: str) -> bool:
    has_both = any(sign.isdigit() for sign in part) and any(sign.isalpha() for sign in part)
    return len(part) >= _LONG_PART and has_both


def _is_header(part: str) -> bool:
    """Whether the first part of a JWT is what it must be: a JSON object that names an algorithm."""
    try:
        header = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (ValueError, binascii.Error):
        return False
    return isinstance(header, dict) and "alg" in header


def _end_of_block(text: str, begin: re.Match[str]) -> int:
    closing = f"-----END {begin[1]}-----"
    end = text.find(closing, begin.end())
    if end >= 0:
        return end + len(closing)
    lines = _BASE64_LINES.match(text, begin.end())
    return begin.end() if lines is None else lines.start() + len(lines[0].rstrip())


KEY: Final = Pattern(
    "key",
    "keys and tokens",
    r"sk-|[srp]k_(?:live|test)_|gh[pousr]_|github_pat_|AKIA|ASIA|xox[abeprs]-|xapp-|AIza|hf_|glpat-|npm_|pypi-|eyJ"
    r"|-----BEGIN [A-Z0-9 ]*PRIVATE KEY",
    key_spans,
)
