"""XXH3 in compiled loops: the very values of the library, and hashes of turns as they are defined one by one."""

from __future__ import annotations

import random

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from xxhash import xxh3_128_intdigest

from feedback.hash_kernels import hash_text
from feedback.hashing import messages_hash
from feedback.ingest.turn_hashes import list_hashes
from schemas.messages import MESSAGES, ROLES

LENGTHS = [*range(260), *range(260, 1500, 7), 1023, 1024, 1025, 1087, 1088, 1089, 2047, 2048, 2049, 5000, 16_384]
TURN = st.fixed_dictionaries(
    {
        "role": st.sampled_from([*ROLES, "judge", ""]),
        "content": st.one_of(st.text(max_size=30), st.text("ab \n\r", max_size=300)),
    }
)


def hashed(text: bytes, seed: int) -> int:
    low, high = hash_text(np.frombuffer(text, np.uint8), np.uint64(seed))
    return int(high) << 64 | int(low)


@pytest.mark.parametrize("seed", [0, 1, 2**64 - 1, 0x9E3779B185EBCA87])
def test_all_lengths_have_the_hash_of_the_library(seed: int) -> None:
    """Each range of lengths has its own steps: 0, to 3, 8, 16, 128, 240, within a block, whole blocks, and beyond."""
    text = random.Random(3).randbytes(max(LENGTHS))
    for length in LENGTHS:
        assert hashed(text[:length], seed) == xxh3_128_intdigest(text[:length], seed=seed), length


@settings(deadline=None)
@given(st.binary(max_size=2500), st.integers(0, 2**64 - 1))
def test_any_text_and_seed_have_the_hash_of_the_library(text: bytes, seed: int) -> None:
    assert hashed(text, seed) == xxh3_128_intdigest(text, seed=seed)


@settings(deadline=None)
@given(st.lists(st.lists(TURN, max_size=4), max_size=6))
def test_lists_of_turns_have_the_hashes_that_they_have_one_by_one(lists: list[list[dict[str, str]]]) -> None:
    """Also lists without turns, roles that no row may have, and texts that are hashed in another form."""
    assert list_hashes(pa.array(lists, MESSAGES)).to_list() == [messages_hash(one) for one in lists]
