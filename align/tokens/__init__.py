"""Rows into token ids: chat templates, limits, and control tokens that no text can forge.

`tokenize` takes labelled rows and `tokenize_pairs` pairs; both lay out conversations by `chat` and count what they
leave out or change.
"""

__all__: list[str] = []
