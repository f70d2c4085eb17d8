"""What the stage `caps` says of itself, from its plan and the figures of all its parts. No rater is ever named."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from feedback.caps.plan import CapsPlan
from feedback.rater_share import least_cap, share_notes
from feedback.stage import counted
from schemas.reasons import DropReason

__all__ = ["caps_notes"]

_LABELS = ("desirable", "undesirable")


def caps_notes(figures: Mapping[str, Any], plan: CapsPlan) -> list[str]:
    """A sentence on each cap that left out rows, or that could not hold.

    Args:
        figures: those of the report, summed where there are several parts.
        plan: the plan that was applied.
    """
    left_out = figures["left_out"]
    texts = _reasons(figures, plan)
    notes = [f"{counted(left_out[reason], 'row')} left out: {texts[reason]}." for reason in texts if reason in left_out]
    return notes + _notes_on_shares(plan)


def _reasons(figures: Mapping[str, Any], plan: CapsPlan) -> dict[str, str]:
    config = plan.config
    raters = plan.rater_days["rater"].n_unique() if plan.rater_days.height else 0
    groups, days = figures["groups_over"], plan.days.height
    return {
        DropReason.UNCONFIRMED: f"fewer than {config.min_raters} different raters gave them their label",
        DropReason.RATER_DAY_CAP: f"{counted(raters, 'rater')} gave more than {config.max_rows_per_rater_day} on a day",
        DropReason.GROUP_CAP: f"{counted(groups, 'cluster')} of near-duplicate prompts gave more than "
        f"{config.max_rows_per_group}",
        DropReason.DAY_CAP: f"{counted(days, 'day')} gave more than {config.max_rows_per_day}",
    }


def _notes_on_shares(plan: CapsPlan) -> list[str]:
    wanted, known = plan.config.max_rater_share, plan.known_raters
    if wanted is None or plan.largest_share <= wanted:
        return []
    if not plan.shares:
        if plan.largest_share <= least_cap(known):
            return []
        who = f"One rater is behind {plan.largest_share:.1%} of the rows of a label and is not held to {wanted:.1%}"
        return [f"{who}: {counted(known, 'known rater')}, fewer than {plan.config.share_from_raters}, are a team."]
    return [note for label, cap in zip(_LABELS, plan.shares, strict=True) for note in share_notes(label, cap, wanted)]
