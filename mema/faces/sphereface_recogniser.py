"""SphereFace (1704.08063): the network of 20 layers on upright crops of 112 x 96 px, 512 numbers a face.

No package carries it; the weights are those of the PyTorch version of C. Carwin (``sphere20a``), whose names of layers
are kept here. It is the third network of MeMa's ID-Dis (Table 5).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from mema.engine import batches
from mema.faces.alignment import chips
from mema.faces.checkpoints import load_without_classifier
from mema.faces.recognisers import Embeddings, unit
from mema.weights import locate

BATCH = 32
# InsightFace's reference points are SphereFace's, moved by 8 px in a chip 16 px wider.
COLUMNS = slice(8, 104)
WIDTHS = (64, 128, 256, 512)
UNITS = (1, 2, 4, 1)
"""Residual units of two convolutions in each stage (Table 2 of the paper, 20 layers)."""


class Sphere20(nn.Module):
    """The network without its classifier: float (N, 3, 112, 96), BGR in [-1, 1], to float (N, 512), not normalised."""

    def __init__(self) -> None:
        super().__init__()
        inputs = 3
        for stage, (width, units) in enumerate(zip(WIDTHS, UNITS, strict=True), start=1):
            for place in range(1, 2 * units + 2):
                stride = 2 if place == 1 else 1
                self.add_module(f"conv{stage}_{place}", nn.Conv2d(inputs, width, 3, stride, 1))
                self.add_module(f"relu{stage}_{place}", nn.PReLU(width))
                inputs = width
        self.fc5 = nn.Linear(512 * 7 * 6, 512)

    def forward(self, images: Tensor) -> Tensor:
        """Return the vectors of ``images``."""
        features = images
        for stage, units in enumerate(UNITS, start=1):
            features = self._layer(stage, 1, features)
            for place in range(2, 2 * units + 1, 2):
                features = features + self._layer(stage, place + 1, self._layer(stage, place, features))
        vectors: Tensor = self.fc5(features.flatten(1))
        return vectors

    def _layer(self, stage: int, place: int, features: Tensor) -> Tensor:
        convolved = self.get_submodule(f"conv{stage}_{place}")(features)
        activated: Tensor = self.get_submodule(f"relu{stage}_{place}")(convolved)
        return activated


def load_network(path: Path) -> Sphere20:
    """Return the network in evaluation mode with the weights in ``path``; UserError when they do not fit."""
    return load_without_classifier(Sphere20(), path, classifier="fc6.", what="sphere20a")


class SphereFaceRecogniser:
    """Sphere20 behind the Recogniser protocol."""

    dimension = 512

    def __init__(self, name: str) -> None:
        self.name = name
        self._network = load_network(locate("sphereface/sphere20a"))

    def embed(self, images: np.ndarray) -> Embeddings:
        """Read ``images``, uint8 RGB (N, H, W, 3)."""
        faces, found = chips(images)
        vectors = [np.zeros((0, self.dimension), np.float32)]
        with torch.inference_mode():
            for rows in batches(range(len(faces)), BATCH):
                crops = faces[list(rows), :, COLUMNS, ::-1]
                pixels = torch.from_numpy(crops.transpose(0, 3, 1, 2).astype(np.float32))
                vectors.append(self._network((pixels - 127.5) / 128).numpy())
        return Embeddings(unit(np.concatenate(vectors)), found)
