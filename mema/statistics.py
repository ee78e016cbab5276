"""Intervals and distances between distributions that more than one stage reports."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from math import sqrt
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

AGE_RANGE = (5.0, 90.0)


class Estimate(NamedTuple):
    """A number with the ends of its interval."""

    value: float
    low: float
    high: float


def wilson(successes: int, trials: int, level: float = 0.95) -> tuple[float, float]:
    """Return Wilson's score interval of a share; (0, 1) when there was no trial."""
    if trials == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf(0.5 + level / 2)
    share = successes / trials
    centre = (share + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z * sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials)) / (1 + z * z / trials)
    return max(0.0, centre - half), min(1.0, centre + half)


def paired_difference(first: np.ndarray, second: np.ndarray, level: float = 0.95) -> Estimate:
    """Return the difference of the shares of two bool arrays (N,) of the same N cases, with its interval.

    Newcombe's method 10 (Statistics in Medicine 17, 1998, 2635-2650): Wilson's intervals joined by squares, less what
    the pairing explains. ValueError when there is no case.
    """
    first, second = np.asarray(first, bool), np.asarray(second, bool)
    count = len(first)
    if count == 0 or len(second) != count:
        raise ValueError(f"{count} and {len(second)} cases are not pairs")
    shares = first.mean(), second.mean()
    (low_1, high_1), (low_2, high_2) = (wilson(int(one.sum()), count, level) for one in (first, second))
    both, neither = int((first & second).sum()), int((~first & ~second).sum())
    only_first, only_second = int((first & ~second).sum()), int((~first & second).sum())
    product = float(both * neither - only_first * only_second)
    if product > 0:
        product = max(product - count / 2, 0.0)
    margins = float(first.sum() * (~first).sum() * second.sum() * (~second).sum())
    correlation = product / sqrt(margins) if margins else 0.0

    def joined(one: float, other: float) -> float:
        return sqrt(max(0.0, one * one - 2 * correlation * one * other + other * other))

    value = float(shares[0] - shares[1])
    down = joined(shares[0] - low_1, high_2 - shares[1])
    up = joined(high_1 - shares[0], shares[1] - low_2)
    return Estimate(value, max(-1.0, value - down), min(1.0, value + up))


def difference(first: Estimate, second: Estimate) -> Estimate:
    """Return first - second, the intervals joined by squares (MOVER: Zou and Donner, Statistics in Medicine 27, 2008).

    As if both were independent: for measures of the same cases that rise together it is too wide, never too narrow.
    """
    value = first.value - second.value
    down = sqrt((first.value - first.low) ** 2 + (second.high - second.value) ** 2)
    up = sqrt((first.high - first.value) ** 2 + (second.value - second.low) ** 2)
    return Estimate(value, value - down, value + up)


def jackknife_error(left_out: np.ndarray) -> np.ndarray:
    """Return the standard error of a statistic from its values with one case left out each: (N, ...) to (...).

    sqrt((N - 1) / N x sum of squared deviations from their mean) (Efron and Tibshirani 1993, equation 11.5). Unlike the
    bootstrap it repeats no case, so it suits measures of diversity.
    """
    left_out = np.asarray(left_out, float)
    count = len(left_out)
    spread: np.ndarray = np.sqrt((count - 1) / count * np.square(left_out - left_out.mean(axis=0)).sum(axis=0))
    return spread


def cluster_jackknife(
    statistic: Callable[[np.ndarray], float],
    clusters: Sequence[Hashable],
    *,
    groups: int = 100,
    level: float = 0.95,
) -> Estimate:
    """Return a statistic of N items with its interval, whole clusters left out at a time.

    ``statistic`` takes the rows of the items that count. Where there are more clusters than ``groups``, so many groups
    of them are left out instead (the delete-a-group jackknife: Kott, Journal of Official Statistics 17, 2001). For
    what a repeated item would bias, such as the distance between two sets; ValueError for fewer than two clusters.
    """
    index = {cluster: i for i, cluster in enumerate(dict.fromkeys(clusters))}
    count = min(groups, len(index))
    if count < 2:
        raise ValueError("a jackknife needs at least two clusters")
    group = np.array([index[cluster] % count for cluster in clusters])
    rows = np.arange(len(group))
    value = statistic(rows)
    error = float(jackknife_error(np.array([statistic(rows[group != left]) for left in range(count)])))
    half = NormalDist().inv_cdf(0.5 + level / 2) * error
    return Estimate(value, value - half, value + half)


