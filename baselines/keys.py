"""Secrets as randomness: what a key stands for in the methods that use one."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from mema.errors import UserError


def secret_generator(secret: str) -> np.random.Generator:
    """Return a generator whose draws are a function of the whole ``secret``: near keys give unrelated draws."""
    return np.random.default_rng(list(hashlib.sha256(secret.encode()).digest()))


def rotation(secret: str, size: int) -> np.ndarray:
    """Return the rotation that ``secret`` stands for, spread evenly over all (Mezzadri 2007): float64 (size, size)."""
    q, r = np.linalg.qr(secret_generator(secret).standard_normal((size, size)))
    turn: np.ndarray = q * np.sign(np.diagonal(r))
    return turn


def keys_for(images: np.ndarray, keys: Sequence[str] | None, seed: int) -> Sequence[str]:
    """Return ``keys``, or where there are none a key for each of ``images``, uint8 (N, H, W, 3), that nobody holds.

    Such a key is a hash of ``seed`` and pixels. UserError when there are keys, but not one for each image.
    """
    if keys is None:
        return [hashlib.sha256(seed.to_bytes(8, "little") + image.tobytes()).hexdigest() for image in images]
    if len(keys) != len(images):
        raise UserError(f"{len(keys)} keys were given for {len(images)} images")
    return keys
