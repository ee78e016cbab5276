"""Where a face looks, by name: what MeMa reads by L2CS-Net to see whether a method keeps it (Table 7).

``gaze_estimator("l2cs").estimate(images)``. A new one is a class with the members of ``GazeEstimator`` whose
constructor takes the name it was asked for by, and one line in the table (third parties: the entry point
``openmema.gaze_estimators``).

Angles are (yaw, pitch) in degrees in the axes of the camera: 0 looks into the lens, positive to the photo's right and
upwards.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from mema.registry import Registry


class GazeEstimator(Protocol):
    """An instrument that reads gaze; deterministic, and independent of how photos are batched.

    ``lines`` is how many lines of sight it reads: 1 of the face, or 2 of its eyes, the subject's right first, which
    part in strabismus. ``revision`` identifies its weights: two instruments of one name and revision say the same.
    """

    name: str
    lines: int
    revision: str

    def estimate(self, images: np.ndarray) -> np.ndarray:
        """Return the angles float32 (N, lines, 2) of the largest face of each of ``images``, NaN where none is seen.

        ``images`` is uint8 RGB (N, H, W, 3); N may be 0.
        """
        ...


GAZE_ESTIMATORS = Registry(
    "gaze estimator",
    {
        "l2cs": "mema.faces.l2cs:L2CSEstimator",
        "phantom": "mema.faces.phantom_gaze:PhantomGazeEstimator",
    },
    "openmema.gaze_estimators",
)


def gaze_estimator(name: str) -> GazeEstimator:
    """Return the estimator called ``name``; UserError for an unknown name or missing weights."""
    instrument: GazeEstimator = GAZE_ESTIMATORS.load(name)(name)
    return instrument


def directions(angles: np.ndarray) -> np.ndarray:
    """Return the unit vectors (..., 3) of ``angles`` (..., 2): x to the photo's right, y down, z to the camera."""
    yaw, pitch = np.moveaxis(np.radians(angles.astype(np.float64)), -1, 0)
    return np.stack([np.sin(yaw) * np.cos(pitch), -np.sin(pitch), np.cos(yaw) * np.cos(pitch)], axis=-1)


def angles_of(directions: np.ndarray) -> np.ndarray:
    """Return the angles (..., 2) of unit vectors (..., 3); inverse of :func:`directions`."""
    x, y, z = np.moveaxis(directions, -1, 0)
    return np.degrees(np.stack([np.arctan2(x, z), np.arcsin(np.clip(-y, -1, 1))], axis=-1))


def rolled(angles: np.ndarray, roll: np.ndarray) -> np.ndarray:
    """Turn lines of sight with the head: ``angles`` (..., 2), ``roll`` (...) in degrees, clockwise in the photo."""
    x, y, z = np.moveaxis(directions(angles), -1, 0)
    cos, sin = np.cos(np.radians(roll)), np.sin(np.radians(roll))
    return angles_of(np.stack([x * cos - y * sin, x * sin + y * cos, z], axis=-1))


def angle_between(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the degrees in [0, 180] between lines of sight given by their angles, (..., 2) each, as (...)."""
    one, other = directions(first), directions(second)
    # By the tangent: the cosine of a small angle has lost it.
    across = np.linalg.norm(np.cross(one, other), axis=-1)
    between: np.ndarray = np.degrees(np.arctan2(across, (one * other).sum(axis=-1)))
    return between
