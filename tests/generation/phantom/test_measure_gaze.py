"""Errors of gaze are counted right, and the command measures whoever can run."""

import subprocess
import sys

import numpy as np
import pytest

from generation.phantom.measure_gaze import deviates, gaze_cases, summarise, table, true_gaze
from generation.phantom.render import render
from generation.phantom.training.gaze import fit, looking_about
from mema.faces.gaze import angle_between, rolled

CASES = gaze_cases("tests", 32)
TRUTH = np.stack([true_gaze(case.shots[0], case.finding) for case in CASES])


def test_the_truth_is_the_renderers_turned_with_the_head():
    case = CASES[3]
    upright = rolled(true_gaze(case.shots[0], case.finding), -np.full(2, case.shots[0].roll))
    np.testing.assert_allclose(upright, render(case.subject, case.shots[0], case.finding).gaze, atol=1e-3)
    for one in CASES:
        assert deviates(one.finding).sum() == (one.disease == "strabismus")


def test_errors_are_those_of_each_group():
    said = TRUTH + np.array([0, 3])
    # Who squints is taken to look straight at what the other eye fixes, and one patient is not read.
    for row, case in enumerate(CASES):
        if case.disease == "strabismus":
            said[row] = said[row][np.argmin(deviates(case.finding))]
    unread = next(row for row, case in enumerate(CASES) if case.disease == "normal")
    said[unread] = np.nan
    rows = {row.group: row for row in summarise(CASES, said)}

    assert (rows["all"].lines, rows["all"].read) == (64, 62)
    assert (rows["well"].lines, rows["well"].read) == (8, 6)
    for name in ("well", "strabismus, fixing eye", "other diseases"):
        assert rows[name][3:6] == pytest.approx((3, 3, 3), abs=1e-6)
        assert (rows[name].yaw, rows[name].pitch) == pytest.approx((0, 3), abs=1e-6)
    assert rows["strabismus, turned eye"].lines == rows["strabismus, fixing eye"].lines == 4
    assert rows["strabismus, turned eye"].error > 15
    assert "3.0 [3.0, 3.0]" in table({"phantom": list(rows.values())})


def test_one_line_of_sight_is_the_fixing_eyes():
    fixing = [np.argmin(deviates(case.finding)) for case in CASES]
    said = np.stack([gaze[eye] for gaze, eye in zip(TRUTH, fixing, strict=True)])[:, None]
    rows = {row.group: row for row in summarise(CASES, said)}
    assert rows["all"].error == pytest.approx(0, abs=1e-6)
    assert rows["all"].lines == len(CASES)
    assert "strabismus, turned eye" not in rows
    nothing = {row.group: row for row in summarise(CASES, np.full_like(said, np.nan))}
    assert nothing["all"].read == 0 and np.isnan(nothing["all"].error)
    assert " -\n" in table({"l2cs": list(nothing.values())})


def test_weights_are_fitted_to_what_eyes_say():
    random = np.random.default_rng(0)
    features = np.column_stack([random.normal(3, 2, (200, 6)), np.ones(200)])
    truth = random.normal(size=(7, 2))
    weights, error = fit(features, features @ truth, np.arange(200) // 2)
    assert error < 1.5
    assert angle_between(features @ weights, features @ truth).mean() < error


def test_people_look_about_with_their_heads_where_they_were():
    looking = looking_about(CASES)
    spread = [np.std([case.shots[0].gaze_yaw for case in cases]) for cases in (CASES, looking)]
    assert spread[1] > 1.5 * spread[0]
    for before, after in zip(CASES, looking, strict=True):
        assert (before.subject, before.shots[0].yaw, before.disease) == (
            after.subject,
            after.shots[0].yaw,
            after.disease,
        )


def test_the_command_measures_whoever_runs(monkeypatch, tmp_path):
    def command(*arguments):
        told = [sys.executable, "-m", "mema.cli", "phantom", "gaze", *arguments]
        return subprocess.run(told, capture_output=True, text=True, check=False)

    done = command("--photos", "8")
    assert done.returncode == 0, done.stderr
    assert "phantom, lines of sight of unseen phantom patients" in done.stdout
    assert "l2cs does not run here: weights 'l2cs/gaze360' are missing" in done.stderr
    monkeypatch.setenv("MEMA_WEIGHTS", str(tmp_path))
    refused = command("--estimator", "phantom", "--photos", "8")
    assert refused.returncode == 2
    assert refused.stderr.startswith("mema: weights 'phantom-gaze' are missing")
