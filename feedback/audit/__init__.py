"""Look before you train: what is in the feedback, what is wrong with it, and what to do.

    rows of CANDIDATE ──metrics by family──► AuditReport ──► terminal, JSON, page
    stage reports     ──waterfall──────────►      └──gates──► exit 3

An audit reads at any stage and changes nothing. A report holds numbers and names of sources and models; a few texts of
users only where examples were asked for, and never in its JSON.
`feedback.audit.sources` audits files and datasets; it is apart because it loads the whole pipeline.
"""

from __future__ import annotations

from feedback.audit.candidates import audit_candidates
from feedback.audit.config import AuditConfig
from feedback.audit.gates import check_gates
from feedback.audit.page import render_html
from feedback.audit.report import Advice, AuditReport, Metric, Table

__all__ = [
    "Advice",
    "AuditConfig",
    "AuditReport",
    "Metric",
    "Table",
    "audit_candidates",
    "check_gates",
    "render_html",
]
