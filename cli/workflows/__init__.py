"""Whole jobs that need both curation and training; no click inside, so Python and schedulers can call them too."""

__all__: list[str] = []
