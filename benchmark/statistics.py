"""From per-image scores to ranks: a paired bootstrap over subjects, rank intervals and tie groups.

All methods see the same draws of subjects, so what is hard for every method does not blur the difference of two.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mema.errors import UserError
from mema.result import Interval, Result
from mema.statistics import cluster_draws, wilson

LEVEL = 0.95


class Standing(NamedTuple):
    """Where a method stands by one score: its rank (1 is best), the rank's 95 % interval and its tie group.

    Methods of one ``group`` (1 is the best) cannot be told from the best method of that group.
    """

    method: str
    rank: int
    rank_low: int
    rank_high: int
    group: int


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
    if share and (values == values[0]).all() and values[0] in (0.0, 1.0):
        trials = len(set(subjects))
        low, high = wilson(trials * int(values[0]), trials, LEVEL)
        return Interval(low=low, high=high, level=LEVEL)
    return _interval(_drawn_means(values[None], subjects, draws, seed)[:, 0])


def standings(results: Sequence[Result], score: str, *, draws: int, seed: int) -> list[Standing]:
    """Rank methods by the mean of ``scores[score]``, higher better; a missing score counts as 0. Best first.

    A rank's interval is taken over the draws. Groups: the best method opens one, and each next method joins it
    while the interval of the paired difference to the opener includes 0; the first that does not opens the next.
    """
    check_comparable(results)
    for result in results:
        if score not in result.scores:
            raise UserError(f"result of '{result.method.name}' has no score '{score}'")
    scores = np.array([[value or 0.0 for value in result.scores[score]] for result in results])
    means = scores.mean(axis=1)
    drawn = _drawn_means(scores, results[0].subject_ids, draws, seed)
    ranks, drawn_ranks = _ranks(means[None])[0], _ranks(drawn)
    order = sorted(range(len(results)), key=lambda i: (ranks[i], results[i].method.name))
    groups = _groups(order, drawn)
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


def _groups(order: Sequence[int], drawn: np.ndarray) -> dict[int, int]:
    groups: dict[int, int] = {}
    leader, group = order[0], 1
    for i in order:
        difference = _interval(drawn[:, leader] - drawn[:, i])
        if difference.low > 0:
            leader, group = i, group + 1
        groups[i] = group
    return groups
