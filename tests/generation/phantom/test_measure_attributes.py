"""Errors are counted right, and the table is made by the real libraries on weights made here (attribute_weights.py)."""

import subprocess
import sys

import numpy as np
import pytest

from generation.phantom.measure_attributes import measure_attributes, summarise, table
from generation.phantom.population import draw_donor
from generation.phantom.render import render
from mema.faces.attributes import Attributes, estimator


def test_errors_are_those_of_each_group():
    subjects = [draw_donor(index, 3).subject for index in range(300)]
    truth = np.array([subject.age for subject in subjects], np.float32)
    women = np.array([subject.gender == "female" for subject in subjects])
    genders = np.full(300, "female", object)
    ages = np.where(women, truth + 4, truth - 9).astype(np.float32)
    # Nobody over 80 is read.
    ages[truth > 80], genders[truth > 80] = np.nan, None
    rows = {row.group: row for row in summarise(subjects, Attributes(ages, genders))}

    seen = truth <= 80
    assert rows["female"].age_error == pytest.approx((4, 4, 4))
    assert rows["male"].age_bias == pytest.approx(-9)
    assert (rows["female"].gender_right.value, rows["male"].gender_right.value) == (1, 0)
    everyone = rows["all"]
    assert (everyone.photos, everyone.read) == (300, seen.sum())
    assert everyone.age_error.value == pytest.approx(np.where(women, 4, 9)[seen].mean())
    assert everyone.age_error.low < everyone.age_error.value < everyone.age_error.high
    assert everyone.gender_right.value == pytest.approx(women[seen].mean())
    for part in (("age 5-19", "age 20-39", "age 40-59", "age 60-90"), ("light (1-4)", "medium (5-7)", "dark (8-10)")):
        assert sum(rows[name].photos for name in part) == 300

    text = table({"deepface": list(rows.values())})
    assert "4.0 [4.0, 4.0]" in text
    assert "-9.0" in text


def test_a_group_of_nobody_and_a_group_unread():
    subjects = [draw_donor(index, 3).subject for index in range(4)]
    nothing = Attributes(np.full(4, np.nan, np.float32), np.full(4, None, object))
    rows = summarise(subjects, nothing)
    assert {row.read for row in rows} == {0}
    assert all(row.photos for row in rows)
    assert " - " in table({"deepface": rows})


@pytest.fixture
def weights(tmp_path, monkeypatch):
    pytest.importorskip("deepface")
    pytest.importorskip("insightface")
    from attribute_weights import write_attribute_weights

    monkeypatch.setenv("MEMA_WEIGHTS", str(write_attribute_weights(tmp_path / "weights")))
    return tmp_path / "weights"


def test_donors_are_rendered_and_read(weights):
    instrument = estimator("deepface")
    cases = [draw_donor(index, 5) for index in range(24)]
    images = np.stack([render(case.subject, case.shots[0], case.finding).image for case in cases])
    ages = instrument.estimate(images).ages
    read = ~np.isnan(ages)
    assert read.mean() > 0.6
    errors = (ages - [case.subject.age for case in cases])[read]

    rows = {row.group: row for row in measure_attributes([instrument], 24, seed=5)["deepface"]}
    assert (rows["all"].photos, rows["all"].read) == (24, read.sum())
    assert rows["all"].age_error.value == pytest.approx(np.abs(errors).mean(), rel=1e-3)
    # The made network says the brightness: dark skin looks younger to it than light skin.
    assert rows["dark (8-10)"].age_bias < rows["light (1-4)"].age_bias


def test_the_shipped_estimator_tells_young_from_old():
    rows = {row.group: row for row in measure_attributes([estimator("phantom")], 48, seed=9)["phantom"]}
    assert rows["all"].read >= 46
    assert rows["all"].age_error.value < 16, "always saying the mean age is off by 22"
    assert rows["all"].gender_right.value > 0.75


def command(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "mema.cli", "phantom", "attributes", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


def test_who_cannot_run_is_named_and_the_others_run(weights):
    (weights / "insightface/models/buffalo_l/genderage.onnx").unlink()
    done = command("--photos", "6")
    assert done.returncode == 0, done.stderr
    assert "insightface does not run here: weights 'insightface/genderage' are missing" in done.stderr
    assert "deepface, one photo of each phantom donor" in done.stdout
    assert "insightface" not in done.stdout
    refused = command("--photos", "6", "--estimator", "insightface")
    assert refused.returncode == 2
    assert "genderage.onnx" in refused.stderr


def test_when_nobody_runs_each_reason_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("MEMA_WEIGHTS", str(tmp_path))
    done = command()
    assert done.returncode == 2
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert lines[-1] == "mema: no estimator of age and gender runs here"
    assert [line.split()[0] for line in lines[:-1]] == ["deepface", "insightface", "phantom"]
    assert all("looked for" in line and "licence" in line for line in lines[:-1])
