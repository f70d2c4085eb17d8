"""Personal data in texts: found by patterns that are checked, counted, and replaced by marks.

    texts ──find_personal──► row, kind, start, end (no text) ──► rates of the audit
          └─redact_texts───► texts with [EMAIL], [PHONE], ... ──► shards of `curate --redact`

Found: e-mail addresses, telephone numbers, payment cards, bank accounts, network addresses, keys and tokens. Not found:
names (but by a model that you bring), postal addresses, user names, and what is written so that no pattern sees it.
"""

from __future__ import annotations

from feedback.personal.find import KINDS, find_personal
from feedback.personal.names import NameFinder, presidio_names
from feedback.personal.records import redact_records
from feedback.personal.redact import Redactor, redact_texts

__all__ = ["KINDS", "NameFinder", "Redactor", "find_personal", "presidio_names", "redact_records", "redact_texts"]
