"""What every sign is painted with: outlines, colours of diseased skin, and strokes on a ``Canvas``.

Nothing here is random: shapes are drawn with a generator when a finding is made (``draw_outline``) or derive
from an integer seed (``grain``), so that a lesion looks the same in every photo of its patient and at every
resolution. Lengths are face units, colours linear RGB, strengths in [0, 1].
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from generation.phantom.canvas import Array, Canvas
from generation.phantom.fields import gauss, noise, smoothstep

Colour = Sequence[float] | Array
Point = Sequence[float] | Array

BLOOD: Colour = (0.20, 0.010, 0.018)
CRUST: Colour = (0.11, 0.042, 0.020)
KERATIN: Colour = (0.78, 0.63, 0.30)
SILVER: Colour = (0.88, 0.85, 0.81)
PUS: Colour = (0.84, 0.76, 0.42)


@dataclass(frozen=True)
class Outline:
    """A closed irregular shape around the origin: a turned ellipse whose rim waves with the angle.

    ``radius`` is the half length in face units, ``aspect`` width / length in (0, 1], ``angle`` in radians,
    and ``waves`` rows of (frequency, amplitude, phase) of the rim.
    """

    radius: float
    aspect: float
    angle: float
    waves: tuple[tuple[float, float, float], ...]

    def distance(self, canvas: Canvas, centre: Point) -> Array:
        """Return (H, W) the distance from ``centre`` in units of the rim's: 0 at the centre, 1 on the rim."""
        x, y = canvas.x - centre[0], canvas.y - centre[1]
        cosine, sine = np.cos(self.angle), np.sin(self.angle)
        along, across = (
            (x * cosine + y * sine) / self.radius,
            (y * cosine - x * sine) / (self.radius * self.aspect),
        )
        theta = np.arctan2(across, along)
        rim = 1 + sum(amplitude * np.cos(frequency * theta + phase) for frequency, amplitude, phase in self.waves)
        return np.hypot(along, across) / rim


def draw_outline(
    rng: np.random.Generator, radius: float, roughness: float, aspect: float = 1.0, angle: float | None = None
) -> Outline:
    """Draw an outline of half length ``radius``; ``roughness`` is the relative depth of its bays (0 is an
    ellipse)."""
    angle = float(rng.uniform(0, np.pi)) if angle is None else angle
    waves = tuple(
        (float(k), float(roughness * rng.normal(0, 1) / k**0.7), float(rng.uniform(0, 2 * np.pi))) for k in range(2, 9)
    )
    return Outline(radius, aspect, angle, waves)


def window(canvas: Canvas, centre: Point, reach: float, over_eye: bool = False) -> Canvas | None:
    """Return the part of ``canvas`` within ``reach`` of ``centre`` as views into it, or None when out of
    sight.

    ``over_eye`` gives a part that is all skin, for what grows over the lid's margin.
    """
    near = (np.abs(canvas.x - centre[0]) < reach) & (np.abs(canvas.y - centre[1]) < reach)
    rows, columns = np.flatnonzero(near.any(1)), np.flatnonzero(near.any(0))
    if not len(rows):
        return None
    part = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    names = ("x", "y", "albedo", "bump", "gloss", "lesion", "skin")
    views = {name: getattr(canvas, name)[part] for name in names}
    if over_eye:
        views["skin"] = np.ones_like(views["skin"])
    return replace(canvas, **views)


def spot(canvas: Canvas, centre: Point, width: float, height: float, angle: float = 0.0) -> Array:
    """Return (H, W) a Gaussian of peak 1 with the two standard deviations, its first axis turned by
    ``angle``."""
    return gauss(canvas.x, canvas.y, float(centre[0]), float(centre[1]), width, height, angle)


def grain(canvas: Canvas, scale: float, seed: int) -> Array:
    """Return (H, W) noise fixed to the face, about [-1, 1], with cells of ``scale`` face units and of half
    of it."""
    x, y = canvas.x / np.float32(scale), canvas.y / np.float32(scale)
    return np.float32(0.38) * (noise(x, y, seed) + np.float32(0.5) * noise(2 * x, 2 * y, seed + 1))


def onset(start: float, full: float, strength: float) -> float:
    """Return in [0, 1] how far a late part of a sign has come, which begins at ``start`` and is whole at
    ``full``."""
    return float(smoothstep(start, full, np.asarray(strength)))


def tint(canvas: Canvas, colour: Colour, strength: Array) -> None:
    """Mix the skin's albedo towards ``colour`` (3,) or (H, W, 3) by ``strength`` (H, W)."""
    amount = np.clip(strength * canvas.skin, 0, 1)[..., None]
    canvas.albedo += amount * (np.asarray(colour, np.float32) - canvas.albedo)


