"""How different are the samples of one disease from each other? Mode collapse and its cure, as numbers (MeMa Fig 4).

Both measures read unit vectors of a network's features: the Vendi score (Friedman and Dieng 2023, equation 2), which is
the effective number of different images, from 1 to their number, and the mean distance of two images, from 0 to 2.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mema.statistics import Estimate, jackknife_error

MEASURES = ("vendi", "distance")
FEWEST = 3
"""A disease with fewer images says nothing of diversity."""


class Diversity(NamedTuple):
    """Means over diseases.

    ``value`` (2,): Vendi score and mean distance. ``left_out`` (N, 2): the same without image i, NaN where its disease
    has too few. ``strata`` (N,) numbers the diseases. ``per_disease`` has the two measures of each.
    """

    value: np.ndarray
    left_out: np.ndarray
    strata: np.ndarray
    per_disease: dict[str, np.ndarray]


def diversity(features: np.ndarray, diseases: Sequence[str]) -> Diversity:
    """Measure unit vectors (N, D) of images of ``diseases`` (N,); ValueError if no disease has three images."""
    names, strata = np.unique(np.array(diseases), return_inverse=True)
    groups = {name: np.flatnonzero(strata == number) for number, name in enumerate(names.tolist())}
    groups = {name: rows for name, rows in groups.items() if len(rows) >= FEWEST}
    if not groups:
        raise ValueError(f"no disease has {FEWEST} images")
    per_disease = {name: measures(features[rows]) for name, rows in groups.items()}
    value = np.mean(list(per_disease.values()), axis=0)
    left_out = np.full((len(features), len(MEASURES)), np.nan)
    for name, rows in groups.items():
        for place, row in enumerate(rows):
            without = measures(features[np.delete(rows, place)])
            left_out[row] = value + (without - per_disease[name]) / len(groups)
    return Diversity(value, left_out, strata, per_disease)


def measures(features: np.ndarray) -> np.ndarray:
    """Return the Vendi score and the mean distance of unit vectors (N, D), N >= 2: (2,)."""
    cosines = np.clip(features.astype(float) @ features.T.astype(float), -1, 1)
    upper = np.triu_indices(len(features), 1)
    return np.array([vendi_score(cosines), np.sqrt(2 - 2 * cosines[upper]).mean()])


def vendi_score(kernel: np.ndarray) -> float:
    """Return exp of the entropy of the eigenvalues of ``kernel`` / N; (N, N), positive semidefinite, diagonal 1."""
    values = np.linalg.eigvalsh(kernel / len(kernel))
    # Rounding leaves zeros that are a little negative.
    values = values[values > 1e-12]
    return float(np.exp(-(values * np.log(values)).sum()))


def estimates(one: Diversity, other: Diversity | None = None) -> dict[str, Estimate]:
    """Return both measures of ``one``, or what they are above those of ``other``, images paired, with 95 % intervals.

    The error is that of the jackknife within diseases.
    """
    value, left_out = one.value, one.left_out
    if other is not None:
        value, left_out = value - other.value, left_out - other.left_out
    parts = [left_out[one.strata == stratum] for stratum in np.unique(one.strata)]
    errors = [jackknife_error(part) for part in parts if np.isfinite(part).all()]
    half = 1.96 * np.sqrt(np.square(errors).sum(axis=0))
    return {
        name: Estimate(float(centre), float(centre - side), float(centre + side))
        for name, centre, side in zip(MEASURES, value, half, strict=True)
    }
