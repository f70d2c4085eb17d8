"""Commands of training: train and evaluate. Each parses, calls one function, shows the result."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

import click

from cli.options import FOLDER, json_option, set_option

if TYPE_CHECKING:  # it loads torch's companions
    from align.card import RunCard

__all__ = ["evaluate", "train"]

BUILTIN_MODEL: Final = "builtin:smollm2-135m-instruct"
FIGURES: Final = (
    ("reward accuracy", "reward_accuracy"),
    ("reward margin", "reward_margin"),
    ("reward of desirable rows", "reward_desirable"),
    ("reward of undesirable rows", "reward_undesirable"),
    ("loss", "loss"),
)


@click.command(epilog=f"Example: thumbline train dataset --model {BUILTIN_MODEL} -o run")
@click.argument("source", metavar="CONFIG.toml|DATASET")
@click.option("--model", help=f"Local folder, hub name, or {BUILTIN_MODEL}.")
@click.option("-o", "--out", type=FOLDER, help="Folder of the run.")
@click.option("--objective", metavar="NAME", help="The loss.  [default: kto]")
@click.option("--no-resume", is_flag=True, help="Refuse to go on with an unfinished run.")
@set_option
@json_option
def train(
    source: str,
    model: str | None,
    out: Path | None,
    objective: str | None,
    no_resume: bool,
    overrides: tuple[str, ...],
    as_json: bool,
) -> None:
    """Train a model on a curated dataset.

    A config file may name `dataset`, `model` and `out` besides the settings of the run; paths in it are relative to it.
    The same command goes on with a run that was stopped or killed, and leaves a finished one alone.
    """
    from align.config import TrainConfig
    from align.trainer import train as train_model
    from cli.progress import shown_progress
    from schemas.settings import apply_overrides, load_settings

    values = _read_call(source)
    dataset = Path(values.pop("dataset"))
    model = model or values.pop("model", None)
    out = out or (Path(values.pop("out")) if "out" in values else None)
    for required in ("model", "out"):
        values.pop(required, None)
    if model is None or out is None:
        _refuse("Name the model with --model and the folder of the run with -o, or in the config file.")
    more = [] if objective is None else [f"objective.name={objective}"]
    config = load_settings(TrainConfig, apply_overrides(values, [*more, *overrides]), where=source)
    with shown_progress() as progress:
        card = train_model(config, dataset=dataset, model=model, out=out, resume=not no_resume, progress=progress)
    _show_run(card, dataset, out, as_json)


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
    return values


def _show_run(card: RunCard, dataset: Path, out: Path, as_json: bool) -> None:
    from cli.json_output import print_json
    from cli.render import print_next, show

    if as_json:
        print_json({"out": str(out), "run_card": card.to_dict()})
        return
    steps, ratio = card.steps, card.ratio
    show(
        f"{card.model['name']} was trained with {card.config['objective']['name']}: {steps['steps']:,} steps, "
        f"{steps['examples']:,} examples, {card.seconds['training']:.0f} s.",
        f"Rows to train on: {ratio['desirable']:,} up, {ratio['undesirable']:,} down, R = {ratio['value']:.3f}.",
        *(f"Warning: {warning}" for warning in card.warnings),
    )
    if card.evaluation.get("last"):
        show("", "On the held-out split:", _figures_table(card.evaluation["first"], card.evaluation["last"]))
    show(f"Model: {out / 'model'}", f"Run card: {out / 'run_card.md'}", f"Metrics: {out / 'metrics.jsonl'}")
    print_next(
        f"thumbline evaluate {shlex.quote(str(out))} --dataset {shlex.quote(str(dataset))}", "measure it once more"
    )


@click.command(epilog="Example: thumbline evaluate run --dataset dataset --prompts questions.txt")
@click.argument("run", metavar="RUN", type=click.Path(path_type=Path))
@click.option("--dataset", type=click.Path(path_type=Path, exists=True), help="The dataset whose split is scored.")
@click.option("--split", default="test", show_default=True, help="The split to score.")
@click.option("--reference", metavar="MODEL", help="What rewards are relative to; for a run, the model it began with.")
@click.option(
    "--prompts",
    "prompts_path",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Text file with a question a line, answered by the reference and by the model.",
)
@click.option("--max-new-tokens", type=click.IntRange(1), default=128, show_default=True, help="Longest answer.")
@json_option
def evaluate(
    run: Path,
    dataset: Path | None,
    split: str,
    reference: str | None,
    prompts_path: Path | None,
    max_new_tokens: int,
    as_json: bool,
) -> None:
    """Measure RUN, the folder of a finished run, on held-out rows, and let it answer questions.

    Without --dataset, the figures that the run recorded at its end are shown. RUN may also be any model, with
    --dataset and --reference.
    """
    from align.card import find_run_card
    from align.evaluate import evaluate as evaluate_model
    from cli.progress import shown_progress
    from cli.workflows.answers import answer_side_by_side

    card = find_run_card(run)
    if card is None and (dataset is None or reference is None):
        _refuse(f"{str(run)!r} is not a finished run. Name --dataset and --reference to measure a model.")
    result: dict[str, Any] = {"first": None, "last": None if card is None else card.evaluation.get("last")}
    result["first"] = None if card is None else card.evaluation.get("first")
    questions = [] if prompts_path is None else _read_questions(prompts_path)
    with shown_progress() as progress:
        if dataset is not None:
            result = {
                "first": result["first"],
                "last": evaluate_model(str(run), dataset=dataset, split=split, reference=reference, progress=progress),
            }
        if questions:
            base = reference or str(card.model["name"] if card else run)
            model = str(run) if card is None else str(run / "model")
            result["answers"] = answer_side_by_side(
                base, model, questions, max_new_tokens=max_new_tokens, progress=progress
            )
    _show_evaluation(result, as_json)


def _read_questions(path: Path) -> list[str]:
    from schemas.errors import InputError

    try:
        questions = [line.strip() for line in path.read_text("utf-8").splitlines()]
    except UnicodeDecodeError as error:
        raise InputError(f"the questions are not UTF-8 ({error})", where=path) from error
    found = [question for question in questions if question]
    if not found:
        raise InputError("there is no question in the file", where=path, expected="one on each line")
    return found


def _show_evaluation(result: Mapping[str, Any], as_json: bool) -> None:
    from cli.json_output import print_json
    from cli.render import show, table_of

    if as_json:
        print_json(result)
        return
    if result["last"] is None:
        show("The run's dataset had no held-out split, so there are no figures; name another with --dataset.")
    else:
        show(_figures_table(result["first"], result["last"]))
    answers: Sequence[Mapping[str, str]] = result.get("answers", ())
    if answers:
        show(
            table_of(
                ("question", "reference", "model"), [(one["prompt"], one["before"], one["after"]) for one in answers]
            )
        )


def _figures_table(first: Mapping[str, Any] | None, last: Mapping[str, Any]) -> Any:
    from cli.render import table_of

    rows = [(title, None if first is None else first.get(key), last.get(key)) for title, key in FIGURES]
    return table_of(("", "before>", "after>"), rows)
