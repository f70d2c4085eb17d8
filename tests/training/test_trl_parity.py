"""KTO beside TRL's: in its order, with its mismatched pairs and a z0 of each micro batch, losses are the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.trl_losses import compare_losses


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_losses_are_those_of_trl_for_20_steps(tmp_path: Path) -> None:
    """Within 1e-4, while the loss falls and z0 leaves 0."""
    losses = compare_losses(20, 4, tmp_path)
    assert len(losses["trl"]) == 20
    assert losses["ours"] == pytest.approx(losses["trl"], abs=1e-4)
    assert max(losses["trl"]) - min(losses["trl"]) > 0.05
    assert max(losses["z0"]) > 0.01
