"""Token ids of one text, four bytes each: a tuple would keep a Python object of 28 bytes and a pointer for most."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, overload

__all__ = ["TokenIds", "TokenPair"]

_SIZE: Final = array("i").itemsize

TokenPair = tuple[Sequence[int], Sequence[int]]
"""Prompt ids and completion ids of one sequence."""


class TokenIds(Sequence[int]):
    """Token ids that cannot be changed. They equal a tuple of the same ids, and have its hash.

    >>> ids = TokenIds((5, 6, 7))
    >>> ids[0], len(ids), ids[1:] == (6, 7), [*ids, 8]
    (5, 3, True, [5, 6, 7, 8])

    Args:
        ids: from 0 to 2**31 - 1.

    Raises:
        OverflowError: an id is larger.
    """

    __slots__ = ("_hash", "_raw")

    def __init__(self, ids: Iterable[int] = ()) -> None:
        self._raw: bytes = ids._raw if isinstance(ids, TokenIds) else array("i", ids).tobytes()
        self._hash: int | None = None

    def __len__(self) -> int:
        return len(self._raw) // _SIZE

    def __iter__(self) -> Iterator[int]:
        return iter(memoryview(self._raw).cast("i"))

    @overload
    def __getitem__(self, place: int) -> int: ...
    @overload
    def __getitem__(self, place: slice) -> TokenIds: ...
    def __getitem__(self, place: int | slice) -> int | TokenIds:
        ids = memoryview(self._raw).cast("i")
        return TokenIds(ids[place]) if isinstance(place, slice) else ids[place]

    def __eq__(self, other: object) -> bool:
        if isinstance(other, TokenIds):
            return self._raw == other._raw
        return tuple(self) == other if isinstance(other, tuple) else NotImplemented

    def __hash__(self) -> int:
        if self._hash is None:
            self._hash = hash(tuple(self))
        return self._hash

    def __repr__(self) -> str:
        return f"TokenIds({tuple(self)})"
