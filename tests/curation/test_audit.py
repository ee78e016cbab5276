import json
from math import comb

import numpy as np
import pyarrow.parquet as pq
import pytest
from curation_world import CANARY, FRESH, make_build

from curation.audit import NEAREST, AuditConfig, combine, run_audit
from curation.leakage import first_photos, normalised, rate, share_of_hits, subject_distances
from curation.planted import COPY, HANDLED, NOBODY, OTHER_PHOTO, blend_name, draw_members, handle
from curation.report import FLAGS, REPORT, AuditReport, Rate
from mema.config import validate
from mema.errors import UserError


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_subject_distances_are_those_of_the_nearest_photo():
    random = np.random.default_rng(0)
    probes, gallery = unit(random.normal(size=(7, 5))), unit(random.normal(size=(6, 5)))
    subjects = ["b", "a", "b", "c", "a", "b"]
    table = subject_distances(probes, gallery, subjects)
    for row, probe in enumerate(probes):
        for column, subject in enumerate(("b", "a", "c")):
            own = [np.linalg.norm(probe - g) for g, s in zip(gallery, subjects, strict=True) if s == subject]
            assert table[row, column] == pytest.approx(min(own), abs=1e-6)


def test_share_of_hits_is_the_mean_over_all_subsamples():
    from itertools import combinations

    matches = np.random.default_rng(1).random((6, 7)) < 0.3
    matches[0], matches[1] = False, True
    expected = [np.mean([row[list(drawn)].any() for drawn in combinations(range(7), 3)]) for row in matches]
    assert share_of_hits(matches, 3) == pytest.approx(expected)
    assert len(list(combinations(range(7), 3))) == comb(7, 3)
    assert share_of_hits(matches, 7) == pytest.approx(matches.any(axis=1).astype(float))


def test_first_photos_caps_each_subject():
    assert first_photos(["a", "a", "b", "a", "b"], 2) == [0, 1, 2, 4]


def test_normalised_risk():
    attack, control = rate(np.repeat([1.0, 0.0], [60, 40])), rate(np.repeat([1.0, 0.0], [20, 80]))
    risk = normalised(attack, control)
    assert risk.value == pytest.approx((0.6 - 0.2) / 0.8)
    assert risk.low < risk.value < risk.high
    assert normalised(control, control).value == 0
    assert normalised(control, attack).value < 0
    assert normalised(attack, Rate(value=1.0, low=0.9, high=1.0)) is None


def test_risk_interval_covers_the_truth_about_as_often_as_it_says():
    random = np.random.default_rng(2)
    truth = (0.15 - 0.05) / 0.95
    inside = 0
    for _ in range(400):
        risk = normalised(rate(random.random(300) < 0.15), rate(random.random(300) < 0.05))
        inside += risk.low <= truth <= risk.high
    assert 0.92 <= inside / 400 <= 0.99


def test_majority_must_name_the_same_person():
    first, second, third = (np.zeros((2, 3), bool) for _ in range(3))
    first[0, 0] = second[0, 1] = third[0, 2] = True  # three recognisers, three people
    first[1, 2] = second[1, 2] = True
    joined = combine({name: {"patients": t} for name, t in zip("abc", (first, second, third), strict=True)})
    assert joined["any"]["patients"].any(axis=1).tolist() == [True, True]
    assert joined["majority"]["patients"].any(axis=1).tolist() == [False, True]


def test_planted_copies_are_flagged_and_the_private_table_names_the_photo(released):
    flags = pq.read_table(released.audit / FLAGS).to_pydict()
    nearest = pq.read_table(released.private_audit / NEAREST).to_pylist()
    for place, photo in ((FRESH, f"{CANARY}-photo-0000"), (FRESH + 1, f"{CANARY}-photo-0010")):
        assert flags["any"][place]
        assert flags["majority"][place]
        rows = [r for r in nearest if r["image_id"] == f"virtual-{place:04d}" and r["gallery"] == "patients"]
        assert {r["recogniser"] for r in rows} == set(AuditConfig().recognisers)
        assert all(r["photo_id"] == photo and r["near"] and r["distance"] < 0.01 for r in rows)
    # Fresh people resemble patients by chance only.
    assert np.mean(flags["majority"][:FRESH]) < 0.5


