"""What the stage `conflicts` says of itself, from the figures of all its parts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from feedback.config import ConflictConfig
from feedback.stage import counted
from schemas.reasons import DropReason

__all__ = ["conflict_notes"]

_WORDS: Final = {
    DropReason.SUPERSEDED_VOTE: "settled by the rater's own later vote",
    DropReason.PREFERENCE_CYCLE: "settled by leaving out pairs that run in a circle",
    DropReason.OUTVOTED: "settled by a majority of raters",
    "softened": "settled by a majority of raters, with a weight that falls with the doubt",
    DropReason.CONTESTED: "left out with both labels because the votes do not decide",
    DropReason.TOO_FEW_RATERS: "left out with both labels because too few raters judged them",
    "kept_both": "kept with both labels",
}


def conflict_notes(figures: Mapping[str, Any], config: ConflictConfig) -> list[str]:
    """A sentence on each kind of contradiction that there was.

    Args:
        figures: those of the report, summed where there are several parts.
        config: the policy.
    """
    total = figures["contested_answers"]
    if not total:
        return []
    ended = figures["ended"]
    ends = ", ".join(f"{ended[reason]:,} {text}" for reason, text in _WORDS.items() if reason in ended)
    notes = [f"{counted(total, 'answer')} with both labels: {ends}."]
    if {DropReason.OUTVOTED, DropReason.CONTESTED, DropReason.TOO_FEW_RATERS, "softened"} & set(ended):
        notes += _rule(config)
    near = figures["near_duplicates"]
    if near:
        notes.append(
            f"{near:,} of them in near-duplicate texts only: the texts stay apart, each with its own votes, and were "
            "decided about as one answer."
        )
    return notes + _cycle_notes(figures["cycles"], config)


def _rule(config: ConflictConfig) -> list[str]:
    """How the policy decided between raters, where that is not the default."""
    if config.policy not in ("majority", "soft"):
        return []
    low, high = config.band
    rules = []
    if (low, high) != (0.5, 0.5):
        what = "kept with a lower weight" if config.policy == "soft" else "left out"
        rules.append(f"a share of up within [{low:.6g}, {high:.6g}] is contested and {what}")
    if rules and config.prior_up + config.prior_down:
        rules.append(f"the share starts from {config.prior_up:.6g} up and {config.prior_down:.6g} down")
    if config.votes_per_rater > 1:
        rules.append(f"a rater counts up to {config.votes_per_rater} times for a label")
    text = "; ".join(rules)
    return [f"{text[0].upper()}{text[1:]}."] if text else []


def _cycle_notes(cycles: Mapping[str, int], config: ConflictConfig) -> list[str]:
    if not cycles:
        return []
    found, reversals, judgements = cycles["found"], cycles["reversals"], cycles["judgements"]
    fewest = "at most" if cycles["approximate"] else "at least"
    how = f" ({cycles['approximate']:,} too large to weigh every order)" if cycles["approximate"] else ""
    note = (
        f"{counted(found, 'circle')} of preferences, in {counted(cycles['prompts'], 'prompt')} and over "
        f"{counted(cycles['answers'], 'answer')}: {fewest} {reversals:,} of {counted(judgements, 'judgement')} must be "
        f"turned round to leave an order{how}."
    )
    if config.cycles == "drop":
        return [note, f"{counted(cycles['pairs_left_out'], 'pair')} that some such order turns round left out."]
    return [note]
