"""A table of methods: the paper's numbers beside ours, and whether its own method is ahead here too."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from benchmark.config import BenchmarkConfig
from benchmark.judge import diseases_of
from benchmark.reproduce.columns import FLOORS, Column, columns_of, counterpart_of
from benchmark.statistics import check_comparable, interval_of
from mema.build import Build
from mema.claims import Claim
from mema.errors import UserError
from mema.files import git_hash, hardware
from mema.paper import OURS, paper
from mema.release import Release
from mema.result import Result
from mema.statistics import Estimate

# Its methods are the reversible ones alone.
RECOVERED = "table8"


class Measured(NamedTuple):
    """What a build has: ``results`` on one ``release``, and the disease of each image in their order."""

    release: Release
    results: list[Result]
    diseases: list[str]
    config: BenchmarkConfig


class Table(NamedTuple):
    """``cells`` has an estimate, or None, for each of our methods and of ``columns``, in our units."""

    name: str
    columns: tuple[Column, ...]
    cells: dict[str, list[Estimate | None]]
    claims: list[Claim]


def read_results(build: Build) -> Measured:
    """Read what ``mema benchmark run`` wrote for a build, in the order of its ``benchmark.methods``, others last.

    UserError when there is no result, or one is of another release, protocol or set of images.
    """
    config = build.section("benchmark", BenchmarkConfig)
    release = Release.open(build.release)
    found = {result.method.name: result for result in map(Result.load, sorted(build.benchmark.glob("*/result.json")))}
    if not found:
        raise UserError(f"{build.benchmark} holds no result: run 'mema benchmark run' first")
    results = [found[name] for name in dict.fromkeys([*config.methods, *found]) if name in found]
    for result in results:
        if result.release.digest != release.digest or result.protocol != config.protocol_reference():
            raise UserError(f"the result of '{result.method.name}' is of another release or protocol: run it again")
    check_comparable(results)
    return Measured(release, results, diseases_of(release.imageset("validation")), config)


def make_table(name: str, measured: Measured) -> Table:
    """Return one of ``benchmark.reproduce.columns.NAMES``."""
    columns = columns_of(name, measured.config.recognisers)
    if name == RECOVERED:
        measured = measured._replace(results=[one for one in measured.results if one.method.reversible])
    cells = {
        result.method.name: [estimate(result, column, measured) for column in columns] for result in measured.results
    }
    claims = [claim for result in measured.results if is_ours(result) for claim in claims_of(result, columns, measured)]
    if not claims:
        claims = [Claim(f"{OURS} is ahead", None, "no result of a method medsem-deid")]
    return Table(name, columns, cells, claims)


def is_ours(result: Result) -> bool:
    """Whether a result is the paper's own method's, or a variant's."""
    counterpart = counterpart_of(result.method.name)
    return counterpart is not None and counterpart.row == OURS


def estimate(result: Result, column: Column, measured: Measured) -> Estimate | None:
    """Return a metric with its 95 % interval over subjects, in our units; None where the result has none."""
    name, _, disease = column.metric.partition("/")
    if disease:
        rows = [row for row, code in enumerate(measured.diseases) if code == disease]
        return _mean(result, name, rows, measured.config)
    metric = next((metric for metric in result.metrics if metric.name == name), None)
    if metric is None:
        return None
    ends = metric.interval
    return Estimate(metric.value, ends.low if ends else metric.value, ends.high if ends else metric.value)


def claims_of(ours: Result, columns: Sequence[Column], measured: Measured) -> list[Claim]:
    """Return for each column that the paper has its own method best in whether ``ours`` is, before every rival.

    Then the same of top-1 among those alone who protect as well: whose worst attack is not certainly stronger.
    """
    rivals = [one for one in measured.results if not is_ours(one) and one.method.name not in FLOORS]
    claims = []
    for column in columns:
        if not column.claimed:
            continue
        asked = [one for one in rivals if not _family(one) & set(column.behind)]
        whom = f"every rival but {' and '.join(column.behind)}'s family" if column.behind else "every rival"
        claims.append(_ahead(ours, asked, column, whom, measured.config))
        if column.metric == "disease_top1":
            protecting = [one for one in asked if _protects_as_well(one, ours, measured.config)]
            claims.append(_ahead(ours, protecting, column, "every rival that protects as well", measured.config))
    return claims


