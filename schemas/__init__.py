"""The contracts at the bottom of the house: tables, value rules, errors, reports and manifests.

This package imports nothing of ours. `rules` is its only room that imports pandera and polars, so that `align`, which
needs the tables but not the rules, stays free of both.
"""

__all__ = ["__version__"]

__version__ = "0.1.0"
