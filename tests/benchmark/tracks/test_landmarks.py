"""Errors of landmarks are counted right, a lost face never pays, and weak methods come out in the order they must."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from benchmark.config import BenchmarkConfig
from benchmark.tracks.landmarks import Landmarks, landmark_scores
from benchmark.tracks.protocol import TRACKS, Sample
from mema.build import Build
from mema.errors import UserError
from mema.imageset import Face, ImageSet, write_imageset
from mema.records import FaceRecord
from mema.release import Release

NOBODY = np.zeros(3, bool)


@pytest.fixture
def points() -> np.ndarray:
    """Landmarks of three faces whose outer eye corners are 40 px apart, float32 (3, 68, 2)."""
    points = np.random.default_rng(0).uniform(20, 100, (3, 68, 2)).astype(np.float32)
    points[:, 36], points[:, 45] = (40, 50), (80, 50)
    return points


def test_a_moved_part_is_that_part_s_error(points: np.ndarray) -> None:
    moved = points.copy()
    moved[:, 48:68] += (3, 4)
    scores = landmark_scores(points, moved, NOBODY)
    assert scores["landmark_error.mouth"] == pytest.approx([5] * 3, abs=1e-4)
    assert scores["landmark_error.eyes"].max() == scores["landmark_error.nose"].max() == 0
    assert scores["landmark_error"] == pytest.approx([5 * 20 / 68] * 3, abs=1e-4)
    assert scores["landmark_nme"] == pytest.approx([5 * 20 / 68 / 40] * 3, abs=1e-5)
    twice = landmark_scores(2 * points, 2 * moved, NOBODY)
    assert twice["landmark_nme"] == pytest.approx(scores["landmark_nme"])


def test_losing_a_face_never_pays(points: np.ndarray) -> None:
    # Found on the other side of the photo, lost, and not delivered.
    after = points.copy()
    after[0] += 500
    after[1] = np.nan
    scores = landmark_scores(points, after, np.array([False, False, True]))
    for name in ("landmark_error", *(f"landmark_error.{part}" for part in ("eyes", "mouth", "nose"))):
        assert scores[name] == pytest.approx([40] * 3)
    assert scores["landmark_nme"] == pytest.approx([1] * 3)
    assert scores["landmarks_found"].tolist() == [1, 0, 0]
    for name in ("landmark_error.seen", "landmark_nme.seen"):
        assert np.isnan(scores[name]).tolist() == [False, True, False]


def test_where_the_original_shows_no_face_nothing_is_compared(points: np.ndarray) -> None:
    before = points.copy()
    before[0] = np.nan
    for failed in (NOBODY, ~NOBODY):
        scores = landmark_scores(before, points, failed)
        assert all(np.isnan(column[0]) and not np.isnan(column[1:]).any() for column in scores.values())


def altered(originals: ImageSet, folder: Path, change: ImageFilter.Filter | None) -> ImageSet:
    """Return ``originals`` after a filter, black without one."""
    faces = []
    for face in originals.faces():
        image = Image.fromarray(face.image)
        made = np.asarray(image.filter(change)) if change else np.zeros_like(face.image)
        faces.append(Face(face.record, made))
    write_imageset(folder, len(faces), lambda a, b: faces[a:b], config={})
    return ImageSet.open(folder)


def test_weak_methods_are_in_order(build: Build, tmp_path: Path) -> None:
    release = Release.open(build.release)
    originals = release.imageset("validation")
    track = TRACKS.load("landmarks")(BenchmarkConfig())
    assert track.prepare(release, tmp_path / "a") == dict.fromkeys(
        ("landmark_error", "landmark_nme", "landmarks_found"), 0.0
    )
    delivered = np.zeros(originals.count, bool)
    sets = [
        originals,
        altered(originals, tmp_path / "b", ImageFilter.GaussianBlur(1)),
        altered(originals, tmp_path / "c", ImageFilter.GaussianBlur(4)),
        altered(originals, tmp_path / "d", None),
    ]
    measured = [track.measure(Sample(originals, images, delivered), tmp_path / "a").scores for images in sets]
    errors = [np.nanmean(scores["landmark_nme"]) for scores in measured]
    assert errors[0] == 0 < errors[1] < errors[2] < errors[3] == 1
    assert np.nanmean(measured[0]["landmarks_found"]) == 1
    assert np.nansum(measured[3]["landmarks_found"]) == 0
    assert set(measured[0]) >= {definition.name for definition in Landmarks.definitions}
    assert {name.partition(".")[0] for name in measured[0]} == {one.name for one in Landmarks.definitions}


def test_a_release_without_faces_is_refused(tmp_path: Path) -> None:
    for split in ("train", "selection", "validation"):
        face = Face(FaceRecord(image_id=split, subject_id=split, split=split), np.zeros((96, 96, 3), np.uint8))
        write_imageset(tmp_path / split, 1, lambda a, b, face=face: [face][a:b], config={})
    release = Release.seal(
        tmp_path,
        name="nobody",
        version="0.1.0",
        clinic="eye_clinic",
        phantom=True,
        machine_annotated=True,
        annotators=("renderer",),
    )
    with pytest.raises(UserError, match=r"validation: no original shows a face"):
        Landmarks(BenchmarkConfig()).prepare(release, tmp_path / "judge")
