"""Measurements can be trusted: logs are what they claim, memory counts the whole tree, the exact answer is exact."""

import collections
import itertools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.audit_draws import FAULTS, draw_sound
from bench.audit_power import measure_power, warned_gates
from bench.headlines import headlines
from bench.logs import LogTraits, write_log
from bench.near import Found, score
from bench.near_truth import ExactPairs, exact_pairs, planted_corpus, shingles
from bench.runner import measure_process
from bench.tables import PAGES, PARTS, fill_in
from bench.train import _targets
from bench.train_memory import memory_targets
from bench.train_rows import labelled_rows, pair_rows, unpaired, write_rows
from feedback.audit import audit_candidates
from feedback.formats import FORMATS
from schemas.errors import RecordRejectedError
from tests.conftest import make_tokenizer

ROOT = Path(__file__).parents[1]


def _rows(folder: Path, rows: int, traits: LogTraits | None = None, seed: int = 0) -> list[dict[str, Any]]:
    path = folder / "log.jsonl"
    write_log(path, rows=rows, traits=traits, seed=seed)
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def _jaccard(first: list[str], second: list[str]) -> float:
    one, other = set(shingles(first, 3)), set(shingles(second, 3))
    return len(one & other) / len(one | other)


def test_same_parameters_and_seed_give_the_same_bytes(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        write_log(tmp_path / name, rows=5000, seed=seed)
    first, again, other = ((tmp_path / name).read_bytes() for name in "abc")
    assert first == again
    assert first != other


def test_a_log_has_the_traits_that_it_was_asked_for(tmp_path: Path) -> None:
    """Shares are met within two percentage points on 8,000 lines."""
    traits = LogTraits(
        up_share=0.7, exact_share=0.2, near_share=0.0, heavy_share=0.15, contradiction_share=0.0, raters=50
    )
    rows = _rows(tmp_path, 8000, traits)
    answers = collections.Counter((row["prompt"], row["completion"]) for row in rows)
    raters = collections.Counter(row["user"] for row in rows)
    assert len(rows) == 8000
    assert sum(row["label"] == "up" for row in rows) / 8000 == pytest.approx(0.7, abs=0.02)
    assert 1 - len(answers) / 8000 == pytest.approx(0.2, abs=0.02)
    assert raters["user-000000"] / 8000 == pytest.approx(0.15, abs=0.02)
    assert len(raters) == 51
    assert [row["time"] for row in rows] == sorted(row["time"] for row in rows)


def test_repetitions_contradict_as_often_as_asked(tmp_path: Path) -> None:
    """Half of the contradictions are by the same rater."""
    traits = LogTraits(exact_share=0.3, near_share=0.0, prompt_share=0.0, contradiction_share=0.4, fault_share=0.0)
    first: dict[tuple[str, str], dict[str, Any]] = {}
    repeated: list[tuple[bool, bool]] = []
    for row in _rows(tmp_path, 6000, traits):
        old = first.setdefault((row["prompt"], row["completion"]), row)
        if old is not row:
            repeated.append((row["label"] != old["label"], row["user"] == old["user"]))
    contradictions = [is_same_rater for is_other_label, is_same_rater in repeated if is_other_label]
    assert len(contradictions) / len(repeated) == pytest.approx(0.4, abs=0.04)
    assert sum(contradictions) / len(contradictions) == pytest.approx(0.5, abs=0.06)


def test_near_repetitions_stay_near(tmp_path: Path) -> None:
    """Answers to one prompt are repetitions with edits here, at a Jaccard similarity of at least 0.84."""
    traits = LogTraits(exact_share=0.0, near_share=0.3, prompt_share=0.0, foreign_share=0.0)
    by_prompt: dict[str, list[str]] = {}
    nearest: list[float] = []
    for row in _rows(tmp_path, 2000, traits):
        answers = by_prompt.setdefault(row["prompt"], [])
        if answers:
            nearest.append(_jaccard(answers[0].split(), row["completion"].split()))
        answers.append(row["completion"])
    assert len(nearest) / 2000 == pytest.approx(0.3, abs=0.03)
    assert min(nearest) > 0.84
    assert max(nearest) < 1


def test_a_brigade_votes_one_model_down_on_one_day(tmp_path: Path) -> None:
    rows = _rows(tmp_path, 5000, LogTraits(brigade_raters=20, brigade_share=0.1, fault_share=0.0))
    brigade = [row for row in rows if row["user"].startswith("brigade")]
    assert len(brigade) / 5000 == pytest.approx(0.1, abs=0.02)
    assert len({row["user"] for row in brigade}) == 20
    assert {(row["label"], row["model"], row["time"][:10]) for row in brigade} == {("down", "atlas-1", "2026-02-02")}


def test_texts_look_like_real_ones(tmp_path: Path) -> None:
    """300,000 rows are about 340 MB; quotes, line breaks, Chinese and emoji are there."""
    rows = _rows(tmp_path, 5000)
    text = "".join(row["completion"] for row in rows)
    foreign = sum(not (row["prompt"] + row["completion"]).isascii() for row in rows) / 5000
    assert (tmp_path / "log.jsonl").stat().st_size / 5000 * 300_000 == pytest.approx(340e6, rel=0.05)
    assert foreign == pytest.approx(0.03, abs=0.01)
    assert all(mark in text for mark in ('"', "\n\n", "🚀", "。"))
    assert "\\ud83d" in (tmp_path / "log.jsonl").read_text("utf-8")


def test_thumbs_reads_a_generated_log(tmp_path: Path) -> None:
    """Only the lines that are meant to be faulty are rejected."""
    parse = FORMATS["thumbs"].parse
    for row in _rows(tmp_path, 1000, LogTraits(fault_share=0.02)):
        if row["label"] == "meh":
            with pytest.raises(RecordRejectedError, match="meh"):
                list(parse(row))
        else:
            assert [draft.label for draft in parse(row)] == [row["label"] == "up"]


def test_memory_of_a_process_tree_is_summed(tmp_path: Path) -> None:
    """Two children with 60 MiB each count as more than 120."""
    child = "import time; block = b'x' * (60 << 20); time.sleep(1)"
    start = f"subprocess.Popen([sys.executable, '-c', {child!r}])"
    parent = f"import subprocess, sys; [one.wait() for one in [{start}, {start}]]"
    measured = measure_process([sys.executable, "-c", parent])
    assert 120 < measured.peak_mib < 240
    assert measured.seconds > 1


def test_a_failing_command_is_an_error_with_what_it_printed() -> None:
    with pytest.raises(subprocess.CalledProcessError) as caught:
        measure_process([sys.executable, "-c", "raise SystemExit('no such luck')"])
    assert "no such luck" in caught.value.output


def test_exact_pairs_are_those_of_comparing_all_with_all() -> None:
    """Against an oracle of a loop over all pairs."""
    words = planted_corpus(150, seed=3).words
    oracle = {
        (first, second): similarity
        for first, second in itertools.combinations(range(150), 2)
        if (similarity := _jaccard(words[first], words[second])) >= 0.5
    }
    exact = exact_pairs(words, least=0.5)
    assert (
        dict(zip(zip(exact.first.tolist(), exact.second.tolist(), strict=True), exact.similarity, strict=True))
        == oracle
    )
    assert len(oracle) > 30


def test_planted_copies_have_the_similarities_asked_for() -> None:
    """Even from 0.6 to 0.95: three in seven from 0.8 on."""
    corpus = planted_corpus(2000)
    similarities = [_jaccard(corpus.words[first], corpus.words[second]) for first, second in corpus.planted]
    assert len(corpus.texts) == len(corpus.words) == 2000
    assert 0.5 < min(similarities) < 0.62
    assert 0.92 < max(similarities) < 0.99
    assert sum(one >= 0.8 for one in similarities) / len(similarities) == pytest.approx(3 / 7, abs=0.06)


def test_scores_by_hand() -> None:
    """Exact: 0-1, 1-2 and 4-5, so three of 0, 1, 2, 4, 5 should go. Found: 0-1, 3-6."""
    truth = ExactPairs(np.array([0, 1, 4]), np.array([1, 2, 5]), np.array([0.9, 0.9, 0.9]))
    figures = score(Found({1, 6}, {(0, 1), (3, 6)}), truth, 7)
    assert figures == {
        "pair_precision": 0.5,
        "pair_recall": pytest.approx(1 / 3, abs=1e-5),
        "copy_precision": 0.5,
        "copy_recall": pytest.approx(1 / 3, abs=1e-5),
    }
    too_much = score(Found({0, 1, 2}), truth, 7)
    assert (too_much["copy_precision"], too_much["pair_recall"]) == (pytest.approx(2 / 3, abs=1e-5), None)
    assert score(Found({0, 1, 2}, is_all=True), truth, 7)["copy_precision"] == 1


def test_tables_of_the_pages_are_made_from_the_results() -> None:
    """Figures are copied from `bench/results` by `make bench-tables README=1`, never typed."""
    paths = {part: ROOT / "bench" / "results" / f"{part}.json" for part in PARTS}
    results = {part: json.loads(path.read_text("utf-8")) for part, path in paths.items() if path.is_file()}
    readme, benchmarks = (page.read_text("utf-8") for page in PAGES)
    assert "curate" in results
    assert [part for part in PARTS if f"<!-- bench: {part} -->" not in benchmarks] == []
    assert all(f"<!-- bench: {mark} -->" in readme for mark in ("headlines", "study_claims"))
    assert fill_in(readme, results) == readme
    assert fill_in(benchmarks, results) == benchmarks


def test_headlines_say_what_the_results_say() -> None:
    """By hand, of two parts; a part without a result has no row."""
    table = [
        {"title": "KTO", "dtype": "float32", "ours": {"examples_per_second": 0.5, "peak_mib": 2000}},
        {
            "title": "DPO",
            "dtype": "bfloat16",
            "ours": {"examples_per_second": 0.5, "peak_mib": 2000},
            "trl": {"examples_per_second": 0.2, "peak_mib": 5000},
        },
    ]
    place = {"machine": "two cores", "date": "2026-01-02"}
    results = {
        "train": {"table": table, "versions": {"trl": "1.0"}, "targets": [{"is_met": False}], **place},
        "scale": {
            "table": [
                {"rows": 10, "seconds": 9.96, "peak_mib": 1, "floor_seconds": 3.4},
                {"rows": 1000, "seconds": 12.4, "peak_mib": 1500, "floor_seconds": 3.4},
            ],
            "targets": [{"is_met": True}],
            **place,
            "date": "2026-01-01",
        },
    }
    assert headlines(results).splitlines() == [
        "| | thumbline | beside it |",
        "|---|---|---|",
        "| `curate`, 1,000 votes | 12 s, 1,500 MiB | a bare copy by polars 3 s |",
        "| DPO, bfloat16 | 0.50 examples/s, 2,000 MiB | TRL 1.0: 0.20 examples/s, 5,000 MiB |",
        "",
        "Of 2 promises 1 are reached. 2026-01-01 to 2026-01-02, two cores.",
    ]


@pytest.mark.parametrize(
    "part", ["curate", "near", "scale", "readers", "audit", "store", "audit_power", "train_memory"]
)
def test_make_measures_every_part(part: str) -> None:
    plan = subprocess.run(["make", "-n", "bench"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert f"-m bench.{part}" in plan


def test_make_takes_rows_and_rounds() -> None:
    command = ["make", "-n", "bench-curate", "ROWS=5000", "ROUNDS=2"]
    plan = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "bench.curate --rows 5000 --rounds 2" in plan


def test_audit_sees_what_is_planted_in_a_few_draws() -> None:
    """Two draws: what is planted large is seen in both, and hardly anything that is not there."""
    rows = measure_power(range(2))
    assert [row["fault"] for row in rows] == [fault.name for fault in FAULTS]
    assert all(0 <= row["alarms_low"] <= row["alarms_share"] <= row["alarms_high"] <= 1 for row in rows)
    assert {row["fault"] for row in rows if row["hits"] == 2} >= {"leak", "imbalance", "cycles", "drift"}
    assert sum(row["alarms"] for row in rows) <= 2


def test_gate_of_a_fault_is_what_the_whole_audit_says() -> None:
    seen = warned_gates(7)
    for fault in FAULTS:
        faulty = draw_sound(7)
        fault.plant(faulty)
        asked = faulty.asked() if fault.part == "pairs" else None
        metric = audit_candidates(faulty.candidates(fault.part), asked=asked).metric(fault.gate)
        assert metric is not None
        assert (metric.severity in ("warn", "fail")) == (fault.gate in seen[fault.name]), fault.name


def test_a_draw_is_the_same_for_a_seed_and_a_fault_changes_its_part_only() -> None:
    sound, again, faulty = draw_sound(5), draw_sound(5), draw_sound(5)
    next(fault for fault in FAULTS if fault.name == "imbalance").plant(faulty)
    for part in ("thumbs", "pairs"):
        assert sound.candidates(part).equals(again.candidates(part))
    assert sound.candidates("pairs").equals(faulty.candidates("pairs"))
    assert not sound.candidates("thumbs").equals(faulty.candidates("thumbs"))


@pytest.mark.slow
def test_a_small_run_gives_a_table(tmp_path: Path) -> None:
    """The whole of `bench.curate` without those that need the extra `bench`."""
    command = [sys.executable, "-m", "bench.curate", "--rows", "3000", "--rounds", "2", "--slow-rounds", "0"]
    env = {**os.environ, "BENCH_RESULTS": str(tmp_path), "BENCH_DATE": "2026-01-02"}
    printed = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=True).stdout
    result = json.loads((tmp_path / "curate.json").read_text("utf-8"))
    assert result["date"] == "2026-01-02"
    assert [row["rounds"] for row in result["table"]] == [2, 2, 2]
    assert all(row["peak_mib"] > 20 for row in result["table"])
    assert [path.name for path in tmp_path.iterdir()] == ["curate.json"]
    assert "| thumbline |" in printed


def test_table_of_training_says_what_was_promised_and_reached() -> None:
    """Twice the examples a second where 2.5 times were promised, and half of the memory where 0.45 was."""
    ours = {"examples": 8, "examples_per_second": 2.0, "examples_per_cpu_second": 1.1, "peak_mib": 500}
    theirs = {"examples": 8, "examples_per_second": 1.0, "examples_per_cpu_second": 0.5, "peak_mib": 1000}
    row = {
        "case": "kto",
        "dtype": "float32",
        "title": "KTO",
        "rows": 8,
        "batch": 4,
        "source": "x.json",
        "ours": ours,
        "trl": theirs,
    }
    targets = _targets(row)
    assert [(one["value"], one["is_met"]) for one in targets] == [(2.0, False), (0.5, False)]
    result = {"model": "m", "versions": {"trl": "1.16"}, "machine": "a machine", "table": [row], "targets": targets}
    text = PARTS["train"](result)
    assert "| KTO | float32 | 8 of `x.json`, 4 a step | 2.000 | 1.000 | 2.00 | 2.20 | 500 | 1,000 | 0.50 |" in text
    assert "- NOT reached: KTO, float32: at least 2.5 times TRL's examples a second (measured: 2)." in text
    assert "a machine." in text
    assert "measured" not in text.partition("- NOT reached")[0]
    other = {**row, "title": "DPO", "date": "2026-01-02", "machine": "another machine"}
    assert "- DPO, float32: measured 2026-01-02, another machine." in PARTS["train"]({**result, "table": [row, other]})
    assert _targets({**row, "trl": {**theirs, "examples_per_second": 0.8, "examples_per_cpu_second": 0.4}})[0]["is_met"]
    assert not _targets({**row, "trl": {**theirs, "examples_per_second": 0.1}})[0]["is_met"]  # processor time: 2.2


def test_memory_is_compared_by_what_it_grows() -> None:
    """By hand: 200 and 220 MiB from 1,000 to 3,000 tokens is 1.1 times; then 0.1 a token before and after."""
    peaks = {(10, 1000): 500, (10, 2000): 600, (10, 3000): 700, (30, 1000): 900, (30, 2000): 1010, (30, 3000): 1120}
    table = [
        {"vocabulary": words, "tokens": tokens, "ours": {"peak_mib": peak, "cpu_seconds": 1.0}}
        for (words, tokens), peak in peaks.items()
    ]
    targets = memory_targets(table)
    assert [(one["value"], one["is_met"]) for one in targets] == [(1.1, True), (1.0, True)]
    table[-1]["ours"]["peak_mib"] = 1500
    assert [one["is_met"] for one in memory_targets(table)] == [False, False]
    assert memory_targets(table[:3]) == []
    widths = {"hidden_size": 128, "num_hidden_layers": 4}
    result = {"model": widths, "versions": {}, "machine": "a machine", "table": table, "targets": targets}
    assert "| 30 | 2,000 | 1,010 | – | 1.0 | – |" in PARTS["train_memory"](result)


def test_losses_of_both_are_laid_over_each_other() -> None:
    result = {"ours": [0.5, 0.4], "trl": [0.5, 0.39996], "z0": [0.0, 1.0], "batch": 4, "beta": 0.5}
    text = PARTS["trl_losses"]({**result, "learning_rate": 0.003, "versions": {"trl": "1.16"}, "machine": "a machine"})
    assert "| ours | 0.5000 | 0.4000 |\n| TRL | 0.5000 | 0.4000 |\n| our z0, nats | 0.00 | 1.00 |" in text


def test_rows_for_training_fit_and_have_both_labels(tmp_path: Path) -> None:
    tokenizer = make_tokenizer()
    rows, _ = labelled_rows(6, tokenizer, 2000)
    assert [row["label"] for row in rows] == [True, False] * 3
    pairs, _ = pair_rows(3, tokenizer, 3000)
    assert [row["label"] for row in unpaired(pairs)] == [True] * 3 + [False] * 3
    for row in rows:
        ids = tokenizer.apply_chat_template([*row["prompt"], *row["completion"]], tokenize=True, return_dict=False)
        assert len(ids) <= 2000
    assert len(write_rows(tmp_path / "rows.jsonl", pairs).read_text("utf-8").splitlines()) == 3
