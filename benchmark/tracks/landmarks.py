"""Facial landmarks: how far dlib's 68 points lie from where they lay in the original (MeMa Table 7).

A point counts for one interocular distance of the original (outer corners of the eyes) at most, and for as much where
no face is found: that is the worst value, so neither losing a face nor finding one elsewhere can pay. The paper does
not say what its method scores for a lost face; the part ``seen`` leaves them out.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import ClassVar

import numpy as np

from benchmark.config import BenchmarkConfig
from benchmark.definition import Definition
from benchmark.tracks.before_after import found, keep_originals, kept_originals, where_seen, with_lost
from benchmark.tracks.protocol import Measured, Sample
from mema.imageset import ImageSet
from mema.release import Release

PARTS = {"eyes": slice(36, 48), "mouth": slice(48, 68), "nose": slice(27, 36)}
"""The parts of a face that Table 7 tells apart, in iBUG's order."""
OUTER_CORNERS = (36, 45)


def landmark_scores(before: np.ndarray, after: np.ndarray, failed: np.ndarray) -> dict[str, np.ndarray]:
    """Return the scores of the track, (N,) each, from landmarks (N, 68, 2) in pixels, NaN where no face is seen."""
    seen_before, seen_after = (~np.isnan(points).any(axis=(1, 2)) for points in (before, after))
    right, left = (before[:, corner].astype(np.float64) for corner in OUTER_CORNERS)
    interocular = np.linalg.norm(left - right, axis=1)
    distances = np.linalg.norm(after.astype(np.float64) - before, axis=2)
    capped = np.minimum(distances, interocular[:, None])

    def error(part: slice) -> np.ndarray:
        return with_lost(capped[:, part].mean(axis=1), interocular, seen_before, seen_after, failed)

    whole = error(slice(None))
    return {
        "landmark_error": whole,
        **{f"landmark_error.{name}": error(part) for name, part in PARTS.items()},
        "landmark_error.seen": where_seen(whole, seen_after, failed),
        "landmark_nme": whole / interocular,
        "landmark_nme.seen": where_seen(whole / interocular, seen_after, failed),
        "landmarks_found": found(seen_before, seen_after, failed),
    }


class Landmarks:
    """dlib's landmarks before and after."""

    title: ClassVar[str] = "Landmarks"
    table: ClassVar[str] = "Table 7"
    definitions: ClassVar[tuple[Definition, ...]] = (
        Definition(
            "landmark_error",
            "Landmark error, px",
            False,
            False,
            "Mean distance of dlib's 68 landmarks from where they lay in the original, in pixels (MeMa, Table 7); of "
            "eyes, mouth and nose alone; and where a face is seen. A lost face counts for one interocular distance.",
            highest=math.inf,
        ),
        Definition(
            "landmark_nme",
            "Landmark NME",
            False,
            False,
            "The same in interocular distances (outer corners of the eyes) of the original, so that photos of any "
            "size compare; 1 for a lost face.",
        ),
        Definition(
            "landmarks_found",
            "Landmarks found",
            True,
            True,
            "Share of images, of those whose original shows dlib a face, that still do.",
        ),
    )

    def __init__(self, config: BenchmarkConfig) -> None:
        self.batch_size = config.batch_size

    def prepare(self, release: Release, folder: Path) -> dict[str, float]:
        """Keep the originals' landmarks; the floor is the spread of two readings of them."""
        return keep_originals(self._read, landmark_scores, release.imageset("validation"), folder)

    def measure(self, sample: Sample, folder: Path) -> Measured:
        """Compare with what ``prepare`` kept."""
        return Measured(landmark_scores(kept_originals(folder), self._read(sample.images), sample.failed))

    def _read(self, images: ImageSet) -> np.ndarray:
        from mema.faces.detector import landmarks

        return np.concatenate([landmarks(batch) for batch in images.batches(self.batch_size)])