def test_report_is_consistent_and_counts_what_was_compared(released):
    report = AuditReport.load(released.audit)
    assert report.sizes.patients.subjects == 14
    assert report.sizes.patients.photos == 42
    assert report.sizes.controls.subjects == report.sizes.equal_subjects == 6
    assert report.sizes.equal_photos == 3
    assert report.sizes.donors_used.subjects == 12
    assert report.sizes.donors_unused.subjects == 6
    flags = pq.read_table(released.audit / FLAGS).to_pydict()
    for name in (*report.recognisers, "any", "majority"):
        strict, loose = report.decision(name), report.points[name][0]
        assert strict.patients.raw.value == pytest.approx(np.mean(flags[name]))
        assert strict.own_donor.raw.value == pytest.approx(np.mean(flags[f"own_donor/{name}"]))
        assert strict.patients.raw.value <= loose.patients.raw.value
        low, high = strict.patients.raw_at_threshold_interval
        assert low <= strict.patients.raw.value <= high


def test_detection_limit_is_ordered_by_strength(released):
    report = AuditReport.load(released.audit)
    assert report.planted.members == 6
    order = [COPY, HANDLED, OTHER_PHOTO, *(blend_name(alpha) for alpha in (0.75, 0.5, 0.25)), NOBODY]
    assert [one.planted for one in report.planted.strengths] == order
    for name, recall in report.recall(COPY).items():
        assert recall.value == 1
        strengths = [report.recall(blend_name(alpha))[name].value for alpha in (0.75, 0.5, 0.25)]
        assert sorted(strengths, reverse=True) == strengths
        limit = report.planted.limit[name]
        assert limit is None or report.recall(blend_name(limit))[name].value >= report.planted.required
    assert report.recall(HANDLED)["any"].value > report.recall(NOBODY)["any"].value


def test_members_are_different_patients_who_have_other_photos():
    subjects = ["a", "b", "b", "c", "c", "c", "d"]
    rows = draw_members(subjects, 2, 0)
    assert {subjects[row] for row in rows} == {"b", "c"}
    assert len(draw_members(subjects, 99, 0)) == 4


def test_handled_copy_differs_but_little(faces):
    image = faces["cohort"][0].image
    copy = handle(image)
    assert copy.shape == image.shape
    assert 0 < np.abs(copy.astype(int) - image).mean() < 40


def test_same_inputs_same_bytes(released, copied):
    before = {file.name: file.read_bytes() for file in (*released.audit.iterdir(), *released.private_audit.iterdir())}
    for file in (*copied.audit.iterdir(), *copied.private_audit.iterdir()):
        file.unlink()
    run_audit(copied)
    assert before == {f.name: f.read_bytes() for f in (*copied.audit.iterdir(), *copied.private_audit.iterdir())}


def test_controls_may_be_absent(tmp_path, faces):
    build = make_build(
        tmp_path,
        {**faces, "controls": [], "candidates": faces["candidates"][:4]},
        audit={"recognisers": ["phantom-arcface"], "far": [0.05], "decision_far": 0.05, "planted_members": 2},
    )
    leak = run_audit(build).decision("phantom-arcface").patients
    assert leak.control is None
    assert leak.risk is None


def test_a_patient_among_the_controls_is_refused(tmp_path, faces):
    with pytest.raises(UserError, match="in the cohort and among the controls"):
        run_audit(make_build(tmp_path, {**faces, "controls": faces["cohort"][:3]}))


def test_an_unknown_donor_is_named(tmp_path, faces):
    with pytest.raises(UserError, match="donor-0"):
        run_audit(make_build(tmp_path, {**faces, "donors": faces["donors"][:3]}))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"decision_far": 0.5}, "decision_far 0.5 is not one of"),
        ({"recogniser": ["dlib"]}, "did you mean 'recognisers'"),
        ({"recognisers": ["dlib", "dlib"]}, "twice"),
        ({"planted_alphas": [1.5]}, "between 0 and 1"),
    ],
)
def test_wrong_settings_are_named(values, message):
    with pytest.raises(UserError, match=message):
        validate(AuditConfig, values, "audit")


def test_a_broken_report_is_one_line(copied):
    report = json.loads((copied.audit / REPORT).read_text())
    del report["planted"]
    (copied.audit / REPORT).write_text(json.dumps(report))
    with pytest.raises(UserError, match=r"audit\.json: planted: Field required"):
        AuditReport.load(copied.audit)
