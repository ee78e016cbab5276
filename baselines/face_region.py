"""Where the face is: the region that landmarks bound, and the way to a standard pose and back."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

# Parts of the 68-point scheme (iBUG 300-W).
BROWS = slice(17, 27)
NOSE_TIP = 33
RIGHT_EYE, LEFT_EYE = slice(36, 42), slice(42, 48)

FOREHEAD = 0.6
"""How far above the brows the face goes on, in units of the distance from brows to nose tip: no landmark says it."""


def face_mask(points: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return the face with its forehead, bool (height, width): the convex hull of ``points`` (68, 2) and above."""
    brows = points[BROWS]
    up = FOREHEAD * (brows.mean(axis=0) - points[NOSE_TIP])
    return polygon_mask(np.concatenate([points, brows + up]), height, width)


def eyes_mask(points: np.ndarray, height: int, width: int, margin: float) -> np.ndarray:
    """Return both eyes with their lids, bool (height, width): each eye's hull, ``1 + margin`` times as large."""
    mask = np.zeros((height, width), bool)
    for eye in (points[RIGHT_EYE], points[LEFT_EYE]):
        # An eye is flat; lids and what grows on them are as high as the eye is wide.
        centre, reach = eye.mean(axis=0), np.ptp(eye[:, 0]) / 2 * (1 + margin)
        angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
        ring = np.stack([np.cos(angles), 0.75 * np.sin(angles)], axis=1)
        mask |= polygon_mask(centre + reach * ring, height, width)
    return mask


def polygon_mask(points: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return the convex hull of ``points`` (N, 2) as bool (height, width)."""
    from scipy.spatial import ConvexHull

    corners = points[ConvexHull(points).vertices]
    canvas = Image.new("1", (width, height))
    ImageDraw.Draw(canvas).polygon([tuple(map(float, corner)) for corner in corners], fill=1)
    return np.array(canvas)


def feathered(mask: np.ndarray, width: float) -> np.ndarray:
    """Return ``mask`` (H, W) as weights, float32 in [0, 1], that fall to 0 at its edge over ``width`` pixels."""
    from scipy.ndimage import distance_transform_edt

    inside = distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    return np.clip(inside / max(width, 1e-6), 0, 1).astype(np.float32)


class Similarity(NamedTuple):
    """A rotation, scaling and shift of the plane, as complex numbers: ``z -> turn * z + shift`` with z = x + iy."""

    turn: complex
    shift: complex

    @classmethod
    def between(cls, source: np.ndarray, target: np.ndarray) -> Similarity:
        """Return the one that takes ``source`` (N, 2) to ``target`` (N, 2) with least squares (Umeyama 1991)."""
        z, w = source @ np.array([1, 1j]), target @ np.array([1, 1j])
        from_mean = z - z.mean()
        turn = complex((from_mean.conj() * (w - w.mean())).sum() / (np.abs(from_mean) ** 2).sum())
        return cls(turn, complex(w.mean() - turn * z.mean()))

    def inverse(self) -> Similarity:
        """Return the way back."""
        return Similarity(1 / self.turn, -self.shift / self.turn)

    def apply(self, points: np.ndarray) -> np.ndarray:
        """Move ``points`` (N, 2)."""
        moved = self.turn * (points @ np.array([1, 1j])) + self.shift
        return np.stack([moved.real, moved.imag], axis=1)

    def warp(self, image: np.ndarray, height: int, width: int) -> np.ndarray:
        """Move ``image``, uint8 (H, W, 3), onto a canvas of ``height`` and ``width``; what comes from outside is 0."""
        turn, shift = self.inverse()
        # Pillow asks where each pixel's centre, half a pixel off its index, comes from.
        offset = shift + 0.5 + 0.5j - turn * (0.5 + 0.5j)
        coefficients = (turn.real, -turn.imag, offset.real, turn.imag, turn.real, offset.imag)
        warped = Image.fromarray(image).transform(
            (width, height), Image.Transform.AFFINE, coefficients, Image.Resampling.BILINEAR
        )
        return np.array(warped)
