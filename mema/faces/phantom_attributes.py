"""Age and gender of phantoms, read linearly from what ``phantom-arcface`` says of a face.

``python -m generation.phantom.training.attributes`` makes the weights. What they say holds for phantoms and is no
statement about people; with them the demo's donors can be labelled as a hospital's would be by DeepFace.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mema.errors import UserError
from mema.faces.attributes import Attributes, unknown
from mema.faces.recognisers import recogniser
from mema.files import sha256_json
from mema.weights import digest, locate

RECOGNISER = "phantom-arcface"
OLDEST = 120.0


class PhantomEstimator:
    """Two linear functions of an embedding; a photo in which dlib's detector sees no face stays unknown."""

    def __init__(self, name: str = "phantom") -> None:
        path = locate("phantom-attributes")
        self.name = name
        self._age, self._female = _load(path)
        self._recogniser = recogniser(RECOGNISER)
        self.revision = sha256_json([digest(path), digest(locate("phantom-recognisers/arcface"))])

    def estimate(self, images: np.ndarray) -> Attributes:
        """Read ``images``, uint8 RGB (N, H, W, 3)."""
        from mema.faces.detector import detect

        said = unknown(len(images))
        seen = detect(images)
        if seen.any():
            vectors = with_constant(self._recogniser.embed(images[seen]).vectors)
            said.ages[seen] = np.clip(vectors @ self._age, 0, OLDEST)
            said.genders[seen] = np.where(vectors @ self._female > 0, "female", "male").astype(object)
        return said


def with_constant(vectors: np.ndarray) -> np.ndarray:
    """Append a column of ones to ``vectors`` (N, D), so that a linear function of the result has an intercept."""
    return np.column_stack([vectors, np.ones(len(vectors), vectors.dtype)])


def _load(path: Path) -> tuple[np.ndarray, np.ndarray]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        tensors = load_file(path)
        return tensors["age"], tensors["female"]
    except (SafetensorError, KeyError):
        raise UserError(f"{path}: not the weights of the phantom estimator of age and gender") from None
