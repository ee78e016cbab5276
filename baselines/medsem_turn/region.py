"""Where an eye clinic looks: the part of a photo that shows disease, and what of a face's code may depend on it."""

from __future__ import annotations

import numpy as np

EYES = ((0.363, 0.461), (0.637, 0.461))
"""Where both eyes are in a photo by a clinic's protocol, (x, y) in shares of its width and height."""

REACH = (0.164, 0.102)
"""How far the signs reach from there, across and down: lids, their corners and the skin below, but not the brows."""

SOFT = 0.25
"""Width of the region's edge, in units of ``REACH``."""

MARGIN = 1.5
"""Pixels of a reduced photo by which an eye spreads when the photo is reduced: its filter reaches one pixel."""


def medical_region(height: int, width: int, margin: float = 0.0) -> np.ndarray:
    """Return how much of each pixel is shown as it is, float32 (height, width) in [0, 1].

    ``margin`` is added to ``REACH``, in shares of the photo.
    """
    y, x = (np.arange(height) + 0.5) / height, (np.arange(width) + 0.5) / width
    across, down = (reach + margin for reach in REACH)
    away = np.min([np.hypot((x - cx) / across, (y[:, None] - cy) / down) for cx, cy in EYES], axis=0)
    return ((1 - away) / SOFT + 0.5).clip(0, 1).astype(np.float32)


def outside(side: int) -> np.ndarray:
    """Return which values of a flat photo of ``side`` px no eye reaches, bool (3 * side * side,)."""
    return np.tile(medical_region(side, side, MARGIN / side).ravel() == 0, 3)
