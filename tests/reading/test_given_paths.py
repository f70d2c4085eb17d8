"""Paths and inputs as callers give them: a text or a `Path`, one or several, and never nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from feedback.audit import check_gates
from feedback.audit.sources import audit, audit_against, audit_dataset
from feedback.audit.subjects import RawReading, raw_sources
from feedback.config import RebalanceConfig, SourceConfig
from feedback.dataset import freeze, read_curated, read_curated_pairs, read_frozen, text_of_curated
from feedback.pipeline import (
    curate,
    curate_store,
    default_config,
    load_curate_config,
    mix_dataset,
    mix_pairs_of_dataset,
    rebalance_dataset,
    store_config,
)
from feedback.rebalance.explain import explain_rebalance, write_dropped
from feedback.records.places import find_files
from feedback.run_config import config_of_inputs
from feedback.store import Store
from feedback.transcode import convert_files
from schemas.errors import InputNotFoundError, UnknownChoiceError, UsageError
from schemas.manifest import Manifest
from schemas.paths import path_of, path_texts
from schemas.settings import apply_overrides, read_toml
from tests.feedback_log import dataset_and_store

pytestmark = pytest.mark.usefixtures("rater_key")

RANGE = RebalanceConfig(mode="reweight")
TAKES_INPUTS: dict[str, Callable[[Any], object]] = {
    "audit": lambda inputs: audit(inputs, source_format="thumbs"),
    "audit_unnamed": lambda inputs: audit(inputs),
    "config_of_inputs": lambda inputs: config_of_inputs(inputs, "thumbs"),
    "convert_files": lambda inputs: convert_files(inputs, "thumbs", "trl", "out.jsonl"),
    "default_config": lambda inputs: default_config(inputs, "thumbs"),
    "find_files": lambda inputs: find_files(inputs),
    "raw_sources": lambda inputs: raw_sources(inputs, RawReading("thumbs")),
    "rebalance_dataset": lambda inputs: rebalance_dataset(inputs, "out", RANGE, format="thumbs"),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a log, a dataset of it with pairs, and a store."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("THUMBLINE_RATER_KEY", "0" * 64)
        return dataset_and_store(tmp_path_factory.mktemp("made"))


@pytest.mark.parametrize("name", sorted(TAKES_INPUTS))
@pytest.mark.parametrize(
    "nothing", [[], (), "", " ", [""], [Path("votes.jsonl"), "\n"], [None], b"votes.jsonl", None, 5, "a\0b", ["a\0b"]]
)
def test_no_input_and_a_blank_one_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, nothing: Any
) -> None:
    """A blank one would be the working folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "votes.jsonl").touch()
    with pytest.raises(UsageError, match=r"inputs: (nothing is named|this names no file or folder)"):
        TAKES_INPUTS[name](nothing)
    assert [path.name for path in tmp_path.iterdir()] == ["votes.jsonl"]


