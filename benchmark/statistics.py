"""From per-image scores to ranks: a paired bootstrap over subjects, rank intervals and tie groups.

All methods see the same draws of subjects, so what is hard for every method does not blur the difference of two.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import erfc, sqrt
from typing import NamedTuple

import numpy as np

from mema.errors import UserError
from mema.result import Interval, Result
from mema.statistics import cluster_draws, wilson

LEVEL = 0.95

PROFILES = {
    "balanced": {"privacy": 0.5, "utility": 0.5},
    "privacy first": {"privacy": 0.8, "utility": 0.2},
    "utility first": {"privacy": 0.2, "utility": 0.8},
}
"""What somebody may want of a method, as weights of scores. Which method is best depends on it, so all are shown."""


class Standing(NamedTuple):
    """Where a method stands by one score: its rank (1 is best), the rank's 95 % interval and its tie group.

    Methods of one ``group`` (1 is the best) cannot be told from the best method of that group.
    """

    method: str
    rank: int
    rank_low: int
    rank_high: int
    group: int


class Comparison(NamedTuple):
    """How much more ``first`` scores than ``second``, paired, with its 95 % interval.

    ``p_value`` is two-sided and corrected for all pairs of methods (Holm); the interval is not.
    """

    first: str
    second: str
    difference: float
    interval: Interval
    p_value: float


def check_comparable(results: Sequence[Result]) -> None:
    """Raise UserError unless all results come from one release, one protocol and the same images, once a method."""
    if not results:
        raise UserError("no results to rank")
    first = results[0]
    seen: set[str] = set()
    for result in results:
        name = result.method.name
        if name in seen:
            raise UserError(f"method '{name}' has two results")
        seen.add(name)
        for field in ("release", "protocol", "image_ids", "subject_ids"):
            if getattr(result, field) != getattr(first, field):
                raise UserError(f"results of '{name}' and '{first.method.name}' differ in {field}; run both again")


def interval_of(values: np.ndarray, subjects: Sequence[str], *, draws: int, seed: int, share: bool = False) -> Interval:
    """Return the subject-clustered bootstrap interval of the mean of ``values`` (N,).

    Where a ``share`` is exactly 0 or 1 a bootstrap has no width; then it is Wilson's interval over subjects.
    """
    (interval,) = intervals_of(values[None], subjects, draws=draws, seed=seed, shares=[share])
    return interval


def intervals_of(
    scores: np.ndarray, subjects: Sequence[str], *, draws: int, seed: int, shares: Sequence[bool]
) -> list[Interval]:
    """Return ``interval_of`` each row of ``scores`` (M, N), all from the same draws."""
    trials = len(set(subjects))
    intervals = []
    for row, share, means in zip(scores, shares, _drawn_means(scores, subjects, draws, seed).T, strict=True):
        if share and row[0] in (0.0, 1.0) and (row == row[0]).all():
            low, high = wilson(trials * int(row[0]), trials, LEVEL)
            intervals.append(Interval(low=low, high=high, level=LEVEL))
        else:
            intervals.append(_interval(means))
    return intervals


def standings(results: Sequence[Result], score: str | Mapping[str, float], *, draws: int, seed: int) -> list[Standing]:
    """Rank methods by the mean of a score, or of a sum of scores with weights, higher better. Best first.

    A missing score counts as 0. A rank's interval is taken over the draws. Groups: the best method opens one, and each
    next method joins it unless it differs from the opener after correction for all pairs (``comparisons``); the first
    that does opens the next.
    """
    scores = _scores(results, score)
    drawn = _drawn_means(scores, results[0].subject_ids, draws, seed)
    ranks, drawn_ranks = _ranks(scores.mean(axis=1)[None])[0], _ranks(drawn)
    order = sorted(range(len(results)), key=lambda i: (ranks[i], results[i].method.name))
    groups = _groups(order, _adjusted(scores.mean(axis=1), drawn))
    return [
        Standing(
            method=results[i].method.name,
            rank=int(ranks[i]),
            rank_low=_rank_quantile(drawn_ranks[:, i], (1 - LEVEL) / 2),
            rank_high=_rank_quantile(drawn_ranks[:, i], (1 + LEVEL) / 2),
            group=groups[i],
        )
        for i in order
    ]


def standings_by_profile(results: Sequence[Result], *, draws: int, seed: int) -> dict[str, list[Standing]]:
    """Return the standings under every profile of ``PROFILES``: what each weighs more, it ranks by."""
    return {name: standings(results, weights, draws=draws, seed=seed) for name, weights in PROFILES.items()}


def comparisons(
    results: Sequence[Result], score: str | Mapping[str, float], *, draws: int, seed: int
) -> list[Comparison]:
    """Compare every two methods by a score (as ``standings`` takes it), in the order of ``results``."""
    scores = _scores(results, score)
    means, drawn = scores.mean(axis=1), _drawn_means(scores, results[0].subject_ids, draws, seed)
    adjusted = _adjusted(means, drawn)
    return [
        Comparison(
            first=results[i].method.name,
            second=results[j].method.name,
            difference=float(means[i] - means[j]),
            interval=_interval(drawn[:, i] - drawn[:, j]),
            p_value=p_value,
        )
        for (i, j), p_value in adjusted.items()
    ]


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values that control the chance of any false positive among all (Holm 1979), in the same order."""
    adjusted = [0.0] * len(p_values)
    highest = 0.0
    for step, i in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        highest = max(highest, min(1.0, (len(p_values) - step) * p_values[i]))
        adjusted[i] = highest
    return adjusted


