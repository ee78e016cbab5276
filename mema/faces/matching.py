"""Exact nearest neighbours among face vectors, in bounded memory."""

from __future__ import annotations

import numpy as np


def nearest(probes: np.ndarray, gallery: np.ndarray, *, block: int = 2048) -> tuple[np.ndarray, np.ndarray]:
    """Return for each probe the index (int64, (N,)) of its nearest gallery vector and their distance (float32, (N,)).

    ``probes`` (N, D) and ``gallery`` (M, D), M >= 1, need not be of unit length; distances are Euclidean; of equally
    near ones the first wins. Never more than ``block`` x ``block`` distances are held at a time.
    """
    if len(gallery) == 0:
        raise ValueError("the gallery is empty")
    # float64: in float32, |p|² + |g|² - 2pg loses the distance of near-duplicates, the very ones that an audit is for.
    probes, gallery = np.asarray(probes, np.float64), np.asarray(gallery, np.float64)
    index = np.zeros(len(probes), dtype=np.int64)
    squared = np.full(len(probes), np.inf)
    for start in range(0, len(gallery), block):
        part = gallery[start : start + block]
        norms = np.einsum("md,md->m", part, part)
        for first in range(0, len(probes), block):
            rows = slice(first, min(first + block, len(probes)))
            # |p|² is the same for the whole row and does not move the minimum.
            scores = norms - 2 * (probes[rows] @ part.T)
            best = scores.argmin(axis=1)
            value = scores[np.arange(len(best)), best]
            nearer = value < squared[rows]
            index[rows] = np.where(nearer, best + start, index[rows])
            squared[rows] = np.where(nearer, value, squared[rows])
    return index, np.linalg.norm(probes - gallery[index], axis=1).astype(np.float32)