def cluster_draws(clusters: Sequence[Hashable], draws: int, seed: int) -> np.ndarray:
    """Draw clusters with replacement; return how often each item counts, int32 (draws, N).

    Using the same draws for several methods makes their bootstrap paired.
    """
    index = {cluster: i for i, cluster in enumerate(dict.fromkeys(clusters))}
    of_item = np.array([index[cluster] for cluster in clusters], dtype=np.int64)
    random = np.random.default_rng(seed)
    picks = random.integers(len(index), size=(draws, len(index)))
    weights = np.stack([np.bincount(row, minlength=len(index)) for row in picks])
    return weights[:, of_item].astype(np.int32)


def clustered_bootstrap(
    values: np.ndarray,
    clusters: Sequence[Hashable],
    statistic: Callable[[np.ndarray], float] = np.mean,
    *,
    draws: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[float, float]:
    """Return the percentile interval of ``statistic`` of ``values`` (N,), whole clusters drawn at a time."""
    values = np.asarray(values, dtype=float)
    weights = cluster_draws(clusters, draws, seed)
    drawn = [statistic(np.repeat(values, row)) for row in weights]
    tail = (1 - level) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return float(low), float(high)


def paired_table(first: Sequence[Hashable], second: Sequence[Hashable], labels: Sequence[Hashable]) -> np.ndarray:
    """Return int (K, K): how many items have the row's of K ``labels`` in ``first`` and the column's in ``second``."""
    place = {label: number for number, label in enumerate(labels)}
    table = np.zeros((len(place), len(place)), np.int64)
    for one, other in zip(first, second, strict=True):
        table[place[one], place[other]] += 1
    return table


def cohen_kappa(tables: np.ndarray, *, squared: bool = False) -> np.ndarray:
    """Return Cohen's kappa (...) of ``tables`` (..., K, K) as ``paired_table`` returns them.

    One minus observed over expected disagreement (Cohen, Psychological Bulletin 70, 1968, 213-220), where the K labels
    are ``squared`` distances of their places apart, else all one. NaN where none is expected: no item, or one label.
    """
    tables = np.asarray(tables, float)
    places = np.arange(tables.shape[-1])
    apart = (places[:, None] - places[None, :]) ** 2 if squared else (places[:, None] != places[None, :])
    total = tables.sum(axis=(-2, -1))
    observed = (tables * apart).sum(axis=(-2, -1)) * total
    expected = np.einsum("...i,...j,ij->...", tables.sum(axis=-1), tables.sum(axis=-2), apart.astype(float))
    kappa: np.ndarray = 1 - np.divide(observed, expected, out=np.full(total.shape, np.nan), where=expected > 0)
    return kappa


def total_variation(a: Mapping[Hashable, float], b: Mapping[Hashable, float]) -> float:
    """Return half the sum of |p - q| of two tables of counts, in [0, 1].

    It is the Wasserstein distance under the 0/1 metric, our reading of MeMa Table 2 for disease and gender
    (the paper leaves the metric on categories undefined).
    """
    total_a, total_b = sum(a.values()), sum(b.values())
    keys = {*a, *b}
    return 0.5 * sum(abs(a.get(key, 0) / total_a - b.get(key, 0) / total_b) for key in keys)


def wasserstein_age(a: Sequence[float], b: Sequence[float]) -> float:
    """Return the W1 distance of two samples of ages in units of the age range 5 to 90 years (MeMa Table 2)."""
    first, second = np.sort(np.asarray(a, float)), np.sort(np.asarray(b, float))
    grid = np.sort(np.concatenate([first, second]))
    share_first = np.searchsorted(first, grid[:-1], side="right") / len(first)
    share_second = np.searchsorted(second, grid[:-1], side="right") / len(second)
    distance = np.sum(np.abs(share_first - share_second) * np.diff(grid))
    return float(distance / (AGE_RANGE[1] - AGE_RANGE[0]))