def _scores(results: Sequence[Result], score: str | Mapping[str, float]) -> np.ndarray:
    """Return the scores of comparable results, (M, N)."""
    check_comparable(results)
    weights = {score: 1.0} if isinstance(score, str) else score
    total = np.zeros((len(results), len(results[0].image_ids)))
    for row, result in enumerate(results):
        for name, weight in weights.items():
            if name not in result.scores:
                raise UserError(f"result of '{result.method.name}' has no score '{name}'")
            total[row] += weight * np.array([value or 0.0 for value in result.scores[name]])
    return total


def _adjusted(means: np.ndarray, drawn: np.ndarray) -> dict[tuple[int, int], float]:
    """Return for each pair of methods (i < j) the two-sided p-value of their difference, corrected for all pairs.

    From the bootstrap's standard error of the paired difference and the normal distribution: counting draws, 1,000 of
    them could not be small enough once there are more than 25 pairs.
    """
    pairs = [(i, j) for i in range(len(means)) for j in range(i + 1, len(means))]
    p_values = []
    for i, j in pairs:
        difference, error = abs(means[i] - means[j]), float(np.std(drawn[:, i] - drawn[:, j], ddof=1))
        # Equal scores summed in another order may differ in the last bits.
        p_values.append(1.0 if difference < 1e-9 else erfc(difference / max(error, 1e-12) / sqrt(2)))
    return dict(zip(pairs, holm(p_values), strict=True))


def _drawn_means(scores: np.ndarray, subjects: Sequence[str], draws: int, seed: int) -> np.ndarray:
    """Return the mean of each row of ``scores`` (M, N) in each draw of subjects, (draws, M)."""
    weights = cluster_draws(subjects, draws, seed).astype(float)
    return weights @ scores.T / weights.sum(axis=1, keepdims=True)


def _interval(drawn: np.ndarray) -> Interval:
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(low=float(low), high=float(high), level=LEVEL)


def _ranks(means: np.ndarray) -> np.ndarray:
    """Return 1 + how many methods are strictly better, for each row of ``means`` (draws, M)."""
    # Equal scores summed in another order may differ in the last bits.
    return 1 + (means[:, None, :] > means[:, :, None] + 1e-9).sum(axis=2)


def _rank_quantile(ranks: np.ndarray, share: float) -> int:
    return int(np.quantile(ranks, share, method="inverted_cdf"))


def _groups(order: Sequence[int], adjusted: Mapping[tuple[int, int], float]) -> dict[int, int]:
    groups: dict[int, int] = {}
    leader, group = order[0], 1
    for i in order:
        if i != leader and adjusted[min(i, leader), max(i, leader)] < 1 - LEVEL:
            leader, group = i, group + 1
        groups[i] = group
    return groups
