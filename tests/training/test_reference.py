"""The reference cache: keyed by content, computed once, whole at any moment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from align.reference.reference_cache import ReferenceCache, reference_key, reference_logps
from align.reference.reference_pass import keep_reference
from align.scoring import scorer as scoring
from align.scoring.logps import CompletionLogps
from align.scoring.trees import tree_batches
from schemas.errors import CorruptionError, NonFiniteLossError, ShapeError

PAIRS = [((1, 2, 3), (4, 5)), ((1,), (2, 3, 4, 5)), ((9, 9), (8,)), ((1, 2), (3, 4, 5))]


class Scorer:
    """A sum over ids that depends on the border, and a count of what it was asked."""

    def __init__(self, fail_after: int = 10**9) -> None:
        self.sequences = 0
        self.calls = 0
        self.fail_after = fail_after

    def __call__(self, batch: Any) -> torch.Tensor:
        if self.calls == self.fail_after:
            raise KeyboardInterrupt
        self.calls += 1
        self.sequences += len(batch)
        assert not torch.is_grad_enabled()
        return torch.tensor([-(sum(prompt) + 2 * sum(completion)) / 3 for prompt, completion in batch])


def compute(scorer: Any, cache: ReferenceCache, pairs: Any = PAIRS, *, budget: int = 8, **changes: Any) -> list[float]:
    options = {"model_digest": "m", "dtype": "float32", "arrange": lambda groups: tree_batches(groups, budget)}
    return reference_logps(pairs, scorer, cache, **(options | changes))


def test_values_are_in_the_order_of_the_pairs() -> None:
    values = compute(Scorer(), ReferenceCache())
    assert values == pytest.approx([-(6 + 18) / 3, -(1 + 28) / 3, -(18 + 16) / 3, -(3 + 24) / 3])


def test_a_second_run_and_a_reshuffle_compute_nothing(tmp_path: Path) -> None:
    path = tmp_path / "cache" / "reference.parquet"
    first = compute(Scorer(), ReferenceCache(path))
    again = Scorer()
    assert compute(again, ReferenceCache(path), PAIRS[::-1], budget=100) == first[::-1]
    assert again.calls == 0


@pytest.mark.parametrize("changes", [{"model_digest": "n"}, {"dtype": "bfloat16"}])
def test_another_weight_or_dtype_computes_everything(tmp_path: Path, changes: dict[str, str]) -> None:
    path, scorer = tmp_path / "reference.parquet", Scorer()
    compute(Scorer(), ReferenceCache(path))
    compute(scorer, ReferenceCache(path), **changes)
    assert scorer.sequences == len(PAIRS)


def test_keys_tell_where_prompt_ends_and_completion_begins() -> None:
    keys = {reference_key("m", "f", prompt, completion) for prompt, completion in [*PAIRS, ((1, 2, 3, 4), (5,))]}
    assert len(keys) == 5
    assert reference_key("ab", "c", (1,), (2,)) != reference_key("a", "bc", (1,), (2,))


def test_the_same_pair_twice_is_computed_once() -> None:
    scorer = Scorer()
    values = compute(scorer, ReferenceCache(), [PAIRS[0], PAIRS[1], PAIRS[0]])
    assert scorer.sequences == 2
    assert values[0] == values[2]


def test_a_stopped_run_goes_on_where_it_was(tmp_path: Path) -> None:
    path = tmp_path / "reference.parquet"
    with pytest.raises(KeyboardInterrupt):
        compute(Scorer(fail_after=2), ReferenceCache(path), budget=1, save_every=1)
    rest = Scorer()
    compute(rest, ReferenceCache(path), budget=1, save_every=1)
    assert rest.sequences == len(PAIRS) - 2
    assert [each.name for each in tmp_path.iterdir()] == ["reference.parquet"]


def test_two_writers_keep_each_others_numbers(tmp_path: Path) -> None:
    path = tmp_path / "reference.parquet"
    one, two = ReferenceCache(path), ReferenceCache(path)
    compute(Scorer(), one, PAIRS[:2])
    compute(Scorer(), two, PAIRS[2:])
    assert len(ReferenceCache(path)) == len(PAIRS)


def test_a_file_is_read_back_exactly(tmp_path: Path) -> None:
    path = tmp_path / "reference.parquet"
    cache = ReferenceCache(path)
    key = reference_key("m", "f", (1,), (2,))
    cache.put(key, torch.tensor(-0.1).item())
    cache.save()
    read = ReferenceCache(path)
    assert key in read
    assert read[key] == torch.tensor(-0.1).item()


def test_no_changed_byte_changes_a_number(tmp_path: Path) -> None:
    """Whichever byte is flipped: the file is refused as corrupt, or the numbers are still those that were written."""
    path = tmp_path / "reference.parquet"
    values = compute(Scorer(), ReferenceCache(path))
    content = path.read_bytes()
    refused = 0
    for position in range(len(content)):
        path.write_bytes(content[:position] + bytes([content[position] ^ 0xFF]) + content[position + 1 :])
        try:
            cache = ReferenceCache(path)
        except CorruptionError as error:
            assert "reference cache cannot be read" in str(error)  # noqa: PT017 - counted over all bytes
            refused += 1
        else:
            assert compute(Scorer(), cache) == values
    assert refused > len(content) / 2


def test_a_number_that_is_not_finite_is_refused_and_not_kept(tmp_path: Path) -> None:
    path = tmp_path / "reference.parquet"
    with pytest.raises(NonFiniteLossError, match=r"tokens \[1, 2.*not finite: got nan"):
        compute(lambda batch: torch.full((len(batch),), torch.nan), ReferenceCache(path))
    assert not path.exists()


def test_a_scorer_of_another_length_is_refused() -> None:
    with pytest.raises(ShapeError, match="the scorer's values do not fit"):
        compute(lambda batch: torch.zeros(3, 3), ReferenceCache())


def test_policy_and_reference_of_one_model_agree(tiny_model: Any) -> None:
    """The cached number and a gradient pass of the same weights differ by float rounding only."""
    module = CompletionLogps(tiny_model)
    scorer = scoring.Scorer(module, torch.device("cpu"), "float32", 0, 100)
    cached = torch.tensor(compute(scorer, ReferenceCache()))
    torch.testing.assert_close(cached, scorer(PAIRS).detach(), atol=1e-5, rtol=0)


def test_a_number_that_is_known_stays(tmp_path: Path) -> None:
    """In the run's file and in that of all runs, so that a run that is broken off goes on with what it had."""
    files: dict[str, Any] = {"own": tmp_path / "own.parquet", "shared": tmp_path / "shared.parquet"}
    call: dict[str, Any] = {"model_digest": "m", "dtype": "float32", "is_writer": True, **files}
    known, new = ((1, 2), (3,)), ((1, 2), (4,))
    assert keep_reference({known: -1.5}, **call) == {known: -1.5}
    assert keep_reference({known: -1.25, new: -2.0}, **call) == {known: -1.5, new: -2.0}
    for path in files.values():
        cache = ReferenceCache(path)
        assert [cache[reference_key("m", "float32", *pair)] for pair in (known, new)] == [-1.5, -2.0]
    other: dict[str, Any] = {**call, "own": tmp_path / "other.parquet", "is_writer": False}
    keep_reference({new: -3.0}, **other)
    assert not (tmp_path / "other.parquet").exists()


@pytest.mark.parametrize("logp", [float("nan"), float("-inf")])
def test_a_number_that_is_not_finite_is_not_kept(tmp_path: Path, logp: float) -> None:
    own, shared = tmp_path / "own.parquet", tmp_path / "shared.parquet"
    with pytest.raises(NonFiniteLossError, match=r"tokens \[1, 2, 3\]"):
        keep_reference(
            {((1, 2), (3,)): logp}, model_digest="m", dtype="float32", own=own, shared=shared, is_writer=True
        )
    assert not own.exists()
    assert not shared.exists()
