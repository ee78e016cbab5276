"""Leakage: planted copies are counted, strangers are not, and resemblance to controls is taken off."""

from __future__ import annotations

from itertools import combinations
from math import comb

import numpy as np
import pytest

from mema.faces.leakage import (
    Rate,
    equal_size,
    first_photos,
    gallery_hits,
    leakage,
    normalised,
    own_hits,
    own_matches,
    rate,
    share_of_hits,
    subject_distances,
)

CUTOFFS = (0.5, 0.4, 0.6)


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def strangers(count: int, seed: int) -> np.ndarray:
    """Random unit vectors (count, 64): about sqrt(2) apart."""
    return unit(np.random.default_rng(seed).normal(size=(count, 64)).astype(np.float32))


PATIENTS, SUBJECTS = strangers(60, 1), [f"s{n // 4}" for n in range(60)]
CONTROLS, OTHERS = strangers(20, 2), [f"c{n // 4}" for n in range(20)]


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
    matches = np.random.default_rng(1).random((6, 7)) < 0.3
    matches[0], matches[1] = False, True
    expected = [np.mean([row[list(drawn)].any() for drawn in combinations(range(7), 3)]) for row in matches]
    assert share_of_hits(matches, 3) == pytest.approx(expected)
    assert len(list(combinations(range(7), 3))) == comb(7, 3)
    assert share_of_hits(matches, 7) == pytest.approx(matches.any(axis=1).astype(float))


def test_galleries_are_compared_at_equal_size():
    assert first_photos(["a", "a", "b", "a", "b"], 2) == [0, 1, 2, 4]
    assert equal_size(["a", "a", "b", "b", "c", "c"], ["d", "e"]) == (2, 1)
    assert equal_size(["a", "a"], []) == (0, 2)


def test_planted_copies_are_counted():
    probes = unit(np.concatenate([PATIENTS[:30] + 0.01, strangers(70, 3)]))
    found = leakage(gallery_hits(probes, PATIENTS, SUBJECTS, CONTROLS, OTHERS, CUTOFFS))
    assert found.raw.value == pytest.approx(0.30) and found.raw.low < 0.30 < found.raw.high
    # Five of the fifteen patients stand against five controls: exactly a third of the copies is found on average.
    assert found.attack.value == pytest.approx(0.10)
    assert found.control.value == 0 and found.risk.value == found.attack.value


def test_resemblance_to_everybody_is_not_leakage():
    middle = PATIENTS[:1]
    crowd, controls, probes = (
        unit(middle + 0.02 * strangers(count, seed)) for count, seed in ((60, 4), (20, 5), (49, 6))
    )
    probes = np.concatenate([probes, strangers(1, 7)])
    found = leakage(gallery_hits(probes, crowd, SUBJECTS, controls, OTHERS, CUTOFFS))
    assert found.raw.value == found.control.value == pytest.approx(0.98) and found.risk.value == pytest.approx(0)


def test_without_controls_nothing_is_taken_off():
    found = leakage(gallery_hits(PATIENTS[:10], PATIENTS, SUBJECTS, CONTROLS[:0], [], CUTOFFS))
    assert found.raw.value == 1 and found.control is None and found.risk is None


def test_the_thresholds_interval_is_carried_into_the_rate():
    probes = unit(PATIENTS[:40] + np.linspace(0, 0.1, 40)[:, None])
    found = leakage(gallery_hits(probes, PATIENTS, SUBJECTS, CONTROLS, OTHERS, CUTOFFS))
    low, high = found.raw_at_threshold_interval
    assert low < found.raw.value < high


def test_the_own_subject_is_compared_with_another_one():
    tables = [np.array([[1, 0, 0], [1, 1, 0], [0, 0, 0], [1, 1, 1]], bool)] * 3
    own = np.array([0, 1, 2, -1])
    assert own_matches(tables[0], own).tolist() == [True, True, False, False]
    hits = own_hits(tables, own)
    assert hits.attack.tolist() == [1, 1, 0] and hits.control.tolist() == [0, 0.5, 0]
    assert own_hits(tables, np.full(4, -1)) is None


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
