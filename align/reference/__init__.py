"""The frozen reference: its log-probabilities, computed in one pass and kept by content, or the model itself."""

__all__: list[str] = []
