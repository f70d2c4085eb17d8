"""Logistic regression without a penalty, for a handful of columns: pure arithmetic on arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["LogisticFit", "fit_logistic"]

Floats = NDArray[np.float64]
_STEPS: Final = 50
_CLOSE: Final = 1e-9
_Z: Final = 1.959963984540054


@dataclass(frozen=True, slots=True)
class LogisticFit:
    """Log-odds ratios and their standard errors.

    Args:
        coefficients: of the constant first, then of each column. [K + 1]
        errors: standard errors, from the inverse of the information matrix. [K + 1]
    """

    coefficients: Floats
    errors: Floats

    def interval(self, column: int) -> tuple[float, float]:
        """The 95% interval (Wald) of the coefficient of a column, counted from 0."""
        centre, half = float(self.coefficients[column + 1]), _Z * float(self.errors[column + 1])
        return centre - half, centre + half


def fit_logistic(columns: Floats, label: NDArray[np.bool_]) -> LogisticFit | None:
    """The fit of greatest likelihood, or null where there is none: a column that parts the labels has no finite one.

    Newton's method: each step solves (X' W X) d = X' (y - p), with W = p (1 - p); X' W X is the information matrix.

    Args:
        columns: values of each row. [N, K] float.
        label: whether each row is a success. [N] bool.

    Source: McCullagh and Nelder 1989, Generalized Linear Models, 4.4 (iterative weighted least squares).
    """
    design = np.column_stack((np.ones(len(label)), columns))
    wanted = label.astype(np.float64)
    weights = np.zeros(design.shape[1])
    for _ in range(_STEPS):
        chance = 1 / (1 + np.exp(-np.clip(design @ weights, -500, 500)))
        information = design.T @ (design * (chance * (1 - chance))[:, None])
        try:
            step = np.linalg.solve(information, design.T @ (wanted - chance))
            variance = np.linalg.inv(information)
        except np.linalg.LinAlgError:
            return None
        weights = weights + step
        if np.abs(step).max() < _CLOSE:
            return LogisticFit(weights, np.sqrt(np.diag(variance)))
    return None
