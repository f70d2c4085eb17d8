"""Training: curated shards in, an aligned model with a run card out."""

__all__: list[str] = []
