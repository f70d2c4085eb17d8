"""Connected components of near-duplicate pairs, in memory."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["Components"]


class Components:
    """Components that grow edge by edge; no edge is kept.

    Args:
        nodes: number of nodes, 0 to nodes - 1.

    >>> components = Components(4)
    >>> components.add(np.array([3]), np.array([1]))
    >>> [part.tolist() for part in components.table()]
    [[1, 3], [1, 1]]
    """

    def __init__(self, nodes: int) -> None:
        self._parents = np.arange(nodes, dtype=np.int64)

    def add(self, left: NDArray[np.int64], right: NDArray[np.int64]) -> None:
        """Join the ends of edges.

        Args:
            left: first node of each edge. [E] int64.
            right: second node of each edge. [E] int64.
        """
        from feedback.near.pair_kernels import join

        if len(left):
            join(self._parents, left, right)

    def table(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Nodes of components of two or more, ascending, and the least node of each one's component."""
        joined = np.flatnonzero(self._parents != np.arange(len(self._parents)))
        nodes = np.union1d(joined, self._parents[joined])
        return nodes, self._parents[nodes]
