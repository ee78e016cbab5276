"""Small vectorised building blocks of the phantom: bumps, steps, smooth noise, and resampling of fields (float32)."""

from __future__ import annotations

import numpy as np

from generation.phantom.canvas import Array

_TILE_SIZE = 128
_TILE = np.random.default_rng(20240229).standard_normal((_TILE_SIZE, _TILE_SIZE)).astype(np.float32)


def gauss(x: Array, y: Array, cx: float, cy: float, sx: float, sy: float | Array, angle: float = 0.0) -> Array:
    """Gaussian of height 1 at (cx, cy) with axes sx, sy; cheap (an outer product) for open grids without angle."""
    if angle == 0.0:
        gx = np.exp(-0.5 * ((x - cx) / sx) ** 2)
        gy = np.exp(-0.5 * ((y - cy) / sy) ** 2)
        return gx * gy
    c, s = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    u, v = (x - cx) * c + (y - cy) * s, -(x - cx) * s + (y - cy) * c
    return np.exp(-0.5 * ((u / sx) ** 2 + (v / sy) ** 2))


def line(distance: Array, width: float) -> Array:
    """Soft line: 1 where ``distance`` is 0, about 0.1 at 1.5 widths from it."""
    return np.exp(-((distance / np.float32(width)) ** 2))


def smoothstep(low: float, high: float, value: Array) -> Array:
    """0 below ``low``, 1 above ``high``, a smooth cubic between (``low`` > ``high`` falls instead)."""
    t = np.clip((value - np.float32(low)) * np.float32(1.0 / (high - low)), 0, 1)
    return t * t * (3 - 2 * t)


def edge(distance: Array, pixel: float) -> Array:
    """Anti-aliased half-plane: 1 where ``distance`` > 0, a ramp of one ``pixel`` around 0."""
    return np.clip(distance * np.float32(1.0 / pixel) + np.float32(0.5), 0, 1)


def mix(base: Array, other: Array, weight: Array) -> Array:
    """Blend colours (..., 3) by a weight (...) in [0, 1]."""
    return base + (other - base) * weight[..., None]


def noise(x: Array, y: Array, seed: int) -> Array:
    """Smooth value noise of unit wavelength and about unit variance at (x, y), which broadcast; a field per seed."""
    offset = np.random.default_rng(seed).uniform(0, _TILE_SIZE, 2)
    u, v = x + np.float32(offset[0] + 4096), y + np.float32(offset[1] + 4096)
    i, j = u.astype(np.int32), v.astype(np.int32)
    a, b = u - i, v - j
    a, b = a * a * (3 - 2 * a), b * b * (3 - 2 * b)
    mask = _TILE_SIZE - 1
    i0, i1, j0, j1 = i & mask, (i + 1) & mask, (j & mask) * _TILE_SIZE, ((j + 1) & mask) * _TILE_SIZE
    flat = _TILE.ravel()
    top = flat.take(j0 + i0) * (1 - a) + flat.take(j0 + i1) * a
    bottom = flat.take(j1 + i0) * (1 - a) + flat.take(j1 + i1) * a
    value: Array = top * (1 - b) + bottom * b
    return value * np.float32(1.5)


def sample(grid: Array, column: Array, row: Array) -> Array:
    """Bilinear look-up of ``grid`` (H, W) or (H, W, C) at fractional (column, row), clamped at the borders."""
    height, width = grid.shape[:2]
    column = np.clip(column, 0, np.float32(width - 1.001))
    row = np.clip(row, 0, np.float32(height - 1.001))
    i, j = column.astype(np.int32), row.astype(np.int32)
    a, b = column - i, row - j
    base = j * width + i
    if grid.ndim == 2:
        flat = grid.ravel()
        return (flat.take(base) * (1 - a) + flat.take(base + 1) * a) * (1 - b) + (
            flat.take(base + width) * (1 - a) + flat.take(base + width + 1) * a
        ) * b
    pixels = grid.reshape(-1, grid.shape[2])
    a, b = a[..., None], b[..., None]
    top = pixels.take(base, axis=0) * (1 - a) + pixels.take(base + 1, axis=0) * a
    bottom = pixels.take(base + width, axis=0) * (1 - a) + pixels.take(base + width + 1, axis=0) * a
    return top * (1 - b) + bottom * b


def double(field: Array) -> Array:
    """Twice the resolution of a field (H, W, ...) by linear interpolation between pixel centres."""
    height, width, *rest = field.shape
    near, far = field * np.float32(0.75), field * np.float32(0.25)
    tall = np.empty((2 * height, width, *rest), np.float32)
    tall[0], tall[-1] = field[0], field[-1]
    np.add(near[1:], far[:-1], out=tall[2::2])
    np.add(near[:-1], far[1:], out=tall[1:-1:2])
    near, far = tall * np.float32(0.75), tall * np.float32(0.25)
    wide = np.empty((2 * height, 2 * width, *rest), np.float32)
    wide[:, 0], wide[:, -1] = tall[:, 0], tall[:, -1]
    np.add(near[:, 1:], far[:, :-1], out=wide[:, 2::2])
    np.add(near[:, :-1], far[:, 1:], out=wide[:, 1:-1:2])
    return wide


def halve(field: Array) -> Array:
    """Half the resolution of a field (H, W, ...) by averaging 2 × 2 pixels; H and W even."""
    return (field[::2, ::2] + field[1::2, ::2] + field[::2, 1::2] + field[1::2, 1::2]) * np.float32(0.25)


def linear(srgb: Array) -> Array:
    """sRGB in [0, 1] to linear light."""
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def srgb(light: Array) -> Array:
    """Linear light in [0, 1] to sRGB."""
    light = np.clip(light, 0, 1)
    return np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** np.float32(1 / 2.4) - 0.055)
