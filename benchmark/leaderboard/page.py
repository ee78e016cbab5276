"""The pages as text: results in; the ranking, a page for each method and their downloads out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from markupsafe import Markup

from benchmark.board import RANKED_BY, Board
from benchmark.fairness import SHUFFLES, Fairness, fairness_of
from benchmark.leaderboard.cases import disease_rows, failure_groups, given_away, spoilt
from benchmark.leaderboard.distribution import panels
from benchmark.leaderboard.downloads import (
    fairness_json,
    gaps_csv,
    groups_csv,
    ranking_csv,
    ranking_json,
    scores_csv,
)
from benchmark.leaderboard.examples import Examples, Pair
from benchmark.leaderboard.people import gap_table, people_tables, points
from benchmark.leaderboard.plot import Value, make_plot
from benchmark.leaderboard.readers import reader_table
from benchmark.leaderboard.views import ATTACKS, columns_of, diseases_of, distance, interval, share, span, views_of
from benchmark.metrics import definitions_of
from benchmark.names import NAME
from benchmark.statistics import PROFILES, Standing, standings, standings_by_profile
from mema.groups import LEAST_PEOPLE
from mema.pages import content_policy, environment, style_of
from mema.result import Attack, Metric, Result
from mema.taxonomy import load_taxonomy

FOLDER = Path(__file__).parent
INDEX = "index.html"

# name of a method -> image id -> the original and what the method made of it, as far as they are on this machine.
Pictures = Mapping[str, Mapping[str, Pair]]


class Row(NamedTuple):
    """A method's line of the ranking; ``stem`` names its page and downloads."""

    result: Result
    standing: Standing
    stem: str

    @property
    def rank_interval(self) -> str:
        """The rank's interval as it is shown."""
        return span(self.standing.rank_low, self.standing.rank_high)


class Profile(NamedTuple):
    """What somebody may want: its weights of scores, and where each method, by name, stands under it."""

    name: str
    weights: Mapping[str, float]
    standings: Mapping[str, Standing]


def render_pages(
    results: Sequence[Result], board: Board, examples: Examples | None = None, pictures: Pictures | None = None
) -> dict[str, str]:
    """Return the files of the leaderboard, name -> text; results must be comparable and hold against ``board``."""
    order = standings(results, RANKED_BY, draws=board.config.bootstrap_draws, seed=board.config.seed)
    by_name = {result.method.name: result for result in results}
    rows = [Row(by_name[standing.method], standing, stem_of(standing.method)) for standing in order]
    ranked = [row.result for row in rows]
    fairness = fairness_of(ranked, board)
    files = {
        INDEX: _ranking(rows, board, fairness, examples),
        "ranking.csv": ranking_csv(ranked, order, board.config),
        "ranking.json": ranking_json(ranked, order),
        "fairness-groups.csv": groups_csv(fairness),
        "fairness-gaps.csv": gaps_csv(fairness),
        "fairness.json": fairness_json(fairness),
    }
    for row in rows:
        name = row.result.method.name
        files[f"methods/{row.stem}.html"] = _method(row, rows, board, fairness, (pictures or {}).get(name, {}))
        files[f"methods/{row.stem}.csv"] = scores_csv(row.result, board)
        files[f"methods/{row.stem}.json"] = row.result.model_dump_json(indent=1) + "\n"
    return files


def stem_of(name: str) -> str:
    """Return the stem of a method's files: its name or, where that cannot be a file's, a hash of it."""
    return name if NAME.fullmatch(name) else sha256(name.encode()).hexdigest()[:16]


def _ranking(rows: Sequence[Row], board: Board, fairness: Fairness, examples: Examples | None) -> str:
    ranked = [row.result for row in rows]
    naming = disease_naming(board)
    columns = columns_of(ranked, naming, board.config)
    views = views_of(columns, board.config)
    return _page(
        "ranking.html",
        board,
        script=(FOLDER / "ranking.js").read_text(encoding="utf-8"),
        rows=rows,
        columns=columns,
        views=views,
        metrics=definitions_of(board.config),
        plot=make_plot([_value(result) for result in ranked]),
        diseases=diseases_of(ranked),
        examples=examples,
        profiles=_profiles(ranked, board),
        attacks=ranked[0].attacks,
        gaps=gap_table(fairness),
    )


def _method(row: Row, rows: Sequence[Row], board: Board, fairness: Fairness, pictures: Mapping[str, Pair]) -> str:
    result = row.result
    columns = columns_of([other.result for other in rows], disease_naming(board), board.config)
    place = [other.stem for other in rows].index(row.stem)
    thresholds = {name: threshold.distance for name, threshold in board.thresholds.items()}
    return _page(
        "method.html",
        board,
        script=None,
        row=row,
        result=result,
        count=len(rows),
        whole=[(column, column.cells[place]) for column in columns if not {".", "/"} & set(column.key)],
        # Attackers have a table of their own.
        parts=[
            (column, column.cells[place])
            for column in columns
            if "." in column.key and not column.key.startswith(tuple(f"{kind}." for kind in ATTACKS))
        ],
        best={
            column.key: [other for other, cell in zip(rows, column.cells, strict=True) if cell.best]
            for column in columns
        },
        plot=make_plot([_value(other.result) for other in rows]),
        panels=panels(result.scores, thresholds),
        diseases=disease_rows(result, board),
        failures=failure_groups(result),
        attacks=_attacks(result),
        given_away=given_away(result, board),
        spoilt=spoilt(result, board),
        pictures=pictures,
        people=people_tables(fairness[result.method.name]),
        readers=reader_table(result, board),
    )


def _profiles(results: Sequence[Result], board: Board) -> list[Profile]:
    by_profile = standings_by_profile(results, draws=board.config.bootstrap_draws, seed=board.config.seed)
    return [
        Profile(name, PROFILES[name], {standing.method: standing for standing in order})
        for name, order in by_profile.items()
    ]


def _attacks(result: Result) -> list[tuple[Attack, Metric | None]]:
    """Return each attacker with what it traced of the method, None where it traced nothing."""
    metrics = {metric.name: metric for metric in result.metrics}
    return [
        (
            attack,
            next((metrics[f"{kind}.{attack.name}"] for kind in ATTACKS if f"{kind}.{attack.name}" in metrics), None),
        )
        for attack in result.attacks
    ]


def _page(template: str, board: Board, *, script: str | None, **values: Any) -> str:
    """Render a template with what all pages share."""
    style = style_of(FOLDER / "page.css")
    return (
        environment(FOLDER, html=True)
        .get_template(template)
        .render(
            policy=content_policy(style, script),
            style=Markup(style),
            script=Markup(script or ""),
            board=board,
            disease_name=disease_naming(board),
            share=share,
            distance=distance,
            interval=interval,
            span=span,
            shade=_shade,
            points=points,
            least_people=LEAST_PEOPLE,
            shuffles=SHUFFLES,
            **values,
        )
    )


def disease_naming(board: Board) -> Callable[[str], str]:
    """Return what gives a disease's name for its code, and the code itself where the clinic has none."""
    names = {disease.code: disease.name for disease in load_taxonomy(board.clinic).diseases}
    return lambda code: names.get(code, code)


def _shade(value: float) -> int:
    """Return the shade 0 to 5 of a share's cell."""
    return round(5 * min(max(value, 0.0), 1.0))


def _value(result: Result) -> Value:
    privacy, utility = result.metric("privacy"), result.metric("utility")
    return Value(result.method.name, privacy.value, privacy.interval, utility.value, utility.interval)
