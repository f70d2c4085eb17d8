"""What changed between two audited inputs, and whether chance alone makes as much.

    rows of both ──labels, lengths, mixes──► changes with p ──false discovery rate──► metrics ──┐
    rows of both ──answers in both─────────► share in common, labels that flipped ─────────────┤
    metrics of both ──intervals────────────► the table of every measure ───────────────────────┴─► the report

Tests take the two as independent; rows that are in both make them find less, never more.
"""

from __future__ import annotations

from feedback.audit.compare.compared import compare
from feedback.audit.compare.sides import Side, side_of

__all__ = ["Side", "compare", "side_of"]
