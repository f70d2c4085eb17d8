"""Curation: raw feedback in, audited datasets out."""

__all__: list[str] = []
