"""Blackout: the ceiling of privacy and the floor of utility; publishes one colour."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import numpy as np
from pydantic import Field

from mema.config import Config

Level = Annotated[int, Field(ge=0, le=255)]


class BlackoutParameters(Config):
    """``colour`` is the RGB fill, each 0 to 255."""

    colour: tuple[Level, Level, Level] = (0, 0, 0)


class Blackout:
    """Replaces every pixel by one colour, so nothing of the face is left."""

    name = "blackout"
    revision = "1"
    reversible = False
    prior = "None"
    parameters_model = BlackoutParameters
    parameter_count = 0

    def __init__(self, parameters: BlackoutParameters) -> None:
        self.parameters = parameters

    def deidentify(self, images: np.ndarray, *, keys: Sequence[str] | None, seed: int) -> np.ndarray:
        """Return images of one colour in the shape of ``images``, uint8 (N, H, W, 3)."""
        return np.broadcast_to(np.array(self.parameters.colour, np.uint8), images.shape).copy()
