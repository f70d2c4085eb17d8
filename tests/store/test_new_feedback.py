"""Parts of a store: what came since a version, audited against what was there, and versions that are left out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from feedback.audit.new_feedback import audit_new_feedback
from feedback.config import SourceConfig
from feedback.pipeline import curate, curate_store, default_config, store_config
from feedback.store import Store
from feedback.store.selection import count_since, select_rows

pytestmark = pytest.mark.usefixtures("rater_key")


def votes(path: Path, week: int, *, count: int = 60, up: int = 3, user: str = "u") -> Path:
    """A week's votes; one of `up` is down, or all where it is 0."""
    rows = [
        {
            "prompt": f"week {week} question {n} about item {n * 7}",
            "completion": f"week {week} answer {n}: take {n * 3} of them",
            "label": "down" if not up or n % up == 0 else "up",
            "user": f"{user}{n % 30}",
            "time": f"2025-01-{1 + 7 * week:02d}T10:{n % 60:02d}:00Z",
        }
        for n in range(count)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Three weeks, a version each; in the last one everything is down."""
    made = Store.open(tmp_path / "store", create=True)
    for week in range(3):
        path = votes(tmp_path / f"week{week}.jsonl", week, up=0 if week == 2 else 3)
        made.ingest([SourceConfig(path=str(path), format="thumbs")])
    return made


def test_counts_are_of_the_versions_between(store: Store) -> None:
    assert store.version == 3
    assert count_since(store, 0, 3)["events"] == 180
    assert count_since(store, 1, 3) == {"events": 120, "pairs": 0, "quarantine": 0}
    assert count_since(store, 1, 3, exclude=[2])["events"] == 60
    assert count_since(store, 3, 3)["events"] == 0


def test_new_feedback_is_audited_alone_and_set_against_the_old(store: Store) -> None:
    second = audit_new_feedback(store, 1, 2)
    third = audit_new_feedback(store, 2, 3)
    assert second.rows["total"] == third.rows["total"] == 60
    for report, is_changed in ((second, False), (third, True)):
        change = report.metric("share_up_change")
        assert change is not None
        assert change.details["is_changed"] is is_changed
    assert audit_new_feedback(store, 0, 1).metric("share_up_change") is None


def test_version_that_is_left_out_is_as_if_it_had_never_come(store: Store, tmp_path: Path) -> None:
    config = store_config()
    without = curate_store(store, config, tmp_path / "without", exclude=[3])
    weeks = [tmp_path / f"week{week}.jsonl" for week in range(2)]
    scratch = curate(default_config(weeks, "thumbs"), tmp_path / "scratch")
    rows = {folder: sorted((tmp_path / folder / "data").glob("*.parquet")) for folder in ("without", "scratch")}
    assert [path.read_bytes() for path in rows["without"]] == [path.read_bytes() for path in rows["scratch"]]
    assert without.manifest.config["store"]["exclude"] == [3]
    assert scratch.manifest.stages[-1].rows_kept == without.manifest.stages[-1].rows_kept
    assert curate_store(store, config, tmp_path / "without", exclude=[3]).was_done


def test_selection_names_its_versions(store: Store, tmp_path: Path) -> None:
    files = select_rows(store, tmp_path, since=1, until=3, exclude=[2])
    assert files.config["store"] == {"id": store.id, "since": 1, "until": 3, "exclude": [2]}
    assert "without 1 version" in files.notes[0]


def test_older_feedback_is_read_without_who_was_forgotten_since(store: Store) -> None:
    """The version before an erasure cannot be read any more; what of it is left can."""
    store.forget(rater="u3")
    report = audit_new_feedback(store, 2, store.version)
    change = report.metric("share_up_change")
    assert change is not None
    assert report.rows["total"] == 58
    assert change.details["n_before"] == 116
    assert count_since(store, 0, 2, at=store.version)["events"] == 116
