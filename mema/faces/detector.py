"""Find faces and their 68 landmarks with dlib (HOG detector, Kazemi & Sullivan's regression trees).

The instrument was trained on photographs by others, so it judges phantoms independently of this project. The
landmark model's training data (iBUG 300-W) exclude commercial use.
"""

from __future__ import annotations

import warnings
from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image

from mema.errors import UserError

# HOG sees faces of 80 px and more; at this size a face that fills a third of a photo is found and a call stays fast.
WORKING_SIZE = 256

LANDMARKS = 68

# Where a face is taken to be when the detector misses it: the phantoms' median HOG box, in shares of the shorter side.
DEFAULT_BOX_SIDE = 0.70
DEFAULT_BOX_DROP = 0.06


def load_dlib() -> Any:
    """Import dlib; raises UserError, naming the extra to install, when it is absent."""
    try:
        import dlib
    except ImportError:
        raise UserError("dlib is not installed: pip install 'openmema[faces]'") from None
    return dlib


def model_file(kind: str) -> str:
    """Return the path of a dlib model, ``kind`` "pose_predictor" or "face_recognition"; UserError when absent."""
    try:
        with warnings.catch_warnings():
            # It still asks pkg_resources, whose deprecation is no news to our users.
            warnings.simplefilter("ignore", UserWarning)
            import face_recognition_models
    except ImportError:
        raise UserError(
            "face_recognition_models (with setuptools < 81) is not installed: pip install 'openmema[faces]'"
        ) from None
    location: str = getattr(face_recognition_models, f"{kind}_model_location")()
    return location


@lru_cache(maxsize=1)
def _hog() -> Any:
    return load_dlib().get_frontal_face_detector()


@lru_cache(maxsize=1)
def _predictor() -> Any:
    return load_dlib().shape_predictor(model_file("pose_predictor"))


def working_copy(image: np.ndarray) -> tuple[np.ndarray, float]:
    """Return ``image`` (uint8 (H, W, 3)) with its shorter side at ``WORKING_SIZE`` and the factor it was scaled by."""
    height, width = image.shape[:2]
    scale = WORKING_SIZE / min(height, width)
    size = (round(width * scale), round(height * scale))
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR)), scale


def largest_face(working: np.ndarray) -> Any | None:
    """Return the dlib rectangle of the largest face of a working copy, or None."""
    boxes = _hog()(working, 0)
    return max(boxes, key=lambda box: box.area(), default=None)


def shape_of(working: np.ndarray, box: Any) -> Any:
    """Return dlib's 68-point shape of the face in ``box`` of a working copy."""
    return _predictor()(working, box)


def default_box(working: np.ndarray) -> Any:
    """Return the dlib rectangle about the centre that stands for a face the detector missed."""
    height, width = working.shape[:2]
    side = round(DEFAULT_BOX_SIDE * WORKING_SIZE)
    left, top = (width - side) // 2, (height - side) // 2 + round(DEFAULT_BOX_DROP * WORKING_SIZE)
    return load_dlib().rectangle(left, top, left + side, top + side)


def detect(images: np.ndarray) -> np.ndarray:
    """Say for each of ``images``, uint8 RGB (N, H, W, 3), whether the detector sees a face: bool (N,)."""
    seen = [largest_face(working_copy(image)[0]) is not None for image in images]
    return np.array(seen, dtype=bool)


def landmarks(images: np.ndarray) -> np.ndarray:
    """Return the landmarks of the largest face of each photo, NaN where there is no face.

    ``images`` is uint8 RGB (N, H, W, 3); the result float32 (N, 68, 2), (x, y) in pixels of the photo, in iBUG's
    order: jaw 0-16, brows 17-26, nose 27-35, eyes 36-47 (the subject's right first), mouth 48-67.
    """
    points, found = placed_landmarks(images)
    points[~found] = np.nan
    return points


def placed_landmarks(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return :func:`landmarks`, in :func:`default_box` where no face is seen, and whether one was, bool (N,)."""
    points = np.empty((len(images), LANDMARKS, 2), dtype=np.float32)
    found = np.zeros(len(images), dtype=bool)
    for row, image in enumerate(images):
        working, scale = working_copy(image)
        box = largest_face(working)
        found[row] = box is not None
        shape = shape_of(working, default_box(working) if box is None else box)
        parts = [(part.x, part.y) for part in shape.parts()]
        # Pixel centres: a working copy's pixel (x + 0.5) is the photo's (x + 0.5) / scale.
        points[row] = (np.array(parts, dtype=np.float32) + 0.5) / scale - 0.5
    return points, found
