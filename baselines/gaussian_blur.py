"""Gaussian blur of the whole image, its strength relative to the image so that it means the same at any size."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydantic import Field

from mema.config import Config


class GaussianBlurParameters(Config):
    """``sigma`` is the standard deviation as a share of the image's shorter side (0.04 = 5 px at 128 px)."""

    sigma: float = Field(default=0.04, gt=0, le=0.5)


class GaussianBlur:
    """Convolves each channel with a Gaussian cut at four standard deviations; edges are mirrored."""

    name = "gaussian_blur"
    revision = "1"
    reversible = False
    prior = "None"
    parameters_model = GaussianBlurParameters
    parameter_count = 0

    def __init__(self, parameters: GaussianBlurParameters) -> None:
        self.parameters = parameters

    def deidentify(self, images: np.ndarray, *, keys: Sequence[str] | None, seed: int) -> np.ndarray:
        """Return blurred ``images``, uint8 (N, H, W, 3)."""
        sigma = self.parameters.sigma * min(images.shape[1:3])
        blurred = np.empty_like(images)
        for i, image in enumerate(images):
            smooth = _smooth_rows(_smooth_rows(image.astype(np.float32), sigma).swapaxes(0, 1), sigma)
            blurred[i] = np.rint(smooth.swapaxes(0, 1)).clip(0, 255)
        return blurred


def _smooth_rows(image: np.ndarray, sigma: float) -> np.ndarray:
    """Return ``image`` (H, W, C) float32, convolved along the first axis."""
    radius = min(int(np.ceil(4 * sigma)), image.shape[0] - 1)
    offsets = np.arange(-radius, radius + 1)
    weights = np.exp(-0.5 * (offsets / sigma) ** 2)
    weights = (weights / weights.sum()).astype(np.float32)
    padded = np.pad(image, ((radius, radius), (0, 0), (0, 0)), mode="reflect")
    return sum(weight * padded[i : i + len(image)] for i, weight in enumerate(weights))
