"""Clusters of near-duplicates: what belongs together, in any order, in any script."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feedback.hashing import answer_id
from feedback.near import NearClusters, find_clusters, sketch_files, sketch_texts, write_sketches
from schemas.errors import ConfigError, InputNotFoundError

WORDS = [f"w{number}" for number in range(400)]


def clusters_of(
    folder: Path, rows: list[tuple[str, str]], *, block: int = 1000, memory_mb: int = 64, threshold: float = 0.8
) -> NearClusters:
    """Clusters of prompts and completions that are written in blocks of some rows."""
    folder.mkdir()
    for start in range(0, max(len(rows), 1), block):
        part = rows[start : start + block]
        sketches = sketch_texts([prompt for prompt, _ in part], [completion for _, completion in part])
        write_sketches(sketches, folder, f"{start:06}")
    return find_clusters(sketch_files(folder), threshold=threshold, memory_mb=memory_mb)


def text_of(seed: int, words: int) -> str:
    draw = random.Random(seed)
    return " ".join(draw.choice(WORDS) for _ in range(words))


def keys_of(rows: list[tuple[str, str]]) -> tuple[list[int], list[int]]:
    """Keys of the prompts, and of the answers."""
    sketches = sketch_texts([prompt for prompt, _ in rows], [completion for _, completion in rows])
    return sketches.prompt_key.tolist(), answer_id(sketches.prompt_key, sketches.completion_key).tolist()


def groups_of(found: NearClusters, rows: list[tuple[str, str]]) -> list[int]:
    """First row of each row's group of prompts."""
    by_key = dict(found.prompts.iter_rows())
    groups = [by_key.get(key, key) for key in keys_of(rows)[0]]
    return [groups.index(group) for group in groups]


def clusters_by_row(found: NearClusters, rows: list[tuple[str, str]]) -> list[int]:
    """First row of each row's cluster of answers."""
    ids = answer_id(found.answers["prompt_key"].to_numpy(), found.answers["completion_key"].to_numpy()).tolist()
    by_id = dict(zip(ids, found.answers["cluster_id"], strict=True))
    clusters = [by_id.get(key, key) for key in keys_of(rows)[1]]
    return [clusters.index(cluster) for cluster in clusters]


LONG = text_of(0, 60)


def test_a_changed_word_leaves_prompts_in_one_group(tmp_path: Path) -> None:
    rows = [(LONG, "a b c d"), (LONG.replace("w1", "x", 1), "e f g h"), (text_of(1, 60), "i j k l")]
    found = clusters_of(tmp_path / "in", rows)
    assert groups_of(found, rows) == [0, 0, 2]
    assert found.prompts["group_id"].to_list() == [min(keys_of(rows)[0][:2])] * 2
    assert found.answers.is_empty()


def test_short_answers_to_one_long_prompt_stay_apart(tmp_path: Path) -> None:
    """Prompt and completion together are alike here, the completions are not."""
    rows = [(LONG, "Yes."), (LONG, "No."), (LONG, "yes!"), (LONG + " please", "No.")]
    found = clusters_of(tmp_path / "in", rows)
    assert clusters_by_row(found, rows) == [0, 1, 0, 1]
    assert groups_of(found, rows) == [groups_of(found, rows)[0]] * 4


def test_near_duplicate_answers_bring_their_prompts_into_one_group(tmp_path: Path) -> None:
    """Prompts too different to be near-duplicates, answers alike: twins must not stand on both sides of a split."""
    answer = text_of(2, 200)
    rows = [("what is it", answer), ("tell me now", answer + " x"), ("what is that thing", "something else entirely")]
    found = clusters_of(tmp_path / "in", rows)
    assert clusters_by_row(found, rows) == [0, 0, 2]
    assert groups_of(found, rows) == [0, 0, 2]
    assert found.answers["cluster_id"].to_list() == [min(keys_of(rows)[1][:2])] * 2


def test_exact_copies_are_one_document(tmp_path: Path) -> None:
    rows = [("A  prompt", "An answer"), ("a prompt", "an  answer")] * 3
    found = clusters_of(tmp_path / "in", rows)
    assert found.prompts.is_empty()
    assert found.answers.is_empty()
    assert (found.figures["prompts"], found.figures["answers"]) == (1, 1)


