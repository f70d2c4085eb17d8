"""What a run leaves behind beside its model: the run card, metrics, checkpoints, and lines for trackers."""

__all__: list[str] = []
