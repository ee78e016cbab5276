"""How a method's ID-Dis spread over the images, one recogniser a panel; the template draws it as SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

WIDTH, HEIGHT = 420, 150
LEFT, RIGHT, TOP, BOTTOM = 34, 10, 12, 40
BINS = 30
# Unit vectors lie at most 2 apart.
LONGEST = 2.0


class Bar(NamedTuple):
    """A rectangle in pixels; ``accepted`` when its images are nearer than the verification threshold."""

    x: float
    y: float
    width: float
    height: float
    accepted: bool


class Panel(NamedTuple):
    """A recogniser's histogram: bars, the threshold's place, ticks as (place, text), the tallest bar's number."""

    recogniser: str
    width: int
    height: int
    left: int
    right: int
    bottom: int
    top: int
    bars: list[Bar]
    threshold: float
    ticks: list[tuple[float, str]]
    tallest: int


def panels(scores: Mapping[str, Sequence[float | None]], thresholds: Mapping[str, float]) -> list[Panel]:
    """Return a panel for each recogniser of ``thresholds`` that ``scores`` holds distances of."""
    names = [name for name in thresholds if f"identity_distance.{name}" in scores]
    return [_panel(name, np.asarray(scores[f"identity_distance.{name}"], float), thresholds[name]) for name in names]


def _panel(recogniser: str, distances: np.ndarray, threshold: float) -> Panel:
    counts, edges = np.histogram(distances, bins=BINS, range=(0.0, LONGEST))
    tallest = max(int(counts.max()), 1)
    drawn = HEIGHT - TOP - BOTTOM
    bars = [
        Bar(
            x=round(_x(low) + 0.5, 1),
            y=round(TOP + drawn * (1 - count / tallest), 1),
            width=round(_x(high) - _x(low) - 1, 1),
            height=round(drawn * count / tallest, 1),
            accepted=bool((low + high) / 2 < threshold),
        )
        for count, low, high in zip(counts.tolist(), edges, edges[1:], strict=False)
        if count
    ]
    ticks = [(_x(value), f"{value:g}") for value in (0.0, 0.5, 1.0, 1.5, 2.0)]
    return Panel(
        recogniser, WIDTH, HEIGHT, LEFT, WIDTH - RIGHT, HEIGHT - BOTTOM, TOP, bars, _x(threshold), ticks, tallest
    )


def _x(distance: float) -> float:
    return round(LEFT + (WIDTH - LEFT - RIGHT) * min(distance, LONGEST) / LONGEST, 1)
