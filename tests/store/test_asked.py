"""What a call of the store asks for is looked at before anything is read or erased."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cli.main import run
from feedback.config import SourceConfig
from feedback.pipeline import curate_store, store_config
from feedback.store import Store
from schemas.errors import InputNotFoundError, UnknownChoiceError, UsageError
from tests.store_runs import write_votes

pytestmark = pytest.mark.usefixtures("rater_key")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Forty votes of the raters 0 to 8, whose ids are numbers."""
    rows = [
        {"prompt": f"what is {n}?", "completion": f"it is {n}", "label": "up" if n % 2 else "down", "user": n % 9}
        for n in range(40)
    ]
    path = write_votes(tmp_path / "votes.jsonl", 0, more=rows)
    made = Store.open(tmp_path / "store", create=True)
    made.ingest([SourceConfig(path=str(path), format="thumbs")])
    return made


@pytest.mark.parametrize(
    ("asked", "error", "message"),
    [
        ({}, UsageError, "one who is to be forgotten must be named"),
        ({"rater": ""}, UsageError, "one who is to be forgotten must be named"),
        ({"rater": 0, "conversation": 1}, UsageError, "one who is to be forgotten must be named"),
        ({"rater": 3.0}, UsageError, r"rater: this is no id: got 3\.0; expected a text or a whole number"),
        ({"conversation": True}, UsageError, "conversation: this is no id: got True"),
        ({"rater": "3", "reports": "no folder"}, InputNotFoundError, "no such folder of reports. Nothing was erased"),
        ({"rater": "3", "reports": [""]}, UsageError, "reports: this names no file or folder: got ''"),
        ({"rater": "3", "reports": [7]}, UsageError, "reports: this names no file or folder: got 7"),
    ],
)
def test_wrong_call_of_forget_erases_nothing(
    store: Store, asked: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        store.forget(**asked)
    assert store.version == 1
    assert not (store.folder / "forgotten").exists()
    assert store.doctor().is_well


@pytest.mark.parametrize("rater", [0, 3])
def test_id_that_is_a_number_in_the_source_is_one_here(store: Store, tmp_path: Path, rater: int) -> None:
    reports = tmp_path / "reports"
    reports.mkdir()
    (reports / "page.txt").write_text(f"somebody asked: what is {rater}?\n\nwhat is {rater + 9}?")
    receipt = store.forget(rater=rater, reports=str(reports))
    assert receipt.rows == {"event": 5 if rater < 4 else 4}
    assert receipt.reports[0].folder == str(reports)


def test_forgetting_says_which_folders_it_did_not_find(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A dataset that was moved still holds what is forgotten; nobody may read that it was cleaned."""
    config = store_config(["split.test_fraction=0", "caps.max_rater_share=1"])
    for name in ("here", "moved"):
        manifest = curate_store(store, config, tmp_path / name).manifest
    (tmp_path / "run").mkdir()
    for name in ("run", "run-elsewhere"):
        store.register_run(str(tmp_path / name), manifest.digest)
    shutil.move(tmp_path / "moved", tmp_path / "elsewhere")
    assert run(["forget", "--store", str(store.folder), "--rater", "3"]) == 0
    told = "".join(capsys.readouterr().out.split())  # lines are broken anywhere
    assert "/movedsawitandneedstobemadeanew.Itisnotthereanymore" in told
    assert "/heresawitandneedstobemadeanew.Dataset" in told
    receipt = Store.open(store.folder).forget(rater=4)
    assert {Path(one.folder).name: one.was_there for one in (*receipt.datasets, *receipt.runs)} == {
        "here": True,
        "moved": False,
        "run": True,
        "run-elsewhere": False,
    }


def test_unknown_revisions_are_no_revisions(store: Store) -> None:
    for wrong in ("Latest", "typo"):
        for ask in (store.events, store.pairs):
            with pytest.raises(UnknownChoiceError, match=rf"of revisions: got '{wrong}'; expected one of all, latest"):
                ask(revisions=wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("version", "error", "message"),
    [
        (-1, InputNotFoundError, "the store has no such version: got -1"),
        (2**70, InputNotFoundError, "the store has no such version"),
        ("1", UsageError, "version: a version is a whole number: got '1'"),
        (1.0, UsageError, "version: a version is a whole number"),
        (True, UsageError, "version: a version is a whole number: got True"),
    ],
)
def test_version_that_cannot_be_is_refused(
    store: Store, tmp_path: Path, version: Any, error: type[Exception], message: str
) -> None:
    for ask in (store.events, store.validated, store.source_files):
        with pytest.raises(error, match=message):
            ask(version)
    with pytest.raises(error, match=message):
        curate_store(store, store_config(), tmp_path / "out", version=version)
    assert not (store.folder / "datasets").exists()


def test_versions_to_leave_out_are_numbers(store: Store, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="a version is a whole number: got '1'"):
        curate_store(store, store_config(), tmp_path / "out", exclude="1")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="a version is a whole number: got True"):
        curate_store(store, store_config(), tmp_path / "out", exclude=[True])
    with pytest.raises(UsageError, match="exclude: these are no versions: got 2; expected a list of them"):
        curate_store(store, store_config(), tmp_path / "out", exclude=2)  # type: ignore[arg-type]


def test_version_as_a_number_of_numpy_is_that_version(store: Store, tmp_path: Path) -> None:
    made = curate_store(store, store_config(), tmp_path / "out", version=np.int64(1))  # type: ignore[arg-type]
    assert made.manifest.config["store"]["version"] == 1
    assert curate_store(store, store_config(), tmp_path / "out", version=1).was_done
    assert [record.store_version for record in store.datasets()] == [1]


@pytest.mark.parametrize("hours", [-5, -0.1, math.nan])
def test_files_cannot_be_kept_for_less_than_no_time(store: Store, hours: float) -> None:
    with pytest.raises(UsageError, match="files cannot stay for less than no time"):
        store.vacuum(hours)
