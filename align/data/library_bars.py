"""Silence for the progress bars that libraries draw on standard error by themselves; ours are the caller's to draw."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["without_library_bars"]


@contextmanager
def without_library_bars() -> Iterator[None]:
    """A context in which `datasets` and `transformers` draw no bars; afterwards they do as before."""
    import datasets  # late: it takes a second, and most callers have loaded it or never need it
    from transformers.utils import logging as transformers_logging

    in_datasets, in_transformers = datasets.is_progress_bar_enabled(), transformers_logging.is_progress_bar_enabled()
    datasets.disable_progress_bars()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if in_datasets:
            datasets.enable_progress_bars()
        if in_transformers:
            transformers_logging.enable_progress_bar()
