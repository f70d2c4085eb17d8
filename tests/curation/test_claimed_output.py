"""One run at a time makes an output, and nobody's files are lost that came there meanwhile."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from feedback.config import RebalanceConfig
from feedback.dataset import freeze, outputs
from feedback.dataset.folders import built_folder, remove_unfinished
from feedback.dataset.outputs import claimed_output
from feedback.pipeline import curate, default_config, mix_dataset, mix_pairs_of_dataset, rebalance_dataset
from feedback.pipeline.from_store import curate_store, store_config
from feedback.store import Store
from feedback.transcode import convert_files
from schemas.errors import LockedError, OutputExistsError, ThumblineError, UsageError
from schemas.lock import lock_of_output, locked_output
from schemas.manifest import MANIFEST_NAME, Manifest
from tests.feedback_log import dataset_and_store

NEW = pl.Series(["new"])
MAKERS: dict[str, Callable[[Path, Path], object]] = {
    "curate": lambda made, out: curate(default_config([made / "in" / "thumbs"], "thumbs"), out),
    "curate_store": lambda made, out: curate_store(Store.open(made / "store"), store_config(), out),
    "freeze": lambda made, out: freeze(made / "dataset", out),
    "mix": lambda made, out: mix_dataset(made / "dataset", out, NEW, older_share=0.5, config=RebalanceConfig()),
    "mix_pairs": lambda made, out: mix_pairs_of_dataset(made / "dataset", out, NEW, older_share=0.5),
    "rebalance": lambda made, out: rebalance_dataset([made / "dataset"], out, RebalanceConfig(mode="reweight")),
}

OVERWRITE: dict[str, Callable[[Path, Path], object]] = {
    "curate": lambda made, out: curate(default_config([made / "in" / "thumbs"], "thumbs"), out, overwrite=True),
    "curate_store": lambda made, out: curate_store(Store.open(made / "store"), store_config(), out, overwrite=True),
    "rebalance": lambda made, out: rebalance_dataset(
        [made / "dataset"], out, RebalanceConfig(mode="reweight"), overwrite=True
    ),
}


def write(path: Path) -> None:
    """A file of somebody's own."""
    path.parent.mkdir()
    path.write_text("mine")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a log, a dataset of it and a store."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("THUMBLINE_RATER_KEY", "0" * 64)
        return dataset_and_store(tmp_path_factory.mktemp("made"))


@pytest.mark.usefixtures("rater_key")
@pytest.mark.parametrize("name", sorted(MAKERS))
def test_second_run_into_one_output_is_told_who_is_at_work(made: Path, tmp_path: Path, name: str) -> None:
    """Both would build in one folder, and the one that is done first would name the other's files as its own."""
    out = tmp_path / "out"
    told = rf"\.out\.partial-lock: a run that writes this output \(process {os.getpid()} on .+\) is at work here"
    with locked_output(out), pytest.raises(LockedError, match=told) as caught:
        MAKERS[name](made, out)
    assert caught.value.exit_code == 75
    assert not list(tmp_path.iterdir())
    if name == "curate_store":
        assert not Store.open(made / "store").datasets()


@pytest.mark.usefixtures("rater_key")
@pytest.mark.parametrize("name", sorted(MAKERS))
def test_dataset_is_not_replaced_behind_a_folder_that_does_not_exist(made: Path, tmp_path: Path, name: str) -> None:
    """`nosuch/../out` is `out`, though nothing is found by that path; and only who could says `--overwrite`."""
    out = tmp_path / "out"
    out.mkdir()
    known = replace(Manifest.read(made / "dataset"), digest="1" * 32, parent_digest=None, config={}).write(out)
    before = known.read_bytes()
    told = "Name another folder, or use --overwrite" if name in OVERWRITE else r"Name another folder\.$"
    with pytest.raises(OutputExistsError, match=rf"{out}: the folder holds a dataset made from other.*{told}"):
        MAKERS[name](made, tmp_path / "nosuch" / ".." / "out")
    assert known.read_bytes() == before
    assert [path.name for path in tmp_path.rglob("*")] == ["out", MANIFEST_NAME]


@pytest.mark.usefixtures("rater_key")
@pytest.mark.parametrize("name", sorted(MAKERS))
def test_link_to_itself_is_no_output(made: Path, tmp_path: Path, name: str) -> None:
    loop = tmp_path / "loop"
    loop.symlink_to("loop")
    with pytest.raises(UsageError, match=rf"{loop}: nothing can be written here .*Name another output"):
        MAKERS[name](made, loop)


