"""What to do about a label ratio out of its range: leave rows out, weigh them, or both, with the command that does it.

`rebalance` reads datasets and raw files. A store is read by `curate`, whose other stages are switched off then: the
arithmetic is of the rows as they are.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Final

from feedback.audit.config import AuditConfig
from feedback.audit.lambdas import LambdaRange, lambda_range, shown_lambda
from feedback.audit.objective import KEPT_SHARE
from feedback.audit.report import Advice, Metric
from feedback.audit.unbalanced import Unbalanced
from feedback.audit.wording import agree, count, number, percent, plural
from feedback.rebalance.ratio import RatioPlan

__all__ = ["advise_discarding", "advise_ratio"]

_ONLY_REBALANCE: Final = (
    "dedup.match=off",
    "conflicts.policy=off",
    "caps.max_rater_share=1.0",
    "split.test_fraction=0.0",
    "pairs.mode=off",
)
"""What `rebalance` makes of raw files, see `feedback.pipeline.rebalance_dataset`."""


def advise_ratio(metric: Metric, config: AuditConfig, rows: Unbalanced, source: str | None, raw: str) -> list[Advice]:
    """Advice to leave out rows, where whole rows can reach the range, and to weigh them.

    Args:
        metric: the metric `label_ratio`.
        config: the range of R, and the lambdas.
        rows: the rows that `rebalance` would count.
        source: what stands for the input in `rebalance`; null where `rebalance` does not read it.
        raw: what stands for it in `curate`.
    """
    if not rows.desirable or not rows.undesirable:
        return []  # The gate `labels` says what to do.
    fewer, weighted = rows.plan(config, "downsample"), rows.plan(config, "reweight")
    raised = None if weighted is None else lambda_range(weighted, config)
    if weighted is not None and raised is None:
        return [
            Advice(
                metric=metric.name,
                title="Read every record once" if rows.repeated else "Set the weights of the labels anew",
                text=_in_range_text(weighted, rows) + _scope(source),
                command=_command(config, source, raw),
            )
        ]
    advice = []
    if fewer is not None:
        advice.append(
            Advice(
                metric=metric.name,
                title="Leave out rows of the label that is too many",
                text=_downsampling_text(rows, fewer) + _once(rows) + _scope(source),
                command=_command(config, source, raw),
            )
        )
    if raised is not None:
        advice.append(
            Advice(
                metric=metric.name,
                title="Keep every row and raise the weight of the rarer label",
                text=_reweighting_text(raised) + _once(rows) + _scope(source),
                command=_command(config, source, raw, mode="reweight"),
            )
        )
    return advice


def advise_discarding(metric: Metric, config: AuditConfig, source: str | None, raw: str) -> Advice:
    """Advice to train on a tenth of the desirable rows.

    Args:
        metric: the metric `discardable_desirables`.
        config: as in `advise_ratio`.
        source: likewise.
        raw: likewise.
    """
    return Advice(
        metric=metric.name,
        title="Or train on a tenth of the desirable rows, faster",
        text=metric.sentence + _scope(source),
        command=_command(config, source, raw, mode="reweight", keep_desirable_share=KEPT_SHARE),
    )


def _downsampling_text(rows: Unbalanced, plan: RatioPlan) -> str:
    up, down = rows.desirable, rows.undesirable
    lost = up + down - plan.desirable - plan.undesirable
    return (
        f"Keep {_kept(plan.desirable, up)} up and {_kept(plan.undesirable, down)} down rows: R = {_shown_ratio(plan)}. "
        f"{plural(lost, 'row')} {agree(lost, 'are')} left out ({percent(lost / (up + down))})."
    )


def _in_range_text(plan: RatioPlan, rows: Unbalanced) -> str:
    without = (
        f"Without the {plural(rows.repeated, 'record')} read again, "
        if rows.repeated
        else "Without the lambdas that their weights hold, "
    )
    return (
        f"{without}{count(plan.desirable)} up and {count(plan.undesirable)} down rows have R = {_shown_ratio(plan)}, "
        "which is in range: the command leaves out no other row and raises no weight."
    )


def _shown_ratio(plan: RatioPlan) -> str:
    is_weighted = (plan.desirable_mass, plan.undesirable_mass) != (Fraction(plan.desirable), Fraction(plan.undesirable))
    return number(float(plan.value or 0)) + (" by weight" if is_weighted else "")


def _once(rows: Unbalanced) -> str:
    if not rows.repeated:
        return ""
    return f" Before that, {plural(rows.repeated, 'record')} read again {agree(rows.repeated, 'are')} left out."


def _kept(kept: int, n: int) -> str:
    return f"all {count(n)}" if kept == n else f"{count(kept)} of {count(n)}"


def _reweighting_text(raised: LambdaRange) -> str:
    cost = "No row is lost; the rarer label's rows count more, and so do its errors."
    symbol, least = raised.symbol, shown_lambda(raised.least)
    brings = f"{symbol} = {least} brings R to {number(float(raised.ratio))}"
    if raised.most > raised.least:
        brings += f", and any {symbol} from {least} to {shown_lambda(raised.most)} is in range"
    taken = f" The command takes the least, {shown_lambda(raised.taken)}." if raised.taken != raised.least else ""
    return f"{brings}.{taken} {cost}"


def _scope(source: str | None) -> str:
    return (
        ""
        if source is not None
        else " The command switches the other stages off, as these are the numbers of the rows as they are."
    )


def _command(config: AuditConfig, source: str | None, raw: str, **others: str | float) -> str:
    lambdas = {name: getattr(config, name) for name in ("desirable_weight", "undesirable_weight")}
    changed = {name: value for name, value in lambdas.items() if value != 1}
    if source is None:
        below = {"allow_below_one": "true"} if config.low < 1 else {}
        keys = {"low": config.low, "high": config.high, **below, **changed, **others}
        settings = [*_ONLY_REBALANCE, *(f"rebalance.{name}={value}" for name, value in keys.items())]
        return f"thumbline curate {raw} -o OUT" + "".join(f" --set {setting}" for setting in settings)
    below_one = " --allow-below-one" if config.low < 1 else ""
    mode = f" --mode {others.pop('mode')}" if "mode" in others else ""
    settings_of = "".join(f" --set {name}={value!r}" for name, value in changed.items())
    rest = "".join(f" --set {name}={value}" for name, value in others.items())
    return (
        f"thumbline rebalance {source} -o OUT --ratio {_shown(config.low)}:{_shown(config.high)}{below_one}"
        f"{settings_of}{mode}{rest}"
    )


def _shown(value: float) -> str:
    """A bound as `--ratio` reads it back without loss: 1, 4/3, 1.25.

    >>> _shown(4 / 3), _shown(1.0), _shown(1.33)
    ('4/3', '1', '1.33')
    """
    simple = Fraction(value).limit_denominator(99)
    if float(simple) == value and len(str(simple)) < len(repr(value)):
        return str(simple)
    return repr(value)
