"""The file of joined records: each id finds its own records in their order, also where hashes are half the same."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feedback.hashing import Keys, wide_keys
from feedback.ingest import joined_file
from feedback.ingest.joined_file import JoinedFileWriter, open_joined


def written(path: Path, records: list[tuple[str, bytes]], at_once: int = 2) -> JoinedFileWriter:
    with JoinedFileWriter(path) as writer:
        for first in range(0, len(records), at_once):
            part = records[first : first + at_once]
            ends = np.cumsum([len(text) + 1 for _, text in part]) - 1
            starts = ends - [len(text) for _, text in part]
            writer.add(b"".join(text + b"\n" for _, text in part), [name for name, _ in part], starts, ends)
    return writer


def half_keys(texts: Iterable[str]) -> Keys:
    """Keys with two high halves, and four low ones."""
    return wide_keys(texts) & np.array([1, 3], np.uint64)


@given(st.lists(st.tuples(st.sampled_from("abcdefgh"), st.binary(max_size=3).map(lambda one: one.hex().encode()))))
@settings(max_examples=60, deadline=None)
@pytest.mark.parametrize("are_half", [False, True])
def test_an_id_finds_its_records_in_their_order(
    tmp_path_factory: pytest.TempPathFactory, are_half: bool, records: list[tuple[str, bytes]]
) -> None:
    path = tmp_path_factory.getbasetemp() / "table.joined"
    with pytest.MonkeyPatch.context() as patch:
        if are_half:
            patch.setattr(joined_file, "wide_keys", half_keys)
        writer = written(path, records)
        file = open_joined(path)
        names = [*"abcdefghi"]
        keys = [tuple(key) for key in joined_file.wide_keys(names).tolist()]
        of_name = dict(zip(names, keys, strict=True))
        assert writer.ids == len({of_name[name] for name, _ in records})
        for name, span in zip(names, file.spans(names), strict=True):
            wanted = [text for other, text in records if of_name[other] == of_name[name]]
            assert [bytes(text) for text in file.records(span)] == wanted
            assert file.size(span) == sum(map(len, wanted))
