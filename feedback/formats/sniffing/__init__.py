"""Which format a file is in, seen from its first records, and a map to begin with where it is in none."""

__all__: list[str] = []