def test_one_text_or_path_is_one_input_and_not_its_letters(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(made / "in" / "thumbs")
    name = "000.jsonl"
    for given in (name, Path(name), [name], (Path(name),), iter([name])):
        assert [source.path for source in default_config(given, "thumbs").sources] == [name]
    for one in (name, Path(name)):
        assert find_files(one) == [Path(name)]
        assert [source.path for source in raw_sources(one, RawReading("thumbs"))] == [name]
        assert [source.path for source in config_of_inputs(one, "thumbs").sources] == [name]
    assert convert_files(name, "thumbs", "trl", str(tmp_path / "out.jsonl")).rows_kept > 0
    assert audit(name, source_format="thumbs").rows == audit([name], source_format="thumbs").rows
    assert audit(made / "dataset").rows == audit_against(str(made / "dataset"), made / "dataset")[0].rows
    rebalanced = rebalance_dataset(str(made / "dataset"), str(tmp_path / "out"), RANGE)
    assert rebalanced.folder == tmp_path / "out"


def test_what_takes_a_folder_takes_a_text(made: Path, tmp_path: Path) -> None:
    dataset, out = str(made / "dataset"), str(tmp_path)
    manifest = Manifest.read(dataset)
    manifest.verify(dataset)
    assert manifest.write(out) == tmp_path / "manifest.json"
    assert audit_dataset(dataset).rows["total"] == read_curated(dataset, manifest).height
    assert text_of_curated(dataset, manifest).paths[0].is_file()
    assert read_curated_pairs(f"{dataset}/preference", Manifest.read(f"{dataset}/preference")).height > 0
    write_dropped(explain_rebalance(dataset), f"{out}/dropped.csv")
    new = Store.open(str(made / "store")).events().collect()["event_id"]
    assert mix_dataset(dataset, f"{out}/mixed", new, older_share=0.5, config=RANGE).folder == tmp_path / "mixed"
    mixed = mix_pairs_of_dataset(dataset, f"{out}/pairs", new, older_share=0.5)
    assert Manifest.read(mixed.folder).dataset_type == "preference"
    assert freeze(dataset, f"{out}/frozen").digest == read_frozen(f"{out}/frozen").digest
    store = Store.open(str(made / "store"))
    assert curate_store(store, store_config(), f"{out}/curated").folder == tmp_path / "curated"
    assert curate(default_config(made / "in" / "thumbs", "thumbs"), f"{out}/again").folder == tmp_path / "again"


def test_a_config_file_may_be_named_by_a_text_and_begin_with_a_mark(tmp_path: Path) -> None:
    """Some editors write a byte order mark before the first key."""
    path = tmp_path / "curate.toml"
    path.write_bytes(b'\xef\xbb\xbfseed = 7\n[[sources]]\npath = "a.jsonl"\nformat = "thumbs"\n')
    assert read_toml(str(path))["seed"] == 7
    assert load_curate_config(str(path)).sources[0].path == str(tmp_path / "a.jsonl")
    assert store_config(path=str(path)).seed == 7


def test_a_blank_path_in_a_config_file_is_not_the_folder_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "curate.toml"
    path.write_text('[[sources]]\npath = ""\nformat = "thumbs"\n')
    with pytest.raises(UsageError, match="names no file or folder"):
        curate(load_curate_config(path), tmp_path / "out")


def test_paths_of_a_source_may_be_paths() -> None:
    source = SourceConfig(path=Path("a.jsonl"), format="mapped", map=Path("m.toml"), join=PurePosixPath("b"))  # type: ignore[arg-type]
    assert source == SourceConfig(path="a.jsonl", format="mapped", map="m.toml", join="b")


def test_one_override_is_one_and_not_its_letters() -> None:
    assert apply_overrides({}, "seed=3") == {"seed": 3}


@pytest.mark.parametrize("given", ["", "  ", None, 3, b"a", "a\0b", Path("a\0b")])
def test_what_is_no_path_is_told_with_its_argument(given: Any) -> None:
    with pytest.raises(UsageError, match=r"out: this names no file or folder.*expected a path, as text or Path"):
        path_of(given, name="out")
    with pytest.raises(UsageError, match="inputs: this names no file or folder"):
        path_texts([given])


@pytest.mark.parametrize("url", ["s3://bucket/out", "gs://bucket/out", "file:///out", Path("s3://bucket/out")])
def test_a_url_is_no_folder_of_this_machine(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str | Path
) -> None:
    """It would be a folder `s3:` where one happens to be."""
    monkeypatch.chdir(tmp_path)
    votes = str(made / "in" / "thumbs")
    told = "a URL cannot stand here: got .*; expected a file or folder of this machine"
    calls: list[Callable[[], object]] = [
        lambda: curate(default_config(votes, "thumbs"), url),
        lambda: curate_store(Store.open(made / "store"), store_config(), url),
        lambda: freeze(made / "dataset", url),
        lambda: rebalance_dataset(made / "dataset", url, RANGE),
        lambda: convert_files(votes, "thumbs", "trl", f"{url}.jsonl"),
    ]
    for call in calls:
        with pytest.raises(UsageError, match=f"out: {told}"):
            call()
    with pytest.raises(UsageError, match="store: a URL cannot stand here"):
        Store.open(Path(url))
    config = tmp_path / "curate.toml"
    config.write_text(f'[[sources]]\npath = "a.jsonl"\nformat = "thumbs"\n[split]\nheld_out = "{url}"\n')
    with pytest.raises(UsageError, match=rf"split\.held_out: {told}"):
        load_curate_config(config)
    with pytest.raises(UsageError, match=rf"split\.held_out: {told}"):
        curate(default_config(votes, "thumbs", overrides=[f"split.held_out={url}"]), "out")
    assert [path.name for path in tmp_path.iterdir()] == ["curate.toml"]


def test_choices_and_shares_that_do_not_exist_are_told(made: Path, tmp_path: Path) -> None:
    votes, out = made / "in" / "thumbs", tmp_path / "out.jsonl"
    with pytest.raises(
        UnknownChoiceError, match="unknown dataset type: got 'labels'; expected one of preference, unpa"
    ):
        convert_files(votes, "thumbs", "trl", out, dataset_type="labels")  # type: ignore[arg-type]
    with pytest.raises(UnknownChoiceError, match="fail_on: unknown severity to stop at: got 'pass'; expected one of f"):
        check_gates(audit(made / "dataset"), "pass")  # type: ignore[arg-type]
    store = Store.open(tmp_path / "store", create=True)
    source = SourceConfig(path=str(votes), format="thumbs")
    for share in (5, -1, float("nan")):
        with pytest.raises(UsageError, match="max_rejected_share: no share of records can be that"):
            convert_files(votes, "thumbs", "trl", out, max_rejected_share=share)
        with pytest.raises(UsageError, match="max_rejected_share: no share of records can be that"):
            store.ingest([source], max_rejected_share=share)
    assert not out.exists()
    assert not list((tmp_path / "store").glob("raw/*"))
    with pytest.raises(InputNotFoundError):
        audit(tmp_path / "none", source_format="thumbs")
