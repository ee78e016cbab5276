"""Fairness: what a method keeps and hides of some people and of others, from per-image scores and a board's groups.

Every score of every method is averaged within the groups of people by gender, skin tone, age and their crossings. The
gap of a grouping is how far its worst group lies behind its best. As the largest of many differences it is above zero
by luck alone, so two things stand beside it: an interval that covers all pairs of groups at once, and the gap that
remains on average when people of one disease swap their groups at random. That mean, and the p-value drawn from the
same shuffles, also hold what the mix of diseases explains: tumours are a disease of the old.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import combinations, product
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from benchmark.board import Board
from benchmark.definition import Definition
from benchmark.metrics import definitions_of
from benchmark.statistics import LEVEL, holm, intervals_of
from mema.groups import GROUPS, LEAST_PEOPLE
from mema.result import Interval, Result
from mema.statistics import Estimate, difference

SHUFFLES = 2000


class GroupScore(NamedTuple):
    """A group's mean score and how much more it is than that of everyone else, each with its 95 % interval.

    The intervals are those of one group alone, not corrected for how many there are. ``against_rest`` is None where
    there is nobody else.
    """

    group: str
    images: int
    people: int
    value: float
    interval: Interval
    against_rest: Estimate | None


class Gap(NamedTuple):
    """How far the ``worst`` group of a grouping lies behind the ``best``, never below 0.

    ``interval`` covers the largest of the differences of all pairs (Tukey-Kramer: Kramer, Biometrics 12, 1956,
    307-310; a group's variance over people is its own or that of all groups, whichever is larger, since a small group
    may be of one mind by luck). ``by_chance`` is the mean of the gap over shuffles, ``p_value`` the share of shuffles
    whose gap is as large, corrected for all groupings of the method and score (Holm).
    """

    worst: str
    best: str
    value: float
    interval: Interval
    by_chance: float
    p_value: float


class Grouping(NamedTuple):
    """A score by ``attributes``: the groups with enough people, how many others there are, and the gap.

    ``unstated`` counts the images of which an attribute is not stated. The gap is None with fewer than two groups.
    """

    attributes: tuple[str, ...]
    groups: list[GroupScore]
    small: int
    unstated: int
    gap: Gap | None

    @property
    def title(self) -> str:
        """The attributes in words."""
        return " × ".join(self.attributes)


Fairness = dict[str, dict[str, list[Grouping]]]
"""By method and score, every grouping of the board's people: first by single attributes, then by crossings."""


def fairness_of(results: Sequence[Result], board: Board) -> Fairness:
    """Return every per-image score of ``results``, which hold against ``board``, by groups of people.

    A metric without a score of its own is taken by its parts. Images without the score are left out. Nothing is
    returned for a board that says nothing of its people.
    """
    by_name = {definition.name: definition for definition in definitions_of(board.config) if not definition.stated}
    keys = [
        (result.method.name, name, by_name[name.partition(".")[0]])
        for result in results
        for name in result.scores
        if name in by_name or ("." in name and name.partition(".")[0] not in result.scores)
    ]
    by_method = {result.method.name: result for result in results}
    columns = np.array([by_method[method].scores[name] for method, name, _ in keys], float)
    told: Fairness = {result.method.name: {} for result in results}
    present = ~np.isnan(columns)
    for pattern in np.unique(present, axis=0):
        rows = np.flatnonzero((present == pattern).all(axis=1))
        definitions = [keys[row][2] for row in rows]
        by_grouping = [
            _grouping(columns[np.ix_(rows, pattern)], definitions, attributes, np.flatnonzero(pattern), board)
            for attributes in _crossings(board)
        ]
        for row, groupings in zip(rows, zip(*by_grouping, strict=True), strict=False):
            method, name, _ = keys[row]
            told[method][name] = _corrected(list(groupings))
    return told


def _crossings(board: Board) -> list[tuple[str, ...]]:
    """Return the attributes that are stated of anybody, one by one, then crossed."""
    stated = [name for name in GROUPS if any(board.groups.get(name, []))]
    return [crossing for count in range(1, len(stated) + 1) for crossing in combinations(stated, count)]


def _grouping(
    columns: np.ndarray,
    definitions: Sequence[Definition],
    attributes: tuple[str, ...],
    images: np.ndarray,
    board: Board,
) -> list[Grouping]:
    """Return a grouping of each row of ``columns`` (M, N), scores of the board's ``images`` (N,)."""
    titles = [", ".join(names) for names in product(*(GROUPS[name] for name in attributes))]
    of_image = list(zip(*(board.groups[name] for name in attributes), strict=True))
    labels = np.array([-1 if None in of_image[i] else titles.index(", ".join(of_image[i])) for i in images])  # type: ignore[arg-type]
    subjects = np.array(board.subject_ids)[images]
    people = [len(set(subjects[labels == place])) for place in range(len(titles))]
    shown = [place for place, count in enumerate(people) if count >= LEAST_PEOPLE]
    scores = [_group_scores(columns, definitions, labels, place, titles[place], subjects, board) for place in shown]
    gaps: list[Gap | None] = [None] * len(columns)
    if len(shown) > 1:
        chosen = np.isin(labels, shown)
        chance = _gaps_by_chance(
            columns[:, chosen], labels[chosen], subjects[chosen], np.array(board.diseases)[images][chosen], board
        )
        gaps = [_gap(*row) for row in zip(zip(*scores, strict=True), definitions, chance.T, strict=True)]
    return [
        Grouping(
            attributes=attributes,
            groups=[group[row] for group in scores],
            small=sum(0 < count < LEAST_PEOPLE for count in people),
            unstated=int((labels < 0).sum()),
            gap=gap,
        )
        for row, gap in enumerate(gaps)
    ]


