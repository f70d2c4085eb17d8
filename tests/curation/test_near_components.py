"""Components of near-duplicates: what networkx says."""

from __future__ import annotations

from itertools import pairwise

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feedback.near.clusters import Components

Edges = list[tuple[int, int]]
EDGES = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), max_size=60)


def expected(edges: Edges) -> dict[int, int]:
    graph = nx.Graph(edges)
    return {
        node: min(component) for component in nx.connected_components(graph) for node in component if len(component) > 1
    }


def found_by(components: Components, edges: Edges, parts: int) -> dict[int, int]:
    for part in range(parts):
        ends = np.array(edges[part::parts], np.int64).reshape(-1, 2)
        components.add(np.ascontiguousarray(ends[:, 0]), np.ascontiguousarray(ends[:, 1]))
    nodes, roots = components.table()
    assert nodes.tolist() == sorted(nodes.tolist())
    return dict(zip(nodes.tolist(), roots.tolist(), strict=True))


@settings(deadline=None)
@given(EDGES, st.integers(1, 4))
def test_components_in_memory_are_those_of_the_graph(edges: Edges, parts: int) -> None:
    assert found_by(Components(41), edges, parts) == expected(edges)


@pytest.mark.parametrize("shape", ["path", "cycle", "star", "two"])
def test_components_of_long_shapes_are_those_of_the_graph(shape: str) -> None:
    path = list(pairwise(np.random.default_rng(0).permutation(300)))
    edges = {
        "path": path,
        "cycle": [*path, (path[-1][1], path[0][0])],
        "star": [(299, node) for node in range(299)],
        "two": path[:149] + path[151:],
    }[shape]
    plain = [(int(left), int(right)) for left, right in edges]
    assert found_by(Components(300), plain, 3) == expected(plain)
