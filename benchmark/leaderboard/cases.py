"""What a method's page shows of single images: failures by reason, and the cases in which it did worst."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from benchmark.board import Board
from mema.result import Result

SHOWN_CASES = 8
SHOWN_IDS = 6


class FailureGroup(NamedTuple):
    """Images that failed for one reason: how many, and the ids of the first few."""

    reason: str
    images: int
    image_ids: list[str]


class Case(NamedTuple):
    """One image: what is kept of the disease, and who still finds the person in it."""

    image_id: str
    disease: str
    failure: str | None
    recognised: bool
    found: bool
    finders: list[str]
    distance: float


class DiseaseRow(NamedTuple):
    """The means over the images of one disease, each a share in [0, 1]."""

    disease: str
    images: int
    top1: float
    found: float
    identification: float
    verification: float


def failure_groups(result: Result) -> list[FailureGroup]:
    """Return the failures by reason, the most frequent first."""
    by_reason: dict[str, list[str]] = {}
    for failure in result.failures:
        by_reason.setdefault(failure.reason, []).append(failure.image_id)
    groups = [FailureGroup(reason, len(ids), ids[:SHOWN_IDS]) for reason, ids in by_reason.items()]
    return sorted(groups, key=lambda group: (-group.images, group.reason))


def given_away(result: Result, board: Board) -> list[Case]:
    """Return the images in which attackers most easily find the person, worst first; none that nobody finds."""
    cases = [case for case in cases_of(result, board) if case.finders]
    return sorted(cases, key=lambda case: (-len(case.finders), case.distance, case.image_id))[:SHOWN_CASES]


def spoilt(result: Result, board: Board) -> list[Case]:
    """Return images that lost their disease or their face, diseases in turn."""
    lost = [case for case in cases_of(result, board) if not (case.recognised and case.found)]
    # The first of each disease, then the second of each, so that one disease does not fill the page.
    turns: dict[str, int] = {}
    order = []
    for case in lost:
        turns[case.disease] = turns.get(case.disease, 0) + 1
        order.append((turns[case.disease], case.disease, case))
    return [case for *_, case in sorted(order, key=lambda row: row[:2])][:SHOWN_CASES]


def cases_of(result: Result, board: Board) -> list[Case]:
    """Return every image of a result in the order of the release."""
    reasons = {failure.image_id: failure.reason for failure in result.failures}
    titles = {f"attack.{attack.name}": attack.title for attack in result.attacks if attack.name != "naive"}
    titles |= {name: name.partition(".")[2] for name in result.scores if name.startswith("identification.")}
    unknown: list[float | None] = [None] * len(result.image_ids)
    return [
        Case(
            image_id=image_id,
            disease=board.diseases[i],
            failure=reasons.get(image_id),
            # Of several judges most.
            recognised=(result.scores["disease_top1"][i] or 0.0) > 0.5,
            found=bool(result.scores["detection"][i]),
            # A tie with strangers is no find.
            finders=[title for name, title in titles.items() if result.scores.get(name, unknown)[i] == 1],
            distance=float(result.scores["identity_distance"][i] or 0.0),
        )
        for i, image_id in enumerate(result.image_ids)
    ]


def disease_rows(result: Result, board: Board) -> list[DiseaseRow]:
    """Return what the page says of each disease, in alphabetical order of the codes."""
    labels = np.asarray(board.diseases)

    def mean(score: str, chosen: np.ndarray) -> float:
        return float(np.asarray(result.scores[score], float)[chosen].mean())

    names = ("disease_top1", "detection", "identification", "verification")
    return [
        DiseaseRow(disease, int(chosen.sum()), *(mean(name, chosen) for name in names))
        for disease in sorted(set(board.diseases))
        for chosen in [labels == disease]
    ]


def shown_ids(result: Result, board: Board) -> Sequence[str]:
    """Return the ids of the images whose pictures a method's page shows."""
    return sorted({case.image_id for case in [*given_away(result, board), *spoilt(result, board)]})
