"""Stage `ingest`, the room where raw ids end: records become tables, and every bad one goes to quarantine."""

from feedback.ingest.stage import IngestResult, ingest, open_format

__all__ = ["IngestResult", "ingest", "open_format"]
