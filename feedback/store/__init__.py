"""The feedback store: raw files taken in exactly once, kept in versions, on Delta Lake.

    raw files ─► landing ─► ingest ─► events, pairs, quarantine ─► curate
                    │                     │
                    └────── doctor ───────┘

Nothing that was acknowledged is lost, nothing is in it twice, and who is forgotten is gone from it and from what was
made of it.
"""

from feedback.store.receipts import Receipt
from feedback.store.registry import DatasetRecord, RunRecord
from feedback.store.store import Store
from feedback.store.summary import IngestSummary

__all__ = ["DatasetRecord", "IngestSummary", "Receipt", "RunRecord", "Store"]
