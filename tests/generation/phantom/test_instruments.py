"""The people whom recognisers and classifiers learn from, and the measurement that masks the signs."""

from collections import Counter

import numpy as np

from generation.phantom.measure_signs import judge_cases, paint_over
from generation.phantom.population import draw_donor, draw_patient
from generation.phantom.render import render
from generation.phantom.training.recogniser_data import instrument_cases, rendered
from mema.taxonomy import load_taxonomy


def test_everyone_is_well_and_ill_and_no_disease_repeats():
    cases = instrument_cases(30, 8)
    for person in range(30):
        own = cases[person * 8 : person * 8 + 8]
        assert len({case.subject.seed for case in own}) == 1
        assert len({case.shots[0].seed for case in own}) == 8
        diseases = [case.disease for case in own if case.disease != "normal"]
        assert len(diseases) == len(set(diseases)) == 5
        assert all(case.disease in load_taxonomy(case.clinic).codes for case in own if case.clinic != "none")


def test_nobody_else_knows_them():
    learnt = {case.subject.seed for case in instrument_cases(50, 1)}
    judged = {case.subject.seed for case in judge_cases("eye_clinic", 50)}
    patients = {draw_patient("patients", "eye_clinic", index, 0).subject.seed for index in range(50)}
    donors = {draw_donor(index, 0).subject.seed for index in range(50)}
    assert len(learnt | judged | patients | donors) == 200


def test_judges_see_every_disease_equally_often():
    for clinic in ("eye_clinic", "dermatology"):
        codes = load_taxonomy(clinic).codes
        counts = Counter(case.disease for case in judge_cases(clinic, 10 * len(codes)))
        assert counts == dict.fromkeys(codes, 10)


def test_the_first_people_stay_the_same_when_more_are_asked_for():
    assert instrument_cases(2, 4) == instrument_cases(5, 4)[:8]
    assert instrument_cases(1, 4, first=3) == instrument_cases(5, 4)[12:16]


def test_photos_are_rendered_once(tmp_path):
    cases = instrument_cases(1, 2)
    images = rendered(cases, tmp_path / "photos.npy")
    np.testing.assert_array_equal(images[1], render(cases[1].subject, cases[1].shots[0], cases[1].finding).image)
    written = (tmp_path / "photos.npy").stat().st_mtime_ns
    rendered(cases, tmp_path / "photos.npy")
    assert (tmp_path / "photos.npy").stat().st_mtime_ns == written
    assert [path.name for path in tmp_path.iterdir()] == ["photos.npy"]


def test_painting_over_leaves_nothing_of_the_region_and_all_else():
    case = judge_cases("eye_clinic", 1)[0]
    photo = render(case.subject, case.shots[0], case.finding)
    painted = paint_over(photo, "upper_face")
    assert len(np.unique(painted[photo.upper_face], axis=0)) == 1
    np.testing.assert_array_equal(painted[~photo.upper_face], photo.image[~photo.upper_face])
    assert photo.upper_face.mean() > photo.eye_region.mean() > 0.03
