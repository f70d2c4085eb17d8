"""What several formats read alike: fields, turns, threads, cells, texts of traces, what was joined."""

__all__: list[str] = []
