"""Ridge regression against leaving one out for real."""

from __future__ import annotations

import numpy as np
import pytest

from benchmark.ridge import STRENGTHS, fit_ridge
from mema.errors import UserError


def left_out_error(features: np.ndarray, targets: np.ndarray, groups: np.ndarray, strength: float) -> float:
    """Fit without each group in turn, by the normal equations."""
    total = 0.0
    for i, group in enumerate(groups):
        rest = groups != group
        centre, offset = features[rest].mean(axis=0), targets[rest].mean(axis=0)
        centred = features[rest] - centre
        gram = centred.T @ centred + strength * np.eye(features.shape[1])
        prediction = offset + (features[i] - centre) @ np.linalg.solve(gram, centred.T @ (targets[rest] - offset))
        total += float(((targets[i] - prediction) ** 2).sum())
    return total


@pytest.mark.parametrize("size", [1, 3])
def test_the_strength_is_the_one_that_predicts_what_was_left_out_best(size: int) -> None:
    random = np.random.default_rng(0)
    features = random.normal(size=(30, 12)) * 3 + 1
    targets = features[:, :2] + random.normal(size=(30, 2)) * 2
    standard = (features - features.mean(axis=0)) / (features.std(axis=0) + 1e-6)
    groups = np.arange(30) // size
    errors = [left_out_error(standard, targets, groups, strength) for strength in STRENGTHS]
    seen = []

    def loss(predictions: np.ndarray, wanted: np.ndarray) -> float:
        seen.append(((predictions - wanted) ** 2).sum())
        return float(seen[-1])

    fitted = fit_ridge(features, targets, groups.tolist(), loss)
    np.testing.assert_allclose(seen, errors)
    best = STRENGTHS[np.argmin(errors)]
    gram = standard.T @ standard + best * np.eye(12)
    weights = np.linalg.solve(gram, standard.T @ (targets - targets.mean(axis=0)))
    np.testing.assert_allclose(fitted.weights, weights, atol=1e-8)
    assert STRENGTHS[0] < best < STRENGTHS[-1]


def test_a_linear_map_is_found_from_fewer_samples_than_features() -> None:
    random = np.random.default_rng(1)
    hidden = random.normal(size=(60, 5))
    features, targets = hidden @ random.normal(size=(5, 200)), hidden @ random.normal(size=(5, 3))
    predicted = fit_ridge(features[:40], targets[:40])(features[40:])
    np.testing.assert_allclose(predicted, targets[40:], atol=0.05)


def test_nobody_can_be_left_out_of_one() -> None:
    with pytest.raises(UserError, match="two people"):
        fit_ridge(np.eye(3), np.eye(3), ["a", "a", "a"])


def test_noise_predicts_the_mean() -> None:
    random = np.random.default_rng(2)
    targets = random.normal(size=(50, 30)) + 7
    predicted = fit_ridge(random.normal(size=(50, 80)), targets)(random.normal(size=(20, 80)))
    assert np.abs(predicted - targets.mean(axis=0)).max() < 0.2
