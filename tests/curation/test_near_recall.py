"""Near-duplicates against the exact answer, and rensa's digests and our bands against exact similarities."""

from __future__ import annotations

import numpy as np
import pytest
import rensa

from feedback.near import band_shape, near_clusters, near_pairs, sketch_texts
from feedback.near.sketches import recall_of
from tests.near_corpus import exact_pairs, planted_corpus
from tests.near_reference import shingle_set


def check_against_exact_answer(documents: int, thresholds: list[float], precision: float, recall: float) -> None:
    texts = planted_corpus(documents, seed=documents)
    exact = exact_pairs(texts, min(thresholds))
    for threshold in thresholds:
        right = {pair for pair, similarity in exact.items() if similarity >= threshold}
        found = near_pairs(texts, threshold=threshold)
        pairs = set(zip(found["first"], found["second"], strict=True))
        assert len(right) > documents / 100
        assert len(pairs & right) >= precision * len(pairs)
        assert len(pairs & right) >= recall * len(right)
        for first, second, similarity in found.iter_rows():
            assert similarity == pytest.approx(exact.get((first, second), similarity), abs=1e-4)


def test_two_thousand_documents_give_the_exact_answer() -> None:
    check_against_exact_answer(2_000, [0.6, 0.8, 0.9], precision=0.99, recall=0.97)


@pytest.mark.slow
def test_twenty_thousand_documents_give_the_exact_answer() -> None:
    check_against_exact_answer(20_000, [0.7, 0.8, 0.9], precision=0.98, recall=0.95)


def families(count: int, copies: int, words: int = 60) -> list[str]:
    """Texts with some copies each, one to three words of which are others: many are near one copy, not near all."""
    draw = np.random.default_rng(count)
    texts = []
    for number in range(count):
        first = [f"w{number}x{place}" for place in range(words)]
        texts.append(" ".join(first))
        for _ in range(copies):
            copy = list(first)
            for place in draw.choice(words, draw.choice([1, 1, 2, 2, 3]), replace=False):
                copy[place] = f"new{draw.integers(10**9)}"
            texts.append(" ".join(copy))
    return texts


@pytest.mark.parametrize(
    ("count", "copies", "share"), [(100, 6, 0.002), (40, 14, 0.002), (20, 40, 0.002), (8, 90, 0.02)]
)
def test_near_duplicates_are_together_though_both_are_unlike_a_third(count: int, copies: int, share: float) -> None:
    """Else what is nearly the same could stand on both sides of a split: of some sizes 1 in 11 pairs did.

    The larger a bucket, the fewer of its pairs are looked at.
    """
    texts = families(count, copies)
    clusters = near_clusters(texts)
    exact = exact_pairs(texts, 0.8)
    apart = {pair: similarity for pair, similarity in exact.items() if len({*clusters[list(pair)]}) > 1}
    assert len(exact) > 500
    assert len(apart) <= share * len(exact)
    assert not [pair for pair, similarity in apart.items() if similarity >= 0.9]


def test_pairs_compared_at_once_change_the_memory_only(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = families(20, 40)
    whole = near_pairs(texts)
    monkeypatch.setattr("feedback.near.candidates._PAIRS_AT_ONCE", 100)
    assert near_pairs(texts).equals(whole)


def pairs_of_similarity(similarity: float, size: int, count: int) -> list[str]:
    """Texts in pairs, each of some distinct one-word shingles of which the pair shares what the similarity needs."""
    shared = round(2 * size * similarity / (1 + similarity))
    texts = []
    for number in range(count):
        common = [f"c{number}x{place}" for place in range(shared)]
        own = [[f"{side}{number}x{place}" for place in range(size - shared)] for side in "ab"]
        texts += [" ".join(common + words) for words in own]
    return texts


@pytest.mark.parametrize("size", [5, 20, 150])
@pytest.mark.parametrize("similarity", [0.3, 0.8])
def test_pairs_meet_in_bands_as_often_as_their_similarity_says(size: int, similarity: float) -> None:
    """Of 2,000 pairs; empty bins, as short texts have, must not change it much."""
    texts = pairs_of_similarity(similarity, size, 2_000)
    one, other = set(texts[0].split()), set(texts[1].split())
    exact = len(one & other) / len(one | other)
    sketches = sketch_texts(texts, texts, shingle_words=1)
    bands, width = band_shape(0.8)
    for values in (sketches.prompt_bands, sketches.answer_bands):
        meets = values[:, ::2] == values[:, 1::2]
        assert meets.mean() == pytest.approx(exact**width, abs=0.03)
        assert meets.any(axis=0).mean() == pytest.approx(recall_of(exact, bands, width), abs=0.06)


def test_digests_of_rensa_agree_with_exact_similarity() -> None:
    """Another MinHash on our shingles: what we hash and compare is what it estimates."""
    texts = planted_corpus(300, seed=5)
    sketches = sketch_texts(texts, [""] * len(texts))
    sizes = sketches.lengths.sum(axis=1)
    shingles = [
        part[: sketches.lengths[row, 0]] for row, part in enumerate(np.split(sketches.shingles, np.cumsum(sizes)[:-1]))
    ]
    offsets = np.cumsum([0, *map(len, shingles)], dtype=np.uint64)
    flat = np.concatenate(shingles).astype(np.uint64)
    digests = np.array(rensa.RMinHash.digest_matrix_from_flat_token_hashes(flat, offsets, 128, 1).to_rows())
    errors = []
    for (first, second), similarity in exact_pairs(texts, 0.3).items():
        one, other = set(shingles[first].tolist()), set(shingles[second].tolist())
        assert len(one & other) / len(one | other) == pytest.approx(similarity, abs=1e-9)
        errors.append((digests[first] == digests[second]).mean() - similarity)
    assert len(errors) > 50
    assert abs(np.mean(errors)) < 0.015
    assert np.std(errors) < 0.06


def test_clusters_name_their_first_document() -> None:
    texts = planted_corpus(400, seed=9)
    clusters = near_clusters(texts)
    pairs = near_pairs(texts)
    assert (clusters <= np.arange(len(texts))).all()
    assert (clusters[clusters] == clusters).all()
    for first, second, _ in pairs.iter_rows():
        assert clusters[first] == clusters[second]
    assert shingle_set(texts[0]) == shingle_set(texts[0].upper())
