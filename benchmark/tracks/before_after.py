"""What tracks agree on that read a face before and after: what a lost face counts for, and the noise of reading."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from mema.errors import UserError
from mema.files import atomic_write
from mema.imageset import ImageSet

ORIGINALS = "originals.safetensors"

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


def keep_originals(
    read: Callable[[ImageSet], np.ndarray], scores_of: Scores, originals: ImageSet, folder: Path
) -> dict[str, float]:
    """Keep in ``folder`` what ``read`` sees in the originals, float (N, ..., ...), and return the noise floor of two
    readings. UserError when no original shows a face."""
    from safetensors.numpy import save

    readings = [read(originals) for _ in range(2)]
    if np.isnan(readings[0]).any(axis=(1, 2)).all():
        raise UserError(f"{originals.path}: no original shows a face, so there is nothing to compare")
    atomic_write(folder / ORIGINALS, save({"originals": readings[0]}))
    return noise_floor(scores_of, readings)


def kept_originals(folder: Path) -> np.ndarray:
    """Return what ``keep_originals`` kept."""
    from safetensors.numpy import load_file

    originals: np.ndarray = load_file(folder / ORIGINALS)["originals"]
    return originals


def noise_floor(scores_of: Scores, readings: Sequence[np.ndarray]) -> dict[str, float]:
    """Return the standard deviation of each whole metric over ``readings`` of the originals, compared with the first.

    A face must be seen in one of them at least. Where all readings agree the floor is 0.0.
    """
    delivered = np.zeros(len(readings[0]), bool)
    each = [scores_of(readings[0], reading, delivered) for reading in readings]
    return {name: float(np.std([np.nanmean(one[name]) for one in each])) for name in each[0] if "." not in name}
