"""What to do about what was found, with the arithmetic and a command to paste."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from feedback.audit.config import AuditConfig
from feedback.audit.ratio_advice import advise_discarding, advise_ratio
from feedback.audit.remedies import REMEDIES
from feedback.audit.report import SEVERITIES, Advice, Metric
from feedback.audit.texts.advice import ON_TEXTS
from feedback.audit.unbalanced import Unbalanced
from feedback.audit.wording import agree, count, percent, plural
from feedback.config import CapsConfig

__all__ = ["advise"]


def advise(
    metrics: Iterable[Metric], config: AuditConfig, rows: Unbalanced, *, source: str | None, raw: str
) -> list[Advice]:
    """Advice on every gate that does not hold, worst first, then on duplicates and on the objective for pairs.

    Args:
        metrics: what was measured.
        config: the thresholds, and the lambdas.
        rows: the rows that `rebalance` would count.
        source: what stands for the input in `rebalance`: the folder of a dataset, or raw files and their `--from`; null
            where `rebalance` does not read it.
        raw: what stands for the raw files, from which everything can be made again.
    """
    advice: list[Advice] = []
    metrics = list(metrics)
    could_go = [metric for metric in metrics if metric.name == "discardable_desirables"]
    again = {metric.name: metric.details["rows"] for metric in metrics if metric.name in _AGAIN and metric.value}
    is_too_high = any(m.name == "label_ratio" and (m.value or 0) > config.high * (1 + 1e-9) for m in metrics)
    for metric in sorted(metrics, key=lambda metric: SEVERITIES.index(metric.severity)):
        if metric.name == "label_ratio" and metric.severity == "warn":
            advice += advise_ratio(metric, config, rows, source, raw)
            advice += [advise_discarding(other, config, source, raw) for other in could_go if is_too_high]
        elif metric.is_gate and metric.severity in ("fail", "warn"):
            advice += [_ON_GATES[metric.name](metric, raw)] if metric.name in _ON_GATES else []
        elif metric.name == _AGAIN[-1] and again:
            advice.append(_on_duplicates(again, raw))
        elif metric.name == "objective" and metric.value and metric.n >= config.min_rows:
            advice.append(REMEDIES[metric.name](metric, raw))
    return advice


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
    known = metric.details
    changed, disputed, between = (known[why] for why in ("same_rater", "across_raters", "between_pairs"))
    parts = []
    if changed:
        parts.append(f"The latest vote settles the {count(changed)} where a rater changed their mind.")
    if disputed:
        parts.append(
            f"A majority settles some of the {count(disputed)} where raters disagree; those that it cannot settle are "
            "left out."
        )
    if between:
        lost, rows = known["rows_lost_between_pairs"], known["rows_between_pairs"]
        parts.append(
            f"{count(between)} won one pair and lost another, where nobody contradicts anybody: a pair says which of "
            "two is better, not that either is good. `thumbline train OUT --objective dpo` trains on the pairs as "
            f"pairs. As rows they are decided as if their pairs were votes: {count(lost)} of {plural(rows, 'row')} "
            f"{agree(rows, 'are')} left out."
        )
    is_ranked = between > changed + disputed
    return Advice(
        metric=metric.name,
        title="Train on the pairs as pairs" if is_ranked else "Settle answers that carry both labels",
        text=" ".join(parts),
        command=f"thumbline curate {source} -o OUT --set conflicts.policy=majority",
    )


def _on_top_rater(metric: Metric, source: str) -> Advice:
    caps = CapsConfig()
    return Advice(
        metric=metric.name,
        title="Cap what rests on one rater, and look at what this one votes for",
        text=f"{plural(metric.details['judgements'], 'judgement')} {agree(metric.details['judgements'], 'come')} from "
        "one person. Compare their share of up with the others' in the table of raters. From "
        f"{caps.share_from_raters} raters on, `curate` lets {percent(caps.max_rater_share or 1)} of each label's rows "
        "rest on one of them at most; with fewer, collect from more people, or set caps.share_from_raters.",
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


def _on_duplicates(again: Mapping[str, int], source: str) -> Advice:
    repeated = again.get(_AGAIN[0], 0)
    read = f", {count(repeated)} of them as records read again, whose vote counts once" if repeated else ""
    return Advice(
        metric=_AGAIN[-1],
        title="Merge duplicates into one row with several votes",
        text=f"{plural(sum(again.values()), 'row')} would be trained on more than once{read}; "
        "`curate` keeps one of each and counts the votes.",
        command=f"thumbline curate {source} -o OUT",
    )


_AGAIN: Final = ("repeated_records", "exact_duplicates")
"""Metrics of rows that say what another row says already."""

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
