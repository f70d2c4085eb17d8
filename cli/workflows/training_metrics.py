"""A forecast of a training run as metrics, tables and advice of an audit."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import TYPE_CHECKING, Final

from feedback.audit.counted import counted_share
from feedback.audit.report import Advice, Column, Metric, Severity, Table
from feedback.audit.wording import count, number, percent, plural

if TYPE_CHECKING:  # it loads torch
    from align.resources.forecast import Forecast, Pass, Passes
    from align.tokens.token_ids import TokenPair
    from align.tokens.tokenize import TokenizedRow

__all__ = ["TRAINING_METRICS", "advise_on_training", "cannot_train", "measure_training", "tabulate_training"]

TRAINING_METRICS: Final = (
    "training_steps",
    "rows_lost",
    "tokenized_ratio",
    "truncated_prompts",
    "truncated_completions",
    "row_tokens",
    "one_label_steps",
    "padding_share",
    "training_petaflop",
    "training_hours",
)
"""Every metric of this module, in the order in which they are shown."""

_PETA: Final = 1e15
_EVERY_STEP: Final = "every step can be built"
_PASSES: Final = (
    ("policy", "Policy, forward and backward"),
    ("mismatched", "Mismatched pairs for z0, forward"),
    ("reference", "Reference, forward"),
    ("evaluation", "Held-out rows, forward, at each evaluation"),
)


def measure_training(found: Forecast, *, tokens_per_second: float | None) -> list[Metric]:
    """The metrics of trainer readiness: steps, R, rows lost and cut, tokens, padding, cost and, where asked for, hours.

    Args:
        found: what the run would do.
        tokens_per_second: `tokens` over `seconds` of a step in a run's `metrics.jsonl`; null says no hours.
    """
    kept = len(found.train.rows)
    metrics = [_steps(found), _rows_lost(found)]
    if kept:
        turns = found.train.figures["dropped_turns"]
        metrics += [
            *([] if found.is_of_pairs else [_ratio(found)]),
            _cut(found, "truncated_prompts", "Prompts cut", f"lose their oldest turns, {count(turns)} in all"),
            _cut(found, "truncated_completions", "Completions cut", "lose their end, and teach no end of turn"),
            _tokens(found),
        ]
    if found.inputs is not None and found.passes is not None:
        metrics += [] if found.is_of_pairs else [_one_label_steps(found, len(found.inputs.steps))]
        metrics += [_padding(found.passes), _cost(found.passes, found.parameters)]
        if tokens_per_second is not None:
            metrics.append(_hours(found.passes, found.parameters, tokens_per_second))
    return metrics


def cannot_train(obstacle: str, *, n: int = 0) -> Metric:
    """The metric `training_steps` of a run that has no step.

    Args:
        obstacle: why, as a clause.
        n: rows that are left.
    """
    return Metric(
        name="training_steps",
        title="Optimizer steps",
        value=0,
        kind="count",
        n=n,
        severity="fail",
        sentence=f"No step can be built: {obstacle}.",
        threshold=_EVERY_STEP,
    )


def tabulate_training(found: Forecast) -> list[Table]:
    """The tables `training_tokens` (by label, or by side of a pair) and `training_cost` (what goes through the model).

    Args:
        found: what the run would do.
    """
    tables = [_tokens_by_label(found.train.rows)] if found.train.rows else []
    return tables + ([_cost_by_pass(found.passes, found.parameters)] if found.passes is not None else [])


def advise_on_training(found: Forecast, metrics: Sequence[Metric]) -> list[Advice]:
    """What to do where a step cannot be built, or where tokenization moves R out of its range.

    Args:
        found: what the run would do.
        metrics: what was measured.
    """
    advice = []
    if found.obstacle:
        todo = found.todo or "Add feedback, or raise the limits with --set train.tokens.max_completion_tokens=N"
        advice.append(Advice("training_steps", "Change the rows so that steps can be built", f"{todo}."))
    for metric in metrics:
        if metric.name == "tokenized_ratio" and metric.severity == "warn" and found.train.dropped:
            text = "Rows of one label are longer. Raise the limits, or rebalance after leaving long rows out."
            advice.append(Advice(metric.name, "Look at which rows the limits take", text))
    return advice


def _steps(found: Forecast) -> Metric:
    if found.inputs is None:
        return cannot_train(found.obstacle, n=len(found.train.rows))
    steps, epochs = len(found.inputs.steps), len(set(found.inputs.epochs))
    sizes = [len(step) for step in found.inputs.steps]
    size = count(max(sizes)) if min(sizes) == max(sizes) else f"{count(min(sizes))} to {count(max(sizes))}"
    return Metric(
        name="training_steps",
        title="Optimizer steps",
        value=steps,
        kind="count",
        n=len(found.train.rows),
        severity="ok",
        sentence=f"{plural(steps, 'step')} of {size} rows over {plural(epochs, 'epoch')} can be built"
        + (
            ", each row with the completion of another prompt."
            if found.passes and found.passes.mismatched.tokens
            else "."
        ),
        threshold=_EVERY_STEP,
        details={"epochs": epochs, "smallest": min(sizes), "largest": max(sizes)},
    )


def _rows_lost(found: Forecast) -> Metric:
    lost, n = found.rows_read - len(found.train.rows), found.rows_read
    reasons = ", ".join(f"{count(rows)} {reason}" for reason, rows in sorted(found.train.dropped.items()))
    return counted_share(
        name="rows_lost",
        title="Rows lost to tokenization",
        cases=lost,
        n=n,
        sentence=f"{percent(lost / n)} of {plural(n, 'row')} ({count(lost)}) would not be trained on: {reasons}."
        if lost
        else f"All {plural(n, 'row')} fit into the limits.",
        details={"reasons": dict(sorted(found.train.dropped.items()))},
    )


def _ratio(found: Forecast) -> Metric:
    ratio = found.ratio
    wanted = f"[{number(ratio.low)}, {number(ratio.high)}]"
    level: Severity = "ok" if ratio.is_in_range else "warn"
    return Metric(
        name="tokenized_ratio",
        title="R after tokenization",
        value=ratio.value,
        kind="number",
        n=len(found.train.rows),
        severity=level,
        sentence=f"Of the rows that fit, {count(ratio.desirable)} are up and {count(ratio.undesirable)} down: "
        f"R = {number(ratio.value)} lies {'in' if level == 'ok' else 'outside'} {wanted}.",
        threshold=f"R in {wanted}",
        details={"desirable": ratio.desirable, "undesirable": ratio.undesirable},
    )


def _cut(found: Forecast, name: str, title: str, what: str) -> Metric:
    noun = "answer" if found.is_of_pairs else "row"
    cut, n = found.train.figures[name], sum(len(row.sequences) for row in found.train.rows)
    return counted_share(
        name=name,
        title=title,
        cases=cut,
        n=n,
        sentence=f"{percent(cut / n)} of {plural(n, noun)} that fit ({count(cut)}) {what}."
        if cut
        else f"{title}: none of {plural(n, noun)} that fit.",
    )


def _tokens(found: Forecast) -> Metric:
    prompt, completion = found.train.figures["prompt_tokens"], found.train.figures["completion_tokens"]
    return Metric(
        name="row_tokens",
        title="Tokens of the rows",
        value=prompt + completion,
        kind="count",
        n=len(found.train.rows),
        severity="info",
        sentence=f"{count(prompt + completion)} tokens in {plural(len(found.train.rows), 'row')}; the loss is of the "
        f"{count(completion)} in completions ({percent(completion / (prompt + completion))}).",
        details={"prompt": prompt, "completion": completion},
    )


def _one_label_steps(found: Forecast, steps: int) -> Metric:
    alone = found.one_label_steps()
    return counted_share(
        name="one_label_steps",
        title="Steps of one label",
        cases=alone,
        n=steps,
        sentence=f"{percent(alone / steps)} of {plural(steps, 'step')} ({count(alone)}) have rows of one label only: "
        "larger steps, or a label that is less rare, would mix them."
        if alone
        else f"All {plural(steps, 'step')} have both labels.",
    )


def _padding(passes: Passes) -> Metric:
    policy = passes.policy
    ours = max(0.0, 1 - policy.tokens / policy.padded_tokens)
    theirs = 1 - policy.tokens / passes.whole_steps
    return Metric(
        name="padding_share",
        title="Padding",
        value=ours,
        kind="share",
        n=policy.padded_tokens,
        severity="info",
        sentence=f"{percent(ours)} of what the policy computes on is padding, as sequences "
        f"{'are as long as the longest of their micro batch' if passes.is_padded else 'lie behind one another'}; "
        f"a trainer that pads each step to its longest row has {percent(theirs)}.",
        details={"padded_tokens": policy.padded_tokens, "whole_steps": theirs, "whole_step_tokens": passes.whole_steps},
    )


def _all(passes: Passes) -> list[tuple[str, Pass]]:
    return [(title, getattr(passes, name)) for name, title in _PASSES]


def _cost(passes: Passes, parameters: int) -> Metric:
    flops = sum(each.flops(parameters) for _, each in _all(passes))
    computed = passes.policy.padded_tokens
    forward = sum(each.padded_tokens for _, each in _all(passes)) - computed
    return Metric(
        name="training_petaflop",
        title="Cost of training, 10^15 operations",
        value=flops / _PETA,
        kind="number",
        n=computed + forward,
        severity="info",
        sentence=f"{count(computed)} tokens forward and backward at {passes.policy.flops_per_weight}N "
        f"operations each and {count(forward)} forward only at 2N, N = {count(parameters)} weights: {flops:.2e} in "
        "all. Attention to earlier tokens and a filled reference cache are not counted.",
        details={
            "flops": flops,
            "parameters": parameters,
            "forward_backward": computed,
            "forward": forward,
        },
    )


def _hours(passes: Passes, parameters: int, tokens_per_second: float) -> Metric:
    """Steps at the given speed; passes outside of steps at the speed that follows from their operations."""
    of_steps = passes.policy.tokens + passes.mismatched.tokens
    step_flops = passes.policy.flops(parameters) + passes.mismatched.flops(parameters)
    all_flops = sum(each.flops(parameters) for _, each in _all(passes))
    hours = of_steps / tokens_per_second * all_flops / step_flops / 3600
    return Metric(
        name="training_hours",
        title="Hours of training",
        value=hours,
        kind="number",
        n=of_steps,
        severity="info",
        sentence=f"At {number(tokens_per_second)} tokens of a step a second, about {number(hours)} hours, "
        f"{number(hours * (1 - step_flops / all_flops))} of them for the reference and evaluations.",
        details={"tokens_per_second": tokens_per_second, "step_tokens": of_steps},
    )


def _tokens_by_label(rows: Sequence[TokenizedRow]) -> Table:
    lines = []
    sides = _sides(rows)
    total = sum(len(completion) for pairs in sides.values() for _, completion in pairs)
    for name, pairs in sides.items():
        if pairs:
            lengths = [len(completion) for _, completion in pairs]
            prompts = sum(len(prompt) for prompt, _ in pairs)
            lines.append((name, len(pairs), prompts, sum(lengths), int(median(lengths)), sum(lengths) / total))
    columns = (
        Column("label", "Label", "text"),
        Column("rows", "Rows", "count"),
        Column("prompt_tokens", "Prompt tokens", "count"),
        Column("completion_tokens", "Completion tokens", "count"),
        Column("median", "Half of completions up to", "count"),
        Column("share", "Share of completion tokens", "share"),
    )
    return Table("training_tokens", "Tokens by label", columns, tuple(lines), "Of the rows that fit into the limits.")


def _sides(rows: Sequence[TokenizedRow]) -> dict[str, list[TokenPair]]:
    """The sequences by the label of their rows, those of pairs by their side."""
    if any(row.rejected is not None for row in rows):
        chosen, rejected = zip(*(row.sequences for row in rows), strict=True)
        return {"chosen": list(chosen), "rejected": list(rejected)}
    labels = (("up", True), ("down", False))
    return {name: [row.sequences[0] for row in rows if row.label is label] for name, label in labels}


def _cost_by_pass(passes: Passes, parameters: int) -> Table:
    lines = tuple(
        (title, one.sequences, one.tokens, one.padded_tokens, one.flops(parameters) / _PETA)
        for title, one in _all(passes)
        if one.tokens
    )
    columns = (
        Column("pass", "Pass", "text"),
        Column("sequences", "Sequences", "count"),
        Column("tokens", "Tokens", "count"),
        Column("padded_tokens", "Computed on", "count"),
        Column("petaflop", "10^15 operations", "number"),
    )
    once = "" if passes.is_padded else " A pass computes a prompt once for all of its answers."
    note = f"One process, all epochs.{once} A token takes 2 operations of a weight forward."
    return Table("training_cost", "What goes through the model", columns, lines, note)
