"""Stage `conflicts`: answers that carry both labels, decided, and circles among preferences."""

from feedback.conflicts.stage import (
    conflict_notes,
    resolve_conflicts,
)

__all__ = [
    "conflict_notes",
    "resolve_conflicts",
]
