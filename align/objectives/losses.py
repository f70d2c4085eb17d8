"""The loss that a config names, as one function of a scored batch: what all objectives look like to the trainer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Final

from torch import Tensor

from align.config import ObjectiveConfig
from align.objectives import Objective, find_objective
from align.objectives.dpo import cdpo_loss, dpo_loss
from align.objectives.kto import kto_loss
from align.objectives.orpo import orpo_loss
from align.objectives.reward_model import reward_model_loss
from align.objectives.sft import sft_loss
from align.objectives.slic import slic_loss
from schemas.errors import ConfigError

__all__ = [
    "BatchLoss",
    "ScoredBatch",
    "bind_loss",
    "check_objective",
    "needs_kl",
    "needs_reference",
    "reward_scale",
]


@dataclass(frozen=True, slots=True)
class ScoredBatch:
    """Examples of a step with what policy and reference make of them.

    Letters: B examples, S sequences of each: a completion, or chosen and rejected.

    Args:
        policy_logps: log-probability of each sequence's completion under the policy, in nats; of a reward model its
            reward. [B, S] float.
        reference_logps: the same under the reference; 0 where there is none. [B, S] float.
        tokens: completion tokens. [B, S].
        label: True where desirable; of pairs True. [B] bool.
        weight: factor of each example. [B] float.
        z0: the KL estimate, in nats. Scalar.
    """

    policy_logps: Tensor
    reference_logps: Tensor
    tokens: Tensor
    label: Tensor
    weight: Tensor
    z0: Tensor


BatchLoss = Callable[[ScoredBatch], Tensor]
"""The loss of each example of a batch, not averaged. [B]."""


def bind_loss(config: ObjectiveConfig) -> BatchLoss:
    """The loss of the objective that a config names, with its settings.

    Raises:
        UnknownChoiceError: there is no such objective.
        ConfigError: its loss is of single tokens or of sampled answers, see `align.step.actor_critic` and
            `align.step.rlhf`.
    """
    objective = find_objective(config.name)
    if objective.is_of_tokens or objective.is_online:
        raise ConfigError(
            "the loss of the objective is not one of given answers", where="objective.name", received=config.name
        )
    return _BINDINGS[objective.name](config)


def check_objective(config: ObjectiveConfig) -> Objective:
    """The objective of a config whose settings all mean something together.

    Raises:
        UnknownChoiceError: there is no such objective.
        ConfigError: a setting that the objective does not have, or two that exclude each other.
    """
    objective = find_objective(config.name)
    for field in fields(config):
        value = getattr(config, field.name)
        if field.name not in {"name", *objective.settings} and value != field.default:
            raise ConfigError(
                f"the objective {config.name!r} has no such setting",
                where=f"objective.{field.name}",
                received=value,
                expected=f"only {', '.join(sorted(objective.settings)) or 'none'}",
                todo="Leave it out, or name another objective",
            )
    if config.value != "kahneman_tversky":
        for name in ("value_exponent", "loss_aversion"):
            if getattr(config, name) != getattr(ObjectiveConfig(), name):
                raise _clash(f"objective.{name}", getattr(config, name), "value = 'kahneman_tversky'")
    if config.reference == "uniform" and config.z0_scope == "none":
        raise _clash("objective.z0_scope", "none", "step or micro: z0 is all that a uniform reference leaves")
    if objective.is_online and not config.reward_model:
        raise ConfigError(
            f"the objective {config.name!r} needs a reward model",
            where="objective.reward_model",
            received="",
            expected="a run of the objective reward_model",
            todo="Train one on pairs, and set objective.reward_model=RUN",
        )
    return objective


def needs_reference(config: ObjectiveConfig) -> bool:
    """Whether training reads one number of the reference for each answer; some keep a reference beside the policy."""
    objective = find_objective(config.name)
    is_beside = objective.is_online or objective.is_of_tokens
    return objective.needs_reference and config.reference == "model" and not is_beside


def needs_kl(config: ObjectiveConfig) -> bool:
    """Whether a step needs mismatched partners."""
    return find_objective(config.name).needs_kl and config.z0_scope != "none"


def reward_scale(config: ObjectiveConfig) -> float:
    """What a log-ratio is multiplied with to be reported as a reward: beta; 1 where the model gives rewards itself."""
    return config.beta if find_objective(config.name).head == "logps" else 1.0


def _clash(where: str, received: object, expected: str) -> ConfigError:
    return ConfigError(
        "settings of the objective exclude each other", where=where, received=received, expected=expected
    )


def _kto(config: ObjectiveConfig) -> BatchLoss:
    def loss(batch: ScoredBatch) -> Tensor:
        """KTO and its variants."""
        return kto_loss(
            batch.policy_logps[:, 0],
            batch.reference_logps[:, 0],
            batch.label,
            batch.z0,
            beta=config.beta,
            desirable_weight=config.desirable_weight,
            undesirable_weight=config.undesirable_weight,
            weight=batch.weight,
            value=config.value,
            exponent=config.value_exponent,
            loss_aversion=config.loss_aversion,
        )

    return loss


def _dpo(config: ObjectiveConfig) -> BatchLoss:
    def loss(batch: ScoredBatch) -> Tensor:
        """DPO."""
        chosen, rejected = batch.policy_logps.unbind(dim=1)
        return dpo_loss(chosen, rejected, *batch.reference_logps.unbind(dim=1), beta=config.beta, weight=batch.weight)

    return loss


def _cdpo(config: ObjectiveConfig) -> BatchLoss:
    def loss(batch: ScoredBatch) -> Tensor:
        """Conservative DPO."""
        chosen, rejected = batch.policy_logps.unbind(dim=1)
        references = batch.reference_logps.unbind(dim=1)
        return cdpo_loss(
            chosen, rejected, *references, beta=config.beta, label_noise=config.label_noise, weight=batch.weight
        )

    return loss


def _orpo(config: ObjectiveConfig) -> BatchLoss:
    def loss(batch: ScoredBatch) -> Tensor:
        """ORPO."""
        chosen, rejected = batch.policy_logps.unbind(dim=1)
        tokens = batch.tokens.unbind(dim=1)
        return orpo_loss(chosen, rejected, *tokens, odds_weight=config.odds_weight, weight=batch.weight)

    return loss


def _slic(config: ObjectiveConfig) -> BatchLoss:
    def loss(batch: ScoredBatch) -> Tensor:
        """SLiC."""
        chosen, rejected = batch.policy_logps.unbind(dim=1)
        return slic_loss(chosen, rejected, margin=config.margin, sft_weight=config.sft_weight, weight=batch.weight)

    return loss


def _sft(config: ObjectiveConfig) -> BatchLoss:
    del config
    return lambda batch: sft_loss(batch.policy_logps[:, 0], weight=batch.weight)


def _reward_model(config: ObjectiveConfig) -> BatchLoss:
    del config
    return lambda batch: reward_model_loss(*batch.policy_logps.unbind(dim=1), weight=batch.weight)


_BINDINGS: Final[dict[str, Callable[[ObjectiveConfig], BatchLoss]]] = {
    "kto": _kto,
    "dpo": _dpo,
    "cdpo": _cdpo,
    "orpo": _orpo,
    "slic": _slic,
    "sft": _sft,
    "csft": _sft,
    "reward_model": _reward_model,
}
