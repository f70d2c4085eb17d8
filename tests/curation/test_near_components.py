"""Components in memory and over files: the same, and what networkx says."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feedback.engine import LocalEngine, StagedEngine
from feedback.near.clusters import Components
from feedback.near.stars import StarComponents

Edges = list[tuple[int, int]]
EDGES = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), max_size=60)


def expected(edges: Edges) -> dict[int, int]:
    graph = nx.Graph(edges)
    return {
        node: min(component) for component in nx.connected_components(graph) for node in component if len(component) > 1
    }


def found_by(components: Components | StarComponents, edges: Edges, parts: int) -> dict[int, int]:
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


@settings(max_examples=25, deadline=None)
@given(EDGES, st.integers(1, 3), st.integers(1, 5))
def test_components_over_files_are_those_of_the_graph(
    tmp_path_factory: pytest.TempPathFactory, edges: Edges, parts: int, partitions: int
) -> None:
    folder = tmp_path_factory.mktemp("stars")
    components = StarComponents(LocalEngine(2), lambda name: folder / name, "near", partitions=partitions)
    assert found_by(components, edges, parts) == expected(edges)


@pytest.mark.parametrize("shape", ["path", "cycle", "star", "two"])
def test_long_shapes_end_in_one_star(tmp_path: Path, shape: str) -> None:
    """A path of 300 nodes in an order that large-star cannot shorten at once."""
    order = np.random.default_rng(0).permutation(300)
    path = list(pairwise(order))
    edges = {
        "path": path,
        "cycle": [*path, (order[-1], order[0])],
        "star": [(299, node) for node in range(299)],
        "two": path[:149] + path[151:],
    }[shape]
    staged = StagedEngine(LocalEngine(1), tmp_path, "plan")
    components = StarComponents(staged, staged.folder, "near", partitions=4)
    plain = [(int(left), int(right)) for left, right in edges]
    assert found_by(components, plain, 3) == found_by(Components(300), plain, 1) == expected(plain)
