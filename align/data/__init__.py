"""Rows to train on: datasets on disk, in whole or in parts, and what each of their rows weighs.

`dataset` is the way in: what `thumbline curate` wrote, and folders and files made elsewhere, as the same `rows`.
"""

__all__: list[str] = []
