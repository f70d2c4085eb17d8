"""A corpus whose near-duplicates are known: pairs planted at chosen similarities, and the exact answer."""

from __future__ import annotations

import numpy as np

from tests.near_reference import shingle_set


def planted_corpus(documents: int, seed: int) -> list[str]:
    """Documents of 40 to 200 words of a skewed vocabulary, in random order.

    Half of them stand alone. The others are copies with some words replaced, one or two of each original, so that their
    similarity to it spreads over 0.6 to 0.95.
    """
    draw = np.random.default_rng(seed)
    texts: list[list[str]] = []
    while len(texts) < documents:
        words = [f"w{number}" for number in draw.zipf(1.3, draw.integers(40, 200)) % 30_000]
        texts.append(words)
        if draw.random() < 0.4:
            for _ in range(draw.integers(1, 3)):
                wanted = draw.uniform(0.6, 0.95)
                changed = round(len(words) * (1 - wanted) / (1 + wanted) / 3)
                copy = list(words)
                for place in draw.choice(len(words), max(changed, 1), replace=False):
                    copy[place] = f"new{draw.integers(10**9)}"
                texts.append(copy)
    order = draw.permutation(documents)
    return [" ".join(texts[place]) for place in order]


def exact_pairs(texts: list[str], threshold: float, words: int = 3) -> dict[tuple[int, int], float]:
    """Every pair of documents whose sets of shingles reach the threshold, by an index of all shingles."""
    sets = [np.array(sorted(shingle_set(text, words)), np.uint64) for text in texts]
    sizes = np.array([len(shingles) for shingles in sets])
    _, numbers = np.unique(np.concatenate(sets), return_inverse=True)
    order = np.argsort(numbers, kind="stable")
    holders = np.repeat(np.arange(len(sets)), sizes)[order]
    begins = np.searchsorted(numbers[order], np.arange(numbers.max() + 2))
    found = {}
    for number, own in enumerate(np.split(numbers, np.cumsum(sizes)[:-1])):
        lists = [holders[begins[shingle] : begins[shingle + 1]] for shingle in own]
        both = np.bincount(np.concatenate(lists), minlength=len(sets))[:number]
        similarity = both / (sizes[number] + sizes[:number] - both)
        for other in np.flatnonzero(similarity >= threshold).tolist():
            found[other, number] = float(similarity[other])
    return found
