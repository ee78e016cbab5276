"""Exact nearest neighbours among face vectors: the speed of a matrix product, bounded memory.

Float32 products find what may be near, float64 differences decide: a product's rounding, which is bounded, hides the
distance of near-duplicates, the very ones that an audit is for.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

# Scores of so many probes and gallery vectors are held at a time: 16 MiB, what a processor's cache may hold.
PROBES, GALLERY = 512, 8192

# Columns of a block whose maxima are compared first; few hold anything near.
LANES = 256

# How many vectors more than asked for the products keep, so that rounding rarely leaves the choice open.
SPARE = 4


class Neighbours(NamedTuple):
    """The nearest first: ``indices`` int64 (N, k) into the gallery, Euclidean ``distances`` float32 (N, k)."""

    indices: np.ndarray
    distances: np.ndarray


def nearest(probes: np.ndarray, gallery: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the index (int64, (N,)) and the distance (float32, (N,)) of each probe's nearest gallery vector."""
    found = nearest_neighbours(probes, gallery)
    return found.indices[:, 0], found.distances[:, 0]


def nearest_neighbours(probes: np.ndarray, gallery: np.ndarray, k: int = 1) -> Neighbours:
    """Return the ``k`` nearest vectors of ``gallery`` (M, D) for each of ``probes`` (N, D), whatever their lengths.

    Of equally near ones the first in the gallery wins. Beside the arguments and the result it holds a float32 copy of
    the gallery and a block of scores for each thread that BLAS may use. ValueError unless 1 <= k <= M.
    """
    if not 1 <= k <= len(gallery):
        raise ValueError(f"{k} neighbours cannot be found in a gallery of {len(gallery)}")
    from threadpoolctl import threadpool_info, threadpool_limits

    threads = max((library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"), default=1)
    found = Neighbours(np.empty((len(probes), k), np.int64), np.empty((len(probes), k), np.float32))
    products = _Products(gallery, max(LANES, k + SPARE))

    def search(first: int) -> None:
        rows = slice(first, first + PROBES)
        part = np.asarray(probes[rows])
        index, open_rows = products.candidates(part, k)
        found.indices[rows], found.distances[rows] = _decide(part, gallery, index, k)
        for row in open_rows:
            near = products.possible(part[row], k)[None]
            found.indices[first + row], found.distances[first + row] = _decide(part[row : row + 1], gallery, near, k)

    # A block to each processor: products that share all processors would wait while scores are looked through.
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(threads) as pool:
        list(pool.map(search, range(0, len(probes), PROBES)))
    return found


def _decide(probes: np.ndarray, gallery: np.ndarray, index: np.ndarray, k: int) -> Neighbours:
    """Return the ``k`` nearest of the candidates ``index`` (N, C), C >= k, of each probe, by exact distance."""
    differences = np.subtract(gallery[index], probes[:, None], dtype=np.float64)
    distance = np.sqrt(np.einsum("ncd,ncd->nc", differences, differences))
    order = np.lexsort((index, distance), axis=1)[:, :k]
    rows = np.arange(len(probes))[:, None]
    return Neighbours(index[rows, order], distance[rows, order].astype(np.float32))


class _Products:
    """Scores p.g - |g|^2 / 2 in float32, the larger the nearer; |p|^2, the same for a whole row, decides nothing.

    The last column of the gallery's copy carries -|g|^2 / 2 and meets a one in the probes, so that a score is a single
    product. The copy is padded to whole lanes with vectors that no probe is near.
    """

    def __init__(self, gallery: np.ndarray, lanes: int) -> None:
        self.count, self.lanes = len(gallery), lanes
        exact = np.einsum("md,md->m", gallery, gallery, dtype=np.float64)
        self.copy = np.zeros((-(-len(gallery) // lanes) * lanes, gallery.shape[1] + 1), np.float32)
        self.copy[: len(gallery), :-1] = gallery
        self.copy[: len(gallery), -1] = -exact / 2
        self.copy[len(gallery) :, -1] = np.finfo(np.float32).min / 4
        self.longest = float(np.sqrt(exact.max()))

    def candidates(self, probes: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Return for each probe the indices of its best ``k + SPARE`` scores, and for which the ``k`` may lie outside.

        In a gallery of fewer vectors all of them are returned.
        """
        kept = min(k + SPARE, self.count)
        score = np.empty((len(probes), 0), np.float32)
        index = np.empty((len(probes), 0), np.int64)
        rows = np.arange(len(probes))[:, None]
        for start, scores in self._blocks(probes):
            # Lane l holds the columns l, l + lanes, …: the best scores lie in the lanes of the best maxima.
            grouped = scores.reshape(len(probes), -1, self.lanes)
            best = _largest(grouped.max(axis=1), kept)
            members = np.arange(grouped.shape[1])[:, None] * self.lanes + best[:, None]
            columns = members.reshape(len(probes), -1)
            score = np.concatenate([score, scores.reshape(-1)[rows * scores.shape[1] + columns]], axis=1)
            index = np.concatenate([index, start + columns], axis=1)
            order = _largest(score, kept)
            score, index = score[rows, order], index[rows, order]
        if kept == self.count:
            return index, np.empty(0, np.int64)
        falling = -np.sort(-score, axis=1)
        # Scores that differ by less than twice the rounding may be in the wrong order.
        open_rows = np.flatnonzero(falling[:, -1] >= falling[:, k - 1] - 2 * self._rounding(probes))
        return index, open_rows

    def possible(self, probe: np.ndarray, k: int) -> np.ndarray:
        """Return the indices of all gallery vectors that rounding leaves among the ``k`` nearest of one probe (D,)."""
        scores = (self.copy @ _with_one(probe[None])[0])[: self.count]
        least = np.partition(scores, self.count - k)[self.count - k] - 2 * self._rounding(probe[None])[0]
        return np.flatnonzero(scores >= least)

    def _blocks(self, probes: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        """Yield each block of the gallery's first row and the scores of all probes in it, in a buffer used again."""
        left = _with_one(probes)
        block = min(max(GALLERY // self.lanes, 1) * self.lanes, len(self.copy))
        buffer = np.empty(len(left) * block, np.float32)
        for start in range(0, len(self.copy), block):
            part = self.copy[start : start + block]
            scores = buffer[: len(left) * len(part)].reshape(len(left), len(part))
            yield start, np.matmul(left, part.T, out=scores)

    def _rounding(self, probes: np.ndarray) -> np.ndarray:
        """Return the most by which a score of each probe (N, D) may be off (Higham 2002, equation 3.5), twice over."""
        lengths = np.sqrt(np.einsum("nd,nd->n", probes, probes, dtype=np.float64))
        terms = self.copy.shape[1] + 2
        rounding: np.ndarray = terms * np.finfo(np.float32).eps * self.longest * (lengths + self.longest / 2)
        return rounding


def _with_one(probes: np.ndarray) -> np.ndarray:
    ones = np.ones((len(probes), 1), np.float32)
    return np.concatenate([probes.astype(np.float32), ones], axis=1)


def _largest(values: np.ndarray, count: int) -> np.ndarray:
    """Return the columns of the ``count`` largest of each row, in no order."""
    if count >= values.shape[1]:
        return np.broadcast_to(np.arange(values.shape[1]), values.shape)
    return np.argpartition(values, values.shape[1] - count, axis=1)[:, values.shape[1] - count :]
