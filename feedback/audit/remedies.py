"""What to do about gates on raters, pairs, models and time: what it changes, what it costs, and a command to paste."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from feedback.audit.report import Advice, Metric
from feedback.audit.wording import agree, count, number, percent, plural

__all__ = ["REMEDIES"]

_LEAST_CONFIRMED: Final = 0.1
"""Share of rows that must be left where a second rater is asked for."""


def _on_extreme_raters(metric: Metric, raw: str) -> Advice:
    judgements = metric.details["judgements"]
    found = (
        f"{plural(judgements, 'vote')} {agree(judgements, 'are')} theirs; the table of extreme raters names them. They "
        "may be a brigade, a broken client or the only strict ones."
    )
    # Votes alone, without rows, do not say what would be left.
    rows, confirmed = metric.details.get("rows"), metric.details.get("confirmed", 0)
    left = "" if rows is None else f": at most {count(confirmed)} of {plural(rows, 'row')} would be left"
    if rows is not None and confirmed < _LEAST_CONFIRMED * rows:
        return Advice(
            metric=metric.name,
            title="Look at what these raters voted on, and take their records out where they are not to count",
            text=f"{found} Asking for a second rater who gave the same label (caps.min_raters=2) is no way out "
            f"here{left}.",
        )
    return Advice(
        metric=metric.name,
        title="Look at what these raters voted on, and let no row rest on one rater alone",
        text=f"{found} With the command a row needs two raters who gave its label: whatever only one person judged is "
        f"lost{left}.",
        command=f"thumbline curate {raw} -o OUT --set caps.min_raters=2",
    )


def _on_near_contradictions(metric: Metric, raw: str) -> Advice:
    contradicted = metric.details["contradicted"]
    return Advice(
        metric=metric.name,
        title="Decide about near-duplicates as about one answer",
        text=f"{plural(contradicted, 'cluster')} {agree(contradicted, 'have')} both labels. `curate` counts the votes "
        "of a cluster together; the losing rows are left out, and both where the votes do not decide.",
        command=f"thumbline curate {raw} -o OUT --set conflicts.policy=majority",
    )


def _on_cycles(metric: Metric, raw: str) -> Advice:
    turned, judged = metric.details["reversals"], metric.details["judgements"]
    return Advice(
        metric=metric.name,
        title="Leave out the pairs that close a circle",
        text=f"{plural(turned, 'judgement')} of {count(judged)} on the circles ({percent(turned / max(1, judged))}) "
        f"{agree(turned, 'stand')} against the order that turns round the fewest. Where several orders are equally "
        "good, the pairs of all are left out.",
        command=f"thumbline curate {raw} -o OUT --set conflicts.cycles=drop",
    )


def _on_pair_length(metric: Metric, raw: str) -> Advice:
    del raw
    longer = (metric.value or 0) > 0.5
    return Advice(
        metric=metric.name,
        title="Watch the length of the trained model's answers",
        text=f"No stage corrects this. Add pairs in which the {'shorter' if longer else 'longer'} answer is the better "
        "one, and compare the answers' length before and after training.",
    )


def _on_position(metric: Metric, raw: str) -> Advice:
    del raw
    return Advice(
        metric=metric.name,
        title="Show the answers in a random order, and ask again with the order swapped",
        text=f"{count(metric.details['first'])} of {plural(metric.n, 'pair')} went to the answer shown first. What is "
        "already collected is not corrected by any stage; where the order was drawn at random it is noise, where it "
        "was not (the new model always first) it is a bias towards that model.",
    )


def _on_flips(metric: Metric, raw: str) -> Advice:
    del raw
    return Advice(
        metric=metric.name,
        title="Keep the pairs whose winner stays when swapped",
        text=f"{plural(metric.details['to_first'] + metric.details['to_last'], 'couple')} of answers changed the "
        "winner with the order. Write such pairs as a tie, which gives no rows, or ask a further rater.",
    )


def _on_model(metric: Metric, raw: str) -> Advice:
    del raw
    return Advice(
        metric=metric.name,
        title="Compare models on the same prompts",
        text="No stage corrects this, and part of it may be that one model is better. The table of labels by model "
        "says which; answers of several models to one prompt tell the model from the prompt, and a label that a model "
        "hardly ever gets teaches only how that model writes.",
    )


def _on_shortcut(metric: Metric, raw: str) -> Advice:
    del raw
    alone = {name: area for name, area in metric.details["alone"].items() if area is not None}
    strongest = max(alone, key=lambda name: alone[name])
    return Advice(
        metric=metric.name,
        title=f"Look at the labels by {strongest} first",
        text=f"By itself it predicts the label with an AUC of {number(alone[strongest])}. The tables by model, time "
        "and length show where; collect the rarer label there, or leave such rows out.",
    )


def _on_label_drift(metric: Metric, raw: str) -> Advice:
    return Advice(
        metric=metric.name,
        title="Find out what changed then, and hold no day above the others",
        text=f"{metric.details['period']} differs most: a release, a new button or a campaign of votes. The command "
        "lets one day give a hundred rows at most; choose a number that suits your traffic.",
        command=f"thumbline curate {raw} -o OUT --set caps.max_rows_per_day=100",
    )


def _on_prompt_drift(metric: Metric, raw: str) -> Advice:
    return Advice(
        metric=metric.name,
        title="Cap how many rows one cluster of prompts gives",
        text=f"{metric.details['period']} asked other things than the rest. The command lets a cluster of prompts give "
        "twenty rows at most; its other rows are left out.",
        command=f"thumbline curate {raw} -o OUT --set caps.max_rows_per_group=20",
    )


def _on_shift(metric: Metric, raw: str) -> Advice:
    del raw
    what = metric.title.removeprefix("Shift of ")
    return Advice(
        metric=metric.name,
        title=f"Find out why {what} are others before the two are mixed",
        text=f"A new model, button or group of users changes {what}, and so does a campaign of votes. Figures of a "
        f"model trained on {metric.details['against']} do not carry over; the tables of the comparison say where it "
        "lies.",
    )


def _on_objective(metric: Metric, raw: str) -> Advice:
    pairs = plural(metric.details["pairs"], "pair")
    if metric.details["objective"] == "dpo":
        return Advice(
            metric=metric.name,
            title="Try DPO on the pairs beside KTO on the rows",
            text=f"{metric.sentence} `curate` keeps the {pairs} beside the labelled rows, as far as they do not "
            "contradict each other, and `thumbline train OUT --objective dpo` takes them.",
            command=f"thumbline curate {raw} -o OUT",
        )
    return Advice(
        metric=metric.name,
        title="Train with KTO",
        text=f"{metric.sentence} `curate` makes an up and a down row from each of {pairs}.",
        command=f"thumbline curate {raw} -o OUT",
    )


REMEDIES: Final[Mapping[str, Callable[[Metric, str], Advice]]] = {
    "extreme_raters": _on_extreme_raters,
    "near_contradictions": _on_near_contradictions,
    "preference_cycles": _on_cycles,
    "chosen_longer": _on_pair_length,
    "first_shown_wins": _on_position,
    "swap_flips": _on_flips,
    "model_confound": _on_model,
    "shortcut_auc": _on_shortcut,
    "label_drift": _on_label_drift,
    "prompt_drift": _on_prompt_drift,
    "label_shift": _on_shift,
    "prompt_shift": _on_shift,
    "objective": _on_objective,
}
"""The advice on each metric, from the metric and from what stands for the raw files in a command."""
