"""The command `train`: a dataset and a model in, an aligned model out."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

import click

from cli.options import FOLDER, json_option, set_option

if TYPE_CHECKING:  # it loads torch's companions
    from align.artifacts.card import RunCard
    from align.trainer.sweep import SweptRun

__all__ = ["train"]

BUILTIN_MODEL: Final = "builtin:smollm2-135m-instruct"


@click.command(epilog=f"Example: thumbline train dataset --model {BUILTIN_MODEL} -o run")
@click.argument("source", metavar="CONFIG.toml|DATASET")
@click.option("--model", help=f"Local folder, hub name, or {BUILTIN_MODEL}.")
@click.option("-o", "--out", type=FOLDER, help="Folder of the run.")
@click.option("--objective", metavar="NAME", help="The loss.  [default: kto]")
@click.option(
    "--sweep",
    "sweeps",
    metavar="KEY=V1,V2,...",
    multiple=True,
    help="A run for each value of a setting, in folders of their own; several options give every combination.",
)
@click.option(
    "--dry-run", is_flag=True, help="Say what the run would take: steps, tokens, memory, time. Takes no step."
)
@click.option(
    "--processes",
    metavar="N",
    type=click.IntRange(min=1),
    default=1,
    help="Processes of this machine, each with a GPU where there are any.  [default: 1]",
)
@click.option("--no-resume", is_flag=True, help="Refuse to go on with an unfinished run.")
@set_option
@json_option
def train(
    source: str,
    model: str | None,
    out: Path | None,
    objective: str | None,
    sweeps: tuple[str, ...],
    dry_run: bool,
    processes: int,
    no_resume: bool,
    overrides: tuple[str, ...],
    as_json: bool,
) -> int | None:
    """Train a model on a curated dataset.

    A config file may name `dataset`, `model` and `out` besides the settings of the run; paths in it are relative to it.
    The same command goes on with a run that was stopped or killed, and leaves a finished one alone. With --sweep, for
    example beta=0.05,0.1,0.3, one plan and one reference pass serve all runs, and one table compares them.
    """
    from align.config import TrainConfig
    from cli.launch import is_main_process, launch
    from cli.progress import shown_progress
    from cli.train_plan import show_dry_run
    from schemas.settings import apply_overrides, load_settings

    values = _read_call(source)
    dataset = Path(values.pop("dataset"))
    model = model or values.pop("model", None)
    out = out or (Path(values.pop("out")) if "out" in values else None)
    for required in ("model", "out"):
        values.pop(required, None)
    if dry_run and sweeps:
        _refuse("--dry-run looks at one run; leave --sweep out.")
    out = out or (Path() if dry_run else None)  # a dry run writes nothing
    if model is None or out is None:
        _refuse("Name the model with --model and the folder of the run with -o, or in the config file.")
    more = [] if objective is None else [f"objective.name={objective}"]
    values = apply_overrides(values, [*more, *overrides])
    if dry_run:
        show_dry_run(load_settings(TrainConfig, values, where=source), dataset, model, as_json=as_json)
        return None
    if processes > 1:
        call = _same_call(
            source,
            model,
            out,
            objective=objective,
            sweeps=sweeps,
            no_resume=no_resume,
            overrides=overrides,
            as_json=as_json,
        )
        return launch(processes, call)
    from align.trainer import train as train_model
    from align.trainer.sweep import sweep

    if sweeps:
        with shown_progress() as progress:
            runs = sweep(values, sweeps, dataset=dataset, model=model, out=out, resume=not no_resume, progress=progress)
        if is_main_process():
            _show_sweep(runs, out, as_json)
        return None
    config = load_settings(TrainConfig, values, where=source)
    with shown_progress() as progress:
        card = train_model(config, dataset=dataset, model=model, out=out, resume=not no_resume, progress=progress)
    if is_main_process():
        _show_run(card, dataset, out, as_json)
    return None


def _same_call(
    source: str,
    model: str,
    out: Path,
    *,
    objective: str | None,
    sweeps: Sequence[str],
    no_resume: bool,
    overrides: Sequence[str],
    as_json: bool,
) -> list[str]:
    """The command line of one of several processes: the call without `--processes`.

    >>> _same_call("d", "m", Path("run"), objective="dpo", sweeps=(), no_resume=True, overrides=["a=1"], as_json=False)
    ['train', 'd', '--model', 'm', '-o', 'run', '--objective', 'dpo', '--set', 'a=1', '--no-resume']
    """
    call = ["train", source, "--model", model, "-o", str(out)]
    call += ["--objective", objective] if objective is not None else []
    call += [part for text in sweeps for part in ("--sweep", text)]
    call += [part for text in overrides for part in ("--set", text)]
    return call + ["--no-resume"] * no_resume + ["--json"] * as_json


def _refuse(message: str) -> NoReturn:
    raise click.UsageError(message)


def _read_call(source: str) -> dict[str, Any]:
    """The config's values with `dataset`, and `model` and `out` where it names them, paths made relative to us."""
    from schemas.errors import ConfigError
    from schemas.settings import read_toml

    path = Path(source)
    if path.suffix != ".toml":
        return {"dataset": source}
    values = read_toml(path)
    if "dataset" not in values:
        raise ConfigError("the config names no dataset", where=path, expected='a line such as dataset = "dataset"')
    for key in ("dataset", "model", "out"):
        if key in values and not isinstance(values[key], str):
            raise ConfigError(f"config key {key!r} is not a text", where=path, received=values[key])
    for key in ("dataset", "out"):
        if key in values:
            values[key] = str(path.parent / values[key])
    if "model" in values and (path.parent / values["model"]).is_dir():
        values["model"] = str(path.parent / values["model"])
    objective = values["objective"] if isinstance(values.get("objective"), dict) else {}
    judge = objective.get("reward_model")
    if isinstance(judge, str) and judge and (path.parent / judge).is_dir():
        values["objective"] = {**objective, "reward_model": str(path.parent / judge)}
    return values


