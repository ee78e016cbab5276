"""Where things lie in the privacy-utility plot; the template draws them as SVG."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from mema.result import Interval

WIDTH, HEIGHT = 530, 400
# The right margin is for the labels of methods that protect well.
LEFT, RIGHT, TOP, BOTTOM = 66, 108, 18, 56
LABEL_LENGTH = 22
# Mean advance and height of a letter at the largest size the style gives labels (a phone), to keep them apart.
LETTER_WIDTH, LETTER_HEIGHT = 8.6, 16
RADIUS = 6
# A label that lies further up or down from its marker than this is tied to it by a line.
FAR = 26

Box = tuple[float, float, float, float]


class Value(NamedTuple):
    """A method's place: shares in [0, 1] with their intervals."""

    name: str
    privacy: float
    privacy_interval: Interval | None
    utility: float
    utility_interval: Interval | None


class Point(NamedTuple):
    """A method in the plot's pixels: marker, whisker ends (low, high), label, and whether none dominates it.

    ``leader`` is where the line from the marker to its label ends, if the label had to go far.
    """

    name: str
    label: str
    x: float
    y: float
    whisker_x: tuple[float, float] | None
    whisker_y: tuple[float, float] | None
    label_x: float
    label_y: float
    anchor: str
    leader: tuple[float, float] | None
    best: bool


class Tick(NamedTuple):
    """A grid line at ``position`` pixels with its text."""

    position: float
    text: str


class Plot(NamedTuple):
    """Everything the template draws."""

    width: int
    height: int
    left: int
    right: int
    top: int
    bottom: int
    points: list[Point]
    x_ticks: list[Tick]
    y_ticks: list[Tick]


def x_of(share: float) -> float:
    """Return the pixel of a privacy in [0, 1]."""
    return round(LEFT + share * (WIDTH - LEFT - RIGHT), 1)


def y_of(share: float) -> float:
    """Return the pixel of a utility in [0, 1]."""
    return round(HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM), 1)


def make_plot(values: Sequence[Value]) -> Plot:
    """Place markers, whiskers and labels so that labels do not cover each other or a marker where that can be."""
    markers = [(x_of(value.privacy), y_of(value.utility)) for value in values]
    taken: list[Box] = [(x - RADIUS, y - RADIUS, x + RADIUS, y + RADIUS) for x, y in markers]
    taken += [box for value, marker in zip(values, markers, strict=True) for box in _whisker_boxes(value, *marker)]
    points = []
    for value, (x, y) in zip(values, markers, strict=True):
        label = value.name if len(value.name) <= LABEL_LENGTH else value.name[: LABEL_LENGTH - 1] + "…"
        label_x, label_y, anchor, box = _label(label, x, y, taken)
        taken.append(box)
        points.append(
            Point(
                name=value.name,
                label=label,
                x=x,
                y=y,
                whisker_x=_ends(value.privacy_interval, x_of),
                whisker_y=_ends(value.utility_interval, y_of),
                label_x=label_x,
                label_y=label_y,
                anchor=anchor,
                leader=(label_x, label_y - LETTER_HEIGHT / 3) if abs(label_y - y) > FAR else None,
                best=not any(_dominates(other, value) for other in values),
            )
        )
    shares = [0.0, 0.25, 0.5, 0.75, 1.0]
    return Plot(
        WIDTH,
        HEIGHT,
        LEFT,
        WIDTH - RIGHT,
        TOP,
        HEIGHT - BOTTOM,
        points,
        [Tick(x_of(share), f"{share:.0%}") for share in shares],
        [Tick(y_of(share), f"{share:.0%}") for share in shares],
    )


def _dominates(a: Value, b: Value) -> bool:
    """Whether ``a`` is at least as good as ``b`` in both and better in one."""
    return a.privacy >= b.privacy and a.utility >= b.utility and (a.privacy, a.utility) != (b.privacy, b.utility)


def _ends(interval: Interval | None, scale: Callable[[float], float]) -> tuple[float, float] | None:
    return (scale(interval.low), scale(interval.high)) if interval else None


def _whisker_boxes(value: Value, x: float, y: float) -> list[Box]:
    across, along = _ends(value.privacy_interval, x_of), _ends(value.utility_interval, y_of)
    boxes = [(across[0], y - 2, across[1], y + 2)] if across else []
    return boxes + ([(x - 2, along[1], x + 2, along[0])] if along else [])


def _label(text: str, x: float, y: float, taken: Sequence[Box]) -> tuple[float, float, str, Box]:
    """Return x, baseline y, text-anchor and box of a label near (x, y): the first place that covers least."""
    width, gap = len(text) * LETTER_WIDTH, RADIUS + 5
    places = []
    for dy in (5, -7, 17, -24, 34, -41, 51, *(way * distance for distance in range(58, 330, 17) for way in (-1, 1))):
        places += [(x + gap, y + dy, "start"), (x - gap, y + dy, "end")]
    best = None
    for label_x, label_y, anchor in places:
        left = label_x if anchor == "start" else label_x - width
        box = (left, label_y - LETTER_HEIGHT + 3, left + width, label_y + 3)
        outside = left < LEFT or box[2] > WIDTH or box[1] < 0 or box[3] > HEIGHT - BOTTOM
        cost = 10_000 * outside + 2 * abs(label_y - y) + 4 * sum(_overlap(box, other) for other in taken)
        if best is None or cost < best[0]:
            best = (cost, (label_x, label_y, anchor, box))
    assert best is not None
    return best[1]


def _overlap(a: Box, b: Box) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    return max(0.0, width) * max(0.0, height)