@pytest.mark.usefixtures("rater_key")
@pytest.mark.parametrize("content", ['{"format_version": 99}', '{"format_ver'])
@pytest.mark.parametrize("name", ["curate", "curate_store", "rebalance"])
def test_dataset_that_cannot_be_read_is_replaced_on_request(
    made: Path, tmp_path: Path, name: str, content: str
) -> None:
    """One of a newer version, or with a torn manifest: it tells what it is, and `--overwrite` is a way out."""
    out = tmp_path / "out"
    out.mkdir()
    (out / MANIFEST_NAME).write_text(content)
    with pytest.raises(ThumblineError, match=r"a newer version of thumbline|the manifest cannot be read"):
        MAKERS[name](made, out)
    assert (out / MANIFEST_NAME).read_text() == content
    OVERWRITE[name](made, out)
    Manifest.read(out).verify(out)


def test_finished_dataset_is_found_while_others_hold_its_place(made: Path, tmp_path: Path) -> None:
    freeze(made / "dataset", tmp_path / "frozen")
    manifest = Manifest.read(made / "dataset")
    with locked_output(made / "dataset"), claimed_output(made / "dataset", lambda known: True) as claim:
        assert claim.found == manifest
    with locked_output(tmp_path / "frozen"):
        assert freeze(made / "dataset", tmp_path / "frozen").parent_digest == manifest.digest


def test_output_that_another_run_made_just_now_is_looked_at_again(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look and the lock another run may end."""
    out = tmp_path / "out"

    def late(path: Path) -> object:
        (path / "data").mkdir(parents=True)
        replace(Manifest.read(made / "dataset"), digest="1" * 32).write(path)
        return locked_output(path)

    monkeypatch.setattr(outputs, "locked_output", late)
    expected = r"another run has just written this output\. Run the same command again"
    with pytest.raises(LockedError, match=expected), claimed_output(out, lambda known: False):
        pytest.fail("it must not be made")
    assert json.loads((out / MANIFEST_NAME).read_text())["digest"] == "1" * 32


@pytest.mark.parametrize("name", ["thesis.tex", MANIFEST_NAME])
def test_files_that_come_while_a_dataset_is_built_are_not_lost(tmp_path: Path, name: str) -> None:
    out = tmp_path / "out"
    with pytest.raises(OutputExistsError, match=r"would be lost|holds a dataset made from"), built_folder(out):
        write(out / name)
    assert (out / name).read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_two_conversions_into_one_file_do_not_mix(made: Path, tmp_path: Path) -> None:
    votes, out = made / "in" / "thumbs", tmp_path / "out.jsonl"
    with locked_output(out), pytest.raises(LockedError, match="a run that writes this output"):
        convert_files(votes, "thumbs", "trl", out)
    assert not list(tmp_path.iterdir())

    @contextmanager
    def late(description: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
        if description == "write":
            out.write_text("another's")
        yield lambda _: None

    with pytest.raises(OutputExistsError, match="the output is there already"):
        convert_files(votes, "thumbs", "trl", out, progress=late)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("out.jsonl", "another's")]


def test_lock_of_a_killed_run_neither_refuses_nor_stays(tmp_path: Path) -> None:
    (tmp_path / ".out.partial-lock").write_text("what a killed run left")
    with locked_output(tmp_path / "out"):
        assert (tmp_path / ".out.partial-lock").exists()
    assert not list(tmp_path.iterdir())
    (tmp_path / ".out.partial-lock").write_text("what a killed run left")
    assert remove_unfinished(tmp_path / "out") == []
    assert not list(tmp_path.iterdir())


def test_lock_is_open_to_whoever_may_write_the_output(tmp_path: Path) -> None:
    """Else what a killed run of a colleague left in a shared folder would refuse everybody else."""
    before = os.umask(0o002)
    try:
        with locked_output(tmp_path / "out"):
            assert lock_of_output(tmp_path / "out").stat().st_mode & 0o777 == 0o664
    finally:
        os.umask(before)


def test_what_a_run_builds_is_not_removed_under_it(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with locked_output(out), built_folder(out) as work:
        with pytest.raises(LockedError, match="is at work here"):
            remove_unfinished(out)
        assert work.is_dir()
