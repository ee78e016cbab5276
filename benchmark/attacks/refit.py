"""A recogniser whose last layers are fitted anew to changed photos: it learns in a second, from a hundred pairs.

The convolutions stay. What follows them becomes a ridge regression from the features at every place of the changed
photo to the vector of the clear one, so the gallery need not be de-identified, and what a method moves elsewhere in
the photo, or blurs everywhere alike, is undone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from benchmark.ridge import fit_ridge
from mema.faces.recognisers import unit

if TYPE_CHECKING:
    from mema.faces.phantom_recogniser import EmbeddingNet

BATCH = 64
TEMPERATURE = 0.1


def confusion(predictions: np.ndarray, targets: np.ndarray) -> float:
    """Return how little each of ``predictions`` (N, T) tells its own among unit ``targets``: the mean cross-entropy.

    The smallest squared error predicts nearly the same person for everybody.
    """
    people, own = np.unique(targets.round(6), axis=0, return_inverse=True)
    logits = unit(predictions) @ people.T / TEMPERATURE
    logits -= logits.max(axis=1, keepdims=True)
    own_logits = logits[np.arange(len(logits)), own.ravel()]
    return float(np.mean(np.log(np.exp(logits).sum(axis=1)) - own_logits))


class Refit:
    """``network`` read anew: fitted on ``changed`` photos, uint8 (L, H, W, 3), of ``people`` with clear ``vectors``."""

    def __init__(self, network: EmbeddingNet, changed: np.ndarray, vectors: np.ndarray, people: list[str]) -> None:
        self.network = network
        # A person, not a photo, is to be found: the mean over her photos.
        number = np.unique(people, return_inverse=True)[1]
        sums = np.zeros((number.max() + 1, vectors.shape[1]))
        np.add.at(sums, number, vectors)
        self.map = fit_ridge(self._features(changed), unit(sums)[number], people, confusion)

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Return unit vectors, float32 (N, D), of changed ``images``, comparable with the network's of clear ones."""
        return unit(self.map(self._features(images)))

    def _features(self, images: np.ndarray) -> np.ndarray:
        """Return what the convolutions see at every place, float32 (N, channels x places)."""
        import torch

        from mema.faces.training import shrink

        small, rows = shrink(images), []
        with torch.inference_mode():
            for batch in small.split(BATCH):
                pixels = (batch.float() / 255 * 2 - 1).contiguous(memory_format=torch.channels_last)
                rows.append(self.network.features(pixels).flatten(1).numpy())
        return np.concatenate(rows)
