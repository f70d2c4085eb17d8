"""What changed between two datasets and two models, row by row and tensor by tensor."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from align.champion.dataset_diff import CHANGES, diff_datasets
from align.champion.model_diff import diff_configs, diff_models, diff_weights
from align.trainer import train
from schemas.errors import CorruptionError, InputError, InputNotFoundError
from schemas.manifest import Manifest, Shard, file_sha256
from schemas.report import StageReport
from tests.tiny_run import tiny_config, write_dataset, write_model


def write_curated(folder: Path, rows: list[tuple[str, bool, str, float]], source: str = "chat") -> Path:
    """A dataset of one shard a split that holds what a diff reads."""
    (folder / "data").mkdir(parents=True)
    shards = []
    for split in ("train", "test"):
        part = [row for row in rows if row[2] == split]
        path = folder / "data" / f"{split}.parquet"
        names = ("row_id", "label", "split", "weight")
        table = pa.table({name: [row[place] for row in part] for place, name in enumerate(names)})
        pq.write_table(table.append_column("source", pa.array([source] * len(part), pa.string())), path)
        ups = sum(row[1] for row in part)
        shards.append(
            Shard(
                f"data/{split}.parquet", split, len(part), ups, len(part) - ups, path.stat().st_size, file_sha256(path)
            )
        )
    Manifest(folder.name, "unpaired_preference", "0", (), (), tuple(shards)).write(folder)
    return folder


@pytest.fixture
def before(tmp_path: Path) -> Path:
    return write_curated(
        tmp_path / "before",
        [("a", True, "train", 1.0), ("b", True, "train", 1.0), ("c", False, "test", 1.0), ("d", False, "train", 1.0)],
    )


def test_rows_that_came_went_and_changed_are_told_apart(before: Path, tmp_path: Path) -> None:
    after = write_curated(
        tmp_path / "after",
        [("a", True, "train", 1.0), ("b", False, "train", 2.0), ("c", False, "train", 1.0), ("e", True, "test", 1.0)],
    )
    found = diff_datasets(before, after)
    assert found.counts == {"came": 1, "went": 1, "label": 1, "split": 1, "weight": 0, "same": 1}
    changes = {row["row_id"]: row["change"] for row in found.rows.to_pylist()}
    assert changes == {"b": "label", "c": "split", "d": "went", "e": "came"}
    label = next(found.examples("label", 5))
    assert (label["label_before"], label["label_after"]) == (True, False)
    assert found.by_source() == {"chat": {"came": 1, "label": 1, "split": 1, "went": 1}}
    assert json.loads(json.dumps(found.to_dict()))["before"] == "before"


def test_the_other_way_round_what_came_went(before: Path, tmp_path: Path) -> None:
    after = write_curated(tmp_path / "after", [("a", True, "train", 1.5), ("z", True, "train", 1.0)])
    there, back = diff_datasets(before, after).counts, diff_datasets(after, before).counts
    assert (there["came"], there["went"], there["weight"]) == (1, 3, 1)
    assert (back["came"], back["went"], back["weight"]) == (3, 1, 1)


def test_dataset_does_not_differ_from_itself(before: Path) -> None:
    found = diff_datasets(before, before)
    assert found.rows.num_rows == 0
    assert found.counts == {**dict.fromkeys(CHANGES, 0), "same": 4}


def with_pairs(folder: Path, pairs: list[tuple[str, str, float]]) -> Path:
    """A dataset of one row that holds pairs, with what a diff reads of them."""
    write_curated(folder, [("a", True, "train", 1.0)])
    place = folder / "preference"
    (place / "data").mkdir(parents=True)
    path = place / "data" / "train.parquet"
    pq.write_table(
        pa.table({name: [pair[n] for pair in pairs] for n, name in enumerate(("row_id", "split", "weight"))}), path
    )
    shard = Shard("data/train.parquet", "train", len(pairs), 0, 0, path.stat().st_size, file_sha256(path))
    made = StageReport("pairs", len(pairs), 0, len(pairs), {}, digest_out=f"pairs of {folder.name}")
    Manifest(f"{folder.name}-pairs", "preference", "0", (), (made,), (shard,)).write(place)
    replace(Manifest.read(folder), pairs=made).write(folder)
    return folder


def test_pairs_that_came_and_went_are_told_beside_the_rows(tmp_path: Path) -> None:
    old = with_pairs(tmp_path / "old", [("p", "train", 1.0), ("q", "train", 1.0)])
    new = with_pairs(tmp_path / "new", [("q", "train", 0.5), ("r", "train", 1.0), ("s", "train", 1.0)])
    found = diff_datasets(old, new)
    assert found.pairs is not None
    assert found.counts["same"] == 1
    assert found.pairs.counts == {"came": 2, "went": 1, "label": 0, "split": 0, "weight": 1, "same": 0}
    assert (found.pairs.before, found.pairs.after) == ("old-pairs", "new-pairs")
    assert found.to_dict()["pairs"]["rows_after"] == 3


def test_where_one_side_has_no_pairs_all_of_them_came_or_went(before: Path, tmp_path: Path) -> None:
    new = with_pairs(tmp_path / "new", [("q", "train", 0.5), ("r", "train", 1.0)])
    there, back = diff_datasets(before, new).pairs, diff_datasets(new, before).pairs
    assert there is not None
    assert back is not None
    assert (there.before, there.rows_before, there.counts["came"]) == ("", 0, 2)
    assert (back.after, back.rows_after, back.counts["went"]) == ("", 0, 2)
    assert diff_datasets(before, before).pairs is None


def test_flipped_byte_of_a_pair_is_found(tmp_path: Path) -> None:
    old = with_pairs(tmp_path / "old", [("p", "train", 1.0)])
    path = old / "preference" / "data" / "train.parquet"
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(CorruptionError, match="a shard is not what the manifest says"):
        diff_datasets(old, old)


def test_flipped_byte_and_double_id_are_found_before_anything_is_compared(before: Path, tmp_path: Path) -> None:
    double = write_curated(tmp_path / "double", [("a", True, "train", 1.0), ("a", True, "train", 1.0)])
    with pytest.raises(InputError, match="an id stands twice"):
        diff_datasets(before, double)
    path = before / "data" / "train.parquet"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(CorruptionError, match="a shard is not what the manifest says"):
        diff_datasets(before, before)
    with pytest.raises(InputNotFoundError, match=r"no manifest\.json"):
        diff_datasets(tmp_path / "nowhere", before)


def test_shard_without_ids_is_refused(before: Path) -> None:
    path = before / "data" / "test.parquet"
    pq.write_table(pa.table({"label": [True]}), path)
    manifest = Manifest.read(before)
    shard = replace(manifest.shards[1], bytes=path.stat().st_size, sha256=file_sha256(path))
    replace(manifest, shards=(manifest.shards[0], shard)).write(before)
    with pytest.raises(InputError, match="no column 'row_id'"):
        diff_datasets(before, before)


@pytest.fixture
def runs(tmp_path: Path, own_cache: None) -> tuple[Path, Path]:
    """Two runs from one model that differ in beta."""
    model, dataset = write_model(tmp_path / "model"), write_dataset(tmp_path / "dataset")
    for name, beta in (("first", 0.1), ("second", 0.4)):
        config = tiny_config(objective={"beta": beta}, epochs=1)
        train(config, dataset=dataset, model=str(model), out=tmp_path / name)
    return tmp_path / "first", tmp_path / "second"


def test_models_differ_in_config_figures_and_weights(runs: tuple[Path, Path]) -> None:
    found = diff_models(*runs)
    assert found["config"] == {"objective.beta": [0.1, 0.4]}
    assert found["base"][0] == found["base"][1]
    assert found["datasets"][0] == found["datasets"][1]
    assert 0 < found["weights"]["relative"] < 1
    assert all(value is not None for value in found["evaluation"]["loss"])
    json.dumps(found, allow_nan=False)


def test_weights_that_are_the_same_lie_nowhere_apart(runs: tuple[Path, Path]) -> None:
    model = runs[0] / "model"
    found = diff_weights(model, model)
    assert found["relative"] == 0
    assert set(found["largest"].values()) == {0.0}


def test_weights_by_hand(tmp_path: Path) -> None:
    """(3, 4) against (3, 4.5) is 0.5 / 5; a tensor on one side, or of another shape, is named."""
    import torch
    from safetensors.torch import save_file

    sides: list[dict[str, Any]] = [
        {"w": torch.tensor([3.0, 4.0]), "gone": torch.ones(1), "shape": torch.ones(2)},
        {"w": torch.tensor([3.0, 4.5]), "new": torch.ones(1), "shape": torch.ones(3)},
    ]
    for name, tensors in zip("ab", sides, strict=True):
        (tmp_path / name).mkdir()
        save_file(tensors, tmp_path / name / "model.safetensors")
    found = diff_weights(tmp_path / "a", tmp_path / "b")
    assert found["relative"] == pytest.approx(0.1)
    assert (found["only_before"], found["only_after"], found["other_shape"]) == (["gone"], ["new"], ["shape"])


def test_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputNotFoundError, match="the folder holds no finished run"):
        diff_models(tmp_path, tmp_path)


def test_config_keys_of_one_side_are_null_on_the_other() -> None:
    assert diff_configs({"a": 1}, {"b": {"c": 2}}) == {"a": [1, None], "b": [None, {"c": 2}]}
