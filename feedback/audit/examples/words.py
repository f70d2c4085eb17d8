"""Texts as the page shows them: short, with what differs marked, and with signs that hide made visible."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Final

__all__ = ["Part", "compare_texts", "shorten", "visible"]

_MOST: Final = 480
"""Characters of a text that are shown."""
_CONTEXT: Final = 8
"""Words that are shown on each side of a difference."""
_JOINERS: Final = "\u200c\u200d"
"""They shape letters and emoji, and move nothing."""
_CUT: Final = " … "

# A character of a script without spaces is a word.
_WORD: Final = re.compile(
    r"[\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff]\s*|[^\s\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff]+\s*|\s+"
)


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a text, and whether it is marked as what another text says otherwise."""

    text: str
    is_marked: bool = False


def visible(text: str) -> str:
    r"""`text` on one line, with control, format and bidirectional characters as escapes.

    >>> visible("red \x1b[31m\u202e, then\n\n  more")
    'red \\x1b[31m\\u202e, then ↵ more'
    """
    line = re.sub(r"[^\S\n]*\r?\n\s*", " ↵ ", text).replace("\t", " ")
    return "".join(_escaped(sign) if _hides(sign) else sign for sign in line)


def shorten(text: str, most: int = _MOST) -> tuple[Part, ...]:
    """The beginning and the end of a text, as one part; the whole of a short one.

    >>> shorten("one two three four five six seven", most=20)
    (Part(text='one two three … seven', is_marked=False),)
    """
    if len(text) <= most:
        return (Part(visible(text)),)
    head, tail = text[: 3 * most // 4], text[-(most // 4) :]
    # A word that was cut is left out, unless there is nothing else.
    head = head.rsplit(None, 1)[0] if len(head.split()) > 1 else head
    tail = tail.split(None, 1)[1] if len(tail.split()) > 1 else tail
    return (Part(visible(head.rstrip() + _CUT + tail)),)


def compare_texts(first: str, second: str) -> tuple[tuple[Part, ...], tuple[Part, ...]]:
    """Both texts with the words marked that the other one has not; long passages that agree are cut.

    >>> [part.text for part in compare_texts("a small test", "a large test")[1] if part.is_marked]
    ['large ']
    """
    words = [_WORD.findall(text) for text in (first, second)]
    # Space at the end of a word does not make it another one.
    bare = [[word.strip() for word in some] for some in words]
    found = SequenceMatcher(None, bare[0], bare[1], autojunk=False).get_opcodes()
    first_runs = [(tag != "equal", words[0][begin:end]) for tag, begin, end, _, _ in found]
    second_runs = [(tag != "equal", words[1][begin:end]) for tag, _, _, begin, end in found]
    return _limited(_cut_runs(first_runs)), _limited(_cut_runs(second_runs))


def _cut_runs(runs: Sequence[tuple[bool, list[str]]]) -> Iterator[Part]:
    """Parts of runs of words; of a run that agrees only what stands beside a difference, and the beginning."""
    for place, (is_marked, words) in enumerate(runs):
        if not words:
            continue
        if is_marked or len(words) <= 3 * _CONTEXT:
            yield Part("".join(words), is_marked)
            continue
        is_last = place == len(runs) - 1
        yield Part("".join(words[:_CONTEXT]).rstrip() + _CUT + ("" if is_last else "".join(words[-_CONTEXT:])))


def _limited(parts: Iterable[Part]) -> tuple[Part, ...]:
    """The first parts, up to the number of characters that are shown."""
    shown: list[Part] = []
    left = _MOST
    for part in parts:
        text = part.text if len(part.text) <= left else part.text[:left].rstrip() + _CUT
        shown.append(Part(visible(text), part.is_marked))
        left -= len(part.text)
        if left <= 0:
            break
    return tuple(shown)


def _hides(sign: str) -> bool:
    return sign not in _JOINERS and (unicodedata.category(sign)[0] == "C" or sign in "\u2028\u2029")


def _escaped(sign: str) -> str:
    code = ord(sign)
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
