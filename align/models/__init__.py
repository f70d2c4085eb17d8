"""Models and tokenizers: where their files lie, whether they may be read, and how they are loaded."""

__all__: list[str] = []
