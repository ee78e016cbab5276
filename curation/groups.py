"""What a common threshold means within groups of people, and what thresholds of their own would say.

A threshold that is right on average may take strangers of one group for each other more often than those of another.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from curation.report import Cutoff, GroupRate
from mema.faces.leakage import Rate, rate
from mema.faces.thresholds import Threshold, calibrate
from mema.groups import ATTRIBUTES, LEAST_PEOPLE
from mema.records import FaceRecord
from mema.statistics import cluster_draws, wilson

# All pairs of so many photos fit into memory and are enough for a false-accept rate of 1e-4.
MOST_PHOTOS = 3000
DRAWS = 500


def group_rates(
    patients: Sequence[FaceRecord],
    candidates: Sequence[FaceRecord],
    vectors: Mapping[str, np.ndarray],
    nearest: Mapping[str, np.ndarray],
    thresholds: Sequence[Mapping[str, Threshold]],
    *,
    seed: int,
) -> Iterator[GroupRate]:
    """Yield the rates of every recogniser in every group that occurs, for each of the common ``thresholds``.

    ``vectors`` are those of the patients' photos, (M, D); ``nearest`` the distances of the candidates to the nearest
    patient, (N,). A group's own threshold is read from all its pairs of different patients, if they are enough for the
    rate. Of a group with more than ``MOST_PHOTOS`` photos, patients are drawn.
    """
    for attribute, group_of in ATTRIBUTES.items():
        of_photo, of_candidate = ([group_of(record) for record in records] for records in (patients, candidates))
        for group in sorted({*of_photo, *of_candidate} - {None}, key=str):
            rows = _draw(patients, [row for row, name in enumerate(of_photo) if name == group], seed)
            subjects = [patients[row].subject_id for row in rows]
            chosen = np.array([name == group for name in of_candidate], dtype=bool)
            for name, threshold in (one for by_name in thresholds for one in by_name.items()):
                yield GroupRate(
                    recogniser=name,
                    far=threshold.far,
                    attribute=attribute,
                    group=str(group),
                    candidates=int(chosen.sum()),
                    near=rate(nearest[name][chosen] < threshold.distance) if chosen.any() else None,
                    **_within(vectors[name][rows], subjects, nearest[name][chosen], threshold, seed),
                )


def _within(
    vectors: np.ndarray, subjects: Sequence[str], nearest: np.ndarray, common: Threshold, seed: int
) -> dict[str, Any]:
    """Return what the patients of a group say of the common threshold and of one of their own: fields of GroupRate."""
    people = len(set(subjects))
    if people < LEAST_PEOPLE:
        return {"patients": None, "pairs": None, "false_accepts": None, "resolved": False}
    pairs, found = false_accepts(vectors, subjects, common.distance, seed=seed)
    told: dict[str, Any] = {"patients": people, "pairs": pairs, "false_accepts": found}
    told["resolved"] = pairs * common.far >= 1
    if not told["resolved"]:
        return told
    own = calibrate(vectors, subjects, common.far, pairs="all", seed=seed)
    told["own"] = Cutoff.of(own)
    if len(nearest):
        told["near_own"] = rate(nearest < own.distance)
        told["near_own_at_threshold_interval"] = tuple(rate(nearest < end).value for end in own.interval)
    return told


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
    people = len(names)
    between = np.bincount(first * people + second, minlength=people * people).reshape(people, people)

    def total(weights: np.ndarray) -> np.ndarray:
        counts = weights * photos
        return (counts.sum(axis=-1) ** 2 - (counts**2).sum(axis=-1)) / 2

    pairs = round(float(total(np.ones(people))))
    weights = cluster_draws(range(people), DRAWS, seed).astype(float)
    among = total(weights)
    drawn = np.einsum("ds,ds->d", weights @ between, weights)[among > 0] / among[among > 0]
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