def _show_sweep(runs: Sequence[SweptRun], out: Path, as_json: bool) -> None:
    from cli.json_output import print_json
    from cli.render import show, table_of

    if as_json:
        print_json({"out": str(out), "runs": [one.to_dict() for one in runs]})
        return
    keys = list(runs[0].settings)
    rows = [
        (
            *(str(one.settings[key]) for key in keys),
            *((one.card.evaluation.get("last") or {}).get(f"reward_{figure}") for figure in ("accuracy", "margin")),
            (one.card.evaluation.get("last") or {}).get("loss"),
            round(one.card.seconds["training"], 1),
        )
        for one in runs
    ]
    show(table_of((*keys, "accuracy>", "margin>", "loss>", "seconds>"), rows, title="Rewards on the held-out split"))
    show(f"Runs: {out}", f"As JSON: {out / 'sweep.json'}")


def _rows_trained_on(card: RunCard) -> str:
    from align.objectives import find_objective

    ratio, objective = card.ratio, find_objective(card.config["objective"]["name"])
    if objective.data == "preference":
        return f"Pairs to train on: {ratio['desirable']:,}."
    counted = f"Rows to train on: {ratio['desirable']:,} up, {ratio['undesirable']:,} down"
    return f"{counted}, R = {ratio['value']:.3f}." if objective.learns_from_both else f"{counted}."


def _show_run(card: RunCard, dataset: Path, out: Path, as_json: bool) -> None:
    from cli.json_output import print_json
    from cli.render import print_next, show

    if as_json:
        print_json({"out": str(out), "run_card": card.to_dict()})
        return
    steps = card.steps
    show(
        f"{card.model['name']} was trained with {card.config['objective']['name']}: {steps['steps']:,} steps, "
        f"{steps['examples']:,} examples, {card.seconds['training']:.0f} s.",
        _rows_trained_on(card),
        *(f"Warning: {warning}" for warning in card.warnings),
    )
    if card.evaluation.get("last"):
        from cli.evaluate import figures_table

        show("", "On the held-out split:", figures_table(card.evaluation["first"], card.evaluation["last"]))
    show(f"Model: {out / 'model'}", f"Run card: {out / 'run_card.md'}", f"Metrics: {out / 'metrics.jsonl'}")
    print_next(
        f"thumbline evaluate {shlex.quote(str(out))} --dataset {shlex.quote(str(dataset))}", "measure it once more"
    )
