"""Curation: raw feedback in, audited datasets out."""

import os

# Where colorama is installed, numba colours its messages by putting another `sys.stdout` in place for a moment: while
# loops are compiled beside other work (`feedback.near.preload`), that takes away what a command prints meanwhile.
os.environ.setdefault("NUMBA_DISABLE_ERROR_MESSAGE_HIGHLIGHTING", "1")

__all__: list[str] = []
