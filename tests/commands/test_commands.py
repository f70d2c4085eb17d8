"""Every command from argument to printed result: what it shows, its JSON, its exit code, and what it suggests next."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cli.main import run
from feedback.formats import FORMATS
from tests.command_files import write_votes

SAMPLE = Path(__file__).parents[2] / "sample_data"
THUMBS = str(SAMPLE / "thumbs.jsonl")


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_cache: None) -> Path:
    """Commands run in a folder of their own, with a key and a cache of the tests."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("THUMBLINE_RATER_KEY", "0" * 64)
    return tmp_path


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The curated sample thumbs."""
    out = tmp_path_factory.mktemp("curated") / "dataset"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("THUMBLINE_RATER_KEY", "0" * 64)
        assert run(["curate", THUMBS, "--from", "thumbs", "-o", str(out)]) == 0
    return out


@pytest.fixture(scope="module")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory, model_factory: Any, tokenizer_factory: Any) -> Path:
    folder = tmp_path_factory.mktemp("model") / "tiny"
    model_factory(max_position_embeddings=2048).save_pretrained(folder)
    tokenizer_factory().save_pretrained(folder)
    return folder


def call(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a command."""
    capsys.readouterr()
    code = run([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_formats_lists_each_with_its_label_rule(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(capsys, "formats")
    assert code == 0
    for name in FORMATS:
        assert f"\n {name} " in out
    code, out, _ = call(capsys, "formats", "--json")
    listed = json.loads(out)["formats"]
    assert {"name", "direction", "holds", "summary", "needs", "label_rule"} == set(listed[0])


def test_convert_writes_a_file_that_can_be_read_again(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, out, _ = call(capsys, "convert", THUMBS, "--from", "thumbs", "--to", "trl", "-o", "votes.parquet")
    assert code == 0
    assert "quarantined" in out
    assert "thumbline audit votes.parquet --from trl" in out
    code, out, _ = call(
        capsys, "convert", "votes.parquet", "--from", "trl", "--to", "thumbs", "-o", "b.jsonl", "--json"
    )
    report = json.loads(out)["report"]
    assert (code, report["rows_in"]) == (0, report["rows_kept"])
    assert (tmp_path / "b.jsonl").stat().st_size > 10_000


def test_convert_can_write_pairs_as_labels(capsys: pytest.CaptureFixture[str]) -> None:
    pairs = SAMPLE / "pairs.jsonl"
    code, out, _ = call(
        capsys,
        *("convert", pairs, "--from", "trl", "--to", "trl", "--type", "unpaired_preference", "-o", "x.jsonl", "--json"),
    )
    report = json.loads(out)["report"]
    assert (code, report["rows_created"], report["dropped"]["quarantined"]) == (0, 66, 4)


def test_unknown_format_exits_2_and_lists_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = call(capsys, "audit", THUMBS, "--from", "thumb")
    assert (code, out) == (2, "")
    assert "unknown format" in err
    assert ", ".join(sorted(FORMATS)) in err


def test_wrong_format_says_which_one_it_looks_like(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = call(capsys, "audit", SAMPLE / "pairs.jsonl", "--from", "thumbs")
    assert code == 1
    assert "trl" in err


def test_missing_file_exits_1(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = call(capsys, "audit", "nothing.jsonl", "--from", "thumbs")
    assert code == 1
    assert "nothing.jsonl" in err


def test_audit_page_fits_into_80_columns(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    code, out, _ = call(capsys, "audit", THUMBS, "--from", "thumbs")
    assert code == 0
    assert max(len(line) for line in out.splitlines() if not line.startswith("  thumbline")) <= 80
    for words in ("Label ratio R", "Contradictions", "warn", "19 quarantined", "thumbline rebalance"):
        assert words in out


def test_audit_json_goes_to_stdout_or_into_a_file(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, out, _ = call(capsys, "audit", THUMBS, "--from", "thumbs", "--json")
    assert code == 0
    printed = json.loads(out)
    code, out, _ = call(capsys, "audit", THUMBS, "--from", "thumbs", "--json", "a.json", "--html", "a.html")
    assert code == 0
    assert json.loads((tmp_path / "a.json").read_text("utf-8")) == printed
    assert "<html" in (tmp_path / "a.html").read_text("utf-8")
    assert "The page: a.html" in out


def test_audit_with_a_failed_gate_exits_3_after_showing_everything(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    votes = write_votes(tmp_path / "up.jsonl", *["up"] * 5)
    code, out, err = call(capsys, "audit", votes, "--from", "thumbs")
    assert code == 3
    assert "FAIL" in out
    assert "Error: " in err
    code, out, _ = call(capsys, "audit", votes, "--from", "thumbs", "--json")
    assert (code, json.loads(out)["severity"]) == (3, "fail")


def test_audit_warnings_can_be_made_to_count(capsys: pytest.CaptureFixture[str]) -> None:
    assert call(capsys, "audit", THUMBS, "--from", "thumbs", "--fail-on", "warn")[0] == 3


def test_audit_thresholds_can_be_set(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = call(capsys, "audit", THUMBS, "--from", "thumbs", "--json", "--set", "max_contradictions=0.5")
    metrics = {metric["name"]: metric for metric in json.loads(out)["metrics"]}
    assert metrics["contradictions"]["severity"] == "ok"
    code, _, err = call(capsys, "audit", THUMBS, "--from", "thumbs", "--set", "nope=1")
    assert code == 2
    assert "max_contradictions" in err


def test_audit_never_overwrites_what_is_not_an_audit(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """`--json` before IN takes the input for its file."""
    data = tmp_path / "export.json"
    data.write_bytes((SAMPLE / "open_webui.json").read_bytes())
    before = data.read_bytes()
    for arguments in (
        ["audit", "--json", "export.json", "export.json", "--from", "open_webui"],
        ["audit", "--json", "export.json", THUMBS, "--from", "thumbs"],
        ["audit", THUMBS, "--from", "thumbs", "--html", "export.json"],
        ["audit", "--json", "votes.jsonl", THUMBS, "--from", "thumbs"],
        *(["audit", THUMBS, "--from", "thumbs", f"--{name}", f"nowhere/x.{name}"] for name in ("json", "html")),
        ["audit", THUMBS, "--from", "thumbs", "--junit", "nowhere/x.xml"],
    ):
        code, _, err = call(capsys, *arguments)
        assert code == 2
        assert "would" in err or "there is no folder 'nowhere'" in err
    assert data.read_bytes() == before


def test_rebalance_makes_a_dataset_in_range(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(capsys, "rebalance", THUMBS, "--from", "thumbs", "-o", "b", "--ratio", "1:1.2", "--json")
    assert code == 0
    assert 1 <= json.loads(out)["manifest"]["ratio"]["value"] <= 1.2


def test_rebalance_by_weight_keeps_every_row(capsys: pytest.CaptureFixture[str], dataset: Path) -> None:
    options = ("--ratio", "0.9", "--allow-below-one", "--mode", "reweight", "--seed", "3", "--json")
    code, out, _ = call(capsys, "rebalance", dataset, "-o", "b", *options)
    manifest = json.loads(out)["manifest"]
    assert code == 0
    assert manifest["stages"][-2]["dropped"] == {}
    assert manifest["ratio"]["value"] == pytest.approx(0.9, abs=0.01)


def test_rebalance_refuses_a_ratio_that_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = call(capsys, "rebalance", THUMBS, "--from", "thumbs", "-o", "b", "--ratio", "4/3:1")
    assert code == 2
    assert "ascending order" in err


def test_curate_shows_the_waterfall_and_what_to_do_next(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, out, err = call(capsys, "curate", THUMBS, "--from", "thumbs", "-o", "my data")
    assert (code, err) == (0, "")
    for words in ("12 duplicate_record", "downsampled", "R of train", "test ", "thumbline train 'my data' --model"):
        assert words in out
    assert (tmp_path / "my data" / "manifest.json").is_file()


def test_curate_again_does_nothing_and_another_config_is_refused(
    capsys: pytest.CaptureFixture[str], dataset: Path
) -> None:
    code, out, _ = call(capsys, "curate", THUMBS, "--from", "thumbs", "-o", dataset)
    assert code == 0
    assert "there already; nothing was done" in out
    code, _, err = call(capsys, "curate", THUMBS, "--from", "thumbs", "-o", dataset, "--set", "seed=9")
    assert code == 1
    assert "--overwrite" in err


def test_curate_overwrites_on_request(capsys: pytest.CaptureFixture[str]) -> None:
    assert call(capsys, "curate", THUMBS, "--from", "thumbs", "-o", "d")[0] == 0
    code, out, _ = call(
        capsys, "curate", THUMBS, "--from", "thumbs", "-o", "d", "--set", "seed=9", "--overwrite", "--json"
    )
    assert code == 0
    assert json.loads(out)["manifest"]["config"]["seed"] == 9


def test_curate_reads_a_config_of_several_sources(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Paths in the config are relative to it, and --set wins over it."""
    folder = tmp_path / "conf"
    folder.mkdir()
    for name in ("thumbs.jsonl", "open_webui.json"):
        (folder / name).write_bytes((SAMPLE / name).read_bytes())
    (folder / "all.toml").write_text(
        '[[sources]]\npath = "thumbs.jsonl"\nformat = "thumbs"\n'
        '[[sources]]\npath = "open_webui.json"\nformat = "open_webui"\n'
        "[split]\ntest_fraction = 0.2\n",
        encoding="utf-8",
    )
    code, out, _ = call(capsys, "curate", "conf/all.toml", "-o", "d", "--set", "rebalance.mode=off", "--json")
    manifest = json.loads(out)["manifest"]
    assert code == 0
    assert len(manifest["sources"]) == 2
    assert manifest["config"]["split"]["test_fraction"] == 0.2
    assert manifest["config"]["rebalance"]["mode"] == "off"


def test_a_config_beside_what_it_says_itself_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    config = tmp_path / "run.toml"
    config.write_text(f'[[sources]]\npath = "{SAMPLE / "thumbs.jsonl"}"\nformat = "thumbs"\n', encoding="utf-8")
    for command in (("curate", "-o", "d"), ("ingest", "--store", "s")):
        for option in (("--from", "trl"), ("--ranking", "off"), ("--join", "x.jsonl"), ("--map", THUMBS)):
            code, _, err = call(capsys, command[0], "run.toml", *command[1:], *option)
            assert code == 2
            assert f"a config file says itself how its sources are read: got '{' '.join(option)}" in err
    for command in (("audit",), ("rebalance", "-o", "d"), ("convert", "--to", "trl", "-o", "d.jsonl")):
        code, _, err = call(capsys, command[0], "run.toml", *command[1:], "--from", "thumbs")
        assert code == 1
        assert "run.toml: a config file holds no feedback" in err


def test_null_is_a_value_that_can_be_set(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(
        capsys, "curate", THUMBS, "--from", "thumbs", "-o", "d", "--set", "caps.max_rater_share=null", "--json"
    )
    assert code == 0
    assert json.loads(out)["manifest"]["config"]["caps"]["max_rater_share"] is None


def test_curate_without_a_format_says_which_one_it_looks_like(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = call(capsys, "curate", THUMBS, "-o", "d")
    assert code == 2
    assert "thumbs.jsonl looks like thumbs: add --from thumbs" in err


def test_curate_refuses_too_many_bad_records_and_writes_nothing(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    votes = write_votes(tmp_path / "v.jsonl", "up", "down", "meh")
    code, _, err = call(capsys, "curate", votes, "--from", "thumbs", "-o", "d")
    assert code == 3
    assert "unknown_label" in err
    assert not (tmp_path / "d").exists()


def test_curate_refuses_one_label_with_the_counts(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    votes = write_votes(tmp_path / "v.jsonl", *["up"] * 30)
    code, out, err = call(capsys, "curate", votes, "--from", "thumbs", "-o", "d", "--json")
    assert code == 3
    assert json.loads(out)["error"]["type"] == "OneLabelError"
    assert "30" in err


def test_audit_names_what_of_a_folder_it_does_not_read(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    for name in ("votes.jsonl", "votes.jsonl.1"):
        (tmp_path / "logs" / name).write_bytes(Path(THUMBS).read_bytes())
    code, out, _ = call(capsys, "audit", "logs", "--from", "thumbs")
    assert code == 0
    assert "Not read of the folder 'logs': votes.jsonl.1." in " ".join(out.split())


def test_damaged_dataset_exits_5(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert call(capsys, "curate", THUMBS, "--from", "thumbs", "-o", "d")[0] == 0
    shard = next((tmp_path / "d" / "data").glob("train-*.parquet"))
    shard.write_bytes(shard.read_bytes()[:-1] + b"x")
    assert call(capsys, "audit", "d")[0] == 5


def test_train_then_evaluate(
    capsys: pytest.CaptureFixture[str], dataset: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    """Trained, left alone the second time, measured, and asked two questions."""
    arguments = ["train", dataset, "--model", tiny_folder, "-o", "run", "--set", "max_steps=2"]
    arguments += ["--set", "batch.batch_size=8", "--objective", "kto"]
    code, out, _ = call(capsys, *arguments)
    assert code == 0
    for words in ("was trained with kto: 2 steps", "On the held-out split", "reward margin", "thumbline evaluate run"):
        assert words in " ".join(out.split())  # long paths move where lines break
    code, out, _ = call(capsys, *arguments, "--json")
    card = json.loads(out)["run_card"]
    assert (code, card["steps"]["steps"]) == (0, 2)
    (tmp_path / "questions.txt").write_text("What is a note?\n\nWho are you?\n", encoding="utf-8")
    code, out, _ = call(
        capsys, "evaluate", "run", "--dataset", dataset, "--prompts", "questions.txt", "--max-new-tokens", "4", "--json"
    )
    assert code == 0
    measured = json.loads(out)
    assert measured["last"]["reward_margin"] == pytest.approx(card["evaluation"]["last"]["reward_margin"], abs=1e-4)
    assert [answer["prompt"] for answer in measured["answers"]] == ["What is a note?", "Who are you?"]
    code, out, _ = call(capsys, "evaluate", "run")
    assert code == 0
    assert "reward accuracy" in out
    (tmp_path / "champion").symlink_to("run/model")  # as `retrain` names the model that serves
    assert call(capsys, "evaluate", "champion") == (0, out, "")


def test_train_reads_a_config(
    capsys: pytest.CaptureFixture[str], dataset: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "kto.toml").write_text(
        f"dataset = {json.dumps(str(dataset))}\nmodel = {json.dumps(str(tiny_folder))}\nout = 'run'\nmax_steps = 1\n"
        "[batch]\nbatch_size = 8\n[evaluation]\nat_start = false\n",
        encoding="utf-8",
    )
    code, out, _ = call(capsys, "train", "kto.toml", "--set", "optimizer.learning_rate=1e-4", "--json")
    assert code == 0
    card = json.loads(out)["run_card"]
    assert card["config"]["optimizer"]["learning_rate"] == 1e-4
    assert (tmp_path / "run" / "run_card.json").is_file()


def test_train_refuses_what_it_does_not_know_before_any_model_is_loaded(
    capsys: pytest.CaptureFixture[str], dataset: Path, tmp_path: Path
) -> None:
    call_train = ["train", dataset, "--model", "nowhere", "-o", "run"]
    code, _, err = call(capsys, *call_train, "--objective", "ppo")
    assert code == 2
    assert "expected one of cdpo" in err
    code, _, err = call(capsys, *call_train, "--set", "batch.size=8")
    assert code == 2
    assert "batch.batch_size" in err
    code, _, err = call(capsys, "train", dataset)
    assert code == 2
    assert "--model" in err
    (tmp_path / "x.toml").write_text("max_steps = 1\n", encoding="utf-8")
    code, _, err = call(capsys, "train", "x.toml", "--model", "m", "-o", "run")
    assert code == 2
    assert "names no dataset" in err
    (tmp_path / "x.toml").write_text("dataset = 3\n", encoding="utf-8")
    code, _, err = call(capsys, "train", "x.toml", "--model", "m", "-o", "run")
    assert code == 2
    assert "'dataset' is not a text" in err


def test_unknown_model_exits_2_with_the_builtin_ones(capsys: pytest.CaptureFixture[str], dataset: Path) -> None:
    code, _, err = call(capsys, "train", dataset, "--model", "builtin:gpt", "-o", "run")
    assert code == 2
    assert "builtin:smollm2-135m-instruct" in err


def test_evaluate_needs_a_run_or_both_names(capsys: pytest.CaptureFixture[str], tmp_path: Path, dataset: Path) -> None:
    code, _, err = call(capsys, "evaluate", "nothing")
    assert code == 2
    assert "not a finished run" in err


def test_evaluate_refuses_questions_that_cannot_be_read(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, dataset: Path
) -> None:
    for content, message in ((b"\n\n", "no question in the file"), (b"\xff\xfe", "not UTF-8")):
        (tmp_path / "q.txt").write_bytes(content)
        arguments = ["evaluate", "m", "--dataset", dataset, "--reference", "m", "--prompts", "q.txt"]
        code, _, err = call(capsys, *arguments)
        assert code == 1
        assert message in err
