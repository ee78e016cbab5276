"""What the held-out recognisers read in a validation split, for the tracks that compare faces.

Comparisons are of a probe with *another photo* of a person (``benchmark.attacks.material.other_photos``): a recogniser
that compares a photo with itself says nothing of persons.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmark.attacks.material import other_photos
from benchmark.config import BenchmarkConfig
from benchmark.embedding import embed, embedded
from benchmark.tracks.protocol import Sample
from mema.files import atomic_write
from mema.imageset import ImageSet

FILE = "vectors.safetensors"


class Vectors(NamedTuple):
    """Unit vectors float32 (N, D), in the order of the split: of its ``originals`` and of another photo of each."""

    originals: np.ndarray
    others: np.ndarray


def vectors_of(imageset: ImageSet, name: str, config: BenchmarkConfig, seed: int) -> Vectors:
    """Return what the recogniser called ``name`` reads in a split and in other photos, made of it with ``seed``."""
    return Vectors(
        embedded(imageset, name, config.batch_size),
        np.concatenate([embed(images, name) for images in _others(imageset.batches(config.batch_size), seed)]),
    )


def keep_vectors(imageset: ImageSet, folder: Path, config: BenchmarkConfig) -> None:
    """Write what every held-out recogniser reads in a split and in other photos to ``folder``."""
    from safetensors.numpy import save

    arrays: dict[str, np.ndarray] = {}
    for name in config.recognisers:
        vectors = vectors_of(imageset, name, config, config.seed)
        arrays |= {f"{kind}.{name}": array for kind, array in vectors._asdict().items()}
    atomic_write(folder / FILE, save(arrays))


def kept_vectors(folder: Path, config: BenchmarkConfig) -> dict[str, Vectors]:
    """Return what ``keep_vectors`` wrote, by recogniser."""
    from safetensors.numpy import load_file

    arrays = load_file(folder / FILE)
    return {name: Vectors(arrays[f"originals.{name}"], arrays[f"others.{name}"]) for name in config.recognisers}


def probe_vectors(sample: Sample, name: str, originals: np.ndarray, config: BenchmarkConfig) -> np.ndarray:
    """Return the unit vectors (N, D) of the de-identified images; one that was not delivered counts as its original."""
    probes = embedded(sample.images, name, config.batch_size)
    probes[sample.failed] = originals[sample.failed]
    return probes


def strongest(columns: Sequence[np.ndarray]) -> np.ndarray:
    """Return the column (N,) with the highest mean, the first of equals."""
    return columns[int(np.argmax([column.mean() for column in columns]))]


def _others(batches: Iterator[np.ndarray], seed: int) -> Iterator[np.ndarray]:
    row = 0
    for images in batches:
        # The seeds of write_other_photos: the photos are those that attackers have in their gallery.
        yield np.concatenate([other_photos(image[None], [seed, 0, row + i]) for i, image in enumerate(images)])
        row += len(images)
