"""Network addresses, and the numbers with dots and colons that are none."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from typing import Final

from feedback.personal.pattern import Pattern, Span

__all__ = ["IP", "ip_spans"]

_V4: Final = re.compile(r"(?<![\w.\-])(?<![\w.]/)[0-9]{1,3}(?:\.[0-9]{1,3}){3}(?![\w]|\.[0-9]|-[0-9A-Za-z]|/[0-9])")
_V6: Final = re.compile(
    r"(?<![\w:.])(?=[0-9A-Fa-f:]*:[0-9A-Fa-f:]*:)"
    r"(?:[0-9A-Fa-f:]{2,30}:[0-9]{1,3}(?:\.[0-9]{1,3}){3}|[0-9A-Fa-f:]{2,39})(?![\w:])"
)
_BEFORE_VERSION: Final = re.compile(
    r"(?:(?<![A-Za-z])(?:versions?|release|build|firmware|driver|update|upgrade|section|chapter|clause|paragraph|rev|ver)"
    r"[ .:]*|(?<![A-Za-z])v\.?|§ ?|(?:[=<>~^]=|[~^]) ?|(?:\A|[\s(\[,;])[A-Za-z][\w.\-]*[ \t]*[<>] ?)\Z",
    re.IGNORECASE,
)
_BEFORE_ADDRESS: Final = re.compile(
    r"(?:(?<![A-Za-z])(?:ipv?4?|addr|address|host|server|from|client|gateway|ping|ssh)|@|//)\W*(?:is\W*)?\Z",
    re.IGNORECASE,
)
_SMALL: Final = 20
_LEAST_GROUPS: Final = 3


def ip_spans(text: str) -> Iterator[Span]:
    """Every network address in `text` that may be one machine's.

    Not personal: this machine itself (127.0.0.1, ::1), netmasks, multicast, and networks (a last byte of 0, or `/24`
    behind it). Four numbers under 20 are taken for a version or a section unless a word before says that they are an
    address; so are four of any size behind such a word as "version", and behind `<` or `>` where a name stands before
    it, as `>` alone begins a line that is quoted, and ends a tag.

    >>> list(ip_spans("from 203.0.113.9, version 1.2.3.4, Chrome/120.0.6099.71, 127.0.0.1"))
    [(5, 16)]
    """
    for found in _V6.finditer(text):
        groups = sum(1 + part.count(".") // 2 for part in found[0].split(":") if part)
        if groups >= _LEAST_GROUPS and _is_machine(found[0]):
            yield found.span()
    for found in _V4.finditer(text):
        if _is_machine(found[0]) and not _is_version(found[0], text[max(0, found.start() - 24) : found.start()]):
            yield found.span()


def _is_machine(address: str) -> bool:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    if parsed.is_loopback or parsed.is_unspecified or parsed.is_multicast:
        return False
    if isinstance(parsed, ipaddress.IPv6Address):
        return True
    return not parsed.is_reserved and not address.endswith(".0")


def _is_version(address: str, before: str) -> bool:
    if _BEFORE_VERSION.search(before):
        return True
    # Numbers that begin with 10 are far more often of a private network than of a version.
    numbers = [int(part) for part in address.split(".")]
    is_small = max(numbers) < _SMALL and numbers[0] != 10
    return is_small and not _BEFORE_ADDRESS.search(before)


IP: Final = Pattern(
    "ip",
    "network addresses",
    r"(?-u)[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}|::|(?:[0-9A-Fa-f]{1,4}:){7}",
    ip_spans,
    lambda signs: ((signs.digits >= 4) & (signs.dots >= 3)) | (signs.gaps >= 1) | (signs.colons >= 7),
)
