"""Gaze errors are counted right, a lost face never pays, and the track sees eyes that look elsewhere."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmark.config import BenchmarkConfig
from benchmark.tracks.gaze import WORST, Gaze, gaze_scores
from benchmark.tracks.protocol import TRACKS, Sample
from generation.phantom.population import draw_patient
from generation.phantom.render import render
from mema.imageset import Face, ImageSet, write_imageset
from mema.records import FaceRecord
from mema.release import Release

NOBODY = np.zeros(2, bool)


def test_both_eyes_count_and_each_angle_is_told() -> None:
    before = np.zeros((2, 2, 2), np.float32)
    after = before.copy()
    after[0, 0] = (30, 0)
    after[1, :, 1] = -10
    scores = gaze_scores(before, after, NOBODY)
    assert scores["gaze_error"] == pytest.approx([15, 10], abs=1e-6)
    assert scores["gaze_error.yaw"] == pytest.approx([15, 0])
    assert scores["gaze_error.pitch"] == pytest.approx([0, 10])
    assert gaze_scores(before[:, :1], after[:, :1], NOBODY)["gaze_error"] == pytest.approx([30, 10], abs=1e-6)


def test_yaw_is_compared_around_the_circle() -> None:
    before, after = np.full((1, 1, 2), (175, 0), np.float32), np.full((1, 1, 2), (-175, 0), np.float32)
    scores = gaze_scores(before, after, NOBODY[:1])
    assert scores["gaze_error"] == pytest.approx([10], abs=1e-4)
    assert scores["gaze_error.yaw"] == pytest.approx([10])


def test_losing_a_face_never_pays() -> None:
    before = np.zeros((4, 1, 2), np.float32)
    after = before.copy()
    # Turned about, lost, not delivered; and an original without a face.
    after[0, 0, 0] = 180
    after[1], before[3] = np.nan, np.nan
    scores = gaze_scores(before, after, np.array([False, False, True, True]))
    for name in ("gaze_error", "gaze_error.yaw"):
        assert scores[name][:3] == pytest.approx([WORST] * 3)
    assert scores["gaze_error.pitch"][1:3] == pytest.approx([WORST] * 2)
    assert scores["gaze_found"][:3].tolist() == [1, 0, 0]
    assert np.isnan(scores["gaze_error.seen"]).tolist() == [False, True, False, True]
    assert all(np.isnan(column[3]) for column in scores.values())


def photographed(folder: Path, gaze: float, people: int = 8) -> ImageSet:
    """People who are well and look ``gaze`` degrees to the side, head-on."""
    faces = []
    for index in range(people):
        case = draw_patient("tests", "eye_clinic", index, 3, disease="normal", photos=(1, 1), photography="clinical")
        shot = replace(case.shots[0], gaze_yaw=gaze)
        record = FaceRecord(image_id=f"v{index}", subject_id=f"v{index}", disease="normal")
        faces.append(Face(record, render(case.subject, shot, case.finding).image))
    write_imageset(folder, len(faces), lambda a, b: faces[a:b], config={})
    return ImageSet.open(folder)


def test_who_looks_elsewhere_is_seen_to(tmp_path: Path) -> None:
    for split in ("train", "selection"):
        photographed(tmp_path / "release" / split, 0.0, people=1)
    ahead = photographed(tmp_path / "release" / "validation", -8.0)
    little, far = (photographed(tmp_path / str(gaze), gaze) for gaze in (2.0, 22.0))
    release = Release.seal(
        tmp_path / "release",
        name="looking",
        version="0.1.0",
        clinic="eye_clinic",
        phantom=True,
        machine_annotated=True,
        annotators=("renderer",),
    )
    track = TRACKS.load("gaze")(BenchmarkConfig())
    judge = tmp_path / "judge"
    assert track.prepare(release, judge) == {"gaze_error": 0.0, "gaze_found": 0.0}
    samples = [Sample(ahead, images, np.zeros(8, bool)) for images in (ahead, little, far)]
    measured = [track.measure(sample, judge).scores for sample in samples]
    errors = [np.nanmean(scores["gaze_error.yaw"]) for scores in measured]
    assert errors[0] == 0
    assert errors[1] == pytest.approx(10, abs=5)
    assert errors[2] == pytest.approx(30, abs=8)
    assert np.nanmean(measured[2]["gaze_error.pitch"]) < 6
    assert {name.partition(".")[0] for name in measured[0]} == {one.name for one in Gaze.definitions}
