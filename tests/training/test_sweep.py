"""A sweep: a run for each combination, one reference pass for all of them, and one table."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

import align.reference.reference_pass as reference_pass
from align.artifacts.card import find_run_card
from align.trainer.sweep import sweep
from cli.main import thumbline
from schemas.errors import ConfigError, UnknownChoiceError
from tests.tiny_run import CONFIG, write_dataset, write_model

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_model(tmp_path_factory.mktemp("model")))


def test_every_combination_is_run_and_the_reference_computed_once(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scored: list[int] = []
    score = reference_pass._score_batches

    def counted(batches, *args, **more):  # type: ignore[no-untyped-def]
        scored.append(sum(map(len, batches)))
        return score(batches, *args, **more)

    monkeypatch.setattr(reference_pass, "_score_batches", counted)
    dataset = write_dataset(tmp_path / "data")
    varied = ("beta=0.05,0.5", "optimizer.learning_rate=0.001,0.01")
    runs = sweep(CONFIG, varied, dataset=dataset, model=model, out=tmp_path / "out")
    assert [one.folder.name for one in runs] == [
        f"beta={beta},optimizer.learning_rate={rate}" for beta in ("0.05", "0.5") for rate in ("0.001", "0.01")
    ]
    assert [one.card.config["objective"]["beta"] for one in runs] == [0.05, 0.05, 0.5, 0.5]
    assert scored[0] > 0
    assert sum(scored[1:]) == 0
    plans = {one.card.digests["plan"] for one in runs}
    assert len(plans) == 1
    written = json.loads((tmp_path / "out" / "sweep.json").read_text())
    assert [one["settings"] for one in written] == [dict(one.settings) for one in runs]
    again = sweep(CONFIG, varied, dataset=dataset, model=model, out=tmp_path / "out")
    assert [one.card for one in again] == [find_run_card(one.folder) for one in runs]


@pytest.mark.parametrize(
    ("varied", "message"),
    [
        ("beta=0.1", "--sweep: a sweep is not KEY=V1,V2"),
        ("beta", "--sweep: a sweep is not KEY=V1,V2"),
        ("beta=0.1,-1", r"config key 'objective\.beta' is not right"),
        ("gamma=1,2", "unknown config key: got 'gamma'"),
        ("objective.name=../x,kto", "a sweep is not KEY=V1,V2"),
    ],
)
def test_what_cannot_be_swept_is_refused_before_anything_is_trained(varied: str, message: str, tmp_path: Path) -> None:
    with pytest.raises((ConfigError, UnknownChoiceError), match=message):
        sweep(CONFIG, (varied,), dataset=tmp_path / "none", model="none", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_command_compares_objectives_in_one_table(model: str, tmp_path: Path) -> None:
    """Objectives of one dataset type, by name; and a single run of pairs says what it trained on."""
    dataset = write_dataset(tmp_path / "data")
    settings = [f"--set={key}" for key in ("device=cpu", "batch.batch_size=6", "max_steps=2")]
    out = tmp_path / "out"
    command = ["train", str(dataset), "--model", model, "-o", str(out), "--sweep", "name=kto,sft", *settings]
    done = CliRunner().invoke(thumbline, command, catch_exceptions=False)
    assert done.exit_code == 0
    assert "accuracy" in done.stdout
    assert "sft" in done.stdout
    assert (out / "name=sft" / "run_card.json").is_file()
    found = json.loads(CliRunner().invoke(thumbline, [*command, "--json"], catch_exceptions=False).stdout)
    assert [one["settings"] for one in found["runs"]] == [{"name": "kto"}, {"name": "sft"}]
    pairs = tmp_path / "pairs.jsonl"
    rows = [{"prompt": f"hello {n}", "chosen": "yes", "rejected": "no"} for n in range(6)]
    pairs.write_text("".join(json.dumps(row) + "\n" for row in rows))
    run = tmp_path / "dpo"
    single = ["train", str(pairs), "--model", model, "-o", str(run), "--objective", "dpo", *settings]
    shown = CliRunner().invoke(thumbline, single, catch_exceptions=False)
    assert "Pairs to train on: 6." in shown.stdout
    assert "Pairs trained on: 6" in (run / "run_card.md").read_text()
