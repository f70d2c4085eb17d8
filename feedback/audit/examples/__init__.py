"""Examples of what the audit counts: answers with both labels, and texts that are nearly the same.

    candidates ──choose_examples──► a few ids ──┐
    text files ─────────────────────────────────┴─read_examples──► Examples: redacted, shortened, marked

They are read only for the page. Nothing of them goes into the terminal or the JSON.
"""

from __future__ import annotations

from feedback.audit.examples.choose import Choice, choose_examples
from feedback.audit.examples.read import Example, Examples, Said, read_examples
from feedback.audit.examples.words import Part, compare_texts, shorten, visible

__all__ = [
    "Choice",
    "Example",
    "Examples",
    "Part",
    "Said",
    "choose_examples",
    "compare_texts",
    "read_examples",
    "shorten",
    "visible",
]
