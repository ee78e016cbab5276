"""How often probes look like somebody: raw, against controls, with intervals (MeMa Table 1; ALGORITHMS §7).

The paper states neither threshold nor baseline. Here the threshold is calibrated on people known to be different
(``mema.faces.thresholds``), and the rate is also given relative to people whom no model was trained on, since among
many photos somebody is near by chance (control normalisation as in Anonymeter, Giomi et al. 2023).

A *match table* is bool (N, S): probe n is nearer to some photo of subject s than the threshold.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import comb
from typing import NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict

from mema.faces.matching import nearest
from mema.statistics import wilson

BLOCK = 2048


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Rate(_Section):
    """A share of probes in [0, 1] (a risk may be negative) with its 95 % interval."""

    value: float
    low: float
    high: float


class Leakage(_Section):
    """How many of the probes are nearer to somebody of a gallery than a threshold.

    ``raw``: against the whole gallery; ``raw_at_threshold_interval`` is the share at both ends of the threshold's
    own interval. ``attack`` and ``control``: against galleries of equal size, of people who could have leaked and
    of people who could not. ``risk`` = (attack - control) / (1 - control); None where there is nobody to compare.
    """

    raw: Rate
    raw_at_threshold_interval: tuple[float, float]
    attack: Rate | None = None
    control: Rate | None = None
    risk: Rate | None = None


class Hits(NamedTuple):
    """Which of N probes match.

    ``ends``: bool (N,) at the threshold and at the low and high end of its interval. ``attack`` and ``control``:
    (expected) hits in [0, 1], (N,), in galleries of equal size, or None where there is nobody to compare.
    """

    ends: Sequence[np.ndarray]
    attack: np.ndarray | None = None
    control: np.ndarray | None = None


def leakage(hits: Hits) -> Leakage:
    """Return the rates of ``hits`` with their intervals."""
    raw, low, high = (rate(end) for end in hits.ends)
    ends = (low.value, high.value)
    if hits.attack is None or hits.control is None:
        return Leakage(raw=raw, raw_at_threshold_interval=ends)
    attack, control = rate(hits.attack), rate(hits.control)
    return Leakage(
        raw=raw, raw_at_threshold_interval=ends, attack=attack, control=control, risk=normalised(attack, control)
    )


def gallery_hits(
    probes: np.ndarray,
    gallery: np.ndarray,
    subjects: Sequence[str],
    controls: np.ndarray,
    strangers: Sequence[str],
    cutoffs: Sequence[float],
) -> Hits:
    """Return which ``probes`` (N, D) match anybody in ``gallery`` (M, D), photos of ``subjects`` (M,).

    All are unit vectors; ``controls`` (K, D) are photos of ``strangers`` (K,), K may be 0. ``cutoffs`` are the
    threshold and the low and high end of its interval; how galleries are made equal says :func:`equal_size`.
    """
    _, distance = nearest(probes, gallery)
    ends = [distance < cutoff for cutoff in cutoffs]
    drawn, photos = equal_size(subjects, strangers)
    if drawn == 0:
        return Hits(ends)
    shares = []
    for vectors, people in ((gallery, subjects), (controls, strangers)):
        few = first_photos(people, photos)
        distances = subject_distances(probes, vectors[few], [people[row] for row in few])
        shares.append(share_of_hits(distances < cutoffs[0], drawn))
    return Hits(ends, *shares)


def own_hits(tables: Sequence[np.ndarray], own: np.ndarray) -> Hits | None:
    """Return which probes match their own subject, of those that have one; None when none has.

    ``tables``: match tables (N, S) at the threshold and both ends of its interval; ``own`` (N,) is the column of each
    probe's subject, -1 without one. The control is a subject drawn from the others.
    """
    rows = np.flatnonzero(own >= 0)
    if len(rows) == 0:
        return None
    ends = [own_matches(table, own)[rows] for table in tables]
    others = tables[0].shape[1] - 1
    if others == 0:
        return Hits(ends)
    return Hits(ends, ends[0].astype(float), (tables[0][rows].sum(axis=1) - ends[0]) / others)


def own_matches(table: np.ndarray, own: np.ndarray) -> np.ndarray:
    """Return which probes match their own subject, bool (N,); those without one do not (see :func:`own_hits`)."""
    hits = np.zeros(len(own), dtype=bool)
    rows = np.flatnonzero(own >= 0)
    hits[rows] = table[rows, own[rows]]
    return hits


class SubjectGallery:
    """Photos of people, made ready for comparison with any number of probes.

    ``vectors`` (M, D) are unit vectors of photos of ``subjects`` (M,), S of them; they are held in float64.
    """

    def __init__(self, vectors: np.ndarray, subjects: Sequence[str]) -> None:
        order: dict[str, list[int]] = {}
        for row, subject in enumerate(subjects):
            order.setdefault(subject, []).append(row)
        rows = np.array([row for photos in order.values() for row in photos], dtype=np.int64)
        self._counts = np.array([len(photos) for photos in order.values()], dtype=np.int64)
        self._place = np.array([place for count in self._counts for place in range(count)], dtype=np.int64)
        # float64: 2 - 2cos cancels for near-duplicates, the very ones that an audit is for.
        self._photos = np.asarray(vectors, np.float64)[rows].T

    def distances(self, probes: np.ndarray, most: Sequence[int | None] = (None,)) -> list[np.ndarray]:
        """Return for each of ``most`` the distances of ``probes`` (N, D) to every subject: float32 (N, S).

        A distance is that of the nearest of the subject's photos, of their first ``most`` only unless it is None;
        columns follow the subjects' first photos.
        """
        tables = [np.empty((len(probes), len(self._counts)), dtype=np.float32) for _ in most]
        for first in range(0, len(probes), BLOCK):
            rows = slice(first, first + BLOCK)
            cosine = np.asarray(probes[rows], np.float64) @ self._photos
            for table, limit in zip(tables, most, strict=True):
                table[rows] = np.sqrt(np.maximum(2 - 2 * self._best(cosine, limit), 0))
        return tables

    def _best(self, cosine: np.ndarray, most: int | None) -> np.ndarray:
        counts = self._counts
        if most is not None and most < counts.max(initial=0):
            cosine, counts = cosine[:, self._place < most], np.minimum(counts, most)
        if counts.max(initial=0) <= 1:
            return cosine
        return np.maximum.reduceat(cosine, np.cumsum(counts) - counts, axis=1)


def subject_distances(probes: np.ndarray, gallery: np.ndarray, subjects: Sequence[str]) -> np.ndarray:
    """Return the distance of every probe (N, D) to the nearest photo of every subject: float32 (N, S).

    ``gallery`` (M, D) are unit vectors of photos of ``subjects`` (M,); columns follow the subjects' first photos.
    """
    (table,) = SubjectGallery(gallery, subjects).distances(probes)
    return table


def equal_size(subjects: Sequence[str], others: Sequence[str]) -> tuple[int, int]:
    """Return at how many subjects, and how many photos of each, two galleries (a subject a photo) are compared.

    A bigger gallery matches more by its size alone, and so does one with more photos of each person: hence as many
    subjects as the smaller gallery has, and at most the poorer one's median of photos. No subjects if one is empty.
    """
    medians = [int(np.median(np.unique(group, return_counts=True)[1])) for group in (subjects, others) if len(group)]
    return min(len(set(subjects)), len(set(others))), min(medians, default=0)


def first_photos(subjects: Sequence[str], photos: int) -> list[int]:
    """Return the rows of at most the first ``photos`` photos of every subject, in order."""
    seen: dict[str, int] = {}
    rows = []
    for row, subject in enumerate(subjects):
        seen[subject] = seen.get(subject, 0) + 1
        if seen[subject] <= photos:
            rows.append(row)
    return rows


def share_of_hits(matches: np.ndarray, drawn: int) -> np.ndarray:
    """Return for each probe the share of all galleries of ``drawn`` subjects in which somebody matches: (N,).

    ``matches`` is a match table (N, S), S >= drawn. The share is exact (hypergeometric), so a large gallery is
    compared with a small one without drawing lots: 1 - C(S - m, drawn) / C(S, drawn) for m matching subjects.
    """
    count, total = matches.sum(axis=1), matches.shape[1]
    shares = {m: 1 - comb(total - m, drawn) / comb(total, drawn) for m in np.unique(count).tolist()}
    return np.array([shares[m] for m in count.tolist()], dtype=float)


def rate(hits: np.ndarray) -> Rate:
    """Return the mean of ``hits`` (N,) in [0, 1] with Wilson's interval; expected hits are rounded for the interval.

    Probes count as independent; what varies with the choice of people is not in the interval.
    """
    low, high = wilson(round(float(hits.sum())), len(hits))
    value = float(hits.mean()) if len(hits) else 0.0
    return Rate(value=value, low=min(low, value), high=max(high, value))


def normalised(attack: Rate, control: Rate) -> Rate | None:
    """Return the risk (attack - control) / (1 - control) (Anonymeter); None when the control always hits.

    Its interval joins those of both rates by squares (Newcombe), as if they were independent. A negative risk is
    left as it is: probes look less like these people than like strangers.
    """
    if control.value >= 1:
        return None
    by_attack = 1 / (1 - control.value)
    by_control = (1 - attack.value) / (1 - control.value) ** 2
    value = (attack.value - control.value) * by_attack
    down = np.hypot(by_attack * (attack.value - attack.low), by_control * (control.high - control.value))
    up = np.hypot(by_attack * (attack.high - attack.value), by_control * (control.value - control.low))
    return Rate(value=value, low=value - float(down), high=min(1.0, value + float(up)))
