"""At what distance two photos count as the same person: estimated from people known to be different (DESIGN §4).

A *threshold at FAR f* is the distance below which a share f of impostor pairs (photos of two different subjects)
lies: ``distance < threshold`` is a match.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Literal, NamedTuple

import numpy as np

from mema.errors import UserError
from mema.statistics import cluster_draws

Pairs = Literal["disjoint", "all"]

BLOCK = 1024

# How many pairs, redrawn ones included, the draws of disjoint pairs put below the threshold.
TAIL_PAIRS = 20


class Threshold(NamedTuple):
    """A distance that a share ``far`` of impostor pairs undercuts.

    ``interval`` is the 95 % interval of the distance, subjects drawn with replacement; carry both ends into every
    rate. ``pairs`` counts the different impostor pairs it was read from, ``finest_far`` = 1 / pairs is the finest
    FAR they can tell. Where ``far`` is finer, ``resolved`` is False, and ``distance`` is that of the nearest
    impostors: no smaller FAR can be claimed, and it is not extrapolated.
    """

    distance: float
    far: float
    interval: tuple[float, float]
    pairs: int
    finest_far: float
    resolved: bool


class _Impostors(NamedTuple):
    """Impostor pairs in rising distance (float32), the subjects of each (int, two columns), and how many there are.

    Only the low tail of the distances need be present: ``total`` gives the weight of *all* pairs when subject s
    counts ``weights[s]`` times.
    """

    distances: np.ndarray
    subjects: np.ndarray
    total: Callable[[np.ndarray], float]
    distinct: int


def calibrate(
    vectors: np.ndarray,
    subjects: Sequence[Hashable],
    far: float,
    *,
    pairs: Pairs = "disjoint",
    draws: int | None = None,
    bootstraps: int = 500,
    seed: int = 0,
) -> Threshold:
    """Estimate the threshold at ``far`` from unit ``vectors`` (N, D) of photos of known ``subjects`` (N,).

    ``pairs="disjoint"``: in each of ``draws`` draws (None: enough for ``TAIL_PAIRS`` below the threshold) the subjects
    are paired off at random, one photo each, so that no subject is in two pairs of a draw; it weighs all subjects
    equally and suits cohorts of thousands. ``pairs="all"``: every
    cross-subject pair of photos, which is what FAR 1e-3 and 1e-4 can be read from in a cohort of a hundred (60
    subjects x 3 photos are 15,930 pairs, though not independent ones). Either way the interval comes from drawing
    *subjects* with replacement, so that dependent pairs do not narrow it. Raises UserError for fewer than two
    subjects or ``far`` outside (0, 1).
    """
    if not 0 < far < 1:
        raise UserError(f"a false-accept rate lies between 0 and 1, not {far}")
    names = {subject: code for code, subject in enumerate(dict.fromkeys(subjects))}
    codes = np.array([names[subject] for subject in subjects], dtype=np.int64)
    if len(codes) != len(vectors):
        raise ValueError(f"{len(vectors)} vectors of {len(codes)} subjects")
    if len(names) < 2:
        raise UserError("a threshold needs photos of at least two subjects")
    vectors = np.asarray(vectors, np.float32)
    if pairs == "disjoint":
        draws = draws or int(np.ceil(TAIL_PAIRS / far / (len(names) // 2)))
        impostors = _disjoint(vectors, codes, draws, seed)
    else:
        impostors = _all(vectors, codes, far)
    distance = _quantile(impostors, far, np.ones(len(names)))
    weights = cluster_draws(range(len(names)), bootstraps, seed)
    drawn = [_quantile(impostors, far, row) for row in weights if impostors.total(row) > 0]
    low, high = np.quantile(drawn, [0.025, 0.975])
    finest = 1 / impostors.distinct
    return Threshold(distance, far, (float(low), float(high)), impostors.distinct, finest, resolved=bool(far >= finest))


def _quantile(impostors: _Impostors, far: float, weights: np.ndarray) -> float:
    """Return the distance that pairs of at most ``far`` of the total weight undercut."""
    first, second = impostors.subjects.T
    weight = weights[first] * weights[second]
    below = np.cumsum(weight)
    # far x total is meant as a count but carries rounding error.
    place = int(np.searchsorted(below, far * impostors.total(weights) + 1e-6, side="right"))
    return float(impostors.distances[min(place, len(below) - 1)])


def _disjoint(vectors: np.ndarray, codes: np.ndarray, draws: int, seed: int) -> _Impostors:
    random = np.random.default_rng(seed)
    order = np.argsort(codes, kind="stable")
    counts = np.bincount(codes)
    starts = np.cumsum(counts) - counts
    drawn = []
    for _ in range(draws):
        photo = order[starts + random.integers(counts)]
        matching = photo[random.permutation(len(counts))]
        half = len(matching) // 2
        drawn.append(np.sort(np.stack([matching[:half], matching[half : 2 * half]], axis=1), axis=1))
    rows = np.concatenate(drawn)
    distances = _distances(vectors, rows)
    rising = np.argsort(distances, kind="stable")
    rows = rows[rising]
    sides = codes[rows]
    return _Impostors(
        distances[rising],
        sides,
        lambda weights: float((weights[sides[:, 0]] * weights[sides[:, 1]]).sum()),
        len(np.unique(rows[:, 0] * len(codes) + rows[:, 1])),
    )


def _all(vectors: np.ndarray, codes: np.ndarray, far: float) -> _Impostors:
    photos = np.bincount(codes).astype(float)

    def total(weights: np.ndarray) -> float:
        counts = weights * photos
        return float((counts.sum() ** 2 - (counts**2).sum()) / 2)

    distinct = round(total(np.ones(len(photos))))
    # A resample can make the nearest pairs rarer and reach further up: keep several times the tail itself.
    keep = min(distinct, 16 * int(np.ceil(far * distinct)) + 1024)
    rows: np.ndarray = np.empty((0, 2), np.int64)
    distances: np.ndarray = np.empty(0, np.float32)
    for block_rows, block_distances in _impostor_blocks(vectors, codes):
        rows = np.concatenate([rows, block_rows])
        distances = np.concatenate([distances, block_distances])
        if len(distances) > keep:
            nearest = np.argpartition(distances, keep - 1)[:keep]
            rows, distances = rows[nearest], distances[nearest]
    exact = _distances(vectors, rows)
    rising = np.lexsort((rows[:, 1], rows[:, 0], exact))
    return _Impostors(exact[rising], codes[rows[rising]], total, distinct)


def _impostor_blocks(vectors: np.ndarray, codes: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the photo pairs of different subjects, each once, and their distances, a block of photos at a time."""
    for start in range(0, len(vectors), BLOCK):
        for other in range(start, len(vectors), BLOCK):
            left, right = slice(start, start + BLOCK), slice(other, other + BLOCK)
            impostor = codes[left, None] != codes[None, right]
            if start == other:
                impostor = np.triu(impostor, 1)
            rows = np.argwhere(impostor)
            cosine = (vectors[left] @ vectors[right].T)[impostor]
            yield rows + np.array([start, other]), np.sqrt(np.maximum(2 - 2 * cosine, 0))


def _distances(vectors: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return the Euclidean distances of the pairs of ``rows`` (P, 2), without cancellation, in bounded memory."""
    parts = [np.empty(0, np.float32)]
    for start in range(0, len(rows), 1 << 16):
        pair = rows[start : start + (1 << 16)]
        parts.append(np.linalg.norm(vectors[pair[:, 0]] - vectors[pair[:, 1]], axis=1))
    return np.concatenate(parts)
