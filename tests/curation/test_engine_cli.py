"""Where the stages run is chosen on the command line or in the config, and leaves no trace in the dataset."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from cli.main import run
from feedback.config import EngineConfig
from feedback.pipeline import load_curate_config
from feedback.run_config import plan_key, resolved_config
from schemas.errors import ConfigError

THUMBS = Path(__file__).parents[2] / "sample_data" / "thumbs.jsonl"


def refusal(capsys: pytest.CaptureFixture[str], tmp_path: Path, *options: str) -> str:
    """The error of a `curate` that is refused as a usage error and leaves nothing."""
    assert run(["curate", str(THUMBS), "--from", "thumbs", "-o", str(tmp_path / "out"), *options]) == 2
    assert list(tmp_path.iterdir()) == []
    return " ".join(capsys.readouterr().err.split())


def test_an_address_needs_the_engine_ray(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for options in ([], ["--engine", "local"]):
        error = refusal(capsys, tmp_path, "--ray-address", "head:6379", *options)
        assert "--ray-address: an address is given for an engine that needs none: got 'head:6379'" in error


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="the extra `ray` is not installed")
def test_a_cluster_without_token_authentication_is_a_usage_error(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    error = refusal(capsys, tmp_path, "--engine", "ray", "--ray-address", "head:6379")
    assert "a Ray cluster is joined with token authentication only" in error
    # The config names the engine, and the option the address.
    error = refusal(capsys, tmp_path, "--ray-address", "head:6379", "--set", "engine.name=ray")
    assert "a Ray cluster is joined with token authentication only" in error
    # The option names the engine that the config has, whose address stands there.
    of_config = ("--set", "engine.name=ray", "--set", "engine.ray_address=head:6379")
    error = refusal(capsys, tmp_path, "--engine", "ray", *of_config)
    assert "a Ray cluster is joined with token authentication only" in error


def test_the_engine_leaves_no_trace_in_manifest_or_plan(tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text(f'[[sources]]\npath = "{THUMBS}"\nformat = "thumbs"\n')
    plain = load_curate_config(tmp_path / "run.toml")
    other = load_curate_config(tmp_path / "run.toml", ["engine.name=ray", "engine.workers=3"])
    assert other.engine == EngineConfig(name="ray", workers=3)
    assert resolved_config(plain) == resolved_config(other)
    assert "engine" not in resolved_config(other)
    assert plan_key(plain) == plan_key(other)


def test_a_config_that_asks_for_no_worker_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text(f'[[sources]]\npath = "{THUMBS}"\nformat = "thumbs"\n[engine]\nworkers = 0\n')
    with pytest.raises(ConfigError, match=r"'engine\.workers' is not right .*greater than or equal to 1.*got 0"):
        load_curate_config(tmp_path / "run.toml")
