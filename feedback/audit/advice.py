"""What to do about what was found, with the arithmetic and a command to paste."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from fractions import Fraction
from typing import Final, Literal

from feedback.audit.config import AuditConfig
from feedback.audit.objective import KEPT_SHARE
from feedback.audit.remedies import REMEDIES
from feedback.audit.report import SEVERITIES, Advice, Metric
from feedback.audit.texts.advice import ON_TEXTS
from feedback.audit.wording import count, number, percent, plural
from feedback.config import CapsConfig, RebalanceConfig
from feedback.rebalance.ratio import RatioPlan, plan_ratio
from schemas.errors import RatioUnreachableError

__all__ = ["advise"]


def advise(metrics: Iterable[Metric], config: AuditConfig, *, source: str, raw: str) -> list[Advice]:
    """Advice on every gate that does not hold, worst first, then on duplicates and on the objective for pairs.

    Args:
        metrics: what was measured.
        config: the thresholds, and the lambdas.
        source: what stands for the input in a command: the folder of a dataset, or raw files and their `--from`.
        raw: what stands for the raw files, from which everything can be made again.
    """
    advice: list[Advice] = []
    metrics = list(metrics)
    could_go = [metric for metric in metrics if metric.name == "discardable_desirables"]
    is_too_high = any(m.name == "label_ratio" and (m.value or 0) > config.high * (1 + 1e-9) for m in metrics)
    for metric in sorted(metrics, key=lambda metric: SEVERITIES.index(metric.severity)):
        if metric.name == "label_ratio" and metric.severity == "warn":
            advice += _on_ratio(metric, config, source)
            advice += [_on_discardable(other, config, source) for other in could_go if is_too_high]
        elif metric.is_gate and metric.severity in ("fail", "warn"):
            advice += [_ON_GATES[metric.name](metric, raw)] if metric.name in _ON_GATES else []
        elif metric.name == "exact_duplicates" and metric.value:
            advice.append(_on_duplicates(metric, raw))
        elif metric.name == "objective" and metric.value and metric.n >= config.min_rows:
            advice.append(REMEDIES[metric.name](metric, raw))
    return advice


def _on_ratio(metric: Metric, config: AuditConfig, source: str) -> list[Advice]:
    details = metric.details
    if not details["desirable"] or not details["undesirable"]:
        return []  # The gate `labels` says what to do.
    below = " --allow-below-one" if config.low < 1 else ""
    options = f"-o OUT --ratio {_shown(config.low)}:{_shown(config.high)}{below}{_lambdas(config)}"
    advice = []
    if (fewer := _plan(details, config, "downsample")) is not None:
        advice.append(
            Advice(
                metric=metric.name,
                title="Leave out rows of the label that is too many",
                text=_downsampling_text(details, fewer),
                command=f"thumbline rebalance {source} {options}",
            )
        )
    if (weighted := _plan(details, config, "reweight")) is not None:
        advice.append(
            Advice(
                metric=metric.name,
                title="Keep every row and raise the weight of the rarer label",
                text=_reweighting_text(weighted, config),
                command=f"thumbline rebalance {source} {options} --mode reweight",
            )
        )
    return advice


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
        f"{plural(lost, 'row')} are left out ({percent(lost / (up + down))})."
    )


def _kept(kept: int, n: int) -> str:
    return f"all {count(n)}" if kept == n else f"{count(kept)} of {count(n)}"


def _reweighting_text(plan: RatioPlan, config: AuditConfig) -> str:
    up, down = float(plan.desirable_weight), float(plan.undesirable_weight)
    width = config.high / config.low
    if up > config.desirable_weight:
        chosen, symbol, far = up, "lambda_D", up * width
    else:
        chosen, symbol, far = down, "lambda_U", down * width
    return (
        f"{symbol} = {number(chosen)} brings R to {number(float(plan.value or math.nan))}, and any {symbol} from "
        f"{number(chosen)} to {number(far)} is in range. No row is lost; "
        "the rarer label's rows count more, and so do its errors."
    )


def _on_discardable(metric: Metric, config: AuditConfig, source: str) -> Advice:
    below = " --allow-below-one" if config.low < 1 else ""
    return Advice(
        metric=metric.name,
        title="Or train on a tenth of the desirable rows, faster",
        text=metric.sentence,
        command=f"thumbline rebalance {source} -o OUT --ratio {_shown(config.low)}:{_shown(config.high)}{below}"
        f"{_lambdas(config)} --mode reweight --set keep_desirable_share={KEPT_SHARE}",
    )


def _lambdas(config: AuditConfig) -> str:
    """The options that say which lambdas the ratio is solved for."""
    names = ("desirable_weight", "undesirable_weight")
    return "".join(f" --set {name}={getattr(config, name)!r}" for name in names if getattr(config, name) != 1)


def _shown(value: float) -> str:
    """A bound as `--ratio` reads it back without loss: 1, 4/3, 1.25.

    >>> _shown(4 / 3), _shown(1.0), _shown(1.33)
    ('4/3', '1', '1.33')
    """
    simple = Fraction(value).limit_denominator(99)
    if float(simple) == value and len(str(simple)) < len(repr(value)):
        return str(simple)
    return repr(value)


def _on_labels(metric: Metric, source: str) -> Advice:
    del source
    missing = "down" if metric.details["desirable"] else "up"
    return Advice(
        metric=metric.name,
        title=f"Add a source that has {missing} rows" if metric.n else "Add rows with a label",
        text="Pairs give both labels: the preferred answer is up, the other one down. "
        "`thumbline formats` lists what can be read.",
    )


def _on_leakage(metric: Metric, source: str) -> Advice:
    return Advice(
        metric=metric.name,
        title="Split again by prompt",
        text=f"{plural(metric.details['rows'], 'held-out row')} must move: "
        "`curate` keeps all rows of one prompt on one side.",
        command=f"thumbline curate {source} -o OUT",
    )


def _on_waterfall(metric: Metric, source: str) -> Advice:
    del metric
    return Advice(
        metric="waterfall",
        title="Make the dataset again from the raw files",
        text="Its table and its history do not belong together, so nothing that the history says can be trusted.",
        command=f"thumbline curate {source} -o OUT",
    )


def _on_raw_ids(metric: Metric, source: str) -> Advice:
    return Advice(
        metric=metric.name,
        title="Do not share this table; read the raw files again",
        text="`curate` stores a keyed hash in place of each user id.",
        command=f"thumbline curate {source} -o OUT",
    )


def _on_rejected(metric: Metric, source: str) -> Advice:
    del source
    worst = next(iter(metric.details["reasons"]))
    return Advice(
        metric=metric.name,
        title="Mend the export, or name another format",
        text=f"Most fail for {worst}. Until then `curate` writes nothing; the other figures here are of the rest.",
    )


def _on_contradictions(metric: Metric, source: str) -> Advice:
    across = metric.details["across_raters"]
    return Advice(
        metric=metric.name,
        title="Settle answers that carry both labels",
        text=f"The latest vote settles the {count(metric.details['same_rater'])} where a rater changed their mind; "
        f"a majority settles some of the other {count(across)}, and those that it cannot settle are left out.",
        command=f"thumbline curate {source} -o OUT --set conflicts.policy=majority",
    )


def _on_top_rater(metric: Metric, source: str) -> Advice:
    caps = CapsConfig()
    return Advice(
        metric=metric.name,
        title="Cap what rests on one rater, and look at what this one votes for",
        text=f"{plural(metric.details['judgements'], 'judgement')} come from one person. Compare their share of up "
        f"with the others' in the table of raters. From {caps.share_from_raters} raters on, `curate` lets "
        f"{percent(caps.max_rater_share or 1)} of each label's rows rest on one of them at most; with fewer, collect "
        "from more people, or set caps.share_from_raters.",
        command=f"thumbline curate {source} -o OUT",
    )


def _on_length(metric: Metric, source: str) -> Advice:
    del source
    learnt, other = ("long", "short") if (metric.value or 0) > 0.5 else ("short", "long")
    return Advice(
        metric=metric.name,
        title="Watch the length of the trained model's answers",
        text=f"No stage corrects this. Add {learnt} answers that are down, or {other} ones that are up, "
        "and compare the answers' length before and after training.",
    )


def _on_duplicates(metric: Metric, source: str) -> Advice:
    return Advice(
        metric=metric.name,
        title="Merge duplicates into one row with several votes",
        text=f"{plural(metric.details['rows'], 'row')} would be trained on more than once; "
        "`curate` keeps one of each and counts the votes.",
        command=f"thumbline curate {source} -o OUT",
    )


_ON_GATES: Final[Mapping[str, Callable[[Metric, str], Advice]]] = {
    **REMEDIES,
    "rejected": _on_rejected,
    "labels": _on_labels,
    "leakage": _on_leakage,
    "waterfall": _on_waterfall,
    "raw_rater_ids": _on_raw_ids,
    "contradictions": _on_contradictions,
    "top_rater": _on_top_rater,
    "length_auc": _on_length,
    **ON_TEXTS,
}
