"""Cut faces out of photos as networks trained on photographs expect them, from the detector's 68 landmarks."""

from __future__ import annotations

import warnings

import numpy as np

from mema.faces.detector import placed_landmarks

CHIP = 112
RIGHT_EYE, LEFT_EYE, NOSE_TIP, MOUTH_CORNERS = slice(36, 42), slice(42, 48), 30, (48, 54)
BROWS, CHIN = slice(17, 27), 8


def five_points(landmarks: np.ndarray) -> np.ndarray:
    """Return eyes, nose tip and corners of the mouth, (N, 5, 2), the subject's right first, from iBUG's 68."""
    eyes = [landmarks[:, eye].mean(axis=1) for eye in (RIGHT_EYE, LEFT_EYE)]
    return np.stack([*eyes, landmarks[:, NOSE_TIP], *(landmarks[:, corner] for corner in MOUTH_CORNERS)], axis=1)


def chips(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the faces of ``images``, uint8 RGB (N, H, W, 3), turned upright: uint8 RGB (N, 112, 112, 3).

    The similarity and its five reference points are InsightFace's (``face_align.norm_crop``). Where no face is seen the
    chip is of the place where it should be; the second result, bool (N,), says where one was.
    """
    from insightface.utils.face_align import norm_crop

    landmarks, found = placed_landmarks(images)
    cut = np.empty((len(images), CHIP, CHIP, 3), dtype=np.uint8)
    with warnings.catch_warnings():
        # The library still calls a method that scikit-image is renaming.
        warnings.simplefilter("ignore", FutureWarning)
        for row, (image, points) in enumerate(zip(images, five_points(landmarks), strict=True)):
            cut[row] = norm_crop(image, points, CHIP)
    return cut, found


def boxes(landmarks: np.ndarray) -> np.ndarray:
    """Return the box (left, top, right, bottom) of each face from hairline to chin and ear to ear: (N, 4).

    It is about what MTCNN draws. The hairline is taken to be as far above the brows as a third of the face is high,
    of which the brows and the chin bound two (the neoclassical thirds).
    """
    left, right = landmarks[..., 0].min(axis=1), landmarks[..., 0].max(axis=1)
    brows, chin = landmarks[:, BROWS, 1].min(axis=1), landmarks[:, CHIN, 1]
    return np.stack([left, brows - (chin - brows) / 2, right, chin], axis=1)
