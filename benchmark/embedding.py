"""What a recogniser reads in images, once in a process however many ask."""

from __future__ import annotations

from hashlib import sha256

import numpy as np

from mema.imageset import ImageSet

# By recogniser, shape and hash of a photo.
_READ: dict[tuple[str, tuple[int, ...], bytes], np.ndarray] = {}


def embedded(imageset: ImageSet, name: str, batch_size: int) -> np.ndarray:
    """Return the unit vectors, float32 (N, D), that the recogniser called ``name`` reads in the images of a set."""
    return np.concatenate([embed(images, name) for images in imageset.batches(batch_size)])


def embed(images: np.ndarray, name: str) -> np.ndarray:
    """Return the unit vectors, float32 (N, D), that the recogniser called ``name`` reads in ``images``.

    Tracks and attackers ask about the same photos; each, uint8 (N, H, W, 3), is read once in a process.
    """
    from mema.faces.recognisers import recogniser

    keys = [(name, image.shape, sha256(image.tobytes()).digest()) for image in images]
    new = {key: row for row, key in enumerate(keys) if key not in _READ}
    if new:
        _READ.update(zip(new, recogniser(name).embed(images[list(new.values())]).vectors, strict=True))
    return np.stack([_READ[key] for key in keys])
