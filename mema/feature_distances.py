"""How far generated images are from real ones, in the feature space of a network that reads them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class PrecisionRecall(NamedTuple):
    """Shares in [0, 1]: of generated images that look real, and of real images that the generator can make."""

    precision: float
    recall: float


def frechet_distance(real: np.ndarray, generated: np.ndarray) -> float:
    """Return the Fréchet distance between Gaussians fitted to two sets of features, (N, D) and (M, D) floats.

    Squared, as FID is (Heusel et al. 2017). It is biased upwards in small samples: compare only sets of equal sizes.
    """
    from scipy.linalg import sqrtm

    means = real.mean(axis=0) - generated.mean(axis=0)
    first, second = (np.cov(features, rowvar=False) for features in (real, generated))
    # Of few images a covariance is singular; the root of a product then has rounding errors off the real axis.
    root = np.real(sqrtm(first @ second))
    return float(max(0.0, means @ means + np.trace(first + second - 2 * root)))


def precision_recall(real: np.ndarray, generated: np.ndarray, neighbours: int = 3) -> PrecisionRecall:
    """Return the improved precision and recall of Kynkäänniemi et al. (2019), equations 1 and 2.

    Features (N, D) and (M, D); a set's manifold is the union of balls about its points, each reaching to the point's
    ``neighbours``-th nearest in the set. ValueError if a set has no more points than that.
    """
    if min(len(real), len(generated)) <= neighbours:
        raise ValueError(f"precision and recall need more than {neighbours} images of each kind")
    return PrecisionRecall(_covered(generated, real, neighbours), _covered(real, generated, neighbours))


def _covered(points: np.ndarray, manifold: np.ndarray, neighbours: int) -> float:
    from scipy.spatial.distance import cdist

    radii = np.sort(cdist(manifold, manifold), axis=1)[:, neighbours]
    return float((cdist(points, manifold) <= radii).any(axis=1).mean())
