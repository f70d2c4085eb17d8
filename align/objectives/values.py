"""Value functions of KTO: how much a gain over the reference point is worth.

All take g, the gain in units of beta: beta * (r - z0) of a desirable completion, beta * (z0 - r) of an undesirable one.

    logistic           v = sigmoid(g)                      concave in gains, convex in losses, bounded: KTO itself
    concave            v = log sigmoid(g)                  concave everywhere, as in DPO
    risk_neutral       v = g
    kahneman_tversky   v = g^a, -l * (-g)^a for g < 0      a = 0.88, l = 2.25: the medians of Tversky and Kahneman 1992

Source: Ethayarajh et al. 2024, arXiv:2402.01306, section 4 and table 3; Tversky and Kahneman 1992. Differs from them:
within 0.01 of the reference point the last one is a straight line through it, since its slope has no bound there.
"""

from __future__ import annotations

from typing import Final, Literal

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from schemas.errors import UnknownChoiceError

__all__ = ["EXPONENT", "LOSS_AVERSION", "VALUES", "ValueName", "value_loss"]

ValueName = Literal["logistic", "concave", "risk_neutral", "kahneman_tversky"]
VALUES: Final = ("logistic", "concave", "risk_neutral", "kahneman_tversky")
EXPONENT: Final = 0.88
LOSS_AVERSION: Final = 2.25
_STRAIGHT: Final = 0.01


def value_loss(
    gain: Tensor, value: ValueName, *, exponent: float = EXPONENT, loss_aversion: float = LOSS_AVERSION
) -> Tensor:
    """What is lost of the value of each gain: 1 - sigmoid(g), -log sigmoid(g), 1 - g, or -v.

    Args:
        gain: g of each example. [B] float.
        value: name of the value function.
        exponent: of `kahneman_tversky`, in (0, 1].
        loss_aversion: of `kahneman_tversky`, greater than 0: how much more losses count than gains.

    Returns:
        [B], of the type of `gain`; bounded, and at least 0, with `logistic` alone.

    Raises:
        UnknownChoiceError: there is no such value function.
    """
    if value == "logistic":
        return torch.sigmoid(-gain)  # 1 - sigmoid(g) without the cancellation near 1
    if value == "concave":
        return -logsigmoid(gain)
    if value == "risk_neutral":
        return 1 - gain
    if value == "kahneman_tversky":
        return -_prospect(gain, exponent, loss_aversion)
    raise UnknownChoiceError("value function", value, VALUES)


def _prospect(gain: Tensor, exponent: float, loss_aversion: float) -> Tensor:
    is_near = gain.abs() < _STRAIGHT
    # The power is taken of a size that is never 0: its gradient there would be infinite, and NaN where it is not used.
    size = torch.where(is_near, torch.ones_like(gain), gain.abs())
    worth = torch.where(is_near, gain * _STRAIGHT ** (exponent - 1), gain.sign() * size**exponent)
    return torch.where(gain < 0, loss_aversion * worth, worth)
