"""Champion and challenger: what two models are measured on, who wins, and the log of what was decided."""

__all__: list[str] = []
