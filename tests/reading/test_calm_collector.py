"""The collector of garbage is kept quiet while records are read, and is as it was afterwards."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from feedback.ingest.calm_collector import calm_collector


@pytest.fixture(autouse=True)
def nothing_frozen() -> Iterator[None]:
    """Whatever other tests, or libraries that they load, left behind."""
    before = gc.get_threshold()
    gc.unfreeze()
    gc.set_threshold(700, 10, 10)
    yield
    gc.unfreeze()
    gc.set_threshold(*before)


def test_few_new_objects_start_no_search_and_many_do() -> None:
    before = gc.get_threshold()
    with calm_collector():
        assert gc.get_threshold()[0] > before[0]
        assert gc.get_threshold()[1:] == before[1:]
        assert gc.get_freeze_count()
    assert (gc.get_threshold(), gc.get_freeze_count()) == (before, 0)


def test_it_is_undone_after_an_error() -> None:
    before = gc.get_threshold()
    with pytest.raises(KeyError), calm_collector():
        raise KeyError
    assert (gc.get_threshold(), gc.get_freeze_count()) == (before, 0)


def test_a_program_that_froze_or_stopped_the_collector_itself_is_left_alone() -> None:
    before = gc.get_threshold()
    gc.set_threshold(0)
    with calm_collector():
        assert gc.get_threshold()[0] == 0
    gc.set_threshold(*before)
    gc.freeze()
    with calm_collector():
        assert gc.get_threshold() == before
