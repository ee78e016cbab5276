"""FaceNet (1503.03832) as facenet-pytorch has it: an Inception-ResNet v1 on crops of 160 px, 512 numbers a face.

Two sets of weights: trained on VGGFace2 and on CASIA-WebFace, two of the three networks of MeMa's ID-Dis (Table 5).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mema.engine import batches
from mema.faces.alignment import boxes
from mema.faces.detector import placed_landmarks
from mema.faces.packages import not_importable
from mema.faces.recognisers import Embeddings, unit
from mema.weights import locate

if TYPE_CHECKING:
    from torch import nn

BATCH = 32
SIDE = 160


class FaceNetRecogniser:
    """The library's network on the library's crop (``extract_face``) of the box from hairline to chin."""

    dimension = 512

    def __init__(self, name: str) -> None:
        path = locate(f"facenet/{name.removeprefix('facenet-')}")
        self.name = name
        self._network = load_network(path)

    def embed(self, images: np.ndarray) -> Embeddings:
        """Read ``images``, uint8 RGB (N, H, W, 3)."""
        import torch
        from facenet_pytorch import extract_face, fixed_image_standardization
        from PIL import Image

        landmarks, found = placed_landmarks(images)
        places = boxes(landmarks)
        vectors = [np.zeros((0, self.dimension), np.float32)]
        with torch.inference_mode():
            for rows in batches(range(len(images)), BATCH):
                crops = [extract_face(Image.fromarray(images[row]), places[row], SIDE) for row in rows]
                vectors.append(self._network(fixed_image_standardization(torch.stack(crops))).numpy())
        return Embeddings(unit(np.concatenate(vectors)), found)


def load_network(path: Path) -> nn.Module:
    """Return the network in evaluation mode with the weights in ``path``; UserError when they do not fit."""
    from mema.faces.checkpoints import load_without_classifier

    try:
        from facenet_pytorch import InceptionResnetV1
    except ImportError as error:
        raise not_importable("facenet-pytorch", error) from None
    network: nn.Module = InceptionResnetV1()
    return load_without_classifier(network, path, classifier="logits.", what="facenet-pytorch's InceptionResnetV1")
