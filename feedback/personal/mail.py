"""E-mail addresses: a name, an @ and a domain that can exist."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from feedback.personal.pattern import Pattern, Span

__all__ = ["EMAIL", "email_spans"]

# Each run of letters is looked at once, from its start: a long one without @ must not take quadratic time.
_MAIL: Final = re.compile(r"(?<![\w.%+\-'])['.\-]*([\w%+](?:[\w.%+\-']*))@((?:[\w\-]+\.)+[^\W\d_](?:[\w\-]*[^\W_])?)")
_FILE_ENDINGS: Final = frozenset(
    {"png", "jpg", "jpeg", "gif", "webp", "svg", "css", "js", "mjs", "jsx", "tsx", "ts", "json", "html", "pdf", "txt"}
)
_LONGEST: Final = 254


def email_spans(text: str) -> Iterator[Span]:
    """Every e-mail address in `text`.

    A domain has no empty part and ends with letters that are no ending of a file: `logo@2x.png` and `lodash@4.17.21`
    are none. `git@` of a repository names a service, nobody.

    >>> list(email_spans("mail ann@site.example, see logo@2x.png"))
    [(5, 21)]

    Source: RFC 5321, 4.5.3.1 (a path has 254 characters at most).
    """
    for found in _MAIL.finditer(text):
        name, domain = found[1], found[2]
        last = domain.rpartition(".")[2].lower()
        if name.lower() == "git" or last in _FILE_ENDINGS or len(last) < 2 or len(found[0]) > _LONGEST:
            continue
        if ".." not in name and not any(part.startswith("-") or part.endswith("-") for part in domain.split(".")):
            yield found.start(1), found.end()


EMAIL: Final = Pattern("email", "e-mail addresses", r"[^\s@]@[^\s@]", email_spans)
