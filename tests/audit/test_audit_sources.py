"""The audit of files and of datasets: raw, curated, damaged, and what is said of each."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import polars as pl
import pyarrow.feather as feather
import pytest

from cli.main import run
from feedback.audit import AuditConfig, AuditReport, Metric, check_gates, render_html
from feedback.audit.sources import audit, audit_dataset, audit_files
from feedback.config import SourceConfig
from feedback.engine import read_arrow, write_arrow
from feedback.pipeline import curate, default_config
from schemas.errors import AuditGateError, CorruptionError, InputError, InputNotFoundError, UsageError
from schemas.manifest import Manifest

SHARED = Path(__file__).parents[2].parent / "shared" / "data"


def thumbs(folder: Path, up: int = 80, down: int = 20, extra: tuple[object, ...] = ()) -> Path:
    rows: list[object] = [
        {
            "prompt": f"question {number}",
            "completion": "word " * (3 + number % 9),
            "label": "up" if number < up else "down",
            "user": f"user-{number % 15}",
            "model": f"model-{number % 2}",
            "time": f"2026-01-{1 + number % 28:02d}T10:00:00Z",
        }
        for number in range(up + down)
    ]
    path = folder / "thumbs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in [*rows, *extra]))
    return path


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    path = thumbs(tmp_path)
    return curate(default_config([path], "thumbs"), tmp_path / "dataset").folder


def found(report: AuditReport, name: str) -> Metric:
    metric = report.metric(name)
    assert metric is not None, name
    return metric


def test_near_duplicates_of_raw_files_are_found(tmp_path: Path) -> None:
    """Before curation, which merges them: twelve answers that differ in the last word, two of them down."""
    words = " ".join(f"word{number}" for number in range(40))
    alike = tuple(
        {"prompt": "a long question", "completion": f"{words} end{number}", "label": "down" if number < 2 else "up"}
        for number in range(12)
    )
    report = audit([thumbs(tmp_path, extra=alike)], source_format="thumbs")
    assert found(report, "near_duplicates").details == {"rows": 10}
    assert found(report, "near_contradictions").details == {"clusters": 1, "contradicted": 1, "torn": 0}


def test_raw_file_is_audited_as_it_is(tmp_path: Path) -> None:
    path = thumbs(tmp_path, extra=("not an object",))
    report = audit([path], source_format="thumbs")
    assert (report.name, report.kind) == ("thumbs.jsonl", "feedback")
    assert dict(report.rows) == {"total": 100, "desirable": 80, "undesirable": 20, "test": 0}
    assert found(report, "label_ratio").value == 4
    assert found(report, "waterfall").severity == "ok"
    assert [stage.stage for stage in report.waterfall] == ["ingest", "convert"]
    assert report.advice[0].command == f"thumbline rebalance {path} --from thumbs -o OUT --ratio 1:4/3"


def test_raw_user_ids_are_nowhere_in_the_report(tmp_path: Path) -> None:
    report = audit([thumbs(tmp_path)], source_format="thumbs")
    assert "user-1" not in report.to_json()
    assert "user-1" not in render_html(report)
    assert found(report, "raw_rater_ids").value == 0


def test_text_of_users_is_nowhere_in_the_report(tmp_path: Path) -> None:
    report = audit([thumbs(tmp_path)], source_format="thumbs")
    assert "question 1" not in report.to_json() + render_html(report)


def test_audit_of_the_same_file_is_the_same(tmp_path: Path) -> None:
    """Rater keys differ between installations; the test of the same one holds them."""
    path = thumbs(tmp_path)
    assert audit([path], source_format="thumbs").to_json() == audit([path], source_format="thumbs").to_json()


def test_dataset_is_in_range_unleaked_and_accounted_for(dataset: Path) -> None:
    report = audit([dataset])
    assert report.kind == "dataset"
    assert {gate.name: gate.severity for gate in report.gates if gate.severity == "fail"} == {}
    assert found(report, "label_ratio").severity == "ok"
    assert found(report, "leakage").severity == "ok"
    assert found(report, "waterfall").severity == "ok"
    manifest = Manifest.read(dataset)
    assert manifest.ratio is not None
    assert found(report, "label_ratio").value == pytest.approx(manifest.ratio.value)
    assert report.rows["total"] == sum(shard.rows for shard in manifest.shards)


def test_reweighted_dataset_is_judged_by_its_weights(tmp_path: Path) -> None:
    config = default_config([thumbs(tmp_path)], "thumbs", overrides=["rebalance.mode=reweight"])
    report = audit_dataset(curate(config, tmp_path / "dataset").folder)
    metric = found(report, "label_ratio")
    assert metric.severity == "ok"
    assert metric.value == pytest.approx(4 / 3)
    assert "R by weight" in metric.sentence


def test_dataset_is_judged_by_the_range_it_was_made_for(tmp_path: Path) -> None:
    config = default_config([thumbs(tmp_path)], "thumbs", overrides=["rebalance.low=2.0", "rebalance.high=2.5"])
    folder = curate(config, tmp_path / "dataset").folder
    assert found(audit_dataset(folder), "label_ratio").severity == "ok"
    assert found(audit_dataset(folder, AuditConfig()), "label_ratio").severity == "warn"


def test_range_of_a_dataset_stays_where_other_things_are_set(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of [2, 2.5] only what is named is another: the range with `min_rows` set, its upper end with `low`."""
    config = default_config([thumbs(tmp_path)], "thumbs", overrides=["rebalance.low=2.0", "rebalance.high=2.5"])
    folder = curate(config, tmp_path / "dataset").folder
    metric = found(audit_dataset(folder, {"min_rows": 7}), "label_ratio")
    assert (metric.severity, metric.threshold) == ("ok", "R in [2, 2.5]")
    assert run(["audit", str(folder), "--set", "low=1.9", "--json"]) == 0
    report = AuditReport.from_json(capsys.readouterr().out)
    assert (report.config["low"], report.config["high"], report.config["min_rows"]) == (1.9, 2.5, 20)
    assert run(["audit", str(folder), "--set", "low=3"]) == 2
    assert "low is greater than high" in capsys.readouterr().err
    assert run(["audit", str(folder), "--set", "lows=3"]) == 2
    assert "unknown config key" in capsys.readouterr().err


