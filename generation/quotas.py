"""How many images of which patient-like target: quotas instead of luck (MeMa, Section 3, Step 2; Table 2).

A target is the disease, gender, age and skin tone of one cohort photo. Quotas of disease and of disease x gender come
by largest remainder; within such a cell the ages are read off the cell's own distribution at evenly spaced quantiles.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from typing import NamedTuple, TypeVar

import numpy as np

from mema.records import FaceRecord, Gender
from mema.statistics import total_variation, wasserstein_age

PHASES = 16

Key = TypeVar("Key", bound=Hashable)


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


def rounded_table(table: Mapping[tuple[str, Gender | None], float], count: int) -> dict[tuple[str, Gender | None], int]:
    """Scale a disease x gender table to the sum ``count`` in whole numbers, both margins by largest remainder.

    Rows are rounded on their own first; then single units move between two genders of a row, where that costs least,
    until the gender margin holds too.
    """
    diseases, genders = list(dict.fromkeys(d for d, _ in table)), list(dict.fromkeys(g for _, g in table))
    rows = largest_remainder({d: sum(table.get((d, g), 0) for g in genders) for d in diseases}, count)
    columns = largest_remainder({g: sum(table.get((d, g), 0) for d in diseases) for g in genders}, count)
    cells: dict[tuple[str, Gender | None], int] = {}
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

    Where on its grid of quantiles a cell begins is chosen, cell after cell, so that the ages of all targets together
    come closest to the cohort's.
    """
    cells: dict[tuple[str, Gender | None], list[Target]] = {}
    for record in records:
        target = Target(record.disease or "", record.gender, record.age, record.skin_tone)
        cells.setdefault((target.disease, target.gender), []).append(target)
    cells = {
        cell: sorted(cells[cell], key=_by_age) for cell in sorted(cells, key=lambda cell: (cell[0], cell[1] or ""))
    }
    quotas = rounded_table({cell: len(targets) for cell, targets in cells.items()}, count)

    ages = [record.age for record in records if record.age is not None]
    phases = dict.fromkeys(quotas, 0.5)
    # Two rounds: the first places each cell against neighbours at their middle phase, the second mends.
    for _ in range(2 if ages else 0):
        for cell in quotas:
            errors = {}
            for phase in (np.arange(PHASES) + 0.5) / PHASES:
                drawn = _drawn(cells, quotas, {**phases, cell: float(phase)})
                errors[float(phase)] = wasserstein_age(_known_ages(drawn), ages)
            phases[cell] = min(errors, key=lambda phase: (round(errors[phase], 9), abs(phase - 0.5)))
    return _drawn(cells, quotas, phases)


def distances(a: Sequence[Target] | Sequence[FaceRecord], b: Sequence[Target] | Sequence[FaceRecord]) -> Distances:
    """Return how far two collections lie apart in disease, age and gender (our reading of MeMa Table 2)."""

    def categories(name: str) -> float | None:
        counts = [Counter(value for one in side if (value := getattr(one, name)) is not None) for side in (a, b)]
        return total_variation(*counts) if all(counts) else None

    ages = [[one.age for one in side if one.age is not None] for side in (a, b)]
    return Distances(categories("disease"), wasserstein_age(*ages) if all(ages) else None, categories("gender"))


def _drawn(
    cells: Mapping[tuple[str, Gender | None], Sequence[Target]],
    quotas: Mapping[tuple[str, Gender | None], int],
    phases: Mapping[tuple[str, Gender | None], float],
) -> list[Target]:
    return [
        cells[cell][int((i + phases[cell]) / quota * len(cells[cell]))]
        for cell, quota in quotas.items()
        for i in range(quota)
    ]


def _known_ages(targets: Sequence[Target]) -> list[float]:
    return [target.age for target in targets if target.age is not None] or [0.0]


def _by_age(target: Target) -> tuple[float, int]:
    return (-1.0 if target.age is None else target.age, target.skin_tone or 0)
