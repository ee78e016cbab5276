"""A linear face code whose axes are sorted by how much they say of who is shown.

The code is that of eigenfaces (Turk & Pentland 1991), scaled so that each number has variance 1. A canonical
correlation analysis (Hotelling 1936) with a recogniser's vectors then turns its axes: the first says most of what the
recogniser reads, the last least. It needs photos and no labels, and nothing but linear algebra, so it is fitted in
seconds.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from mema.errors import UserError

RANGE = (0.02, 0.98)
"""The values of a photo that is drawn, with some room for what enlarging it adds."""

ROUNDS = 60

LEVELS = 127
"""An axis is stored in 8 bits, from -LEVELS to LEVELS."""


class FaceCode(NamedTuple):
    """``mean`` float32 (3 S S,) of photos in [0, 1]; ``axes`` float32 (K, 3 S S) and ``back``, which undoes them.

    A code is K numbers of variance 1, identity first; ``correlations`` (K,) say how much each of them shares with the
    recogniser's vectors, 0 where none was asked.
    """

    mean: np.ndarray
    axes: np.ndarray
    back: np.ndarray
    correlations: np.ndarray

    @property
    def side(self) -> int:
        """Return S, the side of the photos that the code describes."""
        return round((len(self.mean) / 3) ** 0.5)

    def encode(self, photo: np.ndarray) -> np.ndarray:
        """Return the code (K,) of a flat ``photo``, float (3 S S,)."""
        code: np.ndarray = (photo - self.mean) @ self.back.T
        return code

    def decode(self, code: np.ndarray, rounds: int = ROUNDS) -> np.ndarray:
        """Return a flat photo, float (3 S S,), with this ``code`` (K,) and hardly a value outside ``RANGE``.

        Clipping ``mean + code @ axes`` would change its code, and what a key closed would not open: so clipping and
        giving the code back take turns (projections onto convex sets, von Neumann 1950).
        """
        photo: np.ndarray = self.mean + code @ self.axes
        for _ in range(rounds):
            photo = photo.clip(*RANGE)
            photo = photo + (code - self.encode(photo)) @ self.axes
        return photo


def fit_code(photos: np.ndarray, vectors: np.ndarray, components: int, *, seed: int = 0) -> FaceCode:
    """Return the code of ``components`` numbers for flat ``photos``, float32 (N, 3 S S) in [0, 1].

    ``vectors``, float32 (N, D), are what a recogniser says of them. UserError with fewer photos than twice the larger
    of ``components`` and D, of which a correlation could not be told from chance.
    """
    needed = 2 * max(components, vectors.shape[1])
    if len(photos) < needed:
        raise UserError(f"a face code of {components} numbers needs at least {needed} photos, not {len(photos)}")
    mean = photos.mean(axis=0)
    spread, eigenfaces = principal_axes(photos - mean, components, seed)
    codes = (photos - mean) @ eigenfaces.T / spread
    turn, correlations = canonical_axes(codes, vectors)
    axes = (turn * spread) @ eigenfaces
    return with_inverse(mean, axes.astype(np.float32), correlations)


def principal_axes(centred: np.ndarray, components: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return the spreads (K,), falling, and directions (K, D) of the K = ``components`` axes of ``centred`` (N, D)."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        _, strengths, directions = torch.svd_lowrank(torch.from_numpy(centred), q=components + 10, niter=4)
    return (strengths[:components] / len(centred) ** 0.5).numpy(), directions[:, :components].T.numpy()


def canonical_axes(codes: np.ndarray, vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return a rotation (K, K), rows by falling correlation with ``vectors`` (N, D), and the correlations (K,).

    ``codes`` (N, K) are white: of mean 0, variance 1 and uncorrelated.
    """
    centred = vectors - vectors.mean(axis=0)
    left, strengths, _ = np.linalg.svd(centred, full_matrices=False)
    # Directions of hardly any variance are noise, and whitening would make them as loud as the rest.
    white = left[:, strengths > 1e-3 * strengths[0]]
    cross = codes.T @ white / len(codes) ** 0.5
    rotation, correlations, _ = np.linalg.svd(cross)
    padded = np.zeros(codes.shape[1], np.float32)
    padded[: len(correlations)] = correlations
    return rotation.T.astype(np.float32), padded


def with_inverse(mean: np.ndarray, axes: np.ndarray, correlations: np.ndarray) -> FaceCode:
    """Return the code whose ``back`` undoes ``axes``."""
    return FaceCode(mean, axes, np.linalg.pinv(axes).T.astype(np.float32), correlations)


def save_code(code: FaceCode, path: Path, origin: str) -> None:
    """Write ``code`` as safetensors, axes in 8 bits, with where it comes from; atomic."""
    from safetensors.numpy import save

    from mema.files import atomic_write

    steps = np.abs(code.axes).max(axis=1, keepdims=True) / LEVELS
    tensors = {
        "mean": code.mean.astype(np.float16),
        "axes": np.rint(code.axes / steps).astype(np.int8),
        "steps": steps.astype(np.float32),
        "correlations": code.correlations.astype(np.float32),
    }
    atomic_write(path, save(tensors, metadata={"origin": origin}))


def load_code(path: Path) -> FaceCode:
    """Read what ``save_code`` wrote; UserError when it is something else."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        tensors = load_file(path)
        axes = tensors["axes"].astype(np.float32) * tensors["steps"]
        mean = tensors["mean"].astype(np.float32)
        if axes.shape != (len(tensors["correlations"]), len(mean)):
            raise ValueError("shapes differ")
        return with_inverse(mean, axes, tensors["correlations"])
    except (SafetensorError, KeyError, ValueError):
        raise UserError(f"{path}: not a face code") from None