def redden(canvas: Canvas, strength: Array, brown: float = 0.0) -> None:
    """Paint erythema: red on light skin, violet-brown on dark skin; ``brown`` in [0, 1] shifts it to
    red-brown.

    Blood absorbs green and blue, which is all but invisible on dark skin, where inflammation is seen as a
    violet cast: hence the lift of red and a little blue that fades with the skin's lightness.
    """
    dark = np.clip(1 - _lightness(canvas) / 0.30, 0, 1)
    absorbed = np.array([1.0 - 0.28 * brown, 0.36 + 0.02 * brown, 0.40 - 0.16 * brown], np.float32)
    lift = np.array([0.042, 0.0, 0.016 * (1 - brown)], np.float32)
    tint(canvas, canvas.albedo * absorbed + dark * lift, strength)


def veil(canvas: Canvas, colour: Colour, strength: Array, floor: float = 0.45) -> None:
    """Paint what lies in or on the skin (scale, pus, blood): ``colour`` on light skin, darker and duller,
    down to the share ``floor`` of it, the darker the skin."""
    tint(canvas, np.asarray(colour, np.float32) * np.clip(floor + 1.3 * _lightness(canvas), 0, 1), strength)


def _lightness(canvas: Canvas) -> Array:
    return canvas.albedo.mean(-1, keepdims=True)


def raise_skin(canvas: Canvas, height: Array) -> None:
    """Add ``height`` (H, W) in face units to the relief."""
    canvas.bump += height * canvas.skin


def shine(canvas: Canvas, gloss: float, strength: Array) -> None:
    """Move the specular strength towards ``gloss`` (healthy skin about 0.25) by ``strength``."""
    canvas.gloss += np.clip(strength * canvas.skin, 0, 1) * (gloss - canvas.gloss)


def mark(canvas: Canvas, strength: Array) -> None:
    """Add an area to the lesion mask: it counts where ``strength`` exceeds 0.5."""
    np.maximum(canvas.lesion, strength * canvas.skin, out=canvas.lesion)


def stroke(canvas: Canvas, points: Array, width: float, colour: Colour, strength: float = 1.0) -> None:
    """Draw a polyline ``points`` (N, 2) of the given half width; thinner than a pixel, it fades instead."""
    middle = (points.min(0) + points.max(0)) / 2
    drawn = max(width, 0.6 * canvas.pixel)
    part = window(canvas, middle, float(np.ptp(points, axis=0).max()) / 2 + 3 * drawn)
    if part is None:
        return
    nearest = np.full(part.x.shape, np.inf, np.float32)
    for (x0, y0), (x1, y1) in pairwise(points):
        length = (x1 - x0) ** 2 + (y1 - y0) ** 2 + 1e-12
        t = np.clip(((part.x - x0) * (x1 - x0) + (part.y - y0) * (y1 - y0)) / length, 0, 1)
        nearest = np.minimum(nearest, np.hypot(part.x - x0 - t * (x1 - x0), part.y - y0 - t * (y1 - y0)))
    veil(part, colour, strength * min(1.0, width / drawn) ** 0.5 * np.exp(-((nearest / drawn) ** 2)))


def draw_vessel(rng: np.random.Generator, start: Point, angle: float, length: float) -> Array:
    """Draw a telangiectasia: a wavering line (8, 2) that leaves ``start`` in the direction ``angle``."""
    headings = angle + np.cumsum(rng.normal(0, 0.35, 7))
    steps = np.stack([np.cos(headings), np.sin(headings)], -1) * length / 7
    return np.concatenate([[np.asarray(start)], np.asarray(start) + np.cumsum(steps, 0)])


def papule(canvas: Canvas, centre: Point, radius: float, strength: float, pustule: float = 0.0) -> None:
    """Raise a red papule; ``pustule`` in [0, 1] is the strength of a white-yellow head on it."""
    part = window(canvas, centre, 3.2 * radius)
    if part is None:
        return
    body = spot(part, centre, 0.62 * radius, 0.62 * radius)
    redden(part, strength * np.minimum(1.25 * spot(part, centre, radius, radius), 1))
    raise_skin(part, 0.45 * radius * strength * body)
    shine(part, 0.55, strength * body)
    if pustule:
        head = smoothstep(0.62, 0.3, np.hypot(part.x - centre[0], part.y - centre[1]) / radius)
        veil(part, PUS, pustule * head, 0.6)
        raise_skin(part, 0.15 * radius * pustule * head)
    mark(part, np.where(body > 0.35, 1.0, 0.0))
