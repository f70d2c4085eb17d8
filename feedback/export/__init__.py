"""Stage `export`: text joins the rows again, and Parquet shards are written."""

from feedback.export.layout import PAIRS, ROWS, Layout
from feedback.export.stage import (
    ExportResult,
    Part,
    TextTable,
    export,
)

__all__ = [
    "PAIRS",
    "ROWS",
    "ExportResult",
    "Layout",
    "Part",
    "TextTable",
    "export",
]
