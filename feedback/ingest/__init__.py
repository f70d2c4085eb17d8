"""Stage `ingest`: raw files become validated tables, and every bad record goes to quarantine."""

from feedback.ingest.keys import SketchSettings
from feedback.ingest.source_blocks import FileCounts
from feedback.ingest.stage import IngestResult, ingest
from feedback.ingest.validated import ValidatedFiles, ingest_validated

__all__ = ["FileCounts", "IngestResult", "SketchSettings", "ValidatedFiles", "ingest", "ingest_validated"]
