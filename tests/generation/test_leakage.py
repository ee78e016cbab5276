"""Leakage: planted copies are counted, strangers are not, and resemblance to controls is taken off."""

from __future__ import annotations

import numpy as np
import pytest

from generation.effects import accepted, table
from generation.leakage import measure_leakage

THRESHOLD = 0.5


def unit(count: int, seed: int) -> np.ndarray:
    """Random unit vectors (count, 64): about sqrt(2) apart."""
    vectors = np.random.default_rng(seed).normal(size=(count, 64)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


PATIENTS, SUBJECTS = unit(60, 1), [f"s{n // 4}" for n in range(60)]
CONTROLS = unit(20, 2)


def test_planted_copies_are_counted():
    probes = np.concatenate([PATIENTS[:30] + 0.01, unit(70, 3)])
    leakage = measure_leakage(probes, PATIENTS, SUBJECTS, CONTROLS, THRESHOLD)
    assert leakage.raw.value == pytest.approx(0.30) and leakage.raw.low < 0.30 < leakage.raw.high
    # A third of the patients stands against the controls, so a third of the copies is found on average.
    assert leakage.attack.value == pytest.approx(0.10, abs=0.04)
    assert leakage.control.value == 0 and leakage.normalised.value == leakage.attack.value


def test_resemblance_to_everybody_is_not_leakage():
    middle = PATIENTS[:1]
    crowd = middle + 0.02 * unit(60, 4)
    controls = middle + 0.02 * unit(20, 5)
    leakage = measure_leakage(middle + 0.02 * unit(50, 6), crowd, SUBJECTS, controls, THRESHOLD)
    assert leakage.raw.value == leakage.control.value == 1 and leakage.normalised.value == 0


def test_without_controls_nothing_is_taken_off():
    leakage = measure_leakage(PATIENTS[:10], PATIENTS, SUBJECTS, CONTROLS[:0], THRESHOLD)
    assert leakage.raw.value == 1 and leakage.control.value == 0


def rate(value: float) -> dict[str, float]:
    return {"value": value, "low": value, "high": value}


def result(before: float, after: float, direct: float, injected: float, distance: float) -> dict:
    fidelity = {kind: {"top1": top1, "low": 0, "high": 1} for kind, top1 in (("vanilla", before), ("direct", after))}
    leakage = {
        kind: {"raw": rate(v), "normalised": rate(v)} for kind, v in (("direct", direct), ("injected", injected))
    }
    distances = {name: {"disease": distance, "age": None, "gender": distance} for name in ("random", "guided")}
    if distance is not None:
        distances["guided"]["age"] = distance
    made = {
        "population": "phantoms",
        "samples": 10,
        "fidelity": fidelity,
        "leakage": {"dlib": leakage},
        "distances": distances,
    }
    return made | {"accepted": accepted(made)}


@pytest.mark.parametrize(
    ("values", "verdicts"),
    [
        ((0.2, 0.8, 0.5, 0.1, 0.003), [True, True, True]),
        ((0.3, 0.8, 0.5, 0.11, 0.004), [False, False, False]),
        ((0.2, 0.7, 0.0, 0.0, 0.0), [False, True, False]),
    ],
)
def test_what_is_accepted(values, verdicts):
    made = result(*values)
    assert list(made["accepted"].values()) == verdicts
    text = table(made)
    assert "phantoms" in text and "71.83" in text and text.count("yes") == sum(verdicts)
