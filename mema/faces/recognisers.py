"""Face recognisers by name: what turns photos into vectors whose distances tell people apart.

``recogniser("dlib").embed(images)``. A new one is a class with the members of ``Recogniser`` whose constructor takes
the name it was asked for by, and one line in the table (third parties: the entry point ``openmema.recognisers``).
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np

from mema.registry import Registry


class Embeddings(NamedTuple):
    """What a recogniser says of N photos.

    ``vectors`` is float32 (N, dimension), each of Euclidean length 1; ``found`` is bool (N,), False where no face
    was seen. Such a photo still has a vector (of the place where its face should be), so that it never leaves a
    privacy denominator.
    """

    vectors: np.ndarray
    found: np.ndarray


class Recogniser(Protocol):
    """An instrument of ``dimension`` numbers a face; deterministic, and independent of how photos are batched."""

    name: str
    dimension: int

    def embed(self, images: np.ndarray) -> Embeddings:
        """Read ``images``, uint8 RGB (N, H, W, 3); N may be 0."""
        ...


RECOGNISERS = Registry(
    "recogniser",
    {
        "arcface": "mema.faces.insightface_recogniser:InsightFaceRecogniser",
        "cosface": "mema.faces.insightface_recogniser:InsightFaceRecogniser",
        "dlib": "mema.faces.dlib_recogniser:DlibRecogniser",
        "facenet-casia-webface": "mema.faces.facenet_recogniser:FaceNetRecogniser",
        "facenet-vggface2": "mema.faces.facenet_recogniser:FaceNetRecogniser",
        "phantom-arcface": "mema.faces.phantom_recogniser:PhantomRecogniser",
        "phantom-cosface": "mema.faces.phantom_recogniser:PhantomRecogniser",
        "phantom-sphereface": "mema.faces.phantom_recogniser:PhantomRecogniser",
        "sphereface": "mema.faces.sphereface_recogniser:SphereFaceRecogniser",
    },
    "openmema.recognisers",
)


def recogniser(name: str) -> Recogniser:
    """Return the recogniser called ``name``; raises UserError for an unknown name or missing weights."""
    instrument: Recogniser = RECOGNISERS.load(name)(name)
    return instrument


def unit(vectors: np.ndarray) -> np.ndarray:
    """Scale the rows of ``vectors`` (N, D) to Euclidean length 1, as float32; a zero row stays zero."""
    vectors = np.asarray(vectors, dtype=np.float32)
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.maximum(norms, np.finfo(np.float32).tiny)