def difference(first: Result, second: Result, metric: str, config: BenchmarkConfig) -> Estimate | None:
    """Return the mean of first - second over images that both have a score of, with its interval over subjects."""
    pairs = [
        (subject, one - other)
        for subject, one, other in zip(
            first.subject_ids, first.scores.get(metric, ()), second.scores.get(metric, ()), strict=False
        )
        if one is not None and other is not None
    ]
    if not pairs:
        return None
    subjects, gaps = zip(*pairs, strict=True)
    return _with_interval(np.array(gaps), subjects, config, share=False)


def population(release: Release) -> str:
    """Return in words who is shown."""
    return "rendered people, not patients" if release.phantom else "virtual patients"


def as_json(table: Table, measured: Measured) -> dict[str, Any]:
    """Return what the JSON holds."""
    release = measured.release
    return {
        "release": {"name": release.name, "version": release.version, "digest": release.digest},
        "population": population(release),
        "protocol": measured.results[0].protocol.model_dump(),
        "git_hash": git_hash(),
        "hardware": hardware(),
        "paper": paper().tables[table.name].model_dump(mode="json"),
        "ours": {
            method: {
                column.metric: None if cell is None else cell._asdict()
                for column, cell in zip(table.columns, cells, strict=True)
            }
            for method, cells in table.cells.items()
        },
        "claims": [claim.as_json() for claim in table.claims],
    }


def _mean(result: Result, name: str, rows: Sequence[int], config: BenchmarkConfig) -> Estimate | None:
    column = result.scores.get(name)
    known = [(result.subject_ids[row], column[row]) for row in rows] if column else []
    scores = [(subject, score) for subject, score in known if score is not None]
    if not scores:
        return None
    subjects, values = zip(*scores, strict=True)
    return _with_interval(np.array(values, float), subjects, config, share=True)


def _with_interval(values: np.ndarray, subjects: Sequence[str], config: BenchmarkConfig, *, share: bool) -> Estimate:
    ends = interval_of(values, subjects, draws=config.bootstrap_draws, seed=config.seed, share=share)
    return Estimate(float(values.mean()), ends.low, ends.high)


def _family(result: Result) -> set[str]:
    """Return the paper's methods that a result is of, or stands in for."""
    counterpart = counterpart_of(result.method.name)
    return set() if counterpart is None else {counterpart.row, *counterpart.stands_in.split(" and ")}


def _protects_as_well(rival: Result, ours: Result, config: BenchmarkConfig) -> bool:
    stronger = difference(rival, ours, "attack", config)
    return stronger is not None and stronger.low <= 0


def _ahead(ours: Result, rivals: Sequence[Result], column: Column, whom: str, config: BenchmarkConfig) -> Claim:
    """Return the claim that ``ours`` is ahead of all ``rivals``: its effect is that on the one who makes it hardest.

    All intervals must exclude 0, so that many rivals make it harder, not easier, and nothing needs correcting.
    """
    claim = f"{ours.method.name} ahead of {whom} in {column.title}"
    effects = {}
    for rival in rivals:
        pair = (ours, rival) if column.higher_is_better else (rival, ours)
        found = difference(*pair, column.metric, config)
        if found is not None:
            effects[rival.method.name] = found
    if not effects:
        return Claim(claim, None)
    beaten_by = min(effects, key=lambda name: effects[name].high)
    nearest = beaten_by if effects[beaten_by].high < 0 else min(effects, key=lambda name: effects[name].low)
    return Claim(claim, effects[nearest], f"by {nearest}", column.scale, column.digits[1])
