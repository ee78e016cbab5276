"""Age and gender of faces by name: what labels public faces that come without them (MeMa, Section 3, Step 2).

``estimator("deepface").estimate(images)``. A new one is a class with the members of ``Estimator`` whose constructor
takes the name it was asked for by, and one line in the table (third parties: the entry point ``openmema.estimators``).
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np

from mema.registry import Registry


class Attributes(NamedTuple):
    """What an estimator says of N photos.

    ``ages`` is float32 (N,), years in [0, 120]; ``genders`` an object array (N,) of ``"female"``, ``"male"`` or None.
    Where no face was seen they are NaN and None.
    """

    ages: np.ndarray
    genders: np.ndarray


class Estimator(Protocol):
    """An instrument that reads age and gender; deterministic, and independent of how photos are batched.

    ``revision`` identifies its weights: two instruments of one name and revision say the same.
    """

    name: str
    revision: str

    def estimate(self, images: np.ndarray) -> Attributes:
        """Read the largest face of each of ``images``, uint8 RGB (N, H, W, 3); N may be 0."""
        ...


ESTIMATORS = Registry(
    "estimator of age and gender",
    {
        "deepface": "mema.faces.deepface_attributes:DeepFaceEstimator",
        "insightface": "mema.faces.insightface_attributes:InsightFaceEstimator",
        "phantom": "mema.faces.phantom_attributes:PhantomEstimator",
    },
    "openmema.estimators",
)


def estimator(name: str) -> Estimator:
    """Return the estimator called ``name``; UserError for an unknown name, missing weights or a missing package."""
    instrument: Estimator = ESTIMATORS.load(name)(name)
    return instrument


def unknown(count: int) -> Attributes:
    """Return ``Attributes`` of ``count`` photos of which nothing is known yet."""
    return Attributes(np.full(count, np.nan, np.float32), np.full(count, None, object))
