"""ArcFace and CosFace: networks of InsightFace on upright chips of 112 px, 512 numbers a face.

ArcFace (1801.07698) is ``w600k_r50`` of the pack buffalo_l, CosFace (1801.09414) the ``glint360k_cosface_r50`` of the
library's PyTorch zoo as its ``torch2onnx.py`` exports it. Any network that the library takes for recognition fits.
"""

from __future__ import annotations

import numpy as np

from mema.engine import batches
from mema.errors import UserError
from mema.faces.alignment import chips
from mema.faces.insightface_models import load_model
from mema.faces.recognisers import Embeddings, unit
from mema.weights import locate

BATCH = 32


class InsightFaceRecogniser:
    """What ``ArcFaceONNX.get`` says of the largest face, in batches where the graph takes them."""

    dimension = 512

    def __init__(self, name: str) -> None:
        path = locate(f"insightface/{name}")
        self.name = name
        self._network = load_model(path, "recognition")
        if self._network.output_shape[-1] != self.dimension:
            raise UserError(f"{path}: not a network of {self.dimension} numbers a face")
        # Some exports take one face a call.
        self._batch = 1 if self._network.input_shape[0] == 1 else BATCH

    def embed(self, images: np.ndarray) -> Embeddings:
        """Read ``images``, uint8 RGB (N, H, W, 3)."""
        faces, found = chips(images)
        vectors = [np.zeros((0, self.dimension), np.float32)]
        for rows in batches(range(len(faces)), self._batch):
            vectors.append(self._network.get_feat([faces[row, ..., ::-1] for row in rows]))
        return Embeddings(unit(np.concatenate(vectors)), found)
