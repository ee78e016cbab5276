"""What a track is: one more thing measured of de-identified images, beside what every result has.

A track is one file in this folder, one line in ``TRACKS`` and its name in ``benchmark.tracks`` of the build's YAML.
From outside: an entry point in the group ``openmema.tracks``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar, NamedTuple, Protocol

import numpy as np

from benchmark.config import BenchmarkConfig
from benchmark.definition import Definition
from mema.imageset import ImageSet
from mema.registry import Registry
from mema.release import Release
from mema.result import Interval


class Sample(NamedTuple):
    """What is measured: the validation split and what a method made of it, all in one order.

    ``failed``, bool (N,), marks images that the method did not deliver, which are black in ``images``. ``recovered``
    are the images opened with the right key, None for a method that is not reversible.
    """

    originals: ImageSet
    images: ImageSet
    failed: np.ndarray
    recovered: ImageSet | None = None


class Stated(NamedTuple):
    """A number of the whole set, which no per-image score yields, with its interval if it has one."""

    value: float
    interval: Interval | None = None


class Measured(NamedTuple):
    """``scores``: float (N,) by ``metric`` or ``metric.part``, NaN where an image has none; ``stated`` alike."""

    scores: dict[str, np.ndarray]
    stated: Mapping[str, Stated] = MappingProxyType({})


class Track(Protocol):
    """A track, made as ``Class(config)``; ``title`` and ``table`` name its view of the page and MeMa's table."""

    title: ClassVar[str]
    table: ClassVar[str]
    definitions: ClassVar[tuple[Definition, ...]]

    def __init__(self, config: BenchmarkConfig) -> None:
        """Take what it needs of the settings."""
        ...

    def prepare(self, release: Release, folder: Path) -> dict[str, float]:
        """Write to ``folder`` what all methods share; return the noise floor of metrics, by name.

        That is the standard deviation of the metric on the untouched originals over repeated runs, which differ in
        their seed where there is one. UserError when something is missing on this machine.
        """
        ...

    def measure(self, sample: Sample, folder: Path) -> Measured:
        """Measure; ``folder`` is what ``prepare`` wrote. A failed image scores as badly as can be, never NaN."""
        ...


TRACKS = Registry(
    "track",
    {
        "agreement": "benchmark.tracks.agreement:Agreement",
        "cost": "benchmark.cost:Cost",
        "gaze": "benchmark.tracks.gaze:Gaze",
        "landmarks": "benchmark.tracks.landmarks:Landmarks",
        "open-set": "benchmark.tracks.open_set:OpenSet",
        "quality": "benchmark.tracks.quality:Quality",
        "recovery": "benchmark.tracks.recovery:Recovery",
        "segmentation": "benchmark.tracks.segmentation:Segmentation",
        "verification": "benchmark.tracks.verification:Verification",
    },
    "openmema.tracks",
)
