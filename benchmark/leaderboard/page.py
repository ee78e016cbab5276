"""The page as text: results in, one HTML file out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from markupsafe import Markup

from benchmark.leaderboard.examples import Examples
from benchmark.leaderboard.plot import Value, make_plot
from benchmark.leaderboard.submissions import check_numbers
from benchmark.metrics import METRICS, Definition
from benchmark.statistics import Standing, check_comparable, standings
from mema.pages import content_policy, environment, style_of
from mema.result import Interval, Result

FOLDER = Path(__file__).parent
RANKED_BY = "balanced"


class Subject(NamedTuple):
    """What the page says of the release: whether faces are phantoms and labels a machine's, and disease names."""

    phantom: bool
    machine_annotated: bool
    disease_name: Callable[[str], str]


class Cell(NamedTuple):
    """A number of the table as it is shown and as it is sorted."""

    value: float
    text: str
    interval: str
    best: bool


class Row(NamedTuple):
    """A method's line of the table."""

    result: Result
    standing: Standing
    rank_interval: str
    cells: list[Cell]


def render_page(
    results: Sequence[Result], subject: Subject, examples: Examples | None, *, draws: int, seed: int
) -> str:
    """Return the page; UserError when the results cannot be compared or their numbers do not hold."""
    check_comparable(results)
    for result in results:
        check_numbers(result)
    order = standings(results, RANKED_BY, draws=draws, seed=seed)
    by_name = {result.method.name: result for result in results}
    ranked = [by_name[standing.method] for standing in order]
    style, script = style_of(FOLDER / "page.css"), (FOLDER / "page.js").read_text(encoding="utf-8")
    template = environment(FOLDER, html=True).get_template("page.html")
    return template.render(
        policy=content_policy(style, script),
        style=Markup(style),
        script=Markup(script),
        first=ranked[0],
        rows=_rows(ranked, order),
        metrics=METRICS,
        ranked_by=RANKED_BY,
        plot=make_plot([_value(result) for result in ranked]),
        diseases=_diseases(ranked),
        subject=subject,
        examples=examples,
        share=_share,
        shade=_shade,
        recognisers=_recognisers(ranked[0]),
    )


def _rows(results: Sequence[Result], order: Sequence[Standing]) -> list[Row]:
    columns = [_cells(definition, results) for definition in METRICS]
    return [
        Row(result, standing, _span(standing.rank_low, standing.rank_high), list(cells))
        for result, standing, *cells in zip(results, order, *columns, strict=True)
    ]


def _cells(definition: Definition, results: Sequence[Result]) -> list[Cell]:
    """Return one metric's column; where they differ the best is marked, ties included."""
    metrics = [result.metric(definition.name) for result in results]
    show = _share if definition.share else _distance
    values = {metric.value for metric in metrics}
    best = show((max if definition.higher_is_better else min)(values))
    differ = len({show(value) for value in values}) > 1
    return [
        Cell(
            value=metric.value,
            text=show(metric.value),
            interval=_interval(metric.interval, show),
            best=differ and show(metric.value) == best,
        )
        for metric in metrics
    ]


def _interval(interval: Interval | None, show: Callable[[float], str]) -> str:
    return _span(show(interval.low), show(interval.high)) if interval else ""


def _span(low: object, high: object) -> str:
    return f"{low}" if low == high else f"{low}–{high}"


def _share(value: float) -> str:
    """Return a share in percent without the sign, which the column's head carries."""
    return f"{100 * value:.1f}"


def _distance(value: float) -> str:
    return f"{value:.2f}"


def _shade(value: float) -> int:
    """Return the shade 0 to 5 of a share's cell."""
    return round(5 * min(max(value, 0.0), 1.0))


def _value(result: Result) -> Value:
    privacy, utility = result.metric("privacy"), result.metric("utility")
    return Value(result.method.name, privacy.value, privacy.interval, utility.value, utility.interval)


def _diseases(results: Sequence[Result]) -> list[str]:
    return sorted({disease for result in results for disease in result.metric("disease_top1").per_class})


def _recognisers(result: Result) -> list[str]:
    prefix = "identification."
    return [metric.name.removeprefix(prefix) for metric in result.metrics if metric.name.startswith(prefix)]
