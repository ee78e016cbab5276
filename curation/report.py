"""The audit's public report, ``audit.json``: what it may say, and nothing more (unknown fields are an error).

It holds rates, thresholds and counts. Which patient is near to which image is in no field of it.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from mema.errors import UserError
from mema.faces.leakage import Leakage, Rate
from mema.faces.thresholds import Threshold
from mema.files import read_json

REPORT = "audit.json"
FLAGS = "scores.parquet"
SCHEMA_VERSION = 1

ANY, MAJORITY = "any", "majority"
COMBINED = (ANY, MAJORITY)
OWN_DONOR = "own_donor/"


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Cutoff(_Section):
    """The distance below which two photos count as one person, with its 95 % interval.

    Read from ``pairs`` pairs of photos of different patients; where they are too few for the rate, ``resolved`` is
    False and the distance is that of the nearest of them.
    """

    distance: float
    low: float
    high: float
    pairs: int
    resolved: bool

    @classmethod
    def of(cls, threshold: Threshold) -> Cutoff:
        """Return what the report says of ``threshold``."""
        low, high = threshold.interval
        return cls(distance=threshold.distance, low=low, high=high, pairs=threshold.pairs, resolved=threshold.resolved)


class Point(_Section):
    """One recogniser (or a combination, then without a threshold) at one false-accept rate."""

    far: float
    threshold: Cutoff | None
    patients: Leakage
    own_donor: Leakage | None
    any_donor: Leakage | None


class Gallery(_Section):
    """How many people and photos a gallery holds."""

    subjects: int
    photos: int


class Sizes(_Section):
    """What was compared; in the equal-size comparison both galleries have ``equal_subjects`` people."""

    candidates: int
    patients: Gallery
    controls: Gallery
    donors_used: Gallery
    donors_unused: Gallery
    equal_subjects: int
    equal_photos: int


class Strength(_Section):
    """What was planted, and per recogniser the share that was found."""

    planted: str
    recall: dict[str, Rate]


class Planted(_Section):
    """The audit's own test: recall of leaks that were planted, strongest first.

    ``limit`` is the least share of a patient's photo in a blend that is found with a recall of ``required`` or more
    (and so is every larger share); None when not even the largest blend is.
    """

    members: int
    required: float
    strengths: list[Strength]
    limit: dict[str, float | None]


class GroupRate(_Section):
    """What one recogniser's common threshold means within a group of people, and what the group's own one would.

    ``false_accepts`` is the share of ``pairs`` pairs of photos of different patients of the group that the common
    threshold takes for one person; where they are too few for the rate, ``resolved`` is False. None when the group has
    so few patients that not even their number is told. ``own`` is the threshold that gives the group the intended
    rate; None in these groups and where pairs are too few. ``near`` is the share of the group's ``candidates`` that
    are near to any patient by the common threshold, ``near_own`` by the group's own,
    ``near_own_at_threshold_interval`` at both ends of the latter's interval.
    """

    recogniser: str
    far: float
    attribute: str
    group: str
    patients: int | None
    pairs: int | None
    false_accepts: Rate | None
    resolved: bool
    candidates: int
    near: Rate | None
    own: Cutoff | None = None
    near_own: Rate | None = None
    near_own_at_threshold_interval: tuple[float, float] | None = None


class Disagreement(_Section):
    """How many candidates two recognisers flag as near to a patient: both, or one only."""

    first: str
    second: str
    both: int
    only_first: int
    only_second: int


class Repeats(_Section):
    """Pairs of candidates whose thumbnails differ by less than ``rms`` grey levels, and how many images they touch."""

    rms: float
    pairs: int
    images: int


class AuditReport(_Section):
    """The whole report; ``candidates`` is the digest of the image set that was audited.

    ``flagged_by`` [k] is the number of candidates that exactly k recognisers flag. It, ``disagreements``, ``groups``
    and ``repeats`` are empty in reports of earlier versions.
    """

    schema_version: int = SCHEMA_VERSION
    candidates: str
    recognisers: tuple[str, ...]
    decision_far: float
    sizes: Sizes
    points: dict[str, list[Point]]
    planted: Planted
    faces_found: dict[str, float]
    flagged_by: tuple[int, ...] = ()
    disagreements: tuple[Disagreement, ...] = ()
    groups: tuple[GroupRate, ...] = ()
    repeats: Repeats | None = None

    @classmethod
    def load(cls, folder: Path) -> AuditReport:
        """Read the report of an audit; UserError when it is absent, broken or half-written."""
        path = folder / REPORT
        if not path.is_file() or not (folder / FLAGS).is_file():
            raise UserError(f"{folder} holds no finished audit: run `mema curate audit` first")
        try:
            return cls.model_validate(read_json(path))
        except ValidationError as error:
            first = error.errors()[0]
            raise UserError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None

    def recall(self, planted: str) -> dict[str, Rate]:
        """Return per recogniser the share found of one kind of planted leak."""
        return next(one.recall for one in self.planted.strengths if one.planted == planted)

    def decision(self, name: str) -> Point:
        """Return the point of a recogniser or combination at the rate that decides what is rejected."""
        return next(point for point in self.points[name] if point.far == self.decision_far)