def test_raters_models_and_times_come_from_the_stage_folder(dataset: Path) -> None:
    report = audit_dataset(dataset)
    assert found(report, "top_rater").value is not None
    assert report.table("by_time") is not None
    shutil.rmtree(dataset / "stages")
    alone = audit_dataset(dataset)
    assert found(alone, "top_rater").value is None
    assert alone.table("by_time") is None
    assert found(alone, "label_ratio").value == found(report, "label_ratio").value
    assert found(alone, "length_auc").value == found(report, "length_auc").value


def test_history_of_an_earlier_version_is_left_aside(dataset: Path) -> None:
    """Its raters were texts; the shards alone are audited then."""
    (path,) = dataset.glob("stages/rebalance/kept-*.arrow")
    known = read_arrow(path)
    for earlier in (known.with_columns(pl.col("rater_key").cast(pl.String)), known.drop("votes")):
        write_arrow(earlier, path)
        assert found(audit_dataset(dataset), "top_rater").value is None


@pytest.mark.parametrize("content", [b"", b"ARROW1xx", None])
def test_damaged_history_is_told_with_what_helps(dataset: Path, content: bytes | None) -> None:
    (path,) = dataset.glob("stages/rebalance/kept-*.arrow")
    path.write_bytes(path.read_bytes()[:-50] if content is None else content)
    with pytest.raises(
        CorruptionError, match=r"rebalance: the table of the last stage cannot be read .*Remove the folder stages"
    ):
        audit_dataset(dataset)
    shutil.rmtree(dataset / "stages")
    assert found(audit_dataset(dataset), "label_ratio").value is not None


def test_history_is_read_by_whoever_reads_arrow(dataset: Path) -> None:
    """pandas knows no views of strings, in which polars keeps texts."""
    (path,) = dataset.glob("stages/rebalance/kept-*.arrow")
    assert feather.read_table(path).to_pandas()["row_id"].to_list() == read_arrow(path)["row_id"].to_list()


def test_every_stage_is_in_the_waterfall_and_a_cap_says_whom_it_held(tmp_path: Path) -> None:
    """One rater gives half of 400 votes; sixty others give the rest."""
    rows = [
        {
            "prompt": f"question {number}",
            "completion": f"answer {number}",
            "label": "up" if number % 4 < 2 else "down",
            "user": "loud" if number % 2 else f"user-{number % 120}",
        }
        for number in range(400)
    ]
    path = tmp_path / "thumbs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    report = audit_dataset(curate(default_config([path], "thumbs"), tmp_path / "dataset").folder)
    waterfall, dropped = report.table("waterfall"), report.table("dropped")
    assert waterfall is not None
    assert dropped is not None
    stages = ["ingest", "convert", "dedup", "conflicts", "caps", "split", "rebalance", "export"]
    assert [line[0] for line in waterfall.rows] == stages
    (held,) = (line for line in dropped.rows if line[:2] == ("caps", "rater_cap"))
    assert held[2] > 100
    assert found(report, "waterfall").severity == "ok"
    assert found(report, "top_rater").value == pytest.approx(0.1, abs=0.02)
    assert "rater cap" in render_html(report)


def test_damaged_shard_is_refused(dataset: Path) -> None:
    shard = next(dataset.glob("data/train-*.parquet"))
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(CorruptionError, match="a shard is not what the manifest says"):
        audit_dataset(dataset)


def test_folder_without_manifest_is_no_dataset(tmp_path: Path) -> None:
    with pytest.raises(InputNotFoundError, match=r"no manifest\.json"):
        audit_dataset(tmp_path)


