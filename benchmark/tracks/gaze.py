"""Gaze: how far the line of sight has turned from the original's, as an instrument reads both (MeMa Table 7).

The angle is between the two directions; ``yaw`` and ``pitch`` are the paper's two columns. An instrument that reads
each eye is averaged over the eyes of a face. An angle counts for ``WORST`` degrees at most, and for as much where no
face is found; the part ``seen`` leaves such images out.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np

from benchmark.config import BenchmarkConfig
from benchmark.definition import Definition
from benchmark.tracks.before_after import found, keep_originals, kept_originals, where_seen, with_lost
from benchmark.tracks.protocol import Measured, Sample
from mema.faces.gaze import angle_between, gaze_estimator
from mema.imageset import ImageSet
from mema.release import Release

WORST = 90.0


def gaze_scores(before: np.ndarray, after: np.ndarray, failed: np.ndarray) -> dict[str, np.ndarray]:
    """Return the scores of the track, (N,) each, from angles (N, lines, 2) in degrees, NaN where no face is seen."""
    seen_before, seen_after = (~np.isnan(angles).any(axis=(1, 2)) for angles in (before, after))

    def error(degrees: np.ndarray) -> np.ndarray:
        return with_lost(np.minimum(degrees, WORST).mean(axis=1), WORST, seen_before, seen_after, failed)

    turned = np.abs(after.astype(np.float64) - before)
    whole = error(angle_between(before, after))
    return {
        "gaze_error": whole,
        "gaze_error.pitch": error(turned[..., 1]),
        "gaze_error.yaw": error(np.minimum(turned[..., 0], 360 - turned[..., 0])),
        "gaze_error.seen": where_seen(whole, seen_after, failed),
        "gaze_found": found(seen_before, seen_after, failed),
    }


class Gaze:
    """The lines of sight before and after, as ``benchmark.gaze.estimator`` reads them."""

    title: ClassVar[str] = "Gaze"
    table: ClassVar[str] = "Table 7"
    definitions: ClassVar[tuple[Definition, ...]] = (
        Definition(
            "gaze_error",
            "Gaze error, °",
            False,
            False,
            "Mean angle in degrees between the lines of sight that are read in the original and in its de-identified "
            "image (MeMa, Table 7); its pitch and yaw; and where a face is seen. A lost face counts for 90.",
            highest=WORST,
        ),
        Definition(
            "gaze_found",
            "Gaze found",
            True,
            True,
            "Share of images, of those whose original shows the instrument a face, that still do.",
        ),
    )

    def __init__(self, config: BenchmarkConfig) -> None:
        self.batch_size = config.batch_size
        self.estimator = config.gaze.estimator

    def prepare(self, release: Release, folder: Path) -> dict[str, float]:
        """Keep the originals' gaze; the floor is the spread of two readings of it."""
        return keep_originals(self._read, gaze_scores, release.imageset("validation"), folder)

    def measure(self, sample: Sample, folder: Path) -> Measured:
        """Compare with what ``prepare`` kept."""
        return Measured(gaze_scores(kept_originals(folder), self._read(sample.images), sample.failed))

    def _read(self, images: ImageSet) -> np.ndarray:
        instrument = gaze_estimator(self.estimator)
        return np.concatenate([instrument.estimate(batch) for batch in images.batches(self.batch_size)])
