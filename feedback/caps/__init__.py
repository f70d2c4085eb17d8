"""Stage `caps`: how much of the dataset may rest on one rater, one cluster of prompts or one day."""

from feedback.caps.stage import (
    CapsDecision,
    CapsPlan,
    apply_caps,
    cap_influence,
    caps_columns,
    caps_narrow,
    caps_notes,
    caps_plan,
    decide_caps,
)

__all__ = [
    "CapsDecision",
    "CapsPlan",
    "apply_caps",
    "cap_influence",
    "caps_columns",
    "caps_narrow",
    "caps_notes",
    "caps_plan",
    "decide_caps",
]
