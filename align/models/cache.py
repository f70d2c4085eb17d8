"""Where things that can be made again are kept between runs: converted models and reference log-probabilities."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

__all__ = ["cache_folder"]


def cache_folder(name: str) -> Path:
    """The folder `name` in the user's cache directory, or in `THUMBLINE_CACHE_DIR` where set; made if absent."""
    root = os.environ.get("THUMBLINE_CACHE_DIR") or platformdirs.user_cache_dir("thumbline")
    folder = Path(root) / name
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder
