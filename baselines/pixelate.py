"""Pixelation: the image as a coarse mosaic of its mean colours."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydantic import Field

from mema.config import Config


class PixelateParameters(Config):
    """``blocks`` is the number of tiles along each side."""

    blocks: int = Field(default=12, ge=1, le=512)


class Pixelate:
    """Replaces each tile by its mean; tiles differ by at most one pixel in size."""

    name = "pixelate"
    revision = "1"
    reversible = False
    prior = "None"
    parameters_model = PixelateParameters
    parameter_count = 0

    def __init__(self, parameters: PixelateParameters) -> None:
        self.parameters = parameters

    def deidentify(self, images: np.ndarray, *, keys: Sequence[str] | None, seed: int) -> np.ndarray:
        """Return mosaics of ``images``, uint8 (N, H, W, 3)."""
        height, width = images.shape[1:3]
        rows, columns = _tile_edges(height, self.parameters.blocks), _tile_edges(width, self.parameters.blocks)
        sums = np.add.reduceat(images.astype(np.uint64), rows[:-1], axis=1)
        sums = np.add.reduceat(sums, columns[:-1], axis=2)
        area = np.diff(rows)[:, None] * np.diff(columns)[None, :]
        means = np.rint(sums / area[None, :, :, None]).astype(np.uint8)
        return means.repeat(np.diff(rows), axis=1).repeat(np.diff(columns), axis=2)


def _tile_edges(length: int, blocks: int) -> np.ndarray:
    """Return the edges of at most ``blocks`` tiles that cover ``length`` pixels, each at least one pixel wide."""
    return np.linspace(0, length, min(blocks, length) + 1).round().astype(int)
