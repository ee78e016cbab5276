"""What the page lets people take away: the ranking, every method's scores and its fairness, as CSV and as JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from benchmark.board import Board
from benchmark.config import BenchmarkConfig
from benchmark.fairness import Fairness, Grouping
from benchmark.metrics import definitions_of
from benchmark.statistics import Standing
from mema.groups import LEAST_PEOPLE
from mema.result import Interval, Result


def ranking_csv(results: Sequence[Result], standings: Sequence[Standing], config: BenchmarkConfig) -> str:
    """Return a line per method: rank, its interval, tie group, and every metric with its interval."""
    names = [definition.name for definition in definitions_of(config) if definition.whole]
    head = ["method", "revision", "rank", "rank_low", "rank_high", "group", "failures"]
    rows: list[list[object]] = [[*head, *(f"{name}{end}" for name in names for end in ("", "_low", "_high"))]]
    for result, standing in zip(results, standings, strict=True):
        numbers = [number for name in names for number in _with_ends(result, name)]
        place = [standing.rank, standing.rank_low, standing.rank_high, standing.group]
        rows.append([result.method.name, result.method.revision, *place, len(result.failures), *numbers])
    return _csv(rows)


def ranking_json(results: Sequence[Result], standings: Sequence[Standing]) -> str:
    """Return the same as a JSON document, with the release and the protocol."""
    methods = [
        {
            "method": result.method.model_dump(mode="json"),
            "standing": standing._asdict(),
            "failures": len(result.failures),
            "metrics": [metric.model_dump(mode="json") for metric in result.metrics],
        }
        for result, standing in zip(results, standings, strict=True)
    ]
    head = {"release": results[0].release.model_dump(), "protocol": results[0].protocol.model_dump()}
    return json.dumps({**head, "methods": methods}, indent=1, sort_keys=True) + "\n"


def scores_csv(result: Result, board: Board) -> str:
    """Return a line per image: its ids, disease, why it failed if it did, and its scores."""
    reasons = {failure.image_id: failure.reason for failure in result.failures}
    names = sorted(result.scores)
    rows: list[list[object]] = [["image_id", "subject_id", "disease", "failure", *names]]
    for i, image_id in enumerate(result.image_ids):
        scores = [result.scores[name][i] for name in names]
        rows.append([image_id, result.subject_ids[i], board.diseases[i], reasons.get(image_id, ""), *scores])
    return _csv(rows)


def groups_csv(fairness: Fairness) -> str:
    """Return a line per method, score and group of people: its mean and how much more that is than the others'."""
    ends = ("value", "low", "high", "against_rest", "against_rest_low", "against_rest_high")
    rows: list[list[object]] = [["method", "score", "attributes", "group", "images", "people", *ends]]
    for method, score, grouping in _groupings(fairness):
        for one in grouping.groups:
            own = [one.value, one.interval.low, one.interval.high]
            rest = one.against_rest or (None, None, None)
            rows.append([method, score, grouping.title, one.group, one.images, one.people, *own, *rest])
    return _csv(rows)


def gaps_csv(fairness: Fairness) -> str:
    """Return a line per method, score and grouping of people: its gap, if it has one, and who is not in it."""
    head = ["method", "score", "attributes", "worst", "best", "gap", "low", "high", "by_chance", "p_value"]
    rows: list[list[object]] = [[*head, "groups_too_small", "images_unstated"]]
    for method, score, grouping in _groupings(fairness):
        gap: list[object] = [None] * 7
        if one := grouping.gap:
            gap = [one.worst, one.best, one.value, one.interval.low, one.interval.high, one.by_chance, one.p_value]
        rows.append([method, score, grouping.title, *gap, grouping.small, grouping.unstated])
    return _csv(rows)


def fairness_json(fairness: Fairness) -> str:
    """Return both as a JSON document."""
    lines = [
        {
            "method": method,
            "score": score,
            "attributes": grouping.attributes,
            "groups": [_plain(one) for one in grouping.groups],
            "groups_too_small": grouping.small,
            "images_unstated": grouping.unstated,
            "gap": _plain(grouping.gap),
        }
        for method, score, grouping in _groupings(fairness)
    ]
    return json.dumps({"least_people": LEAST_PEOPLE, "groupings": lines}, indent=1, sort_keys=True) + "\n"


def _plain(value: Any) -> Any:
    """Return a named tuple that holds others, or an interval, as JSON values."""
    if isinstance(value, Interval):
        return value.model_dump()
    if hasattr(value, "_asdict"):
        return {key: _plain(inner) for key, inner in value._asdict().items()}
    return value


def _groupings(fairness: Fairness) -> Iterator[tuple[str, str, Grouping]]:
    for method, scores in fairness.items():
        for score, groupings in scores.items():
            for grouping in groupings:
                yield method, score, grouping


def _with_ends(result: Result, name: str) -> list[float | None]:
    metric = next((metric for metric in result.metrics if metric.name == name), None)
    if metric is None:
        return [None, None, None]
    ends = [metric.interval.low, metric.interval.high] if metric.interval else [None, None]
    return [metric.value, *ends]


def _csv(rows: Iterable[Sequence[object]]) -> str:
    sink = io.StringIO()
    csv.writer(sink, lineterminator="\n").writerows([_cell(value) for value in row] for row in rows)
    return sink.getvalue()


def _cell(value: object) -> object:
    """Return a text so that no spreadsheet takes it for a formula."""
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value
