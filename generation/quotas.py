"""How many images of which patient-like target: quotas instead of luck (MeMa, Section 3, Step 2; Table 2).

A target is the disease, gender, age and skin tone of one cohort photo, so what hangs together in the cohort hangs
together in the plan. The rounding: quotas of disease, of gender and of disease x gender by largest remainder; within
such a cell, whose photos are sorted by decade of age, group of skin tones and age, every ``photos / quota``-th photo.
So each decade, and each group of tones in it, is less than one image away from its exact share of the cell's quota, and
a plan of a whole multiple of the cohort's photos has the cohort's joint distribution exactly.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import NamedTuple, TypeVar

import numpy as np

from mema.records import FaceRecord, Gender
from mema.statistics import AGE_RANGE, total_variation, wasserstein_age

PHASES = 16
YEARS = AGE_RANGE[1] - AGE_RANGE[0]
TONE_GROUPS = ((1, 3), (4, 6), (7, 10))
"""Steps of the Monk scale that count as light, medium and dark in the joint distribution."""

Key = TypeVar("Key", bound=Hashable)
Cell = tuple[str, Gender | None]


class Target(NamedTuple):
    """Whom an image should resemble in the statistics of the cohort; unknown attributes are None."""

    disease: str
    gender: Gender | None
    age: float | None
    skin_tone: int | None


class Distances(NamedTuple):
    """Distances in [0, 1]: total variation for categories, W1 / 85 years for age; None if unknown."""

    disease: float | None
    age: float | None
    gender: float | None


def largest_remainder(weights: Mapping[Key, float], count: int) -> dict[Key, int]:
    """Share ``count`` among the keys in proportion to ``weights``; each share is within 1 of the exact one.

    Of equal remainders the earlier key wins, so the result depends on nothing else.
    """
    total = sum(weights.values())
    exact = {key: count * weight / total for key, weight in weights.items()}
    shares = {key: int(value) for key, value in exact.items()}
    left = count - sum(shares.values())
    for key in sorted(exact, key=lambda key: shares[key] - exact[key])[:left]:
        shares[key] += 1
    return shares


def rounded_table(table: Mapping[Cell, float], count: int) -> dict[Cell, int]:
    """Scale a disease x gender table to the sum ``count`` in whole numbers, both margins by largest remainder.

    Rows are rounded on their own first; then single units move between two genders of a row, where that costs least,
    until the gender margin holds too.
    """
    diseases, genders = list(dict.fromkeys(d for d, _ in table)), list(dict.fromkeys(g for _, g in table))
    rows = largest_remainder({d: sum(table.get((d, g), 0) for g in genders) for d in diseases}, count)
    columns = largest_remainder({g: sum(table.get((d, g), 0) for d in diseases) for g in genders}, count)
    cells: dict[Cell, int] = {}
    for d in diseases:
        shares = largest_remainder({g: table.get((d, g), 0) for g in genders}, rows[d])
        cells |= {(d, g): share for g, share in shares.items()}
    scale = count / sum(table.values())

    def excess(gender: Gender | None) -> int:
        return sum(cells[d, gender] for d in diseases) - columns[gender]

    while any(excess(g) > 0 for g in genders):
        giver, taker = max(genders, key=excess), min(genders, key=excess)
        rows_that_can = [d for d in diseases if cells[d, giver] > 0 and table.get((d, taker), 0) > 0]
        if not rows_that_can:
            break

        def cost(d: str, giver: Gender | None = giver, taker: Gender | None = taker) -> float:
            over = cells[d, giver] - scale * table[d, giver]
            under = cells[d, taker] - scale * table[d, taker]
            return under - over

        best = min(rows_that_can, key=cost)
        cells[best, giver] -= 1
        cells[best, taker] += 1
    return {cell: quota for cell, quota in cells.items() if quota}


def draw_targets(records: Sequence[FaceRecord], count: int) -> list[Target]:
    """Return ``count`` targets whose joint distribution follows ``records`` (one entry a photo), in a fixed order.

    At which photo a cell begins is chosen, cell after cell, so that the sum of two distances to the cohort is least: W1
    of the ages of all targets, and that of the joint distribution.
    """
    cells: dict[Cell, list[Target]] = {}
    for record in records:
        target = Target(record.disease or "", record.gender, record.age, record.skin_tone)
        cells.setdefault((target.disease, target.gender), []).append(target)
    cells = {
        cell: sorted(cells[cell], key=_by_kind) for cell in sorted(cells, key=lambda cell: (cell[0], cell[1] or ""))
    }
    quotas = rounded_table({cell: len(targets) for cell, targets in cells.items()}, count)
    drawn = [_evenly(len(cells[cell]), quota) for cell, quota in quotas.items()]
    phases = _best_phases([cells[cell] for cell in quotas], drawn, records)
    return [
        cells[cell][photo] for cell, rows, phase in zip(quotas, drawn, phases, strict=True) for photo in rows[phase]
    ]


def joint_table(people: Iterable[Target] | Iterable[FaceRecord]) -> Counter[Hashable]:
    """Count people by disease, gender, decade of age and group of skin tones; what is unknown is a kind of its own."""
    return Counter(_kind(one) for one in people)


def joint_distance(a: Iterable[Target] | Iterable[FaceRecord], b: Iterable[Target] | Iterable[FaceRecord]) -> float:
    """Return the total variation, in [0, 1], of the joint distributions of :func:`joint_table`."""
    return total_variation(joint_table(a), joint_table(b))


def joint_luck(
    records: Iterable[FaceRecord], count: int, *, draws: int = 1000, seed: int = 0
) -> tuple[float, float, float]:
    """Return the joint distance of ``count`` people drawn at random from ``records``: its mean and 95 % interval."""
    counts = np.array(list(joint_table(records).values()))
    shares = counts / counts.sum()
    drawn = np.random.default_rng(seed).multinomial(count, shares, size=draws) / count
    found = np.abs(drawn - shares).sum(axis=1) / 2
    low, high = np.quantile(found, [0.025, 0.975])
    return float(found.mean()), float(low), float(high)


def joint_least(records: Iterable[FaceRecord], count: int) -> float:
    """Return the joint distance below which no ``count`` whole people can come: each kind by largest remainder."""
    table = joint_table(records)
    return total_variation(largest_remainder(table, count), table)


def distances(a: Sequence[Target] | Sequence[FaceRecord], b: Sequence[Target] | Sequence[FaceRecord]) -> Distances:
    """Return how far two collections lie apart in disease, age and gender (our reading of MeMa Table 2)."""

    def categories(name: str) -> float | None:
        counts = [Counter(value for one in side if (value := getattr(one, name)) is not None) for side in (a, b)]
        return total_variation(*counts) if all(counts) else None

    ages = [[one.age for one in side if one.age is not None] for side in (a, b)]
    return Distances(categories("disease"), wasserstein_age(*ages) if all(ages) else None, categories("gender"))


def _evenly(photos: int, quota: int) -> np.ndarray:
    """Return the rows of ``quota`` of the photos at even steps, begun at places in the first step: (PHASES, quota)."""
    phases = (np.arange(PHASES) + 0.5) / PHASES
    return ((np.arange(quota) + phases[:, None]) / quota * photos).astype(int)


def _best_phases(
    cells: Sequence[Sequence[Target]], drawn: Sequence[np.ndarray], records: Sequence[FaceRecord]
) -> list[int]:
    """Return for each cell the row of ``drawn`` to take; of equally good ones the one nearest to the middle.

    Two rounds: the first places each cell against neighbours at their middle phase, the second mends.
    """
    ages = sorted({record.age for record in records if record.age is not None})
    kinds = list(joint_table(records))
    # Unknown ages fall into a last column, which is left out.
    by_age = _tallies([[one.age for one in cell] for cell in cells], drawn, [*ages, None])[..., :-1]
    by_kind = _tallies([[_kind(one) for one in cell] for cell in cells], drawn, kinds)
    counted = Counter(record.age for record in records)
    cohort_ages = np.array([counted[age] for age in ages])
    cohort_kinds = np.array(list(joint_table(records).values()))
    nearest_first = sorted(range(PHASES), key=lambda phase: abs(phase + 0.5 - PHASES / 2))
    chosen = [nearest_first[0]] * len(cells)
    for _ in range(2):
        for cell in range(len(cells)):

            def totals(counts: np.ndarray, cell: int = cell) -> np.ndarray:
                return counts[cell] + sum(counts[i, phase] for i, phase in enumerate(chosen) if i != cell)

            gaps = np.cumsum(_shares(totals(by_age)) - _shares(cohort_ages), axis=1)[:, :-1]
            errors = np.abs(gaps) @ np.diff(ages) / YEARS
            errors += np.abs(_shares(totals(by_kind)) - _shares(cohort_kinds)).sum(axis=1) / 2
            chosen[cell] = min(nearest_first, key=lambda phase: round(errors[phase], 9))
    return chosen


def _tallies(
    values: Sequence[Sequence[Hashable]], drawn: Sequence[np.ndarray], known: Sequence[Hashable]
) -> np.ndarray:
    """Count in every cell and phase how often each of the ``known`` values is drawn: (cells, PHASES, len(known))."""
    place = {value: column for column, value in enumerate(known)}
    codes = [np.array([place[value] for value in cell]) for cell in values]
    return np.array(
        [
            [np.bincount(code[row], minlength=len(known)) for row in rows]
            for code, rows in zip(codes, drawn, strict=True)
        ]
    )


def _shares(counts: np.ndarray) -> np.ndarray:
    return counts / np.maximum(counts.sum(axis=-1, keepdims=True), 1)


def _kind(one: Target | FaceRecord) -> tuple[str, Gender | None, int | None, int | None]:
    """Return disease, gender, decade of age and group of skin tones; None where unknown."""
    decade = None if one.age is None else int(one.age // 10)
    group = next((i for i, (low, high) in enumerate(TONE_GROUPS) if low <= (one.skin_tone or 0) <= high), None)
    return one.disease or "", one.gender, decade, group


def _by_kind(target: Target) -> tuple[float, ...]:
    _, _, decade, group = _kind(target)
    return tuple(-1.0 if value is None else float(value) for value in (decade, group, target.age, target.skin_tone))
