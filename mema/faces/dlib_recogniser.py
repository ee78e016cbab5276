"""dlib's face recogniser (a ResNet of 128 numbers, trained on photographs by D. King): the independent instrument."""

from __future__ import annotations

import numpy as np

from mema.faces.detector import default_box, largest_face, load_dlib, model_file, shape_of, working_copy
from mema.faces.recognisers import Embeddings, unit


class DlibRecogniser:
    """HOG face box, 68 landmarks, aligned chip of 150 px, descriptor; distances below 0.6 before normalisation.

    Where HOG sees no face, ``found`` is False and the landmarks are fitted into a default box about the centre.
    """

    dimension = 128

    def __init__(self, name: str = "dlib") -> None:
        self.name = name
        self._network = load_dlib().face_recognition_model_v1(model_file("face_recognition"))

    def embed(self, images: np.ndarray) -> Embeddings:
        """Read ``images``, uint8 RGB (N, H, W, 3)."""
        vectors = np.zeros((len(images), self.dimension), dtype=np.float32)
        found = np.zeros(len(images), dtype=bool)
        for row, image in enumerate(images):
            working, _ = working_copy(image)
            box = largest_face(working)
            found[row] = box is not None
            shape = shape_of(working, default_box(working) if box is None else box)
            vectors[row] = self._network.compute_face_descriptor(working, shape)
        return Embeddings(unit(vectors), found)
