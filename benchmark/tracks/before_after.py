"""What tracks agree on that read a face before and after: what a lost face counts for, and the noise of reading."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

Scores = Callable[[np.ndarray, np.ndarray, np.ndarray], dict[str, np.ndarray]]
"""From readings of N originals and N de-identified images, and which of the latter failed, to scores (N,) by name."""


def with_lost(
    errors: np.ndarray, worst: np.ndarray | float, before: np.ndarray, after: np.ndarray, failed: np.ndarray
) -> np.ndarray:
    """Return ``errors`` (N,), but ``worst`` where the de-identified image shows no face or failed.

    ``before`` and ``after``, bool (N,), say where a face was seen in the original and in the de-identified image. An
    original without one gives NaN whatever was made of it: there is nothing to lose.
    """
    return np.where(before, np.where(after & ~failed, errors, worst), np.nan)


def where_seen(scores: np.ndarray, after: np.ndarray, failed: np.ndarray) -> np.ndarray:
    """Return ``scores`` (N,) as papers count them: NaN where no face is seen, but not where the method failed."""
    return np.where(after | failed, scores, np.nan)


def found(before: np.ndarray, after: np.ndarray, failed: np.ndarray) -> np.ndarray:
    """Return 1.0 where a face is still seen, else 0.0, and NaN where the original shows none, (N,)."""
    return np.where(before, (after & ~failed).astype(float), np.nan)


def noise_floor(scores_of: Scores, readings: Sequence[np.ndarray]) -> dict[str, float]:
    """Return the standard deviation of each whole metric over ``readings`` of the originals, compared with the first.

    A face must be seen in one of them at least. Where all readings agree the floor is 0.0.
    """
    delivered = np.zeros(len(readings[0]), bool)
    each = [scores_of(readings[0], reading, delivered) for reading in readings]
    return {name: float(np.std([np.nanmean(one[name]) for one in each])) for name in each[0] if "." not in name}
