"""Theorem 4.3 as a picture: where DPO learns what the minority prefers, by training on a grid.

    python -m bench.theorem [--out FILE]

One prompt has two outputs. A share p of the judgements prefers y_a, the others prefer y_b. The policy is a softmax of
two outputs, trained to convergence by the package's own losses: DPO on the pairs, KTO on the two labelled answers that
each pair gives. The theorem says that DPO's optimum prefers y_b where p^(1/beta) pi_ref(y_a) < (1-p)^(1/beta)
pi_ref(y_b), and KTO's, with equal weights, never does. Written to `docs/theorem-4-3.svg`; the same bytes every time.

Letters: G points of the grid. All numbers of a point are of that point alone.

Source: Ethayarajh et al. 2024, arXiv:2402.01306, theorem 4.3.
"""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import altair as alt
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from align.objectives.dpo import dpo_loss
from align.objectives.kto import kl_estimate, kto_loss
from feedback.audit.svg import COLOURS, AnyChart, point_data, render_svg

__all__ = ["BETAS", "draw", "main", "off_border_grid", "predicted_log_odds", "train_dpo", "train_kto"]

BETAS: Final = (0.1, 0.3, 1.0)
"""The betas of the picture; 0.1 is the package's default."""

_PICTURE: Final = Path(__file__).parents[1] / "docs" / "theorem-4-3.svg"
_SHARES: Final = tuple(round(0.54 + 0.03 * place, 2) for place in range(13))
_TIMES: Final = tuple(10 ** (-1 + place / 2) for place in range(13))
_TITLE: Final = "Theorem 4.3: which answer DPO and KTO come to prefer"
_COLOURS: Final = {"y_a, as the majority": COLOURS["up"], "y_b, as the minority": COLOURS["down"]}


def main(arguments: Sequence[str] | None = None) -> None:
    """Train on the grid, draw and write the picture, and print how often the theorem holds."""
    parser = argparse.ArgumentParser(prog="python -m bench.theorem", description="the picture of theorem 4.3")
    parser.add_argument("--out", type=Path, default=_PICTURE)
    options = parser.parse_args(arguments)
    points, borders = [], []
    for beta in BETAS:
        share, reference = off_border_grid(_SHARES, _TIMES, beta)
        learned = {"DPO": train_dpo(share, reference, beta), "KTO": train_kto(share, reference, beta)}
        predicted = predicted_log_odds(share, reference, beta) > 0
        for name, log_odds in learned.items():
            points += _points(name, beta, share, reference, log_odds)
            held = (log_odds > 0) == (predicted if name == "DPO" else torch.ones_like(predicted))
            print(f"beta {beta:g}, {name}: the theorem holds at {int(held.sum())} of {len(held)} points.")
        borders += _border(beta)
    options.out.write_text(draw(points, borders) + "\n", "utf-8")
    print(f"Written: {options.out.name}")


def off_border_grid(
    shares: Sequence[float], times: Sequence[float], beta: float, *, margin: float = 0.2
) -> tuple[Tensor, Tensor]:
    """Every share with every reference, without the points on the theorem's border.

    Args:
        shares: p, the share that prefers y_a, in (0.5, 1).
        times: how many times as probable y_b is as y_a under the reference, greater than 0.
        beta: of the losses; with the other two it says where the border is.
        margin: points whose optimum has log-odds nearer to 0 than this, in nats, are left out.

    Returns:
        p and the log-odds of y_a under the reference, each [G] float64.
    """
    share, ratio = torch.cartesian_prod(
        torch.tensor(shares, dtype=torch.float64), torch.tensor(times, dtype=torch.float64)
    ).unbind(dim=1)
    reference = -ratio.log()
    is_off = predicted_log_odds(share, reference, beta).abs() > margin
    return share[is_off], reference[is_off]


def predicted_log_odds(share: Tensor, reference: Tensor, beta: float) -> Tensor:
    """Log-odds of y_a at DPO's optimum: log(p / (1-p)) / beta + those of the reference. [G].

    They are below 0 just where p^(1/beta) pi_ref(y_a) < (1-p)^(1/beta) pi_ref(y_b).
    """
    return torch.logit(share) / beta + reference


def train_dpo(share: Tensor, reference: Tensor, beta: float) -> Tensor:
    """Log-odds of y_a that DPO learns from the pair in both orders, a share p of it with y_a chosen. [G].

    Args:
        share: p. [G] float64.
        reference: log-odds of y_a under the reference, with which the policy begins. [G] float64.
        beta: of the loss.
    """
    first, second = logsigmoid(reference), logsigmoid(-reference)

    def loss(log_odds: Tensor) -> Tensor:
        """The expected loss of all points."""
        ours, other = logsigmoid(log_odds), logsigmoid(-log_odds)
        agreed = dpo_loss(ours, other, first, second, beta=beta, weight=share)
        return (agreed + dpo_loss(other, ours, second, first, beta=beta, weight=1 - share)).sum()

    return _descend(loss, reference)


