"""What the audit finds in texts: broken ones, style that moves the label, personal data, consent.

    text files ──read_features──► a narrow table of claims ──┐
    candidates ──────────────────────────────────────────────┴─measure_texts──► metrics, tables

Texts are read a piece at a time and never kept; what was found in them is counted and never shown.
"""

from __future__ import annotations

from feedback.audit.texts.features import FEATURES, read_features
from feedback.audit.texts.languages import with_language
from feedback.audit.texts.measure import TextFindings, measure_texts
from feedback.audit.texts.provenance import with_provenance

__all__ = ["FEATURES", "TextFindings", "measure_texts", "read_features", "with_language", "with_provenance"]
