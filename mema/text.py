"""Results as lines of text: aligned columns, numbers with their intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

ABSENT = "–"


def percent(estimate: Mapping[str, float] | None, digits: int = 1) -> str:
    """Return ``71.8 [63.6, 78.8]`` for a share of 0.718 with its interval; ``–`` for None."""
    return number(estimate and {key: 100 * estimate[key] for key in ("value", "low", "high")}, digits)


def number(estimate: Mapping[str, float] | None, digits: int = 3) -> str:
    """Return ``1.234 [1.100, 1.300]``, without brackets for an exact number; ``–`` for None."""
    if estimate is None:
        return ABSENT
    value, low, high = (f"{estimate[key]:.{digits}f}" for key in ("value", "low", "high"))
    return value if estimate["low"] == estimate["high"] else f"{value} [{low}, {high}]"


def grid(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return one line a row, cells padded to the widest of their column; a row of one cell is a heading."""
    columns = zip(*(row for row in rows if len(row) > 1), strict=True)
    widths = [max(map(len, column)) for column in columns]
    return ["  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=False)).rstrip() for row in rows]


def verdicts(shows: Mapping[str, bool]) -> list[str]:
    """Return a line for each claim, beginning with yes or NO."""
    return [f"{'yes' if holds else 'NO ':3}  {claim}" for claim, holds in shows.items()]
