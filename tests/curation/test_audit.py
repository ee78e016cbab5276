import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from curation_world import CANARY, FRESH, make_build

from curation.audit import NEAREST, AuditConfig, run_audit
from curation.planted import COPY, HANDLED, NOBODY, OTHER_PHOTO, blend_name, draw_members, handle
from curation.report import FLAGS, REPORT, AuditReport, Planted
from mema.cli import cli
from mema.config import validate
from mema.errors import UserError


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


def test_the_detection_limit_is_told_without_candidates(tmp_path, faces):
    audit = {"recognisers": ["phantom-arcface"], "far": [0.05], "decision_far": 0.05, "planted_members": 5}
    build = make_build(tmp_path, {**faces, "candidates": []}, audit=audit)
    said = CliRunner().invoke(cli, ["curate", "planted", "--config", str(build.config_path)], catch_exceptions=False)
    assert said.exit_code == 0 and "copy, 5 planted" in said.output and "blend 0.1" in said.output
    text = (build.runs / "reproduce" / "planted.json").read_text()
    assert CANARY not in text and CANARY not in said.output.replace(str(build.runs), "")
    found = Planted.model_validate_json(text)
    alphas = [tenth / 10 for tenth in range(9, 0, -1)]
    recall = {one.planted: one.recall["phantom-arcface"].value for one in found.strengths}
    assert set(recall) == {COPY, HANDLED, OTHER_PHOTO, NOBODY, *map(blend_name, alphas)} and recall[COPY] == 1
    limit = found.limit["phantom-arcface"]
    expected = [alpha for alpha in alphas if all(recall[blend_name(a)] >= 0.9 for a in alphas if a >= alpha)]
    assert limit == (min(expected) if expected else None)


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
