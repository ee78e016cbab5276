"""What a de-identifier is: the few attributes and the two calls that the benchmark makes (DESIGN §2, contracts)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np

from mema.config import Config


class NoParameters(Config):
    """For methods with nothing to set."""


@runtime_checkable
class Deidentifier(Protocol):
    """A method, made by the registry as ``Class(parameters)``.

    ``name`` is its name in tables, ``revision`` a text that changes whenever its output may, ``reversible`` whether
    ``recover`` exists, ``prior`` what it knows of faces beforehand, in the words of MeMa Table 3 ("Landmark", "Gaze",
    "StyleGAN", …; "None"). ``parameters_model`` is the Config class that validates its YAML. A method may have
    ``parameter_count`` as well: how many numbers its own networks have learnt, 0 for one without networks.
    """

    name: str
    revision: str
    reversible: bool
    prior: str
    parameters_model: type[Config]
    parameters: Config

    def deidentify(self, images: np.ndarray, *, keys: Sequence[str] | None, seed: int) -> np.ndarray:
        """Return de-identified copies of ``images``, uint8 (N, H, W, 3), same shape and order.

        ``keys`` holds one secret per image for methods that use one. Labels are never passed in. The same image,
        key and seed give the same output in any batch, so randomness is drawn per image, not per batch; ``images``
        is left as it is.
        """
        ...


@runtime_checkable
class ReversibleDeidentifier(Deidentifier, Protocol):
    """A method whose output, with the right keys, gives the original back."""

    def recover(self, images: np.ndarray, keys: Sequence[str]) -> np.ndarray:
        """Return what ``keys`` open in de-identified ``images`` alone, uint8 (N, H, W, 3)."""
        ...
