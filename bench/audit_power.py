"""How often the audit sees a planted fault, and how often it warns of one that is not there.

    python -m bench.audit_power [--draws N] [--seed N] [--workers N]

Each draw is a table of its own (`bench/audit_draws.py`), once sound and once with each fault, audited with the default
thresholds. A hit is a draw with the fault in which its gate warns or fails, a false alarm a sound draw in which it
does. Both come with their Wilson 95% interval. A sound draw gets the whole audit; of a draw with a fault only its gate
is measured, by the function that the audit calls. Written to `bench/results/audit_power.json`.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any, Final

import polars as pl

from bench.audit_draws import FAULTS, PARTS, draw_sound
from bench.runner import describe_machine, write_result
from bench.tables import audit_power_tables
from feedback.audit import AuditConfig, Metric, audit_candidates
from feedback.audit.balance import measure_balance, training_rows
from feedback.audit.confounds import measure_model_confound
from feedback.audit.contradictions import measure_contradictions
from feedback.audit.drift import measure_drift
from feedback.audit.extreme_raters import measure_extreme_raters
from feedback.audit.lengths import measure_lengths
from feedback.audit.pairs import measure_cycles, measure_pair_lengths, pairs_behind
from feedback.audit.presented import measure_positions
from feedback.audit.raters import votes
from feedback.audit.shortcut import measure_shortcut
from feedback.audit.splits import measure_leakage
from feedback.audit.statistics import wilson_interval

__all__ = ["main", "measure_power", "warned_gates"]

Measure = Callable[[pl.DataFrame, pl.DataFrame, AuditConfig], Sequence[Metric]]
"""Metrics from all rows, the keys of pairs and the thresholds."""

_BROKEN: Final = ("warn", "fail")
_LEAST_HITS: Final = 0.9
_MOST_ALARMS: Final = 0.05


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print the table and write the result."""
    parser = argparse.ArgumentParser(prog="python -m bench.audit_power", description="faults that the audit sees")
    parser.add_argument("--draws", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args(arguments)
    table = measure_power(range(options.seed, options.seed + options.draws), workers=options.workers)
    result = {
        "draws": options.draws,
        "seed": options.seed,
        "table": table,
        "targets": _targets(table),
        **describe_machine(),
    }
    write_result("audit_power", result)
    print(audit_power_tables(result))


def measure_power(seeds: Sequence[int], *, workers: int = 1) -> list[dict[str, Any]]:
    """A row for each fault: hits and false alarms, their shares and intervals.

    Args:
        seeds: one draw each, at least one.
        workers: processes that draw and audit; with 1 it is this one.
    """
    if workers == 1:
        seen = [warned_gates(seed) for seed in seeds]
    else:
        # Tables are small, so threads would only wait for each other; a forked child would share those of polars.
        os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS"), "1"))
        with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
            seen = list(pool.map(warned_gates, seeds, chunksize=4))
    rows = []
    for fault in FAULTS:
        hits = sum(fault.gate in draw[fault.name] for draw in seen)
        alarms = sum(fault.gate in draw[fault.part] for draw in seen)
        rows.append(
            {"fault": fault.name, "gate": fault.gate, "how": fault.how}
            | _rate("hits", hits, len(seen))
            | _rate("alarms", alarms, len(seen))
        )
    return rows


def warned_gates(seed: int) -> dict[str, set[str]]:
    """Gates that warn or fail on the sound draw of a seed (`thumbs`, `pairs`), and of each faulty one its own gate."""
    sound = draw_sound(seed)
    asked = {"thumbs": None, "pairs": sound.asked()}
    seen = {part: _broken(audit_candidates(sound.candidates(part), asked=asked[part]).metrics) for part in PARTS}
    for fault in FAULTS:
        faulty = draw_sound(seed)
        fault.plant(faulty)
        metrics = _MEASURES[fault.gate](faulty.candidates(fault.part), faulty.asked(), AuditConfig())
        seen[fault.name] = _broken(metrics) & {fault.gate}
    return seen


_MEASURES: Final[Mapping[str, Measure]] = {
    "extreme_raters": lambda frame, _, config: measure_extreme_raters(votes(training_rows(frame)), config)[0],
    "length_auc": lambda frame, _, config: measure_lengths(training_rows(frame), config),
    "chosen_longer": lambda frame, _, config: measure_pair_lengths(pairs_behind(training_rows(frame)), config),
    "preference_cycles": lambda frame, _, config: measure_cycles(pairs_behind(training_rows(frame)), config),
    "first_shown_wins": lambda _, asked, config: measure_positions(asked, config),
    "leakage": lambda frame, *_: measure_leakage(frame),
    "label_drift": lambda frame, _, config: measure_drift(training_rows(frame), config)[0],
    "contradictions": lambda frame, _, config: measure_contradictions(
        training_rows(frame), votes(training_rows(frame)), config
    ),
    "model_confound": lambda frame, _, config: measure_model_confound(training_rows(frame), config),
    "shortcut_auc": lambda frame, _, config: measure_shortcut(training_rows(frame), config),
    "label_ratio": lambda frame, _, config: measure_balance(training_rows(frame), config),
}


def _broken(metrics: Sequence[Metric]) -> set[str]:
    return {metric.name for metric in metrics if metric.is_gate and metric.severity in _BROKEN}


def _rate(name: str, cases: int, n: int) -> dict[str, Any]:
    low, high = wilson_interval(cases, n)
    return {name: cases, f"{name}_share": cases / n, f"{name}_low": round(low, 4), f"{name}_high": round(high, 4)}


def _targets(table: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    hits, alarms = min(row["hits_share"] for row in table), max(row["alarms_share"] for row in table)
    return [
        {"claim": f"every fault is seen in {_LEAST_HITS:.0%} of draws", "value": hits, "is_met": hits >= _LEAST_HITS},
        {
            "claim": f"no gate warns in more than {_MOST_ALARMS:.0%} of sound draws",
            "value": alarms,
            "is_met": alarms <= _MOST_ALARMS,
        },
    ]


if __name__ == "__main__":
    main()
