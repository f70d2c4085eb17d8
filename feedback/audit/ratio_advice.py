"""What to do about a label ratio out of its range: leave rows out, weigh them, or both, with the command that does it.

`rebalance` reads datasets and raw files. A store is read by `curate`, whose other stages are switched off then: the
arithmetic is of the rows as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Final, Literal

from feedback.audit.config import AuditConfig
from feedback.audit.lambdas import lambda_range, shown_lambda
from feedback.audit.objective import KEPT_SHARE
from feedback.audit.report import Advice, Metric
from feedback.audit.wording import agree, count, number, percent, plural
from feedback.config import RebalanceConfig
from feedback.rebalance.ratio import RatioPlan, plan_ratio
from schemas.errors import RatioUnreachableError

__all__ = ["advise_discarding", "advise_ratio"]

_ONLY_REBALANCE: Final = (
    "dedup.match=off",
    "conflicts.policy=off",
    "caps.max_rater_share=1.0",
    "split.test_fraction=0.0",
    "pairs.mode=off",
)
"""What `rebalance` makes of raw files, see `feedback.pipeline.rebalance_dataset`."""


def advise_ratio(metric: Metric, config: AuditConfig, source: str | None, raw: str) -> list[Advice]:
    """Advice to leave out rows, where whole rows can reach the range, and to weigh them.

    Args:
        metric: the metric `label_ratio`.
        config: the range of R, and the lambdas.
        source: what stands for the input in `rebalance`; null where `rebalance` does not read it.
        raw: what stands for it in `curate`.
    """
    details = metric.details
    if not details["desirable"] or not details["undesirable"]:
        return []  # The gate `labels` says what to do.
    advice = []
    if (fewer := _plan(details, config, "downsample")) is not None:
        advice.append(
            Advice(
                metric=metric.name,
                title="Leave out rows of the label that is too many",
                text=_downsampling_text(details, fewer) + _scope(source),
                command=_command(config, source, raw),
            )
        )
    if (weighted := _plan(details, config, "reweight")) is not None:
        advice.append(
            Advice(
                metric=metric.name,
                title="Keep every row and raise the weight of the rarer label",
                text=_reweighting_text(weighted, config) + _scope(source),
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


def _plan(
    details: Mapping[str, float], config: AuditConfig, mode: Literal["downsample", "reweight"]
) -> RatioPlan | None:
    """How `rebalance`, which sets the rows' weights anew, would do it; null where whole rows cannot."""
    wanted = RebalanceConfig(
        mode=mode,
        low=config.low,
        high=config.high,
        allow_below_one=config.low < 1,
        desirable_weight=config.desirable_weight,
        undesirable_weight=config.undesirable_weight,
    )
    try:
        return plan_ratio(int(details["desirable"]), int(details["undesirable"]), wanted)
    except RatioUnreachableError:
        return None


def _downsampling_text(details: Mapping[str, float], plan: RatioPlan) -> str:
    up, down = int(details["desirable"]), int(details["undesirable"])
    lost = up + down - plan.desirable - plan.undesirable
    ratio = number(float(plan.value)) if plan.value is not None else "unknown"
    return (
        f"Keep {_kept(plan.desirable, up)} up and {_kept(plan.undesirable, down)} down rows: R = {ratio}. "
        f"{plural(lost, 'row')} {agree(lost, 'are')} left out ({percent(lost / (up + down))})."
    )


def _kept(kept: int, n: int) -> str:
    return f"all {count(n)}" if kept == n else f"{count(kept)} of {count(n)}"


def _reweighting_text(plan: RatioPlan, config: AuditConfig) -> str:
    cost = "No row is lost; the rarer label's rows count more, and so do its errors."
    raised = lambda_range(plan, config)
    if raised is None:  # the rows' own weights are what is out of balance
        return f"Without the rows' own weights R is {number(float(plan.value or 0))}. {cost}"
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
