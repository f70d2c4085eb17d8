"""What errors of other libraries say, as part of a message of ours."""

from __future__ import annotations

__all__ = ["first_line"]


def first_line(error: BaseException) -> str:
    r"""The first line of what an error says, for a message of ours; its class's name where it says nothing.

    >>> first_line(OSError("no route\nto host")), first_line(TimeoutError())
    ('no route', 'TimeoutError')
    """
    said = str(error).strip()
    return said.splitlines()[0] if said else type(error).__name__
