"""Digests tell all rows apart; hashes of columns are those of single texts."""

from __future__ import annotations

import hashlib
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from xxhash import xxh3_64_intdigest

from feedback.hashing import (
    hex_key,
    ids_of_texts,
    ids_of_turns,
    keys_of_ids,
    keys_of_texts,
    messages_hash,
    sha256_of,
    stable_id,
    stage_digest,
)

TEXTS = st.lists(st.text(max_size=20), min_size=1, max_size=20)


def digest(*columns: pl.Series) -> str:
    return stage_digest("", "stage", {}, pl.DataFrame(list(columns)), [column.name for column in columns])


@pytest.mark.parametrize(
    ("one", "other", "kind"),
    [
        ([None, 1], [0, 1], pl.Int64),
        ([None, True], [False, True], pl.Boolean),
        ([None, "a"], ["", "a"], pl.String),
        (["a", "bc"], ["ab", "c"], pl.String),
        ([["a"], ["b"]], [["a", "b"], []], pl.List(pl.String)),
        ([None, ["a"]], [[], ["a"]], pl.List(pl.String)),
        ([1, 2], [2, 1], pl.UInt64),
        ([1.0, 2.0], [1.0, -2.0], pl.Float64),
    ],
)
def test_rows_that_differ_have_another_digest(one: list[Any], other: list[Any], kind: pl.DataType) -> None:
    assert digest(pl.Series("a", one, kind)) != digest(pl.Series("a", other, kind))


def test_a_digest_does_not_depend_on_how_a_column_lies_in_memory() -> None:
    whole = pl.Series("a", ["x", None, "yz", "x" * 20, ""])
    pieces = pl.concat([whole[:2], whole[2:]], rechunk=False)
    assert pieces.n_chunks() == 2
    assert digest(pieces) == digest(whole) == digest(pl.concat([whole, whole])[5:])


@given(TEXTS)
def test_hashes_of_a_column_are_those_of_its_texts(texts: list[str]) -> None:
    frame = pl.DataFrame({"text": texts})
    text = pl.col("text")
    keys = [xxh3_64_intdigest(one.encode()) for one in texts]
    assert frame.select(keys_of_texts(text)).to_series().to_list() == keys
    assert frame.select(ids_of_texts("a", text, "b")).to_series().to_list() == [
        stable_id("a", one, "b") for one in texts
    ]
    exact = [one.rstrip() for one in texts if one.isascii() and "\r" not in one]
    said = pl.DataFrame({"text": exact}, schema={"text": pl.String}).select(ids_of_turns("user", text)).to_series()
    assert said.to_list() == [messages_hash([{"role": "user", "content": one}]) for one in exact]
    digests = frame.select(sha256_of(text.cast(pl.Binary))).to_series()
    assert digests.to_list() == [hashlib.sha256(one.encode()).hexdigest() for one in texts]
    assert digests.to_frame("id").select(keys_of_ids(pl.col("id"))).to_series().to_list() == [
        hex_key(one) for one in digests
    ]
