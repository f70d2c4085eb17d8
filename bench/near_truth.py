"""Documents with planted near-duplicates, and the exact answer: the Jaccard similarity of all pairs, none left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl

from bench.words import Vocabulary, chinese_words, latin_words

__all__ = ["Corpus", "ExactPairs", "exact_pairs", "planted_corpus", "shingles"]

_CHINESE_SHARE: Final = 0.1
_PLANTED: Final = (0.6, 0.95)
_BLOCK: Final = 2000  # documents compared with all others at a time


@dataclass(frozen=True)
class Corpus:
    """N documents.

    Args:
        texts: as people write them: words between spaces, Han characters without.
        words: the words of each; a Han character is one.
        planted: pairs of documents that were made as copies of each other.
    """

    texts: list[str]
    words: list[list[str]]
    planted: list[tuple[int, int]]

    def spaced(self) -> list[str]:
        """Texts with a space between all words, for those who know no other way to tell words apart."""
        return [" ".join(words) for words in self.words]


@dataclass(frozen=True)
class ExactPairs:
    """All pairs from a similarity on: first < second, in their order, and the similarity of each."""

    first: np.ndarray
    second: np.ndarray
    similarity: np.ndarray


def planted_corpus(documents: int, *, shingle_words: int = 3, seed: int = 0) -> Corpus:
    """Documents of 40 to 220 words: three in ten alone, the others copies with edits, in a random order.

    Each copy aims at a similarity to its original that is drawn evenly from 0.6 to 0.95.

    Args:
        documents: N, at least 1.
        shingle_words: words of a shingle, which edits are counted in.
        seed: of the random source.
    """
    source = np.random.Generator(np.random.PCG64(seed))
    voices = (
        Vocabulary(latin_words(source, 20_000), ("{}",)),
        Vocabulary(tuple({word[0]: None for word in chinese_words(source, 8000)}), ("{}",), joiner=""),
    )
    drawers = [(voice.tokens(), voice.drawer(), voice.joiner) for voice in voices]
    words: list[list[str]] = []
    joiners: list[str] = []
    families: list[list[int]] = []
    while len(words) < documents:
        tokens, drawer, joiner = drawers[int(source.random() < _CHINESE_SHARE)]
        original = tokens[drawer.draw(source, int(source.integers(40, 221)))].tolist()
        copies = int(source.choice(4, p=(0.46, 0.46, 0.05, 0.03)))
        family = [original]
        for _ in range(copies):
            spare = tokens[drawer.draw(source, len(original))].tolist()
            family.append(_edited(original, spare, source.uniform(*_PLANTED), shingle_words, source))
        families.append(list(range(len(words), min(len(words) + len(family), documents))))
        words += family
        joiners += [joiner] * len(family)
    order = source.permutation(documents).tolist()
    place = {old: new for new, old in enumerate(order)}
    pairs = [(place[family[0]], place[copy]) for family in families for copy in family[1:]]
    return Corpus(
        texts=[joiners[old].join(words[old]) for old in order],
        words=[words[old] for old in order],
        planted=sorted((min(pair), max(pair)) for pair in pairs),
    )


def _edited(
    words: list[str], spare: list[str], similarity: float, shingle_words: int, source: np.random.Generator
) -> list[str]:
    """A copy with single words and runs of words replaced until about the wanted similarity is left."""
    count = len(words) - shingle_words + 1
    wanted = count * (1 - similarity) / (1 + similarity)
    lost = np.zeros(len(words), dtype=bool)
    edited = list(words)
    is_in_runs = source.random() < 0.5
    while edited == words or lost.sum() < wanted - shingle_words / 2:
        place = int(source.integers(0, len(words)))
        run = min(int(source.integers(2, 6)), max(1, int(wanted - lost.sum()))) if is_in_runs else 1
        edited[place : place + run] = spare[place : place + run]
        lost[max(0, place - shingle_words + 1) : min(place + run, count)] = True
    return edited


def shingles(words: Sequence[str], shingle_words: int) -> list[str]:
    """The different runs of `shingle_words` words, in their order; all words as one run where there are fewer."""
    starts = range(max(1, len(words) - shingle_words + 1))
    return list(dict.fromkeys(" ".join(words[start : start + shingle_words]) for start in starts))


def exact_pairs(documents: Sequence[Sequence[str]], *, least: float, shingle_words: int = 3) -> ExactPairs:
    """Every pair of documents with a Jaccard similarity of at least `least`, by counting shared shingles of all pairs.

    Args:
        documents: the words of each.
        least: smallest similarity of interest, greater than 0.
        shingle_words: words of a shingle.
    """
    numbers: dict[str, int] = {}
    columns: list[int] = []
    sizes: list[int] = []
    for words in documents:
        own = [numbers.setdefault(shingle, len(numbers)) for shingle in shingles(words, shingle_words)]
        columns += own
        sizes.append(len(own))
    document = np.repeat(np.arange(len(sizes), dtype=np.uint32), sizes)
    postings = pl.DataFrame({"shingle": np.array(columns, dtype=np.uint32), "second": document}).lazy()
    found = [
        postings.filter(pl.col("second").is_between(start, start + _BLOCK - 1))
        .rename({"second": "first"})
        .join(postings, on="shingle")
        .filter(pl.col("first") < pl.col("second"))
        .group_by("first", "second")
        .len("shared")
        .with_columns(size=pl.lit(pl.Series(sizes)).gather("first") + pl.lit(pl.Series(sizes)).gather("second"))
        .select("first", "second", similarity=pl.col("shared") / (pl.col("size") - pl.col("shared")))
        .filter(pl.col("similarity") >= least)
        .collect()
        for start in range(0, len(sizes), _BLOCK)
    ]
    pairs = pl.concat(found).sort("first", "second")
    return ExactPairs(*(pairs[name].to_numpy() for name in ("first", "second", "similarity")))
