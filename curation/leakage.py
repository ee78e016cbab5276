"""How often candidates look like somebody: raw, against controls, with intervals (ALGORITHMS §7).

A *match table* is bool (N, S): candidate n is nearer to some photo of subject s than the threshold.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import comb

import numpy as np

from curation.report import Leakage, Rate
from mema.statistics import wilson

BLOCK = 2048


def subject_distances(probes: np.ndarray, gallery: np.ndarray, subjects: Sequence[str]) -> np.ndarray:
    """Return the distance of every probe (N, D) to the nearest photo of every subject: float32 (N, S).

    ``gallery`` (M, D) are unit vectors of photos of ``subjects`` (M,); columns follow the subjects' first photos.
    """
    order: dict[str, list[int]] = {}
    for row, subject in enumerate(subjects):
        order.setdefault(subject, []).append(row)
    rows = np.array([row for photos in order.values() for row in photos], dtype=np.int64)
    starts = np.cumsum([0, *(len(photos) for photos in order.values())])[:-1]
    # float64: 2 - 2cos cancels for near-duplicates, the very ones that an audit is for.
    people = np.asarray(gallery, np.float64)[rows].T
    distances = np.empty((len(probes), len(order)), dtype=np.float32)
    for first in range(0, len(probes), BLOCK):
        cosine = np.asarray(probes[first : first + BLOCK], np.float64) @ people
        best = np.maximum.reduceat(cosine, starts, axis=1) if len(order) else cosine
        distances[first : first + BLOCK] = np.sqrt(np.maximum(2 - 2 * best, 0))
    return distances


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
    """Return for each candidate the share of all galleries of ``drawn`` subjects in which somebody matches: (N,).

    ``matches`` is a match table (N, S), S >= drawn. The share is exact (hypergeometric), so a large gallery is
    compared with a small one without drawing lots: 1 - C(S - m, drawn) / C(S, drawn) for m matching subjects.
    """
    count, total = matches.sum(axis=1), matches.shape[1]
    shares = {m: 1 - comb(total - m, drawn) / comb(total, drawn) for m in np.unique(count).tolist()}
    return np.array([shares[m] for m in count.tolist()], dtype=float)


def rate(hits: np.ndarray) -> Rate:
    """Return the mean of ``hits`` (N,) in [0, 1] with Wilson's interval; expected hits are rounded for the interval.

    Candidates count as independent; what varies with the choice of patients is not in the interval.
    """
    low, high = wilson(round(float(hits.sum())), len(hits))
    value = float(hits.mean()) if len(hits) else 0.0
    return Rate(value=value, low=min(low, value), high=max(high, value))


def normalised(attack: Rate, control: Rate) -> Rate | None:
    """Return the risk (attack - control) / (1 - control) (Anonymeter); None when the control always hits.

    Its interval joins those of both rates by squares (Newcombe), as if they were independent. A negative risk is
    left as it is: candidates look less like patients than like strangers.
    """
    if control.value >= 1:
        return None
    by_attack = 1 / (1 - control.value)
    by_control = (1 - attack.value) / (1 - control.value) ** 2
    value = (attack.value - control.value) * by_attack
    down = np.hypot(by_attack * (attack.value - attack.low), by_control * (control.high - control.value))
    up = np.hypot(by_attack * (attack.high - attack.value), by_control * (control.value - control.low))
    return Rate(value=value, low=max(-1.0, value - float(down)), high=min(1.0, value + float(up)))


def leakage(hits: Sequence[np.ndarray], attack: np.ndarray | None = None, control: np.ndarray | None = None) -> Leakage:
    """Assemble one leakage.

    ``hits``: which candidates match anybody, bool (N,), at the threshold and at the low and high end of its interval;
    ``attack`` and ``control``: (expected) hits in [0, 1], (N,), in galleries of equal size, or None.
    """
    value, low, high = hits
    raw, ends = rate(value), (rate(low).value, rate(high).value)
    if attack is None or control is None:
        return Leakage(raw=raw, raw_at_threshold_interval=ends)
    first, second = rate(attack), rate(control)
    return Leakage(
        raw=raw, raw_at_threshold_interval=ends, attack=first, control=second, risk=normalised(first, second)
    )
