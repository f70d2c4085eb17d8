"""A corpus whose near-duplicates are known: pairs planted at chosen similarities, and the exact answer."""

from __future__ import annotations

from collections import Counter, defaultdict

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
    sets = [shingle_set(text, words) for text in texts]
    holders = defaultdict(list)
    for number, shingles in enumerate(sets):
        for shingle in shingles:
            holders[shingle].append(number)
    found = {}
    for number, shingles in enumerate(sets):
        shared = Counter(other for shingle in shingles for other in holders[shingle] if other < number)
        for other, both in shared.items():
            similarity = both / (len(shingles) + len(sets[other]) - both)
            if similarity >= threshold:
                found[other, number] = similarity
    return found
