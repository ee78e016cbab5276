"""What the pages show of fairness: the gaps of utility and privacy between groups of people; the downloads hold all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from benchmark.fairness import Fairness, Gap, Grouping, GroupScore
from benchmark.statistics import LEVEL

SCORES = ("utility", "privacy")
CROSSINGS = "crossings"
# Equal means summed in another order may differ in the last bits.
EQUAL = 1e-9


class GapCell(NamedTuple):
    """A gap, and its worst group if there is one; ``clear`` when chance and the mix of diseases do not explain it."""

    gap: Gap | None
    worst: str
    clear: bool


class GapTable(NamedTuple):
    """The gaps of all methods: ``heads`` name the groupings, ``rows[method][score]`` has a cell for each of them."""

    heads: list[str]
    rows: dict[str, dict[str, list[GapCell]]]


class PeopleRow(NamedTuple):
    """A group of people with its scores, in the order of ``SCORES``."""

    group: str
    people: int
    scores: list[GroupScore]


class PeopleTable(NamedTuple):
    """One grouping of a method's people: its gaps, in the order of ``SCORES``, and its groups."""

    title: str
    crossed: bool
    gaps: list[GapCell]
    rows: list[PeopleRow]
    small: int
    unstated: int


def gap_table(fairness: Fairness) -> GapTable | None:
    """Return the gaps by each attribute and the clearest of the crossings; None where no two groups can be compared."""
    cells = {
        method: {score: _cells(told[score]) for score in SCORES if score in told} for method, told in fairness.items()
    }
    heads = list(dict.fromkeys(head for scores in cells.values() for row in scores.values() for head in row))
    if not heads:
        return None
    none = GapCell(None, "", clear=False)
    rows = {
        method: {score: [row.get(head, none) for head in heads] for score, row in scores.items()}
        for method, scores in cells.items()
    }
    return GapTable(heads, rows)


def people_tables(scores: dict[str, list[Grouping]]) -> list[PeopleTable]:
    """Return a table for each grouping of a method's people that has groups to show, or some too small."""
    return [
        PeopleTable(
            title=together[0].title,
            crossed=len(together[0].attributes) > 1,
            gaps=[_cell(grouping) for grouping in together],
            rows=[
                PeopleRow(one[0].group, one[0].people, list(one))
                for one in zip(*(g.groups for g in together), strict=True)
            ],
            small=together[0].small,
            unstated=together[0].unstated,
        )
        for together in zip(*(scores.get(score, []) for score in SCORES), strict=True)
    ]


def points(value: float) -> str:
    """Return a difference of shares in percentage points, with its sign."""
    return f"{100 * value:+.1f}"


def _cells(groupings: Sequence[Grouping]) -> dict[str, GapCell]:
    there = [grouping for grouping in groupings if grouping.gap]
    cells = {grouping.title: _cell(grouping) for grouping in there if len(grouping.attributes) == 1}
    crossed = [grouping for grouping in there if len(grouping.attributes) > 1]
    if crossed:
        cells[CROSSINGS] = _cell(min(crossed, key=lambda grouping: _clearness(grouping.gap)))
    return cells


def _cell(grouping: Grouping) -> GapCell:
    gap = grouping.gap
    return GapCell(
        gap, gap.worst if gap and gap.value > EQUAL else "", clear=gap is not None and gap.p_value < 1 - LEVEL
    )


def _clearness(gap: Gap | None) -> tuple[float, float]:
    return (gap.p_value, gap.by_chance - gap.value) if gap else (1.0, 0.0)
