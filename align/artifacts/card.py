"""The run card: what a model was made from, how, and how good it is; written last, so a run that has it is whole."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from align.data.parts import dataset_name
from align.objectives import find_objective
from schemas import __version__
from schemas.errors import CorruptionError
from schemas.manifest import MANIFEST_NAME, Manifest, write_last
from schemas.reasons import DropReason

__all__ = ["RUN_CARD_NAME", "RunCard", "describe_dataset", "find_run_card", "package_versions"]

RUN_CARD_NAME: Final = "run_card.json"
_PACKAGES: Final = ("torch", "transformers", "tokenizers", "accelerate", "peft", "safetensors", "pyarrow")
_EVALUATION_ROWS: Final = (
    ("rows, desirable", "n_desirable"),
    ("rows, undesirable", "n_undesirable"),
    ("reward, desirable", "reward_desirable"),
    ("reward, undesirable", "reward_undesirable"),
    ("reward margin", "reward_margin"),
    ("reward accuracy", "reward_accuracy"),
    ("sign accuracy", "sign_accuracy"),
    ("loss", "loss"),
    ("z0 (nats)", "z0"),
)


@dataclass(frozen=True, slots=True)
class RunCard:
    """Everything that is known of a run, as JSON values.

    Args:
        model: name and digest of the model that training began with; it is the reference.
        dataset: name, digest and stages of the dataset.
        digests: of dataset, tokens and plan, of the held-out rows as they were scored, and of a reward model.
        config: the resolved config.
        rows: for each split, rows read, kept and lost by reason, and the tokenizer's figures.
        ratio: label counts and R of the rows trained on, with the wanted range.
        steps: steps, examples and tokens done, and what was seen on the way.
        evaluation: `first` and `last` figures on the held-out split; null where there was none.
        seconds: wall time of the reference pass, of training and of a step.
        device: where it ran, in how many processes and threads, and the dtype.
        versions: of Python and packages.
        warnings: what a reader should know, a sentence each.
        thumbline_version: version that wrote it.
    """

    model: Mapping[str, Any]
    dataset: Mapping[str, Any]
    digests: Mapping[str, str]
    config: Mapping[str, Any]
    rows: Mapping[str, Any]
    ratio: Mapping[str, Any]
    steps: Mapping[str, Any]
    evaluation: Mapping[str, Any]
    seconds: Mapping[str, float]
    device: Mapping[str, Any]
    versions: Mapping[str, str]
    warnings: tuple[str, ...] = ()
    thumbline_version: str = field(default=__version__)

    def to_dict(self) -> dict[str, Any]:
        """JSON values of this card."""
        return {**asdict(self), "warnings": list(self.warnings)}

    def to_markdown(self) -> str:
        """This card as a page for people."""
        config = self.config
        lines = [
            f"# Run card: {self.model['name']}, {config['objective']['name']}",
            "",
            *_summary(self),
            *(f"- Warning: {warning}" for warning in self.warnings),
            "",
            "## Held-out split",
            "",
            *_evaluation_table(self.evaluation),
            "",
            "## Rows",
            "",
            "| split | read | kept | left out |",
            "|---|---|---|---|",
            *(_rows_line(split, counts) for split, counts in self.rows.items()),
            "",
            *_stages_table(self.dataset.get("stages", ())),
            "## Config",
            "",
            "```json",
            json.dumps(config, indent=2, sort_keys=True),
            "```",
            "",
            "Versions: " + ", ".join(f"{name} {version}" for name, version in self.versions.items()),
        ]
        return "\n".join(lines) + "\n"

    def write(self, folder: Path) -> None:
        """Write `run_card.md`, then `run_card.json` as the folder's last file."""
        write_last(folder / "run_card.md", self.to_markdown())
        text = json.dumps(self.to_dict(), indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
        write_last(folder / RUN_CARD_NAME, text + "\n")


def find_run_card(folder: Path) -> RunCard | None:
    """The card of a finished run; None where the folder is none.

    Raises:
        CorruptionError: the file is not a run card.
    """
    path = folder / RUN_CARD_NAME
    if not path.is_file():
        return None
    try:
        values = json.loads(path.read_text("utf-8"))
        return RunCard(**{**values, "warnings": tuple(values["warnings"])})
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise CorruptionError(f"the run card cannot be read ({error})", where=path) from error


def describe_dataset(folder: Path, digest: str) -> dict[str, Any]:
    """Name, digest and, where the dataset has a manifest, what each stage did."""
    described: dict[str, Any] = {"name": dataset_name(folder), "digest": digest}
    if (folder / MANIFEST_NAME).is_file():
        described["stages"] = [
            {
                "stage": stage.stage,
                "rows_in": stage.rows_in,
                "rows_created": stage.rows_created,
                "rows_kept": stage.rows_kept,
                "dropped": dict(stage.dropped),
            }
            for stage in Manifest.read(folder).stages
        ]
    return described


def package_versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide what is computed."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:  # an extra that is not installed
            continue
    return found


def _summary(card: RunCard) -> list[str]:
    steps, device = card.steps, card.device
    done = f"{steps['steps']} steps, {steps['examples']} examples, {steps['tokens']} tokens"
    return [
        f"- Model before training (the reference): `{card.model['name']}`, digest `{card.model['digest']}`",
        f"- Dataset: `{card.dataset['name']}`, digest `{card.dataset['digest']}`",
        f"- Trained: {done}, {card.seconds['training']:.0f} s on {device['device']} (processes: {device['processes']})",
        f"- {_rows_trained_on(card)}",
        *_sampled(card),
    ]


def _sampled(card: RunCard) -> list[str]:
    """What a run that sampled answers tells of them."""
    if "first_answer_reward" not in card.steps:
        return []
    reward, drift = (
        tuple(card.steps[f"{end}_answer_{key}"] for end in ("first", "last")) for key in ("reward", "drift")
    )
    judge = card.config["objective"]["reward_model"]
    rewards = f"{reward[0]:.4f} in the first step, {reward[1]:.4f} in the last"
    drifts = f"drift from the reference {drift[0]:.4f} and {drift[1]:.4f} nats"
    return [f"- Mean reward of sampled answers, by `{judge}`: {rewards}; {drifts}"]


def _rows_trained_on(card: RunCard) -> str:
    ratio, objective = card.ratio, find_objective(card.config["objective"]["name"])
    desirable, undesirable = ratio["desirable"], ratio["undesirable"]
    if objective.data == "preference":
        return f"Pairs trained on: {desirable}"
    if objective.only_desirable:
        left_out = card.rows["train"]["lost"].get(DropReason.UNDESIRABLE.value, 0)
        return f"Rows trained on: {desirable} desirable; {left_out} undesirable rows are not trained on"
    if not objective.learns_from_both:
        return f"Rows trained on: {desirable} desirable, {undesirable} undesirable"
    counts = (
        f"{desirable} desirable rows x {ratio['desirable_weight']:.3f},"
        f" {undesirable} undesirable x {ratio['undesirable_weight']:.3f}"
    )
    verdict = f"{'in' if ratio['is_in_range'] else 'outside'} [{ratio['low']:.3f}, {ratio['high']:.3f}]"
    return f"R = {_number(ratio['value'])}, {verdict}: {counts}"


def _evaluation_table(evaluation: Mapping[str, Any]) -> list[str]:
    first, last = evaluation.get("first"), evaluation.get("last")
    if last is None:
        return ["The dataset has no held-out split, so nothing was evaluated."]
    lines = ["| figure | first | last |", "|---|---|---|"]
    for title, key in _EVALUATION_ROWS:
        lines.append(f"| {title} | {_number(first and first.get(key))} | {_number(last.get(key))} |")
    return lines


def _rows_line(split: str, counts: Mapping[str, Any]) -> str:
    lost = ", ".join(f"{count} {reason}" for reason, count in sorted(counts["lost"].items())) or "none"
    return f"| {split} | {counts['read']} | {counts['kept']} | {lost} |"


def _stages_table(stages: Any) -> list[str]:
    if not stages:
        return []
    lines = ["## Dataset", "", "| stage | rows in | created | kept | dropped |", "|---|---|---|---|---|"]
    for stage in stages:
        dropped = ", ".join(f"{count} {reason}" for reason, count in sorted(stage["dropped"].items())) or "none"
        lines.append(
            f"| {stage['stage']} | {stage['rows_in']} | {stage['rows_created']} | {stage['rows_kept']} | {dropped} |"
        )
    return [*lines, ""]


def _number(value: Any) -> str:
    if value is None:
        return "-"
    return str(value) if isinstance(value, int) else f"{value:.4f}"
