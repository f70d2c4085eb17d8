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
        name: the word in configs and on the command line.
        summary: one sentence for `--help` and the run card.
        data: the dataset type it trains on, in the words of `schemas.datasets`.
        needs_reference: whether the loss reads log-probabilities of a frozen reference.
        needs_kl: whether a step needs a mismatched partner for every row. `z0_scope: none` does without.
        is_halo: whether it is a human-aware loss in the sense of Ethayarajh et al. 2024, definition 3.4.
        source: the paper that defines it.
        settings: the keys of `align.config.ObjectiveConfig` that mean something for it.
        per_token: whether a step's loss is divided by its completion tokens, not by its examples.
        only_desirable: whether undesirable rows are left out.
        has_control_tokens: whether each completion begins with a token that tells its label.
        head: what the model ends in: `logps` for a language model, `rewards` for a scalar head.
        is_of_tokens: whether its loss is of single tokens, with a value head, instead of whole completions.
        is_online: whether it samples answers while it trains; of the rows it reads the prompts.
    """

    name: str
    summary: str
    data: Literal["unpaired_preference", "preference"]
    needs_reference: bool
    needs_kl: bool
    is_halo: bool
    source: str
    settings: frozenset[str]
    per_token: bool = False
    only_desirable: bool = False
    has_control_tokens: bool = False
    head: Literal["logps", "rewards"] = "logps"
    is_of_tokens: bool = False
    is_online: bool = False

    @property
    def learns_from_both(self) -> bool:
        """Whether desirable and undesirable rows pull against each other, so that their ratio counts."""
        return self.is_halo and self.data == "unpaired_preference"


_KNOWN: Final = (
    Objective(
        name="kto",
        summary="Value of each labelled answer against a reference point that the step estimates.",
        data="unpaired_preference",
        needs_reference=True,
        needs_kl=True,
        is_halo=True,
        source="Ethayarajh et al. 2024, arXiv:2402.01306",
        settings=frozenset(
            (
                *("beta", "desirable_weight", "undesirable_weight", "z0_scope", "ratio_low", "ratio_high"),
                *("value", "reference", "value_exponent", "loss_aversion"),
            )
        ),
    ),
    Objective(
        name="dpo",
        summary="Log-odds that the chosen answer of a pair beats the rejected one, against a reference.",
        data="preference",
        needs_reference=True,
        needs_kl=False,
        is_halo=True,
        source="Rafailov et al. 2023, arXiv:2305.18290",
        settings=frozenset(("beta",)),
    ),
    Objective(
        name="cdpo",
        summary="DPO that takes a share of the pairs to be in the wrong order.",
        data="preference",
        needs_reference=True,
        needs_kl=False,
        is_halo=False,
        source="Mitchell 2023, A note on DPO with noisy preferences",
        settings=frozenset(("beta", "label_noise")),
    ),
    Objective(
        name="orpo",
        summary="Likelihood of the chosen answer and its odds against the rejected one; no reference.",
        data="preference",
        needs_reference=False,
        needs_kl=False,
        is_halo=False,
        source="Hong et al. 2024, arXiv:2403.07691",
        settings=frozenset(("odds_weight",)),
    ),
    Objective(
        name="slic",
        summary="A margin between chosen and rejected, and likelihood of the chosen answer; no reference.",
        data="preference",
        needs_reference=False,
        needs_kl=False,
        is_halo=False,
        source="Zhao et al. 2023, arXiv:2305.10425",
        settings=frozenset(("margin", "sft_weight")),
    ),
    Objective(
        name="sft",
        summary="Likelihood of desirable answers; undesirable ones are left out.",
        data="unpaired_preference",
        needs_reference=False,
        needs_kl=False,
        is_halo=False,
        source="the baseline of Ethayarajh et al. 2024, arXiv:2402.01306",
        settings=frozenset(),
        per_token=True,
        only_desirable=True,
    ),
    Objective(
        name="csft",
        summary="Likelihood of all answers, each behind a token that tells its label; answers are asked for as good.",
        data="unpaired_preference",
        needs_reference=False,
        needs_kl=False,
        is_halo=False,
        source="Korbak et al. 2023, arXiv:2302.08582",
        settings=frozenset(),
        per_token=True,
        has_control_tokens=True,
    ),
    Objective(
        name="offline_ppo",
        summary="A clipped policy gradient with a value head, on answers that were judged and not sampled anew.",
        data="unpaired_preference",
        needs_reference=True,
        needs_kl=False,
        is_halo=True,
        source="Schulman et al. 2017, arXiv:1707.06347; offline in Ethayarajh et al. 2024, arXiv:2402.01306",
        settings=frozenset(("clip", "value_weight", "kl_weight")),
        is_of_tokens=True,
    ),
    Objective(
        name="reward_model",
        summary="A scalar for each answer, larger for the chosen one of a pair: a model that scores and ranks.",
        data="preference",
        needs_reference=False,
        needs_kl=False,
        is_halo=False,
        source="Bradley and Terry 1952; Ouyang et al. 2022, arXiv:2203.02155",
        settings=frozenset(),
        head="rewards",
    ),
    Objective(
        name="rlhf",
        summary="Answers sampled while training, judged by a reward model, against a leave-one-out baseline.",
        data="preference",
        needs_reference=True,
        needs_kl=False,
        is_halo=False,
        source="Ouyang et al. 2022, arXiv:2203.02155; RLOO by Ahmadian et al. 2024, arXiv:2402.14740",
        settings=frozenset(("beta", "reward_model", "answers_per_prompt", "max_answer_tokens")),
        is_online=True,
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
