"""Eye bar: the black bar over the eyes that case reports used for decades.

It follows dlib's landmarks where the detector finds a face, and is a fixed band across the image where it does not.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydantic import Field

from mema.config import Config

# Points 36 to 47 of the 68-point scheme (iBUG 300-W) go round the two eyes.
EYES = slice(36, 48)


class EyeBarParameters(Config):
    """``margin`` widens the box round both eyes, in units of the distance between their outer corners.

    ``band`` is where the bar lies when no face is found: top and bottom as shares of the image's height.
    """

    margin: float = Field(default=0.18, ge=0, le=1)
    band: tuple[float, float] = (0.36, 0.54)


class EyeBar:
    """Covers the eyes with an upright black rectangle."""

    name = "eye_bar"
    revision = "1"
    reversible = False
    prior = "Landmark"
    parameters_model = EyeBarParameters
    parameter_count = 0

    def __init__(self, parameters: EyeBarParameters) -> None:
        self.parameters = parameters

    def deidentify(self, images: np.ndarray, *, keys: Sequence[str] | None, seed: int) -> np.ndarray:
        """Return ``images`` with the eyes covered, uint8 (N, H, W, 3)."""
        from mema.faces.detector import landmarks

        covered = images.copy()
        for image, points in zip(covered, landmarks(images), strict=True):
            top, bottom, left, right = self._bar(points, *image.shape[:2])
            image[top:bottom, left:right] = 0
        return covered

    def _bar(self, points: np.ndarray, height: int, width: int) -> tuple[int, int, int, int]:
        """Return top, bottom, left, right in pixels; ``points`` are (68, 2) as x, y, or NaN."""
        if np.isnan(points).any():
            top, bottom = self.parameters.band
            return round(top * height), round(bottom * height), 0, width
        low, high = points[EYES].min(axis=0), points[EYES].max(axis=0)
        margin = self.parameters.margin * float(high[0] - low[0])
        left, top = np.floor(low - margin).clip(0).astype(int)
        right, bottom = np.ceil(high + margin).clip(0).astype(int) + 1
        return int(top), int(bottom), int(left), int(right)
