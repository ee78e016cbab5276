"""Identity protection: how far a de-identified face is from its original for recognisers no method trained against.

The gallery holds the originals of every validation subject (closed set), the probes are their de-identified images.
In a release of virtual patients each subject has one image, so the gallery holds the very photo that was
de-identified: the question is whether the *photo* can be found again, which is harder to prevent than finding the
person in another photo. A face that a detector misses stays in every denominator here.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

# Two gallery entries closer than this to equal are one tie: unit vectors in float32 carry no more.
TIE = 1e-7


def identity_distance(originals: np.ndarray, deidentified: np.ndarray) -> np.ndarray:
    """Return ID-Dis (MeMa Table 5) per image: the Euclidean distance of unit vectors (N, D), in [0, 2]."""
    return np.linalg.norm(originals.astype(np.float64) - deidentified.astype(np.float64), axis=1)


def identification(
    probes: np.ndarray,
    gallery: np.ndarray,
    probe_subjects: Sequence[str],
    gallery_subjects: Sequence[str],
    *,
    block: int = 1024,
) -> np.ndarray:
    """Return the rank-1 score per probe: the chance in [0, 1] that its nearest gallery entry is the same subject.

    ``probes`` (N, D) and ``gallery`` (M, D) are unit vectors (or zero). Where several entries are equally near, the
    score is the share of them that are the same subject: what a fair coin among them would reach on average.
    """
    columns = gallery.astype(np.float64).T
    same_subject = np.asarray(probe_subjects)[:, None] == np.asarray(gallery_subjects)[None, :]
    scores = np.empty(len(probes))
    for start in range(0, len(probes), block):
        stop = min(start + block, len(probes))
        similarity = probes[start:stop].astype(np.float64) @ columns
        nearest = similarity >= similarity.max(axis=1, keepdims=True) - TIE
        scores[start:stop] = (nearest & same_subject[start:stop]).sum(axis=1) / nearest.sum(axis=1)
    return scores


def verification(distances: np.ndarray, threshold: float) -> np.ndarray:
    """Return 1.0 where a de-identified face would still be accepted as its original, else 0.0, (N,)."""
    return (distances < threshold).astype(float)
