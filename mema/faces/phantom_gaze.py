"""Gaze of phantoms, read linearly from the edges in each eye's picture and from where dlib's landmarks lie about it.

``python -m generation.phantom.training.gaze`` makes the weights. What they say holds for phantoms and is no statement
about people; with them the demo can tell whether a method keeps the line of sight, of each eye, as L2CS-Net cannot.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from mema.errors import UserError
from mema.faces.alignment import LEFT_EYE, RIGHT_EYE
from mema.faces.detector import landmarks
from mema.faces.gaze import rolled
from mema.weights import digest, locate

SIZE = (36, 20)
SPAN = 0.72
"""Columns and rows of an eye's picture, and its width in distances between the eyes."""
CELL, DIRECTIONS = 4, 8
SIDE = 128
"""The shorter side to which larger photos are brought first: what the weights were fitted on."""
POINTS = 48
"""Landmarks that tell how the head is turned: all but the mouth's."""
MIRRORED = np.r_[16:-1:-1, 26:16:-1, 27:31, 35:30:-1, 45:41:-1, 47, 46, 39:35:-1, 41, 40]
"""Which landmark each of them becomes in a mirror."""


class PhantomGazeEstimator:
    """One linear function for both eyes, the left one seen in a mirror; NaN where dlib's detector sees no face."""

    lines = 2

    def __init__(self, name: str = "phantom") -> None:
        path = locate("phantom-gaze")
        self.name = name
        self.revision = digest(path)
        self._weights = _load(path)

    def estimate(self, images: np.ndarray) -> np.ndarray:
        """Read ``images``, uint8 RGB (N, H, W, 3)."""
        points = landmarks(images)
        angles = np.full((len(images), self.lines, 2), np.nan, np.float32)
        for row in np.flatnonzero(~np.isnan(points).any(axis=(1, 2))):
            eyes = describe(images[row], points[row])
            angles[row] = rolled(unmirrored(eyes.features @ self._weights), eyes.roll)
        return angles


class Eyes(NamedTuple):
    """``features`` of both eyes, float32 (2, F), as if each were the right one, and the head's ``roll`` in degrees."""

    features: np.ndarray
    roll: np.ndarray


def describe(image: np.ndarray, points: np.ndarray) -> Eyes:
    """Return what is read of the eyes of ``image``, uint8 (H, W, 3), whose face has the landmarks ``points`` (68, 2).

    An eye is the directions of edges in cells of its upright picture (histograms of oriented gradients), the landmarks
    about it, and one. The picture is the red channel: there an inflamed eye is as bright as a white one.
    """
    red = Image.fromarray(image).getchannel("R")
    scale = SIDE / min(image.shape[:2])
    if scale < 1:
        red = red.resize((round(red.width * scale), round(red.height * scale)), Image.Resampling.BILINEAR)
        points = (points + 0.5) * scale - 0.5
    centres = np.stack([points[eye].mean(axis=0) for eye in (RIGHT_EYE, LEFT_EYE)])
    across = (centres[1] - centres[0]).astype(np.float64)
    distance = max(float(np.hypot(*across)), 1.0)
    upright = np.array([[across[0], across[1]], [-across[1], across[0]]]) / distance
    features = []
    for index, centre in enumerate(centres):
        picture = _cut(red, centre, upright, SPAN * distance / SIZE[0])
        about = (points[:POINTS] - centre) @ upright.T / distance
        if index == 1:
            picture = picture[:, ::-1]
            about = about[MIRRORED] * (-1, 1)
        features.append(np.concatenate([_edges(picture), about.ravel(), [1.0]]))
    roll = np.degrees(np.arctan2(across[1], across[0]))
    return Eyes(np.stack(features).astype(np.float32), roll)


def unmirrored(angles: np.ndarray) -> np.ndarray:
    """Turn angles (..., 2, 2) of both eyes, read as if each were the right one, to the photo's, and back."""
    turned: np.ndarray = angles * np.array([[1, 1], [-1, 1]])
    return turned


def _cut(channel: Image.Image, centre: np.ndarray, upright: np.ndarray, step: float) -> np.ndarray:
    """Return an upright picture (rows, columns) about ``centre`` whose pixels are ``step`` px of the photo apart."""
    columns, rows = SIZE
    along, down = upright[0] * step, upright[1] * step
    corner = centre + 0.5 - along * columns / 2 - down * rows / 2
    affine = (along[0], down[0], corner[0], along[1], down[1], corner[1])
    cut = channel.transform(SIZE, Image.Transform.AFFINE, affine, Image.Resampling.BILINEAR)
    return np.asarray(cut, np.float64)


def _edges(picture: np.ndarray) -> np.ndarray:
    down, right = np.gradient((picture - picture.mean()) / (picture.std() + 1))
    strength, direction = np.hypot(down, right), np.arctan2(down, right) % (2 * np.pi)
    bins = np.minimum((direction / (2 * np.pi) * DIRECTIONS).astype(int), DIRECTIONS - 1)
    votes = np.where(bins[..., None] == np.arange(DIRECTIONS), strength[..., None], 0.0)
    rows, columns = picture.shape
    cells = votes.reshape(rows // CELL, CELL, columns // CELL, CELL, DIRECTIONS).sum(axis=(1, 3))
    normed: np.ndarray = cells / (np.linalg.norm(cells, axis=2, keepdims=True) + 1)
    return normed.ravel()


def _load(path: Path) -> np.ndarray:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        weights: np.ndarray = load_file(path)["weights"].astype(np.float64)
    except (SafetensorError, KeyError):
        raise UserError(f"{path}: not the weights of the phantom gaze estimator") from None
    return weights
