"""Candidate pairs and their similarities, against sets in Python."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feedback.near.candidates import (
    buckets_of_band,
    candidate_pairs,
    pair_codes,
    pairs_beside_leader,
    rest_of_buckets,
)
from feedback.near.verify import Documents, pair_similarities

SHINGLES = st.lists(st.integers(0, 30) | st.integers(0, 2**32 - 1), min_size=1, max_size=40)


def jaccard(one: list[int], other: list[int]) -> float:
    return len(set(one) & set(other)) / len(set(one) | set(other))


def documents_of(rows: list[tuple[list[int], list[int]]], folder: Path, *, answers: bool) -> Documents:
    """Rows of prompt and completion, the first half in a file and the rest in memory; documents in reversed order."""
    half = len(rows) // 2
    flat = [
        np.array([value for row in part for side in row for value in side], np.uint32)
        for part in (rows[:half], rows[half:])
    ]
    flat[0].tofile(folder / "shingles")
    return Documents(
        sources=[folder / "shingles", flat[1]],
        source_rows=[half, len(rows) - half],
        prompt_sizes=np.array([len(prompt) for prompt, _ in rows], np.uint32),
        completion_sizes=np.array([len(completion) for _, completion in rows], np.uint32),
        rows=np.arange(len(rows))[::-1].astype(np.uint32),
        answers=answers,
    )


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(SHINGLES, SHINGLES), min_size=2, max_size=8), st.booleans(), st.sampled_from([0, 1]))
def test_similarity_is_the_jaccard_of_sets(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[list[int], list[int]]], answers: bool, memory_mb: int
) -> None:
    """Of prompts; of answers the lesser of both together and completions alone, from the threshold on."""
    documents = documents_of(rows, tmp_path_factory.mktemp("pairs"), answers=answers)
    left, right = np.triu_indices(len(rows), 1)
    codes = left.astype(np.uint64) << np.uint64(32) | right.astype(np.uint64)
    found = pair_similarities(documents, codes, threshold=0.2, memory_mb=memory_mb)
    for one, other, similarity in zip(left.tolist(), right.tolist(), found.tolist(), strict=True):
        (prompt, completion), (prompt2, completion2) = rows[-1 - one], rows[-1 - other]
        alone = jaccard(completion, completion2)
        whole = jaccard(prompt + completion, prompt2 + completion2)
        expected = min(alone, whole) if answers else jaccard(prompt, prompt2)
        assert similarity == expected or (answers and alone < 0.2 and similarity == alone)


@given(st.lists(st.integers(0, 12) | st.integers(0, 2**32 - 1), max_size=60))
@settings(deadline=None)
def test_buckets_hold_all_documents_of_a_value_that_occurs_twice(values: list[int]) -> None:
    buckets = buckets_of_band(np.array(values, np.uint32))
    expected = [
        [place for place, other in enumerate(values) if other == value]
        for value in sorted(set(values))
        if values.count(value) > 1
    ]
    assert [part.tolist() for part in np.split(buckets.members, np.flatnonzero(buckets.firsts))[1:]] == expected
    pairs = [(bucket[0] << 32) + member for bucket in expected for member in bucket[1:]]
    assert pair_codes(buckets).tolist() == pairs


def test_members_unlike_their_leader_form_a_new_bucket() -> None:
    buckets = buckets_of_band(np.array([7, 7, 7, 7, 9, 9], np.uint32))
    alike = np.array([True, False, False, False])
    rest = rest_of_buckets(buckets, alike, lambda: np.zeros(6, np.uint32))
    assert rest.members.tolist() == [2, 3]
    assert pair_codes(rest).tolist() == [(2 << 32) + 3]


def test_a_small_bucket_with_a_member_unlike_its_leader_gives_its_other_pairs() -> None:
    """Of 0, 1, 2, 3 only 2 is unlike 0: it may be like 1 or 3, which are both like 0. Of 4, 5, 6 all are alike."""
    buckets = buckets_of_band(np.array([7, 7, 7, 7, 9, 9, 9], np.uint32))
    codes, is_done = pairs_beside_leader(buckets, np.array([True, False, True, True, True]))
    assert codes.tolist() == [(1 << 32) + 2, (2 << 32) + 3]
    assert is_done.tolist() == [True] * 5


def test_of_a_larger_bucket_every_member_but_the_leader_needs_another_one() -> None:
    buckets = buckets_of_band(np.array([7] * 33 + [9] * 33, np.uint32))
    alike = np.ones(64, bool)
    alike[3] = False
    codes, is_done = pairs_beside_leader(buckets, alike)
    assert codes.tolist() == []
    assert is_done.tolist() == [False] * 32 + [True] * 32


def test_a_large_rest_is_divided_by_the_next_band() -> None:
    buckets = buckets_of_band(np.zeros(100, np.uint32))
    other = np.arange(100, dtype=np.uint32) // 2
    rest = rest_of_buckets(buckets, np.zeros(99, bool), lambda: other)
    assert rest.members.tolist() == list(range(2, 100))
    assert pair_codes(rest).tolist() == [(even << 32) + even + 1 for even in range(2, 100, 2)]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 5), min_size=2, max_size=40), st.randoms(use_true_random=False))
def test_bands_held_at_once_change_no_pair(groups: list[int], draw: object) -> None:
    """Documents are alike if they are of one group; four bands that mix the groups."""
    bands = [np.array([draw.randrange(4) for _ in groups], np.uint32) for _ in range(4)]  # type: ignore[attr-defined]
    of_document = np.array(groups)
    asked: list[int] = []

    def compare(codes: np.ndarray) -> np.ndarray:
        asked.extend(codes.tolist())
        left, right = (codes >> np.uint64(32)).astype(int), (codes & np.uint64(0xFFFFFFFF)).astype(int)
        return (of_document[left] == of_document[right]).astype(float)

    whole = candidate_pairs(4, bands.__getitem__, compare, threshold=0.5)
    assert sorted(asked) == sorted(set(asked)) == whole.codes.tolist()
    parts = candidate_pairs(4, bands.__getitem__, compare, threshold=0.5, max_members=1)
    assert parts.codes.tolist() == whole.codes.tolist()
    assert parts.similarity.tolist() == whole.similarity.tolist()
