"""Weak methods that an attacker must break before its column counts: what it cannot trace here, it cannot see at all.

They are planted by the benchmark and appear on no page as methods. Images are uint8 RGB (N, H, W, 3); a key is a text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageFilter

Change = Callable[[np.ndarray, Sequence[str]], np.ndarray]

TILES = 8
"""Tiles along a side of the shuffles: at 128 px each is 16 px wide and holds an eye."""


class Planted(NamedTuple):
    """A weak method; ``recover`` opens it again where there is a key."""

    deidentify: Change
    recover: Change | None = None


def _blur(share: float) -> Change:
    """Gaussian blur, its standard deviation a ``share`` of the shorter side."""

    def blur(images: np.ndarray, keys: Sequence[str]) -> np.ndarray:
        radius = share * min(images.shape[1:3])
        return _each(images, lambda image: image.filter(ImageFilter.GaussianBlur(radius)))

    return blur


def _pixelate(blocks: int) -> Change:
    """A mosaic of ``blocks`` x ``blocks`` means."""

    def pixelate(images: np.ndarray, keys: Sequence[str]) -> np.ndarray:
        def mosaic(image: Image.Image) -> Image.Image:
            small = image.resize((blocks, blocks), Image.Resampling.BOX)
            return small.resize(image.size, Image.Resampling.NEAREST)

        return _each(images, mosaic)

    return pixelate


def bar(images: np.ndarray, keys: Sequence[str]) -> np.ndarray:
    """Cover a fixed band, where eyes lie in a portrait, with black."""
    covered = images.copy()
    height = images.shape[1]
    covered[:, round(0.36 * height) : round(0.54 * height)] = 0
    return covered


def _shuffle(secret: Callable[[str], str]) -> Planted:
    """Tiles in an order that ``secret`` makes of the key."""

    def order(key: str) -> np.ndarray:
        seed = int.from_bytes(sha256(secret(key).encode()).digest()[:8], "big")
        return np.random.default_rng(seed).permutation(TILES * TILES)

    def deidentify(images: np.ndarray, keys: Sequence[str]) -> np.ndarray:
        return _permuted(images, [order(key) for key in keys])

    def recover(images: np.ndarray, keys: Sequence[str]) -> np.ndarray:
        return _permuted(images, [np.argsort(order(key)) for key in keys])

    return Planted(deidentify, recover)


def _permuted(images: np.ndarray, orders: Sequence[np.ndarray]) -> np.ndarray:
    """Move the tiles of each image; what is left of the side over a multiple of ``TILES`` stays."""
    moved = images.copy()
    height, width = (side // TILES for side in images.shape[1:3])
    inner = images[:, : height * TILES, : width * TILES]
    tiles = inner.reshape(-1, TILES, height, TILES, width, 3).swapaxes(2, 3).reshape(-1, TILES**2, height, width, 3)
    tiles = np.stack([one[order] for one, order in zip(tiles, orders, strict=True)])
    tiles = tiles.reshape(-1, TILES, TILES, height, width, 3).swapaxes(2, 3)
    moved[:, : height * TILES, : width * TILES] = tiles.reshape(inner.shape)
    return moved


def _each(images: np.ndarray, change: Callable[[Image.Image], Image.Image]) -> np.ndarray:
    return np.stack([np.asarray(change(Image.fromarray(image))) for image in images])


PLANTED: dict[str, Planted] = {
    "mild-blur": Planted(_blur(0.04)),
    "mild-mosaic": Planted(_pixelate(12)),
    "blur": Planted(_blur(0.08)),
    "pixelate": Planted(_pixelate(8)),
    "bar": Planted(bar),
    # One secret for all images: who may use the method can learn what it does without knowing the secret.
    "shuffle": _shuffle(lambda key: "the one secret"),
    "keyed-shuffle": _shuffle(lambda key: key),
    # All but the last four characters: a key that differs there opens what it should not.
    "short-key": _shuffle(lambda key: key[:-4]),
}
