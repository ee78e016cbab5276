"""The columns of the ranking and the choices of them: the paper's tables as views of one table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from benchmark.config import BenchmarkConfig
from benchmark.definition import Definition
from benchmark.metrics import METRICS, definitions_of
from benchmark.tracks.protocol import TRACKS
from mema.result import Interval, Result

# The metrics whose parts are attackers: those that count in the worst case, and those beside it.
ATTACKS = ("attack", "aside")
# What the overview leaves to its own view.
FURTHER = ("shortcut", "verification_strict")


class Cell(NamedTuple):
    """A number as it is shown and as it is sorted; ``value`` is None where the result has no such number."""

    value: float | None
    text: str
    interval: str
    best: bool


class Column(NamedTuple):
    """A column of the ranking, one cell per method in the order of the results it was made from."""

    key: str
    title: str
    unit: str
    higher_is_better: bool
    cells: list[Cell]


class View(NamedTuple):
    """A choice of columns by their keys; ``title`` says what it shows, ``table`` which table of MeMa shows the same."""

    title: str
    table: str
    keys: list[str]


def columns_of(results: Sequence[Result], disease_name: Callable[[str], str], config: BenchmarkConfig) -> list[Column]:
    """Return a column for each metric, then for each part of one, then for top-1 of each disease."""
    definitions = definitions_of(config)
    there = {metric.name for result in results for metric in result.metrics}
    whole = [definition for definition in definitions if definition.whole and definition.name in there]
    columns = [_column(definition.name, definition.title, definition, results) for definition in whole]
    titles = {attack.name: attack.title for result in results for attack in result.attacks}
    by_name = {definition.name: definition for definition in definitions}
    for name in sorted(name for name in there if "." in name):
        kind, _, part = name.partition(".")
        title = titles.get(part, part) if kind in ATTACKS else f"{by_name[kind].title} {part}"
        columns.append(_column(name, title[:1].upper() + title[1:], by_name[kind], results))
    top1 = by_name["disease_top1"]
    for disease in diseases_of(results):
        values = [result.metric("disease_top1").per_class.get(disease) for result in results]
        columns.append(_filled(f"disease_top1/{disease}", disease_name(disease), top1, values, [None] * len(values)))
    return columns


def views_of(columns: Sequence[Column], config: BenchmarkConfig) -> list[View]:
    """Return the views of ``columns``, one for each track in force; the first is what the page opens with."""

    def keys(*kinds: str, between: str = "") -> list[str]:
        starts = tuple(f"{kind}{between}" for kind in kinds)
        return [column.key for column in columns if column.key in kinds or (between and column.key.startswith(starts))]

    tracks = [TRACKS.load(name) for name in config.tracks]
    views = [
        View("Overview", "", keys(*(definition.name for definition in METRICS if definition.name not in FURTHER))),
        View("Attackers", "", keys("privacy", *ATTACKS, between=".")),
        View("Disease", "Table 3", keys("disease_top1", between="/")),
        View("Shortcuts", "", keys("disease_top1", "shortcut", between=".")),
        View("Identity distance", "Table 5", keys("identity_distance", between=".")),
        View("Matching", "Table 6", keys("identification", "verification", "verification_strict", between=".")),
        *(
            View(track.title, track.table, [key for one in track.definitions for key in keys(one.name, between=".")])
            for track in tracks
        ),
    ]
    # A track may have had nothing to measure, such as lesions in a release without masks.
    return [view for view in views if view.keys]


def diseases_of(results: Sequence[Result]) -> list[str]:
    """Return the diseases of which any result gives a top-1, in alphabetical order."""
    return sorted({disease for result in results for disease in result.metric("disease_top1").per_class})


def share(value: float) -> str:
    """Return a share in percent without the sign, which the column's head carries."""
    return f"{100 * value:.1f}"


def distance(value: float) -> str:
    """Return a distance as the page shows it."""
    return f"{value:.2f}"


def interval(ends: Interval | None, show: Callable[[float], str]) -> str:
    """Return the ends of an interval as ``low–high``, or nothing where there is none."""
    return span(show(ends.low), show(ends.high)) if ends else ""


def span(low: object, high: object) -> str:
    """Return ``low–high``, ``low to high`` where a sign would meet the dash, or one of them where they are equal."""
    return f"{low}" if low == high else f"{low} to {high}" if f"{low}"[:1] in "+-" else f"{low}–{high}"


def _column(name: str, title: str, definition: Definition, results: Sequence[Result]) -> Column:
    metrics = [next((metric for metric in result.metrics if metric.name == name), None) for result in results]
    values = [metric.value if metric else None for metric in metrics]
    return _filled(name, title, definition, values, [metric.interval if metric else None for metric in metrics])


def _filled(
    key: str,
    title: str,
    definition: Definition,
    values: Sequence[float | None],
    intervals: Sequence[Interval | None],
) -> Column:
    """Return a column; where its values differ as shown the best is marked, ties included."""
    show = share if definition.share else distance
    there = [value for value in values if value is not None]
    best = show((max if definition.higher_is_better else min)(there)) if there else ""
    differ = len({show(value) for value in there}) > 1
    cells = [
        Cell(
            value=value,
            text="–" if value is None else show(value),
            interval=interval(ends, show),
            best=differ and value is not None and show(value) == best,
        )
        for value, ends in zip(values, intervals, strict=True)
    ]
    return Column(key, title, "% " if definition.share else "", definition.higher_is_better, cells)
