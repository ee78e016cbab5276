"""Images of a set in batches, and what a recogniser reads in them, once in a process however many ask."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np

from mema.imageset import Face, ImageSet

# Sets of vectors kept in memory.
KEPT = 32


def image_batches(imageset: ImageSet, size: int) -> Iterator[np.ndarray]:
    """Yield the images of a set, uint8 (<= size, H, W, 3), never holding more than one batch and one shard."""
    batch: list[Face] = []
    for face in imageset.faces():
        batch.append(face)
        if len(batch) == size:
            yield np.stack([face.image for face in batch])
            batch = []
    if batch:
        yield np.stack([face.image for face in batch])


def embedded(imageset: ImageSet, name: str, batch_size: int) -> np.ndarray:
    """Return the unit vectors, float32 (N, D), that the recogniser called ``name`` reads; not to be written into."""
    return _embedded(imageset.path, imageset.digest, name, batch_size)


def embed_batches(batches: Iterator[np.ndarray], name: str) -> np.ndarray:
    """Return the unit vectors, float32 (N, D), that the recogniser called ``name`` reads in ``batches`` of images."""
    from mema.faces.recognisers import recogniser

    instrument = recogniser(name)
    return np.concatenate([instrument.embed(images).vectors for images in batches])


@lru_cache(maxsize=KEPT)
def _embedded(path: Path, digest: str, name: str, batch_size: int) -> np.ndarray:
    """``digest`` says which images lie at ``path``."""
    vectors = embed_batches(image_batches(ImageSet.open(path), batch_size), name)
    vectors.flags.writeable = False
    return vectors