def train_kto(share: Tensor, reference: Tensor, beta: float) -> Tensor:
    """Log-odds of y_a that KTO learns from both answers of each pair, with equal weights. [G].

    Of y_a a share p is desirable, of y_b a share 1 - p. The mismatched pairs of a step are its prompt with either
    answer. The loss has no minimum: the preferred answer's probability goes to 1, so training ends far on its way.

    Args:
        share: p. [G] float64.
        reference: as in `train_dpo`. [G] float64.
        beta: of the loss.
    """
    up, down = torch.ones_like(share, dtype=torch.bool), torch.zeros_like(share, dtype=torch.bool)
    outputs = ((1, share), (-1, 1 - share))

    def loss(log_odds: Tensor) -> Tensor:
        """The expected loss of all points."""
        sums = sum(logsigmoid(sign * log_odds) - logsigmoid(sign * reference) for sign, _ in outputs)
        # A point is a step of its own, and a loss knows one z0: it is taken off each log-ratio, and 0 is left.
        z0 = torch.stack([kl_estimate(each, 2) for each in torch.as_tensor(sums)])
        total = torch.zeros((), dtype=log_odds.dtype)
        for sign, desirable in outputs:
            ours, theirs = logsigmoid(sign * log_odds), logsigmoid(sign * reference) + z0
            total = total + kto_loss(ours, theirs, up, 0.0, beta=beta, weight=desirable).sum()
            total = total + kto_loss(ours, theirs, down, 0.0, beta=beta, weight=1 - desirable).sum()
        return total

    return _descend(loss, reference)


def _descend(loss: Callable[[Tensor], Tensor], start: Tensor, *, steps: int = 90) -> Tensor:
    """Where Rprop ends, which looks at signs of gradients alone, so that flat stretches cost no more steps."""
    log_odds = start.clone().requires_grad_()
    optimizer = torch.optim.Rprop([log_odds], lr=0.1, step_sizes=(1e-9, 2.0))
    for _ in range(steps):
        optimizer.zero_grad()
        loss(log_odds).backward()
        optimizer.step()
    return log_odds.detach()


def draw(points: list[dict[str, Any]], borders: list[dict[str, Any]]) -> str:
    """The picture as an `<svg>` element: DPO above KTO, a panel for each beta.

    Args:
        points: the keys objective, beta, share, times and prefers.
        borders: the keys beta, share and times, along each border.
    """
    rows = [
        alt.hconcat(*(_panel(name, beta, points, borders) for beta in BETAS), spacing=14) for name in ("DPO", "KTO")
    ]
    head, body = render_svg(alt.vconcat(*rows, spacing=14), "theorem").split(">", 1)
    body = re.sub(r"-?\d+\.\d{3,}", lambda found: f"{float(found[0]):.2f}", body)
    # The file stands alone: a ground of its own for dark pages, and a name.
    return f'{head} role="img"><title>{_TITLE}</title><rect width="100%" height="100%" fill="#fdfdfd"/>{body}'


def _points(name: str, beta: float, share: Tensor, reference: Tensor, log_odds: Tensor) -> list[dict[str, Any]]:
    majority, minority = _COLOURS
    columns = zip(share.tolist(), reference.tolist(), log_odds.tolist(), strict=True)
    return [
        {
            "objective": name,
            "beta": beta,
            "share": round(p, 4),
            "times": float(f"{math.exp(-odds):.4g}"),
            "prefers": majority if learned > 0 else minority,
        }
        for p, odds, learned in columns
    ]


def _border(beta: float) -> list[dict[str, Any]]:
    """The reference at which DPO's optimum is undecided, for each share."""
    shares = [0.52 + 0.005 * place for place in range(81)]
    times = [(p / (1 - p)) ** (1 / beta) for p in shares]
    return [
        {"beta": beta, "share": round(p, 4), "times": float(f"{each:.4g}")}
        for p, each in zip(shares, times, strict=True)
        if each <= _TIMES[-1] * 2
    ]


def _panel(name: str, beta: float, points: list[dict[str, Any]], borders: list[dict[str, Any]]) -> AnyChart:
    is_left, is_last = beta == BETAS[0], name == "KTO"
    x_axis = alt.Axis(format="%", values=[0.6, 0.7, 0.8, 0.9], labels=is_last, ticks=False, grid=False)
    y_axis = alt.Axis(values=[0.1, 1, 10, 100, 1e3, 1e4, 1e5], format="~r", labels=is_left, ticks=False, grid=False)
    x = alt.X(
        "share:Q",
        scale=alt.Scale(domain=[0.52, 0.92], nice=False),
        axis=x_axis,
        title="share that prefers y_a" if is_last else None,
    )
    y = alt.Y(
        "times:Q",
        scale=alt.Scale(type="log", domain=[0.05, 2e5], nice=False),
        axis=y_axis,
        title="reference: y_b over y_a" if is_left else None,
    )
    shown = [point for point in points if point["objective"] == name and point["beta"] == beta]
    colour = alt.Color("prefers:N", scale=alt.Scale(domain=list(_COLOURS), range=list(_COLOURS.values())), legend=None)
    shape = alt.Shape(
        "prefers:N", scale=alt.Scale(domain=list(_COLOURS), range=["circle", "triangle-down"]), legend=None
    )
    dots = (
        alt.Chart(point_data(shown))
        .mark_point(filled=True, size=34, opacity=1)
        .encode(x=x, y=y, color=colour, shape=shape)
    )
    border = alt.Chart(point_data([point for point in borders if point["beta"] == beta]))
    line = border.mark_line(
        color=COLOURS["ink"], strokeWidth=2, strokeDash=[4, 3] if is_last else [1, 0], clip=True
    ).encode(x=x, y=y)
    return alt.layer(dots, line).properties(width=190, height=170, title=f"{name}, beta {beta:g}")


if __name__ == "__main__":
    main()
