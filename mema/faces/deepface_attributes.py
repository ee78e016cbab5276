"""Age and gender by DeepFace (Serengil & Ozpinar), MeMa's own estimator of its donors' labels.

The library runs on onnxruntime here, without TensorFlow. Its networks are tuned from VGG-Face; the age is the mean of
a distribution over 0 to 100 years.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from mema.engine import batches
from mema.errors import UserError
from mema.faces.attributes import Attributes, unknown
from mema.faces.packages import not_importable
from mema.files import sha256_json
from mema.weights import digest, locate

# DeepFace's default; its cascades come with OpenCV.
DETECTOR = "opencv"
INPUT_SIZE = (224, 224)
BATCH = 32

# What the library calls the columns of its gender network, in this project's words.
GENDERS = np.array(["female", "male"], object)


class DeepFaceEstimator:
    """What ``DeepFace.analyze`` says of the largest face; but the networks run on batches, and no age is truncated."""

    def __init__(self, name: str = "deepface") -> None:
        files = [locate("deepface/age"), locate("deepface/gender")]
        try:
            from deepface.models.demography.onnx.Age import ApparentAgeClient
            from deepface.models.demography.onnx.Gender import GenderClient
        except ImportError as error:
            raise not_importable("deepface", error) from None
        self.name = name
        self._age, self._gender = (
            _load(client, path) for client, path in zip((ApparentAgeClient, GenderClient), files, strict=True)
        )
        self.revision = sha256_json([digest(path) for path in files])

    def estimate(self, images: np.ndarray) -> Attributes:
        """Read ``images``, uint8 RGB (N, H, W, 3)."""
        said = unknown(len(images))
        for rows in batches(range(len(images)), BATCH):
            faces = {row: face for row in rows if (face := _largest_face(images[row])) is not None}
            if faces:
                stack = np.concatenate(list(faces.values()))
                said.ages[list(faces)] = np.atleast_1d(self._age.predict(stack))
                shares = self._gender.predict(stack).reshape(len(faces), len(GENDERS))
                said.genders[list(faces)] = GENDERS[shares.argmax(axis=1)]
        return said


def _largest_face(image: np.ndarray) -> np.ndarray | None:
    """Return the aligned face as the networks take it, float32 BGR (1, 224, 224, 3) in [0, 1], or None."""
    from deepface.modules import detection, preprocessing
    from deepface.modules.exceptions import FaceNotDetected, ImgNotFound

    try:
        faces = detection.extract_faces(
            np.ascontiguousarray(image[..., ::-1]), detector_backend=DETECTOR, color_face="bgr", max_faces=1
        )
    except (FaceNotDetected, ImgNotFound):
        return None
    face: np.ndarray = preprocessing.resize_image(faces[0]["face"], INPUT_SIZE)
    return face


def _load(client: Any, path: Path) -> Any:
    # The library looks for <home>/.deepface/weights/<file>, and would download what is not there.
    with _home(path.parents[2]):
        try:
            return client()
        except ValueError:
            raise UserError(f"{path}: not an ONNX graph that onnxruntime can load") from None


@contextmanager
def _home(folder: Path) -> Iterator[None]:
    before = os.environ.get("DEEPFACE_HOME")
    os.environ["DEEPFACE_HOME"] = str(folder)
    try:
        yield
    finally:
        if before is None:
            del os.environ["DEEPFACE_HOME"]
        else:
            os.environ["DEEPFACE_HOME"] = before
