"""The registry of objectives: what each loss needs, and where it comes from.

The losses themselves are pure functions of tensors, one module each. A trainer asks the registry what data to read,
whether to score a reference model and whether to plan mismatched partners; it never asks by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

from schemas.errors import UnknownChoiceError

__all__ = ["OBJECTIVES", "Objective", "find_objective"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """What a trainer must know of an objective before it takes a step.

    Args:
        name: the word in configs and on the command line; also the module under `align.objectives`.
        summary: one sentence for `--help` and the run card.
        data: the dataset type it trains on, in the words of `schemas.datasets`.
        needs_reference: whether the loss reads log-probabilities of a frozen reference.
        needs_kl: whether a step needs a mismatched partner for every row. `z0_scope: none` does without.
        is_halo: whether it is a human-aware loss in the sense of Ethayarajh et al. 2024, definition 3.4.
        source: the paper that defines it.
    """

    name: str
    summary: str
    data: Literal["unpaired_preference", "preference"]
    needs_reference: bool
    needs_kl: bool
    is_halo: bool
    source: str


_KNOWN: Final = (
    Objective(
        name="kto",
        summary="Value of each labelled answer against a reference point that the step estimates.",
        data="unpaired_preference",
        needs_reference=True,
        needs_kl=True,
        is_halo=True,
        source="Ethayarajh et al. 2024, arXiv:2402.01306",
    ),
)

OBJECTIVES: Final[Mapping[str, Objective]] = MappingProxyType({objective.name: objective for objective in _KNOWN})
"""Every objective that can be trained, by name."""


def find_objective(name: str) -> Objective:
    """The objective of that name.

    Args:
        name: a key of `OBJECTIVES`.

    Raises:
        UnknownChoiceError: there is none of that name; the message lists the known ones.
    """
    try:
        return OBJECTIVES[name]
    except KeyError:
        raise UnknownChoiceError("objective", name, OBJECTIVES) from None
