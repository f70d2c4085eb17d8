"""Output folders, gates and the config of a run: what is refused, and what is recorded."""

from __future__ import annotations

import shutil
from dataclasses import asdict
from pathlib import Path

import pytest

from feedback.config import CurateConfig, DedupConfig, SourceConfig
from feedback.dataset.folders import built_folder, refuse_to_replace
from feedback.pipeline.unusable import refuse_unusable
from feedback.run_config import default_config, is_same_input, load_curate_config, resolved_config
from schemas.errors import (
    ConfigError,
    EmptySplitError,
    InputError,
    InputNotFoundError,
    OneLabelError,
    OutputExistsError,
    UnknownChoiceError,
)
from schemas.manifest import SourceFile, file_sha256
from schemas.report import LabelCounts


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    with built_folder(out) as work:
        (work / "data").mkdir()
        assert not out.exists()
    assert (out / "data").is_dir()
    with pytest.raises(InputError), built_folder(out) as work:
        raise InputError("the file is no JSON")
    assert [path.name for path in out.parent.iterdir()] == ["out"]
    assert (out / "data").is_dir()


def test_of_an_interrupted_run_its_stages_stay_for_the_next_and_go_with_it(tmp_path: Path) -> None:
    out = tmp_path / "out"
    work = tmp_path / "out.partial"
    with pytest.raises(KeyboardInterrupt), built_folder(out):
        raise KeyboardInterrupt
    for name in ("staging", "data"):
        (work / name).mkdir()
    (work / "data" / ".train-00000-of-00001.parquet.7.partial").touch()
    assert not out.exists()
    with built_folder(out) as work:
        assert [path.name for path in work.iterdir() if path.is_dir()] == ["staging"]
    assert not list(out.iterdir())
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("mark", [".thumbline-unfinished", "staging", "manifest.json"])
def test_what_a_killed_run_left_beside_the_output_is_replaced(tmp_path: Path, mark: str) -> None:
    (tmp_path / "out.partial" / "data").mkdir(parents=True)
    (tmp_path / "out.partial" / mark).touch()
    with built_folder(tmp_path / "out") as work:
        assert not (work / "data").exists()
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize("names", [["thesis.tex"], ["README.md", "data/raw.jsonl"], ["stages/notes.txt"]])
def test_a_folder_that_is_not_ours_is_never_deleted(tmp_path: Path, names: list[str]) -> None:
    """Neither the output nor the folders beside it, though all names in them are names that datasets use too."""
    folders = [tmp_path / name for name in ("out", "out.partial", "out.partial-old")]
    for folder in folders:
        for name in names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).touch()
    for overwrite in (False, True):
        with pytest.raises(OutputExistsError, match="is no dataset of ours and would be lost"):
            refuse_to_replace(folders[0], overwrite=overwrite)
    with pytest.raises(OutputExistsError, match="would be lost"):
        refuse_to_replace(folders[0] / names[0], overwrite=True)
    for _ in folders[1:]:
        with pytest.raises(OutputExistsError, match="holds files that are not ours"), built_folder(folders[0]):
            pass
        shutil.rmtree(next(folder for folder in folders[1:] if folder.exists()))
    assert all((folders[0] / name).exists() for name in names)


def test_a_marked_folder_with_files_of_others_is_not_built_in(tmp_path: Path) -> None:
    work = tmp_path / "out.partial"
    work.mkdir()
    for name in (".thumbline-unfinished", "notes.txt"):
        (work / name).touch()
    with pytest.raises(OutputExistsError, match="holds files that are not ours"), built_folder(tmp_path / "out"):
        pass
    assert (work / "notes.txt").exists()


@pytest.mark.parametrize("name", ["notes.txt", "data/raw.jsonl", ".git/config", "model/model.safetensors"])
def test_files_beside_a_dataset_are_not_lost_with_it(tmp_path: Path, name: str) -> None:
    (tmp_path / "manifest.json").touch()
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train-00000-of-00001.parquet").touch()
    refuse_to_replace(tmp_path, overwrite=True)
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).touch()
    with pytest.raises(OutputExistsError, match=rf"would be lost: .*got '{name.split('/')[0]}"):
        refuse_to_replace(tmp_path, overwrite=True)


