"""What the audit finds in texts: broken ones, style that moves the label, personal data, consent.

    candidates ──rows_for_style──┐
    text files ──────────────────┴─read_features──► a narrow table of claims ──┐
    candidates ────────────────────────────────────────────────────────────────┴─measure_texts──► metrics, tables

Texts are read a piece at a time and never kept; what was found in them is counted and never shown.
"""

from __future__ import annotations

from feedback.audit.texts.features import FEATURES, read_features
from feedback.audit.texts.languages import with_language
from feedback.audit.texts.look import look_at_texts
from feedback.audit.texts.measure import TextFindings, measure_texts
from feedback.audit.texts.provenance import with_provenance
from feedback.audit.texts.style import rows_for_style

__all__ = [
    "FEATURES",
    "TextFindings",
    "look_at_texts",
    "measure_texts",
    "read_features",
    "rows_for_style",
    "with_language",
    "with_provenance",
]
