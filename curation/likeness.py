"""Whom candidates are near to, by every recogniser and by several together: a block of candidates at a time.

A table of all candidates and all patients of MeMa would take gigabytes a recogniser; what is reported of it does not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from curation.report import ANY, MAJORITY
from mema.engine import map_batches
from mema.faces.leakage import Hits, SubjectGallery, own_hits, own_matches, share_of_hits
from mema.faces.thresholds import Threshold

BLOCK = 256


class People(NamedTuple):
    """Who stands in the columns of the distance tables, and which photos count in the equal-size comparison.

    ``own`` (N,) is the column of each candidate's donor, -1 without one; ``used`` (D,) bool: donors of any candidate.
    """

    patients: list[str]
    controls: list[str]
    equal_photos: int
    equal_subjects: int
    own: np.ndarray
    used: np.ndarray


class Found(NamedTuple):
    """Which of N candidates are near to whom at one rate: to a patient, to their own donor, to any used donor.

    The hits on donors are None where there is no such donor; ``flagged_donor``, bool (N,), is False without one.
    """

    patients: Hits
    own_donor: Hits | None
    any_donor: Hits | None
    flagged_donor: np.ndarray


class Likeness(NamedTuple):
    """``nearest``: the distance of each candidate to the nearest patient, float32 (N,), by recogniser.

    ``found``: by false-accept rate, and by recogniser, ``any`` and ``majority`` of them.
    """

    nearest: dict[str, np.ndarray]
    found: dict[float, dict[str, Found]]


Tables = dict[str, np.ndarray]


def measure_likeness(
    vectors: Mapping[str, Mapping[str, np.ndarray]],
    thresholds: Mapping[float, Mapping[str, Threshold]],
    people: People,
) -> Likeness:
    """Compare all candidates with all people, under a progress bar.

    ``vectors`` are by recogniser those of ``candidates``, ``patients``, ``controls`` and ``donors``, (N, D) each;
    ``thresholds`` by false-accept rate and recogniser. ``majority`` means that more than half of the recognisers match
    the *same* person.
    """
    donors = list(map(str, range(len(people.used))))
    columns = {"patients": people.patients, "controls": people.controls, "donors": donors}
    galleries = {
        name: {key: SubjectGallery(one[key], subjects) for key, subjects in columns.items()}
        for name, one in vectors.items()
    }

    def compare(rows: Sequence[int]) -> Likeness:
        block = slice(rows[0], rows[-1] + 1)
        distances = {
            name: _distances(one["candidates"][block], galleries[name], people) for name, one in vectors.items()
        }
        return Likeness(
            {name: tables["patients"].min(axis=1) for name, tables in distances.items()},
            {far: _find(distances, chosen, people, people.own[block]) for far, chosen in thresholds.items()},
        )

    parts = list(map_batches(compare, range(len(people.own)), batch_size=BLOCK, label="compare"))
    return Likeness(
        {name: np.concatenate([part.nearest[name] for part in parts]) for name in vectors},
        {
            far: {name: _join([part.found[far][name] for part in parts]) for name in parts[0].found[far]}
            for far in thresholds
        },
    )


def combine(matches: Mapping[str, Tables]) -> dict[str, Tables]:
    """Add to the match tables of each recogniser those of ``any`` and of the ``majority`` of them."""
    galleries = next(iter(matches.values()))
    votes = {key: np.stack([tables[key] for tables in matches.values()]).sum(axis=0) for key in galleries}
    return {
        **matches,
        ANY: {key: np.greater(count, 0) for key, count in votes.items()},
        MAJORITY: {key: np.greater(2 * count, len(matches)) for key, count in votes.items()},
    }


def _distances(candidates: np.ndarray, galleries: Mapping[str, SubjectGallery], people: People) -> Tables:
    """Return one recogniser's distances, float32 (N, S) by gallery: of all photos, and ``equal_…`` of equally many."""
    (donors,) = galleries["donors"].distances(candidates)
    tables = {"donors": donors}
    for key in ("patients", "controls"):
        tables[key], tables[f"equal_{key}"] = galleries[key].distances(candidates, (None, people.equal_photos))
    return tables


def _find(
    distances: Mapping[str, Tables], thresholds: Mapping[str, Threshold], people: People, own: np.ndarray
) -> dict[str, Found]:
    ends = [
        combine({name: _near(distances[name], cutoff) for name, cutoff in cutoffs.items()})
        for cutoffs in (
            {name: one.distance for name, one in thresholds.items()},
            {name: one.interval[0] for name, one in thresholds.items()},
            {name: one.interval[1] for name, one in thresholds.items()},
        )
    ]
    return {
        name: Found(
            _patients([tables[name] for tables in ends], people.equal_subjects),
            own_hits([tables[name]["donors"] for tables in ends], own),
            _any_donor([tables[name]["donors"] for tables in ends], people.used),
            own_matches(ends[0][name]["donors"], own),
        )
        for name in ends[0]
    }


def _near(tables: Tables, distance: float) -> Tables:
    return {key: np.asarray(table < distance) for key, table in tables.items()}


def _patients(ends: Sequence[Tables], subjects: int) -> Hits:
    hits = [np.any(tables["patients"], axis=1) for tables in ends]
    if subjects == 0:
        return Hits(hits)
    return Hits(hits, *(share_of_hits(ends[0][key], subjects) for key in ("equal_patients", "equal_controls")))


def _any_donor(ends: Sequence[np.ndarray], used: np.ndarray) -> Hits | None:
    """Donors of no candidate are the controls of those that were used."""
    if not used.any():
        return None
    hits = [np.any(table[:, used], axis=1) for table in ends]
    drawn = int(min(used.sum(), (~used).sum()))
    shares = (share_of_hits(ends[0][:, which], drawn) for which in (used, ~used))
    return Hits(hits, *shares) if drawn else Hits(hits)


def _join(parts: Sequence[Found]) -> Found:
    return Found(
        _join_hits([part.patients for part in parts]),
        _join_known(part.own_donor for part in parts),
        _join_known(part.any_donor for part in parts),
        np.concatenate([part.flagged_donor for part in parts]),
    )


def _join_known(parts: Iterable[Hits | None]) -> Hits | None:
    known = [part for part in parts if part is not None]
    return _join_hits(known) if known else None


def _join_hits(parts: Sequence[Hits]) -> Hits:
    ends = [np.concatenate(end) for end in zip(*(part.ends for part in parts), strict=True)]
    attacks = [part.attack for part in parts if part.attack is not None]
    controls = [part.control for part in parts if part.control is not None]
    return Hits(ends, np.concatenate(attacks), np.concatenate(controls)) if attacks and controls else Hits(ends)