def _group_scores(
    columns: np.ndarray,
    definitions: Sequence[Definition],
    labels: np.ndarray,
    place: int,
    title: str,
    subjects: np.ndarray,
    board: Board,
) -> list[GroupScore]:
    """Return what each row of ``columns`` (M, N) says of the group whose label is ``place``."""

    def estimates(chosen: np.ndarray) -> list[Estimate]:
        within = columns[:, chosen]
        intervals = intervals_of(
            within,
            subjects[chosen].tolist(),
            draws=board.config.bootstrap_draws,
            seed=board.config.seed,
            shares=[definition.share for definition in definitions],
        )
        return [
            Estimate(float(value), interval.low, interval.high)
            for value, interval in zip(within.mean(axis=1), intervals, strict=True)
        ]

    own, rest = labels == place, (labels != place) & (labels >= 0)
    others = estimates(rest) if rest.any() else [None] * len(columns)
    return [
        GroupScore(
            group=title,
            images=int(own.sum()),
            people=len(set(subjects[own])),
            value=one.value,
            interval=Interval(low=one.low, high=one.high, level=LEVEL),
            against_rest=difference(one, other) if other else None,
        )
        for one, other in zip(estimates(own), others, strict=True)
    ]


def _gap(groups: Sequence[GroupScore], definition: Definition, chance: np.ndarray) -> Gap:
    """Return the gap of ``groups``; ``chance`` (S,) holds what shuffling them gave."""
    order = sorted(groups, key=lambda group: group.value, reverse=not definition.higher_is_better)
    value = order[-1].value - order[0].value if definition.higher_is_better else order[0].value - order[-1].value
    people = np.array([group.people for group in groups])
    widths = np.array([group.interval.high - group.interval.low for group in groups])
    variances = (widths / 2 / NormalDist().inv_cdf(0.5 + LEVEL / 2)) ** 2 * people
    pooled = np.average(variances, weights=people - 1)
    squares = np.maximum(variances, pooled) / (people - 1)
    means = np.array([group.value for group in groups])
    first, second = np.triu_indices(len(groups), 1)
    apart = abs(means[first] - means[second])
    around = _all_pairs(len(groups), int(people.sum()) - len(groups)) * np.sqrt(squares[first] + squares[second])
    return Gap(
        worst=order[0].group,
        best=order[-1].group,
        value=value,
        interval=Interval(
            low=max(0.0, float((apart - around).max())),
            high=min(definition.highest - definition.lowest, float((apart + around).max())),
            level=LEVEL,
        ),
        by_chance=float(chance.mean()),
        # Equal gaps summed in another order may differ in the last bits.
        p_value=float((1 + (chance >= value - 1e-9).sum()) / (1 + len(chance))),
    )


def _gaps_by_chance(
    columns: np.ndarray, labels: np.ndarray, subjects: np.ndarray, diseases: np.ndarray, board: Board
) -> np.ndarray:
    """Return the gaps (SHUFFLES, M) of ``columns`` (M, N) when people of the same disease swap their groups.

    All images that share person, disease and group move together.
    """
    everybody = np.stack([subjects, diseases, labels.astype(str)], axis=1)
    _, first, unit = np.unique(everybody, axis=0, return_index=True, return_inverse=True)
    _, stratum = np.unique(diseases[first], return_inverse=True)
    slots = np.argsort(stratum, kind="stable")
    random = np.random.default_rng(board.config.seed)
    drawn = np.argsort(stratum + random.random((SHUFFLES, len(first))), axis=1)
    shuffled = np.empty(drawn.shape, labels.dtype)
    shuffled[:, slots] = labels[first][drawn]
    of_image = shuffled[:, unit.ravel()]
    means = []
    for place in np.unique(labels):
        members = (of_image == place).astype(float)
        means.append(members @ columns.T / members.sum(axis=1, keepdims=True))
    spread: np.ndarray = np.max(means, axis=0) - np.min(means, axis=0)
    return spread


def _corrected(groupings: list[Grouping]) -> list[Grouping]:
    """Return the groupings of one method and score with their p-values corrected for one another."""
    there = [place for place, grouping in enumerate(groupings) if grouping.gap]
    raw = [gap.p_value for grouping in groupings if (gap := grouping.gap)]
    for place, p_value in zip(there, holm(raw), strict=True):
        gap = groupings[place].gap
        assert gap is not None
        groupings[place] = groupings[place]._replace(gap=gap._replace(p_value=p_value))
    return groupings


@cache
def _all_pairs(groups: int, freedom: int) -> float:
    """Return how many standard errors wide the intervals of all differences of so many groups are to each side."""
    from scipy.stats import studentized_range

    return float(studentized_range.ppf(LEVEL, groups, freedom)) / 2**0.5