@pytest.mark.parametrize(
    ("one", "other", "unlike"),
    [
        (
            "今天天气很好，我们一起去公园散步吧，晚上再回家吃饭。",
            "今天天气很好，我们一起去公园散步吧！晚上再回家吃饭了。",
            "他昨天买了一本关于历史的书，现在正在图书馆里认真地阅读。",
        ),
        (
            "วันนี้อากาศดีมากเราไปเดินเล่นที่สวนสาธารณะกันเถอะ",
            "วันนี้อากาศดีมาก เราไปเดินเล่นที่สวนสาธารณะกันเถอะนะ",
            "เมื่อวานเขาซื้อหนังสือประวัติศาสตร์เล่มหนึ่งจากร้านหนังสือ",
        ),
    ],
    ids=["Chinese", "Thai"],
)
def test_near_duplicates_are_found_in_scripts_without_spaces(tmp_path: Path, one: str, other: str, unlike: str) -> None:
    rows = [(one, one), (unlike, unlike), (other, other)]
    found = clusters_of(tmp_path / "in", rows)
    assert groups_of(found, rows) == clusters_by_row(found, rows) == [0, 1, 0]


def test_a_common_phrase_does_not_hide_the_twins_of_a_large_bucket(tmp_path: Path) -> None:
    """300 prompts share two thirds of their words; each has one twin, and only twins belong together."""
    common = text_of(3, 120)
    rows = [(f"{common} {text_of(seed % 300 + 10, 60)}{' z' * (seed // 300)}", str(seed)) for seed in range(600)]
    found = clusters_of(tmp_path / "in", rows)
    right = sum(group == row % 300 for row, group in enumerate(groups_of(found, rows)))
    assert right >= 0.97 * 600


def corpus(seed: int) -> list[tuple[str, str]]:
    draw = random.Random(seed)
    rows = []
    for number in range(60):
        prompt, completion = text_of(number % 20, 30), text_of(number % 10 + 100, 120)
        words = completion.split()
        words[draw.randrange(len(words))] = "changed"
        rows.append((prompt + " more" * draw.randrange(2), " ".join(words)))
    return rows


@settings(max_examples=12, deadline=None)
@given(st.randoms(use_true_random=False), st.integers(1, 70), st.sampled_from([1, 64]))
def test_order_of_rows_blocks_and_memory_change_nothing(
    tmp_path_factory: pytest.TempPathFactory, draw: random.Random, block: int, memory_mb: int
) -> None:
    rows = corpus(1)
    folder = tmp_path_factory.mktemp("near")
    whole = clusters_of(folder / "whole", rows)
    draw.shuffle(rows)
    found = clusters_of(folder / "parts", rows, block=block, memory_mb=memory_mb)
    assert whole.prompts.height > 0 < whole.answers.height
    assert found.prompts.equals(whole.prompts)
    assert found.answers.equals(whole.answers)
    assert found.figures == whole.figures


def test_one_row_or_none_makes_no_cluster(tmp_path: Path) -> None:
    for name, rows in {"none": [], "one": [("a b c", "d e f")]}.items():
        found = clusters_of(tmp_path / name, rows)
        assert found.prompts.is_empty()
        assert found.answers.is_empty()
        assert found.figures["largest_cluster"] == 0


def test_blocks_of_different_settings_are_refused(tmp_path: Path) -> None:
    write_sketches(sketch_texts(["a"], ["b"], threshold=0.8), tmp_path, "1")
    write_sketches(sketch_texts(["a"], ["b"], threshold=0.7), tmp_path, "2")
    with pytest.raises(ConfigError, match="different settings"):
        find_clusters(sketch_files(tmp_path))


def test_a_missing_file_of_a_block_is_an_error(tmp_path: Path) -> None:
    file = write_sketches(sketch_texts(["a"], ["b"]), tmp_path, "1")
    file.shingles.unlink()
    with pytest.raises(InputNotFoundError, match="sketches are missing"):
        find_clusters([file])


@pytest.mark.parametrize("threshold", [0.0, 1.0, -1, 0.05])
def test_a_threshold_out_of_range_is_refused(threshold: float) -> None:
    with pytest.raises(ConfigError, match="threshold out of range"):
        sketch_texts(["a"], ["b"], threshold=threshold)
