"""The digest of what all rows of an ingest say."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable

__all__ = ["outcome_digest"]


def outcome_digest(outcomes: Iterable[int], events: int, pairs: int) -> str:
    """Digest of what all rows say, in whatever order and files they came, 32 hex digits.

    Args:
        outcomes: sums over parts of the rows, see `feedback.ingest.keys.outcome_sum`.
        events: events among them.
        pairs: pairs among them.
    """
    total = sum(outcomes) % 2**64
    return hashlib.blake2b(json.dumps([events, pairs, total]).encode("utf-8"), digest_size=16).hexdigest()
