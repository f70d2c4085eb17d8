"""Maps: TOML files in which a user says where fields lie, or what the names of scores mean."""

__all__: list[str] = []
