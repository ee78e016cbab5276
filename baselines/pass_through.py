"""Pass-through: the floor of privacy and the ceiling of utility; publishes the photo as it is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from baselines.protocol import NoParameters


class PassThrough:
    """Returns every image unchanged."""

    name = "pass_through"
    revision = "1"
    reversible = False
    prior = "None"
    parameters_model = NoParameters
    parameter_count = 0

    def __init__(self, parameters: NoParameters) -> None:
        self.parameters = parameters

    def deidentify(self, images: np.ndarray, *, keys: Sequence[str] | None, seed: int) -> np.ndarray:
        """Return a copy of ``images``, uint8 (N, H, W, 3)."""
        return images.copy()
