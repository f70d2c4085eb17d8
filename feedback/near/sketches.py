"""Sketches of prompts and answers: what ingest keeps of every text so that near-duplicates can be found without it.

    texts ─► words ─► hashed shingles ─► least of each bin ─► bands          (one pass, `feedback.near.kernels`)
               └─► normalised key

A prompt's sketch is of its shingles. An answer is a prompt with a completion: half of each of its bands comes from the
shingles of both together, half from those of the completion, since near-duplicate answers must be alike in both.

Source: Broder 1997 (shingles, resemblance); Li, Owen, Zhang 2012 (one permutation hashing); Shrivastava 2017,
arXiv:1703.04664 (optimal densification of empty bins). Differs from the last: a slot asks the others in the order of a
fixed permutation of its own instead of by a hash for each attempt.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from feedback.hashing import mix64
from feedback.near.tokens import Texts, flat_texts
from schemas.errors import ConfigError, ShapeError

__all__ = ["Sketches", "band_shape", "recall_of", "sketch_texts", "text_keys"]

_RECALL = 0.998
_MAX_SLOTS = 96


@dataclass(frozen=True)
class Sketches:
    """What is kept of N rows, prompt and completion.

    Args:
        threshold: similarity that the bands were made for, in [0.1, 1).
        shingle_words: words of a shingle.
        prompt_key: hash of each normalised prompt; the same for texts that differ in case, white space or Unicode form
            only. [N] uint64.
        completion_key: the same of the completions. [N] uint64.
        prompt_chars: code points of each prompt. [N] int64.
        completion_chars: code points of each completion. [N] int64.
        prompt_bands: rows with an equal value in one band may be near-duplicate prompts. [bands, N] uint32.
        answer_bands: the same of prompt and completion. [bands, N] uint32.
        shingles: hashed shingles of prompt, completion, next prompt, ...; repeated ones are repeated. uint32.
        lengths: number of shingles of each prompt and completion. [N, 2] uint32.
    """

    threshold: float
    shingle_words: int
    prompt_key: NDArray[np.uint64]
    completion_key: NDArray[np.uint64]
    prompt_chars: NDArray[np.int64]
    completion_chars: NDArray[np.int64]
    prompt_bands: NDArray[np.uint32]
    answer_bands: NDArray[np.uint32]
    shingles: NDArray[np.uint32]
    lengths: NDArray[np.uint32]


def sketch_texts(prompts: Texts, completions: Texts, *, shingle_words: int = 3, threshold: float = 0.8) -> Sketches:
    r"""Sketches of rows; the global lock is free while texts are read.

    Args:
        prompts: N texts. Several turns are joined as role, `\x1f`, content, `\x1e`, next role, ...; these characters
            separate words, count for the key and swallow white space beside them.
        completions: N texts.
        shingle_words: words of a shingle, at least 1.
        threshold: similarity that is looked for, in [0.1, 1).

    Raises:
        ShapeError: not as many prompts as completions.
        ConfigError: the threshold is out of range.

    >>> twins = sketch_texts(["Hello  there ", "hello there"], ["Yes.", "No."])
    >>> bool(twins.prompt_key[0] == twins.prompt_key[1]), bool(twins.completion_key[0] == twins.completion_key[1])
    (True, False)
    """
    from feedback.near.kernels import sketch_rows

    prompt, completion = flat_texts(prompts), flat_texts(completions)
    rows = len(prompt.chars)
    if rows != len(completion.chars):
        raise ShapeError("prompts and completions differ in number", received=(rows, len(completion.chars)))
    bands, width = band_shape(threshold)
    kinds = max(prompt.kinds, completion.kinds, key=len)
    keys, lengths = np.empty((2, rows), np.uint64), np.empty((rows, 2), np.uint32)
    prompt_bands, answer_bands = (np.empty((bands, rows), np.uint32) for _ in range(2))
    shingles = np.empty(prompt.size + completion.size + 2 * rows, np.uint32)
    count = sketch_rows(
        prompt.side,
        completion.side,
        kinds,
        _borrowing_order(bands * width),
        shingle_words,
        max(prompt.longest, completion.longest),
        keys,
        prompt_bands,
        answer_bands,
        shingles,
        lengths,
    )
    return Sketches(
        threshold=threshold,
        shingle_words=shingle_words,
        prompt_key=keys[0],
        completion_key=keys[1],
        prompt_chars=prompt.chars,
        completion_chars=completion.chars,
        prompt_bands=prompt_bands,
        answer_bands=answer_bands,
        shingles=shingles[:count],
        lengths=lengths,
    )


def text_keys(texts: Texts) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Normalised keys and code points of N texts, as `sketch_texts` gives them beside much else.

    >>> keys, chars = text_keys(["Hello  there ", "hello there"])
    >>> bool(keys[0] == keys[1]), chars.tolist()
    (True, [13, 11])
    """
    from feedback.near.kernels import key_rows

    flat = flat_texts(texts)
    keys = np.empty(len(flat.chars), np.uint64)
    key_rows(flat.side, flat.kinds, flat.longest, keys)
    return keys, flat.chars


def band_shape(threshold: float) -> tuple[int, int]:
    """Number of bands, and slots of a band.

    A pair of similarity s meets in a band of r slots with probability s**r, so in one of b bands with
    1 - (1 - s**r)**b. The widest even r (an answer's band is made of halves) is taken for which some b reaches 0.998 at
    the threshold with no more than 96 slots: wide bands let the fewest unlike pairs through.

    Args:
        threshold: in [0.1, 1).

    Raises:
        ConfigError: the threshold is out of range.

    >>> band_shape(0.8), round(recall_of(0.8, *band_shape(0.8)), 4), round(recall_of(0.3, *band_shape(0.8)), 4)
    ((12, 4), 0.9982, 0.093)
    """
    if not 0.1 <= threshold < 1:
        raise ConfigError(
            "a similarity threshold out of range", received=threshold, expected="0.1 or more, less than 1"
        )
    for width in range(_MAX_SLOTS, 1, -2):
        bands = math.ceil(math.log(1 - _RECALL) / math.log1p(-(threshold**width)))
        if bands * width <= _MAX_SLOTS:
            return bands, width
    return _MAX_SLOTS // 2, 2


def recall_of(similarity: float, bands: int, width: int) -> float:
    """Probability that a pair of some similarity meets in at least one band.

    Args:
        similarity: share of common shingles, in [0, 1].
        bands: number of bands.
        width: slots of a band.
    """
    return float(1 - (1 - similarity**width) ** bands)


@cache
def _borrowing_order(slots: int) -> NDArray[np.uint8]:
    """For each step the slot that each slot asks for a value: of each slot a fixed permutation. [step, slot]."""
    hashes = mix64(np.arange(slots * slots, dtype=np.uint64), "slots").reshape(slots, slots)
    return np.ascontiguousarray(np.argsort(hashes, axis=1, kind="stable").T.astype(np.uint8))
