"""The command line, and the workflows that join curation and training."""

__all__: list[str] = []