def test_another_dataset_is_replaced_only_on_request(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").touch()
    with pytest.raises(OutputExistsError, match="holds a dataset made from other files or with another config"):
        refuse_to_replace(tmp_path, overwrite=False)
    refuse_to_replace(tmp_path, overwrite=True)


def refuse(
    test_fraction: float, train: tuple[int, int] = (0, 0), test: tuple[int, int] = (0, 0), **dropped: int
) -> None:
    """The gate, for desirable and undesirable rows of each split, and what the stages `caps` and `split` dropped."""
    splits = {"train": LabelCounts(*train), "test": LabelCounts(*test)}
    refuse_unusable(splits, test_fraction, stages=("caps", "split"), dropped=dropped)


def test_no_rows_are_refused_with_the_reasons() -> None:
    with pytest.raises(EmptySplitError, match=r"caps, split: no row is left: got {'neutral': 7, 'tie': 2}"):
        refuse(0.1, tie=2, neutral=7)


def test_one_label_is_refused_with_its_counts() -> None:
    with pytest.raises(OneLabelError, match="one label: 2 desirable and 0 undesirable; expected rows of both"):
        refuse(0.1, train=(2, 0))


@pytest.mark.parametrize(("poor", "help_text"), [("train", "Hold out less"), ("test", "Hold out more")])
def test_a_split_with_one_label_is_refused_with_what_helps(poor: str, help_text: str) -> None:
    rich = "test" if poor == "train" else "train"
    with pytest.raises(EmptySplitError, match=f"the {poor} split has 1 desirable and 0 undesirable rows.*{help_text}"):
        refuse(0.1, **{rich: (1, 1), poor: (1, 0)})  # type: ignore[arg-type]


def test_without_a_test_split_only_train_counts() -> None:
    refuse(0.0, train=(1, 1))
    with pytest.raises(EmptySplitError, match="the test split has 0 desirable and 0 undesirable rows"):
        refuse(0.1, train=(1, 1))


def written(folder: Path, text: str) -> Path:
    path = folder / "curate.toml"
    path.write_text(text)
    return path


def test_paths_in_a_config_file_are_relative_to_it(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        """
        seed = 7
        [[sources]]
        path = "logs/*.jsonl"
        format = "mapped"
        map = "map.toml"
        [[sources]]
        path = "/data/b.jsonl"
        format = "thumbs"
        [rebalance]
        high = 1.5
        """,
    )
    config = load_curate_config(path, ["rebalance.mode=both", "split.test_fraction=0"])
    assert [source.path for source in config.sources] == [str(tmp_path / "logs" / "*.jsonl"), "/data/b.jsonl"]
    assert config.sources[0].map == str(tmp_path / "map.toml")
    assert (config.seed, config.rebalance.high, config.rebalance.mode) == (7, 1.5, "both")
    assert config.split.test_fraction == 0


def test_a_wrong_key_or_value_of_a_config_is_refused(tmp_path: Path) -> None:
    source = '[[sources]]\npath = "a"\nformat = "thumbs"\n'
    with pytest.raises(UnknownChoiceError, match=r"unknown config key: got 'dedup.how'; expected one of dedup.keep"):
        load_curate_config(written(tmp_path, source + "[dedup]\nhow = 1"))
    with pytest.raises(ConfigError, match=r"config key 'split.test_fraction' is not right .* got 1"):
        load_curate_config(written(tmp_path, source + "[split]\ntest_fraction = 1"))
    with pytest.raises(ConfigError, match="config key 'sources' is not right"):
        load_curate_config(written(tmp_path, "seed = 1"))
    with pytest.raises(InputNotFoundError, match="no such config file"):
        load_curate_config(tmp_path / "none.toml")


def test_the_recorded_config_names_no_folder(tmp_path: Path) -> None:
    (tmp_path / "map.toml").write_text("a = 1")
    config = default_config(
        [tmp_path / "a.jsonl"], "mapped", map=str(tmp_path / "map.toml"), overrides=["dedup.keep=newest"]
    )
    values = resolved_config(config)
    assert str(tmp_path) not in str(values)
    (source,) = values["sources"]
    assert source["path"] == "a.jsonl"
    assert source["map"] == {"name": "map.toml", "sha256": file_sha256(tmp_path / "map.toml")}
    assert values["dedup"] == asdict(DedupConfig(keep="newest"))


def test_an_input_is_the_same_only_byte_for_byte(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("{}")
    known = [SourceFile("a.jsonl", "thumbs", file_sha256(path), 2, 1)]
    sources = [SourceConfig(path=str(path), format="thumbs")]
    assert is_same_input(sources, known)
    assert not is_same_input(sources * 2, known)
    assert not is_same_input([SourceConfig(path="-", format="thumbs")], known)
    path.write_text("[]")
    assert not is_same_input(sources, known)


def test_a_run_needs_a_source() -> None:
    with pytest.raises(Exception, match="at least 1 item"):
        CurateConfig(sources=())
