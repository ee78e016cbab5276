"""What a common threshold means within groups of people: false accepts among patients, flags among candidates.

A threshold that is right on average may take strangers of one group for each other more often than those of another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from curation.report import GroupRate
from mema.faces.leakage import Rate, rate
from mema.faces.thresholds import Threshold
from mema.records import FaceRecord
from mema.statistics import cluster_draws, wilson

# Fewer patients than this say nothing of a rate, and their number may itself say too much of them.
LEAST_PATIENTS = 10
# All pairs of so many photos fit into memory and are enough for a false-accept rate of 1e-4.
MOST_PHOTOS = 3000
DRAWS = 500


def gender_group(record: FaceRecord) -> str | None:
    """Return the gender, None where it is not stated."""
    return record.gender


def tone_group(record: FaceRecord) -> str | None:
    """Return the third of the Monk scale in which the skin tone lies, None where it is not stated."""
    tone = record.skin_tone
    if tone is None:
        return None
    return "Monk 1 to 3" if tone <= 3 else "Monk 4 to 7" if tone <= 7 else "Monk 8 to 10"


def age_group(record: FaceRecord) -> str | None:
    """Return the age group, None where the age is not stated."""
    age = record.age
    if age is None:
        return None
    return "under 18" if age < 18 else "18 to 39" if age < 40 else "40 to 64" if age < 65 else "from 65"


ATTRIBUTES: dict[str, Callable[[FaceRecord], str | None]] = {
    "gender": gender_group,
    "skin tone": tone_group,
    "age": age_group,
}


def group_rates(
    patients: Sequence[FaceRecord],
    candidates: Sequence[FaceRecord],
    vectors: Mapping[str, np.ndarray],
    flags: Mapping[str, np.ndarray],
    thresholds: Mapping[str, Threshold],
    *,
    seed: int,
) -> Iterator[GroupRate]:
    """Yield the rates of every recogniser of ``thresholds`` in every group that occurs.

    ``vectors`` are those of the patients' photos, (M, D); ``flags``, bool (N,), say which candidates are near to any
    patient. Of a group with more than ``MOST_PHOTOS`` photos, patients are drawn.
    """
    for attribute, group_of in ATTRIBUTES.items():
        of_photo, of_candidate = ([group_of(record) for record in records] for records in (patients, candidates))
        for group in sorted({*of_photo, *of_candidate} - {None}, key=str):
            rows = _draw(patients, [row for row, name in enumerate(of_photo) if name == group], seed)
            subjects = [patients[row].subject_id for row in rows]
            chosen = np.array([name == group for name in of_candidate], dtype=bool)
            enough = len(set(subjects)) >= LEAST_PATIENTS
            for name, threshold in thresholds.items():
                pairs, found = (
                    false_accepts(vectors[name][rows], subjects, threshold.distance, seed=seed)
                    if enough
                    else (None, None)
                )
                yield GroupRate(
                    recogniser=name,
                    far=threshold.far,
                    attribute=attribute,
                    group=str(group),
                    patients=len(set(subjects)) if enough else None,
                    pairs=pairs,
                    false_accepts=found,
                    resolved=pairs is not None and pairs * threshold.far >= 1,
                    candidates=int(chosen.sum()),
                    near=rate(flags[name][chosen]) if chosen.any() else None,
                )


def false_accepts(vectors: np.ndarray, subjects: Sequence[str], distance: float, *, seed: int = 0) -> tuple[int, Rate]:
    """Return how many pairs of photos of different ``subjects`` there are, and the share nearer than ``distance``.

    ``vectors`` (N, D) are unit vectors of at least two subjects. The interval joins Wilson's, which takes pairs for
    independent, with that of subjects drawn with replacement, which says nothing when no pair is near.
    """
    names, codes = np.unique(np.asarray(subjects), return_inverse=True)
    photos = np.bincount(codes).astype(float)
    exact = np.asarray(vectors, np.float64)
    near = np.triu((2 - 2 * (exact @ exact.T) < distance * distance) & (codes[:, None] != codes[None, :]), 1)
    first, second = (codes[rows] for rows in np.nonzero(near))

    def total(weights: np.ndarray) -> float:
        counts = weights * photos
        return float((counts.sum() ** 2 - (counts**2).sum()) / 2)

    pairs = round(total(np.ones(len(names))))
    drawn = [
        float((weights[first] * weights[second]).sum()) / total(weights)
        for weights in cluster_draws(range(len(names)), DRAWS, seed)
        if total(weights) > 0
    ]
    low, high = np.quantile(drawn, [0.025, 0.975])
    least, most = wilson(len(first), pairs)
    value = len(first) / pairs
    return pairs, Rate(value=value, low=min(value, least, float(low)), high=max(value, most, float(high)))


def _draw(patients: Sequence[FaceRecord], rows: list[int], seed: int) -> list[int]:
    """Return ``rows``, or those of patients drawn until their photos are ``MOST_PHOTOS``."""
    if len(rows) <= MOST_PHOTOS:
        return rows
    of: dict[str, list[int]] = {}
    for row in rows:
        of.setdefault(patients[row].subject_id, []).append(row)
    subjects = list(of)
    order = np.random.default_rng(seed).permutation(len(subjects))
    return sorted([row for place in order for row in of[subjects[place]]][:MOST_PHOTOS])
