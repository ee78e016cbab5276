"""Results that people hand in: checked, then kept in git as ``leaderboard/<release>-<version>/<method>.json``.

``mema leaderboard submit result.json``; the page is rendered from these and from the build's own results.
"""

from __future__ import annotations

import re
from math import isclose, isfinite
from pathlib import Path

import numpy as np

from benchmark.metrics import METRICS
from benchmark.statistics import check_comparable
from mema.errors import UserError
from mema.result import ReleaseReference, Result

SHELF = Path("leaderboard")
MAX_BYTES = 100_000_000
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def submit(path: Path, shelf: Path = SHELF) -> Path:
    """Check the result at ``path`` and copy it to the shelf; return where. An earlier one of the method is replaced.

    UserError when it is no result, names what cannot be a file, holds numbers that do not follow from its own
    per-image scores, or cannot be compared with what the shelf holds for that release.
    """
    if path.is_file() and path.stat().st_size > MAX_BYTES:
        raise UserError(f"{path}: larger than {MAX_BYTES // 1_000_000} MB")
    result = Result.load(path)
    for name in (result.method.name, result.release.name, result.release.version):
        if not NAME.fullmatch(name):
            raise UserError(f"{path}: '{name[:80]}' cannot be a name: letters, digits, '.', '_' and '-' make one")
    check_numbers(result)
    others = [other for other in submitted(result.release, shelf) if other.method.name != result.method.name]
    check_comparable([result, *others])
    return result.save(_folder(result.release, shelf) / f"{result.method.name}.json")


def submitted(release: ReleaseReference, shelf: Path = SHELF) -> list[Result]:
    """Return the results on the shelf for ``release``, by name of method."""
    return [Result.load(path) for path in sorted(_folder(release, shelf).glob("*.json"))]


def check_numbers(result: Result) -> None:
    """Raise UserError unless every number is finite and the page's metrics are the means of their scores."""
    where = f"result of '{result.method.name}'"
    for metric in result.metrics:
        ends = [metric.interval.low, metric.interval.high] if metric.interval else []
        if not all(isfinite(number) for number in [metric.value, *ends, *metric.per_class.values()]):
            raise UserError(f"{where}: metric '{metric.name}' is not a finite number")
    for definition in METRICS:
        metric = result.metric(definition.name)
        scores = [score or 0.0 for score in result.scores.get(definition.name, [])]
        if not scores or not isclose(float(np.mean(scores)), metric.value, abs_tol=1e-6):
            raise UserError(f"{where}: metric '{metric.name}' is not the mean of its per-image scores")
        if metric.version != definition.version:
            raise UserError(f"{where}: metric '{metric.name}' is of version {metric.version}; run it again")


def _folder(release: ReleaseReference, shelf: Path) -> Path:
    return shelf / f"{release.name}-{release.version}"
