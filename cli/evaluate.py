"""The command `evaluate`: rewards and answers of a run or a model, or of answers by a reward model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

import click

from cli.options import json_option

if TYPE_CHECKING:
    from schemas.messages import Message

__all__ = ["evaluate", "figures_table"]

FIGURES: Final = (
    ("reward accuracy", "reward_accuracy"),
    ("reward margin", "reward_margin"),
    ("reward of desirable rows", "reward_desirable"),
    ("reward of undesirable rows", "reward_undesirable"),
    ("loss", "loss"),
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
@click.option(
    "--reward-model", metavar="MODEL", help="A trained reward model: scores --dataset, or ranks answers to --prompts."
)
@click.option("--best-of", type=click.IntRange(1), help="Sampled answers to each question, of which the best is shown.")
@json_option
def evaluate(
    run: Path,
    dataset: Path | None,
    split: str,
    reference: str | None,
    prompts_path: Path | None,
    max_new_tokens: int,
    reward_model: str | None,
    best_of: int | None,
    as_json: bool,
) -> None:
    """Measure RUN, the folder of a finished run, on held-out rows, and let it answer questions.

    Without --dataset, the figures that the run recorded at its end are shown. RUN may also be a finished run's model,
    such as the link `champion` of retrain, or any other model, with --dataset and --reference. With --reward-model,
    the dataset's answers are scored by that model instead, and of --best-of answers of RUN to each question the one
    that it likes best is shown.
    """
    from align.artifacts.card import find_run_card
    from align.evaluate import evaluate as evaluate_model
    from cli.progress import shown_progress
    from cli.workflows.answers import answer_side_by_side

    run = _run_of(run)
    if best_of is not None and (reward_model is None or prompts_path is None):
        _refuse("--best-of needs --reward-model, which ranks, and --prompts, which are answered.")
    if reward_model is not None:
        _evaluate_rewards(run, reward_model, dataset, split, prompts_path, max_new_tokens, best_of or 1, as_json)
        return
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


def _run_of(folder: Path) -> Path:
    """The folder of a finished run where the folder of its model is named, as the link `champion` of retrain does."""
    from align.artifacts.card import find_run_card

    place = folder.resolve()
    return place.parent if place.name == "model" and find_run_card(place.parent) is not None else folder


def _evaluate_rewards(
    run: Path,
    reward_model: str,
    dataset: Path | None,
    split: str,
    prompts_path: Path | None,
    max_new_tokens: int,
    best_of: int,
    as_json: bool,
) -> None:
    """Score a dataset by a reward model, and let it choose among answers of RUN."""
    from align.evaluate.rank import load_reward_model, rank_answers, score_dataset
    from align.models.loading import load_policy
    from cli.json_output import print_json
    from cli.progress import shown_progress
    from cli.render import show, table_of

    if dataset is None and prompts_path is None:
        _refuse("Name --dataset to score its answers, or --prompts to rank answers to them.")
    questions = [] if prompts_path is None else _read_questions(prompts_path)
    result: dict[str, Any] = {}
    with shown_progress() as progress:
        judge = load_reward_model(reward_model)
        if dataset is not None:
            result["scores"] = score_dataset(judge, dataset, split=split, progress=progress)
        if questions:
            policy = load_policy(run / "model" if (run / "model").is_dir() else run)
            asked: list[list[Message]] = [[{"role": "user", "content": question}] for question in questions]
            ranked = rank_answers(
                policy, judge, asked, best_of=best_of, max_new_tokens=max_new_tokens, progress=progress
            )
            result["answers"] = [
                {"prompt": question, "answers": [{"text": one.text, "reward": one.reward} for one in answers]}
                for question, answers in zip(questions, ranked, strict=True)
            ]
    if as_json:
        print_json(result)
        return
    if "scores" in result:
        show(table_of(("", "value>"), [(title, result["scores"].get(key)) for title, key in FIGURES[:4]]))
    if "answers" in result:
        best = [(one["prompt"], one["answers"][0]["reward"], one["answers"][0]["text"]) for one in result["answers"]]
        show(table_of(("question", "reward>", f"best of {best_of}"), best))


def _read_questions(path: Path) -> list[str]:
    from schemas.errors import InputError

    try:
        questions = [line.strip() for line in path.read_text("utf-8").split("\n")]
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
        show(figures_table(result["first"], result["last"]))
    answers: Sequence[Mapping[str, str]] = result.get("answers", ())
    if answers:
        show(
            table_of(
                ("question", "reference", "model"), [(one["prompt"], one["before"], one["after"]) for one in answers]
            )
        )


def figures_table(first: Mapping[str, Any] | None, last: Mapping[str, Any]) -> Any:
    """Figures of a run before and after, as a table.

    Args:
        first: before training, if it was measured.
        last: after it.
    """
    from cli.render import table_of

    rows = [(title, None if first is None else first.get(key), last.get(key)) for title, key in FIGURES]
    return table_of(("", "before>", "after>"), rows)


def _refuse(message: str) -> NoReturn:
    raise click.UsageError(message)
