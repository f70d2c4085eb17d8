"""Stage `export`: text joins the rows again, and Parquet shards are written."""

from feedback.export.stage import (
    ExportResult,
    Part,
    TextTable,
    export,
)

__all__ = [
    "ExportResult",
    "Part",
    "TextTable",
    "export",
]
