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
    means = real.mean(axis=0) - generated.mean(axis=0)
    first, second = _root_of_covariance(real), _root_of_covariance(generated)
    # The trace of the root of a product of covariances is the sum of the singular values of the product of their roots:
    # exact also of fewer images than features, where the product has no root to take.
    shared = np.linalg.svd(first @ second.T, compute_uv=False).sum()
    return float(max(0.0, means @ means + np.square(first).sum() + np.square(second).sum() - 2 * shared))


def kernel_distance(real: np.ndarray, generated: np.ndarray) -> float:
    """Return the squared maximum mean discrepancy of two sets of features, (N, D) floats each, in pairs.

    By KID's kernel, (x.y / D + 1)^3 (Bińkowski et al. 2018), on all images. No row is compared with its own partner
    (Gretton et al. 2012, equation 4): for sets that are not independent, such as images and what was made of them, that
    is unbiased where KID's usual estimate is not. Equal sets give 0; it may lie below.
    """
    real, generated = real.astype(np.float64), generated.astype(np.float64)
    apart = ~np.eye(len(real), dtype=bool)

    def likeness(first: np.ndarray, second: np.ndarray) -> float:
        # A copy: numpy multiplies a matrix by itself in another way, and equal sets would be a rounding error apart.
        values = (first @ second.T.copy() / first.shape[1] + 1) ** 3
        return float(values[apart].mean())

    return likeness(real, real) + likeness(generated, generated) - 2 * likeness(real, generated)


def precision_recall(real: np.ndarray, generated: np.ndarray, neighbours: int = 3) -> PrecisionRecall:
    """Return the improved precision and recall of Kynkäänniemi et al. (2019), equations 1 and 2.

    Features (N, D) and (M, D); a set's manifold is the union of balls about its points, each reaching to the point's
    ``neighbours``-th nearest in the set. ValueError if a set has no more points than that.
    """
    if min(len(real), len(generated)) <= neighbours:
        raise ValueError(f"precision and recall need more than {neighbours} images of each kind")
    return PrecisionRecall(_covered(generated, real, neighbours), _covered(real, generated, neighbours))


def _root_of_covariance(features: np.ndarray) -> np.ndarray:
    """Return R, (min(N, D), D), of which R.T @ R is the covariance of ``features``, (N, D)."""
    centred = features.astype(np.float64) - features.mean(axis=0, dtype=np.float64)
    root: np.ndarray = np.linalg.qr(centred, mode="r") / np.sqrt(len(features) - 1)
    return root


def _covered(points: np.ndarray, manifold: np.ndarray, neighbours: int) -> float:
    from scipy.spatial.distance import cdist

    radii = np.sort(cdist(manifold, manifold), axis=1)[:, neighbours]
    return float((cdist(points, manifold) <= radii).any(axis=1).mean())
