"""What a run computes of the reference: nothing that an earlier run of the same model has computed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from align.trainer import train
from schemas.progress import Advance
from tests.conftest import make_tokenizer
from tests.tiny_run import tiny_config, write_dataset, write_model

pytestmark = pytest.mark.usefixtures("own_cache")


def computed(tmp_path: Path, name: str, *, model: str, dataset: Path, **changes: Any) -> int:
    """Pairs that the reference scored in a run of one step."""
    scored = 0

    @contextmanager
    def progress(description: str, total: int | None = None) -> Iterator[Advance]:
        nonlocal scored
        scored += (total or 0) if description == "reference" else 0
        yield lambda units: None

    config = tiny_config(**{"evaluation": {"at_start": False}, "checkpoint": {"every_steps": 0}, **changes})
    train(config, dataset=dataset, model=model, out=tmp_path / name, progress=progress)
    return scored


def test_runs_share_what_is_the_same_and_nothing_else(tmp_path: Path) -> None:
    """18 rows with 2 x 18 mismatched pairs at most, 8 held out with 8: a second run computes none of them."""
    model, dataset = str(write_model(tmp_path / "model")), write_dataset(tmp_path / "data")
    call: dict[str, Any] = {"model": model, "dataset": dataset}
    first = computed(tmp_path, "first", **call)
    assert 18 + 18 + 16 < first <= 18 + 36 + 16
    assert computed(tmp_path, "again", **call) == 0
    assert computed(tmp_path, "beta", **call, objective={"beta": 0.7}) == 0
    assert computed(tmp_path, "value", **call, objective={"value": "concave"}) == 0
    assert computed(tmp_path, "no-z0", **call, objective={"z0_scope": "none"}) == 0
    assert computed(tmp_path, "sft", **call, objective={"name": "sft"}) == 0
    assert computed(tmp_path, "budget", **call, batch={"tokens_per_micro_batch": 50}) == 0
    # another shuffle has other mismatched pairs, and only those are new
    assert 0 < computed(tmp_path, "reshuffled", **call, seed=5) <= 36
    assert computed(tmp_path, "reshuffled-without", **call, seed=9, objective={"z0_scope": "none"}) == 0

    assert computed(tmp_path, "bfloat16", **call, dtype="bfloat16") == first
    other = str(write_model(tmp_path / "other", seed=1))
    assert computed(tmp_path, "weights", model=other, dataset=dataset) == first
    template = make_tokenizer().chat_template.replace("assistant", "helper")
    tokenizer = make_tokenizer(chat_template=template)
    tokenizer.save_pretrained(tmp_path / "model")
    assert computed(tmp_path, "template", **call) == first
