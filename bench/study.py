"""The study: one tiny model, every objective, feedback of nine kinds, and how often the answers are right afterwards.

    python -m bench.study [--seeds N] [--conditions NAME ...] [--objectives NAME ...] [--scratch DIR] [--draw]

    for each seed: pretrain ─► sample and judge answers ─► feedback under every condition
    six tries an objective on the clean feedback of a seed of its own ─► its learning rate
    every objective under every condition and seed ─► exact match on held-out questions ─► table, picture

The whole study is written to `bench/results/study.json` and drawn to `docs/study.svg`; a part of it is printed and left
in `study.partial.json`. With `--scratch` finished runs are kept there, and a study that was stopped goes on.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

from bench.runner import describe_machine, results_folder, write_result
from bench.study_data import CONDITIONS
from bench.study_page import study_tables
from bench.study_picture import draw
from bench.study_runs import VARIANTS, Sizes, StudyRun, can_train, execute, prepare, tries
from bench.study_summary import best_try, summarize

__all__ = ["main", "run_study"]

T, R = TypeVar("T"), TypeVar("R")
Together = Callable[[Callable[[T], R], Iterable[T]], Iterable[R]]
"""Calls a function for each value, as `map` does."""

TRY_SEED: Final = 1000
"""The seed that learning rates are chosen on; it is none of the study's."""

_PICTURE: Final = Path(__file__).parents[1] / "docs" / "study.svg"
_MEMORY_DISK: Final = Path("/dev/shm")  # thousands of small files are written and deleted


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the study, or a part of it, print its table and write the result."""
    options = _parse(arguments)
    if options.draw:
        _PICTURE.write_text(draw(json.loads((results_folder() / "study.json").read_text("utf-8"))) + "\n", "utf-8")
        return
    variants = [name for name in VARIANTS if not options.objectives or VARIANTS[name]["name"] in options.objectives]
    conditions = options.conditions or list(CONDITIONS)
    machine, began = describe_machine(), time.perf_counter()
    context = multiprocessing.get_context("spawn")  # a forked child may hang in torch's threads
    home = _MEMORY_DISK if _MEMORY_DISK.is_dir() else None
    with (
        tempfile.TemporaryDirectory(dir=home) as scratch,
        ProcessPoolExecutor(options.processes, mp_context=context) as pool,
    ):
        folder = options.scratch or Path(scratch)
        result = run_study(
            folder,
            variants=variants,
            conditions=conditions,
            seeds=range(options.seeds),
            sizes=Sizes(),
            together=pool.map,
        )
        minutes = _minutes_so_far(folder, time.perf_counter() - began)
    result |= {"minutes": round(minutes, 1), "processes": options.processes, **machine}
    is_whole = variants == list(VARIANTS) and conditions == list(CONDITIONS)
    write_result("study", result, is_whole=is_whole)
    if is_whole:
        _PICTURE.write_text(draw(result) + "\n", "utf-8")
    print(study_tables(result))


def run_study(
    scratch: Path,
    *,
    variants: Sequence[str],
    conditions: Sequence[str],
    seeds: Sequence[int],
    sizes: Sizes,
    together: Callable[..., Iterable[Any]] = map,
) -> dict[str, Any]:
    """Every objective under every condition that it can train on, with each seed.

    Args:
        scratch: where models, feedback and runs lie.
        variants: keys of `bench.study_runs.VARIANTS`.
        conditions: keys of `bench.study_data.CONDITIONS`.
        seeds: at least two, for an interval.
        sizes: of everything.
        together: what calls a function for each value, such as the `map` of a pool of processes.

    Returns:
        JSON values: what `bench/results/study.json` holds of the measurement itself.
    """
    every_seed = [TRY_SEED, *seeds]
    bases = dict(zip(every_seed, together(partial(prepare, scratch, sizes=sizes), every_seed), strict=True))
    tried = [one for variant in variants for one in tries(variant, TRY_SEED)]
    found = _execute(scratch, tried, sizes, together)
    chosen = {variant: best_try([(one, found[one]) for one in tried if one.variant == variant]) for variant in variants}
    runs = [
        StudyRun(variant, condition, seed, chosen[variant].rate, chosen[variant].beta)
        for seed in seeds
        for condition in conditions
        for variant in variants
        if can_train(variant, condition)
    ]
    measured = _execute(scratch, runs, sizes, together)
    return summarize(
        [bases[seed] for seed in seeds],
        [(one, found[one]) for one in tried],
        chosen,
        [(one, measured[one]) for one in runs],
    ) | {"seeds": list(seeds), "pairs": sizes.pairs, "held_out": sizes.held_out, "texts": sizes.texts}


def _execute(
    scratch: Path, runs: Sequence[StudyRun], sizes: Sizes, together: Callable[..., Iterable[Any]]
) -> dict[StudyRun, tuple[float, float]]:
    """Exact match of each run, told as they end."""
    found = {}
    for one, shares in zip(runs, together(partial(execute, scratch, sizes=sizes), runs), strict=True):
        found[one] = shares
        setting = f"rate {one.rate:g}" + ("" if one.beta is None else f", beta {one.beta:g}")
        print(
            f"{len(found)}/{len(runs)} {one.variant}, {one.condition}, seed {one.seed}, {setting}: {shares[0]:.3f}",
            flush=True,
        )
    return found


def _minutes_so_far(folder: Path, seconds: float) -> float:
    """The minutes of this call and of those before it that left finished runs in the folder."""
    path = folder / "seconds.json"
    spent = seconds + (json.loads(path.read_text("utf-8")) if path.is_file() else 0.0)
    path.write_text(json.dumps(spent), "utf-8")
    return spent / 60


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.study", description="every objective on one tiny task")
    parser.add_argument("--seeds", type=int, default=8, help="at least two")
    parser.add_argument("--conditions", nargs="+", choices=list(CONDITIONS), help="some of them")
    known = sorted({str(settings["name"]) for settings in VARIANTS.values()})
    parser.add_argument("--objectives", nargs="+", choices=known, help="some of them, with their variants")
    parser.add_argument("--processes", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--scratch", type=Path, help="keeps models and finished runs, to go on with")
    parser.add_argument("--draw", action="store_true", help="only draw docs/study.svg anew, from the result")
    options = parser.parse_args(arguments)
    if options.seeds < 2:
        parser.error("an interval needs at least two seeds")
    return options


if __name__ == "__main__":
    main()
