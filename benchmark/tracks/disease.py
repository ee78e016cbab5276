"""Medical utility: whether a classifier that learnt the disease on originals still sees it (MeMa Table 3).

The classifier is fine-tuned on the release's training split and never sees a de-identified image in training.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def correct(probabilities: np.ndarray, classes: Sequence[str], diseases: Sequence[str]) -> np.ndarray:
    """Return 1.0 where the most probable class is the image's disease, else 0.0, (N,).

    ``probabilities`` is (N, C) in the order of ``classes``. Of equally probable classes the first counts.
    """
    predicted = np.asarray(classes)[probabilities.argmax(axis=1)]
    return (predicted == np.asarray(diseases)).astype(float)


def per_class(scores: np.ndarray, diseases: Sequence[str]) -> dict[str, float]:
    """Return the mean of ``scores`` (N,) for each disease that occurs, in alphabetical order."""
    labels = np.asarray(diseases)
    return {str(disease): float(scores[labels == disease].mean()) for disease in np.unique(labels)}


def usable(correct: np.ndarray, found_before: np.ndarray, found_after: np.ndarray) -> np.ndarray:
    """Return 1.0 where the disease is recognised *and* the face is still found, else 0.0, (N,).

    A face that the detector misses is lost to every later use, so it counts as a utility loss; one that it missed
    in the original already is not held against the method.
    """
    return correct * (found_after | ~found_before)
