"""Near-duplicates: images that are nearly the same picture, whoever is in it."""

from __future__ import annotations

import numpy as np
from PIL import Image

SIDE = 16
BLOCK = 2048


def thumbnail(image: np.ndarray) -> np.ndarray:
    """Return ``image``, uint8 (H, W, 3), as float32 (768,): 16 x 16 box averages, grey levels 0 to 255."""
    small = Image.fromarray(image).resize((SIDE, SIDE), Image.Resampling.BOX)
    return np.asarray(small, np.float32).reshape(-1)


def near_pairs(thumbnails: np.ndarray, limit: float) -> np.ndarray:
    """Return the pairs of rows (P, 2), first < second, whose thumbnails (N, 768) differ by less than ``limit``.

    Pairs are in rising order; the difference is the root mean square over pixels, in grey levels.
    """
    values = thumbnails.astype(np.float64)
    # Around the mean image, squares of large numbers do not swallow small differences.
    values = values - values.mean(axis=0) if len(values) else values
    norms = np.einsum("nd,nd->n", values, values)
    bound = limit * limit * values.shape[1]
    pairs: list[np.ndarray] = [np.empty((0, 2), np.int64)]
    for first in range(0, len(values), BLOCK):
        rows = slice(first, first + BLOCK)
        squared = norms[rows, None] + norms[None, first:] - 2 * values[rows] @ values[first:].T
        pairs.append(np.argwhere(np.triu(squared < bound, 1)).astype(np.int64) + first)
    return np.concatenate(pairs)
