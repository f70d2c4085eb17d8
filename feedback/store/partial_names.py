"""Names of files that are being written: of one writer alone, and told by how they end."""

from __future__ import annotations

import os
import uuid
from pathlib import Path
from typing import Final

__all__ = ["PARTIAL", "partial_of"]

PARTIAL: Final = ".partial"
"""Ends the names of files that are being written."""


def partial_of(path: Path) -> Path:
    """Where what will be at `path` is written: another name at each call, for two threads have one process id."""
    return path.with_name(f"{path.name}.{os.getpid()}-{uuid.uuid4().hex[:8]}{PARTIAL}")