def test_history_of_another_table_fails_the_waterfall(dataset: Path) -> None:
    manifest = Manifest.read(dataset)
    replace(manifest, stages=manifest.stages[:-3]).write(dataset)
    assert found(audit_dataset(dataset), "waterfall").severity == "fail"


def test_dataset_of_pairs_is_refused(dataset: Path) -> None:
    replace(Manifest.read(dataset), dataset_type="preference").write(dataset)
    with pytest.raises(InputError, match="the audit reads unpaired datasets: got 'preference'"):
        audit_dataset(dataset)


def test_version_of_what_is_no_store_is_refused(dataset: Path, tmp_path: Path) -> None:
    for inputs in ([dataset], [thumbs(tmp_path)]):
        with pytest.raises(UsageError, match="only a store has versions: got 9"):
            audit(inputs, source_format="thumbs", version=9)


def test_raw_file_without_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no format is given"):
        audit([thumbs(tmp_path)])


def test_more_bad_records_than_allowed_fail_the_gate_and_the_rest_is_audited(tmp_path: Path) -> None:
    path = thumbs(tmp_path, up=25, down=5, extra=("bad",) * 30)
    report = audit([path], source_format="thumbs")
    rejected = found(report, "rejected")
    assert (rejected.value, rejected.severity, dict(rejected.details["reasons"])) == (
        0.5,
        "fail",
        {"not_an_object": 30},
    )
    assert dict(report.rows)["total"] == 30
    assert report.advice[0].title == "Mend the export, or name another format"
    table = report.table("rejected")
    assert table is not None
    assert table.rows[0][:2] == ("not_an_object", 30)
    with pytest.raises(AuditGateError, match="50% of 60 records could not be accepted"):
        check_gates(report)


def test_few_bad_records_are_in_order(tmp_path: Path) -> None:
    """20 of 100 is the limit, and the limit is in order."""
    path = thumbs(tmp_path, up=70, down=10, extra=("bad",) * 20)
    assert found(audit([path], source_format="thumbs"), "rejected").severity == "ok"


def test_sources_of_several_formats_are_one_audit(tmp_path: Path) -> None:
    pairs = tmp_path / "pairs.jsonl"
    turn = [{"role": "user", "content": "which?"}]
    answers = ([{"role": "assistant", "content": text}] for text in ("this", "that"))
    pairs.write_text(json.dumps(dict(zip(("prompt", "chosen", "rejected"), (turn, *answers), strict=True))) + "\n")
    sources = [SourceConfig(path=str(thumbs(tmp_path)), format="thumbs"), SourceConfig(path=str(pairs), format="trl")]
    report = audit_files(sources)
    assert report.name == "thumbs.jsonl, pairs.jsonl"
    assert report.rows["total"] == 102
    assert {line[0] for line in report.table("by_origin").rows} == {"thumb", "pair"}  # type: ignore[union-attr]
    assert report.advice[0].command.startswith("thumbline rebalance RAW --from FORMAT -o OUT")


def test_order_and_scores_of_raw_pairs_are_measured_and_a_dataset_does_not_know_them(tmp_path: Path) -> None:
    """40 pairs: the answer shown first won 30 of them, and the chosen answer always has 5 points, the other one 1."""
    rule = tmp_path / "map.toml"
    rule.write_text(
        'kind = "pairs"\n[fields]\nprompt = "q"\nchosen = "good"\nrejected = "bad"\n'
        'presented_first = "first"\nscore_a = "up"\nscore_b = "down"\n'
    )
    path = tmp_path / "pairs.jsonl"
    rows = [
        {"q": f"question {n}", "good": f"this {n}", "bad": f"that {n}", "up": 5, "down": 1}
        | {"first": "chosen" if n < 30 else "rejected"}
        for n in range(40)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    report = audit([path], source_format="mapped", map_path=rule)
    assert (found(report, "first_shown_wins").value, found(report, "first_shown_wins").severity) == (0.75, "warn")
    assert (found(report, "low_chosen").value, found(report, "high_rejected").value) == (0, 0)
    folder = curate(default_config([path], "mapped", map=str(rule)), tmp_path / "dataset").folder
    assert audit_dataset(folder).metric("first_shown_wins") is None


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data are not here")
@pytest.mark.parametrize(
    ("folder", "source_format"),
    [("llamafactory_kto", "llamafactory"), ("openai_dpo", "openai"), ("hh_rlhf", "hh_rlhf")],
)
def test_shared_data_read_true(folder: str, source_format: str) -> None:
    """Every row is accounted for, and pairs are balanced by construction."""
    files = sorted(path for path in (SHARED / folder).iterdir() if path.suffix in (".json", ".jsonl", ".gz"))
    report = audit(files[:1], source_format=source_format)
    assert found(report, "waterfall").severity == "ok"
    if source_format != "llamafactory":
        assert found(report, "label_ratio").value == pytest.approx(1, abs=0.02)
    assert len(render_html(report)) < 2_000_000
