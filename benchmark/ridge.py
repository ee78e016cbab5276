"""Ridge regression whose strength is chosen by leaving one out: what an attacker or a reader learns within a second."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import NamedTuple

import numpy as np

from mema.errors import UserError

STRENGTHS = np.logspace(-3, 5, 17)


class Ridge(NamedTuple):
    """A fitted map: ``(features - mean) / scale @ weights + offset``."""

    mean: np.ndarray
    scale: np.ndarray
    weights: np.ndarray
    offset: np.ndarray

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """Return the predictions (M, T) of ``features`` (M, D)."""
        predictions: np.ndarray = (features - self.mean) / self.scale @ self.weights + self.offset
        return predictions


def squared_error(predictions: np.ndarray, targets: np.ndarray) -> float:
    """Return the mean squared error of ``predictions``, both (N, T)."""
    return float(((predictions - targets) ** 2).mean())


def fit_ridge(
    features: np.ndarray,
    targets: np.ndarray,
    groups: Sequence[Hashable] | None = None,
    loss: Callable[[np.ndarray, np.ndarray], float] = squared_error,
) -> Ridge:
    """Fit ``targets`` (N, T) from standardised ``features`` (N, D), N >= 2; the same arrays give the same map.

    The strength is the one of ``STRENGTHS`` with the smallest ``loss`` of what is predicted for each of ``groups``
    (N,), by default each sample, from all others. That needs no refitting: the errors are the residuals over one minus
    the group's leverage, the offset's share included (Allen 1974, "The relationship between variable selection and
    data augmentation", PRESS). UserError when there is but one group.
    """
    features, targets = np.asarray(features, np.float64), np.asarray(targets, np.float64)
    names = list(range(len(targets))) if groups is None else list(groups)
    members = [np.flatnonzero([name == one for name in names]) for one in dict.fromkeys(names)]
    if len(members) < 2:
        raise UserError("there is nobody to leave out: two people at least are needed to learn from")
    mean, offset = features.mean(axis=0), targets.mean(axis=0)
    scale = features.std(axis=0) + 1e-6
    standard = (features - mean) / scale
    values, vectors = np.linalg.eigh(standard @ standard.T)

    def dual(strength: float) -> tuple[float, np.ndarray]:
        inverse = vectors / (np.maximum(values, 0) + strength) @ vectors.T
        weights = inverse @ (targets - offset)
        unexplained = strength * inverse - 1 / len(targets)
        predictions = targets.copy()
        for rows in members:
            predictions[rows] -= np.linalg.solve(unexplained[np.ix_(rows, rows)], strength * weights[rows])
        return loss(predictions, targets), weights

    _, best = min((dual(strength) for strength in STRENGTHS), key=lambda fitted: fitted[0])
    return Ridge(mean, scale, standard.T @ best, offset)
