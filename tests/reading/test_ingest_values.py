"""Values that `ingest` works out: points in time, and keyed hashes in place of user ids."""

from __future__ import annotations

import hmac
import os
import stat
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from feedback.ingest import rater_key
from feedback.ingest.event_time import read_time
from feedback.ingest.rater_key import ENVIRONMENT_VARIABLE, load_rater_key, rater_keys
from schemas.errors import ConfigError, RecordRejectedError
from schemas.reasons import RejectReason


@pytest.mark.parametrize(
    ("value", "expected", "quality"),
    [
        (None, None, "missing"),
        ("2026-01-05T09:51:39Z", datetime(2026, 1, 5, 9, 51, 39, tzinfo=UTC), "exact"),
        ("2026-01-05T10:51:39+01:00", datetime(2026, 1, 5, 9, 51, 39, tzinfo=UTC), "exact"),
        ("2026-01-05T09:51:39", datetime(2026, 1, 5, 9, 51, 39, tzinfo=UTC), "naive"),
        ("2026-01-05 09:51:39 UTC", datetime(2026, 1, 5, 9, 51, 39, tzinfo=UTC), "exact"),
        (1767606699, datetime(2026, 1, 5, 10, 4, 59, tzinfo=UTC), "exact"),
        (datetime(2026, 1, 5), datetime(2026, 1, 5, tzinfo=UTC), "naive"),
    ],
)
def test_times_are_read_and_naive_ones_marked(value: Any, expected: datetime | None, quality: str) -> None:
    read, how = read_time(value)
    assert how == quality
    if value != 1767606699:
        assert read == expected
    else:
        assert read is not None
        assert read.timestamp() == value


@pytest.mark.parametrize(
    "value",
    [True, "yesterday", "", "1767606699", 1767606699000, 0, -1, "1989-12-31T23:59:59Z", "2101-01-01", [], 1e300],
)
def test_times_that_are_none_are_rejected(value: object) -> None:
    with pytest.raises(RecordRejectedError) as caught:
        read_time(value)
    assert caught.value.reason == RejectReason.BAD_TIME


def test_the_key_is_made_once_and_only_the_user_can_read_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ENVIRONMENT_VARIABLE, raising=False)
    monkeypatch.setattr(rater_key, "user_data_dir", lambda name: str(tmp_path / "made" / name))
    first = load_rater_key()
    path = tmp_path / "made" / "thumbline" / "rater.key"
    assert load_rater_key() == first
    assert len(first) == 64
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [one.name for one in path.parent.iterdir()] == ["rater.key"]
    path.write_text("short")
    with pytest.raises(ConfigError, match="the key for user ids is too short; expected at least 16 characters"):
        load_rater_key()
    path.unlink()
    path.mkdir()
    with pytest.raises(ConfigError, match="the key for user ids cannot be read or written"):
        load_rater_key()


def test_a_key_that_is_too_short_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, "x")
    with pytest.raises(
        ConfigError, match=f"environment variable {ENVIRONMENT_VARIABLE}: the key for user ids is too short"
    ):
        load_rater_key()
    assert os.environ[ENVIRONMENT_VARIABLE] == "x"


@pytest.mark.parametrize("size", [16, 63, 64, 65, 200])
def test_many_user_ids_have_the_keyed_hashes_that_each_has(size: int) -> None:
    """Keys as long as a block of sha256, shorter and longer ones, and ids of every kind."""
    key = bytes(place % 256 for place in range(size))
    names = ["u1", "u2", "u1", None, "", "é", "\0", "long" * 100, "7"]
    expected = [None if name is None else hmac.new(key, name.encode(), "sha256").hexdigest()[:32] for name in names]
    assert rater_keys(pl.Series(names), key).to_list() == expected
    assert [None if name is None else rater_key.rater_key(name, key) for name in names] == expected
    assert rater_keys(pl.Series([None, None], dtype=pl.String), key).to_list() == [None, None]
