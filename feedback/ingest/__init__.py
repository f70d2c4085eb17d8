"""Stage `ingest`: raw files become validated tables, and every bad record goes to quarantine."""

from feedback.ingest.keys import SketchSettings
from feedback.ingest.stage import IngestResult, ingest

__all__ = ["IngestResult", "SketchSettings", "ingest"]
