"""medsem-turn before the attackers, beside rivals, on rendered patients by the clinic's protocol.

    pytest -s -m slow tests/benchmark/attacks/test_medsem_turn.py

prints the table of docs/methods.md. The benchmark itself, with dlib, judges of its own and intervals, is
``mema benchmark run --method medsem-turn`` on a release.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from baselines.registry import load_method_config, make_method
from benchmark.attacks.kept_region import KeptRegion
from benchmark.attacks.keys import Keys
from benchmark.attacks.material import Learning, Target, one_bit_away, other_photos
from benchmark.attacks.parrot import Parrot
from benchmark.attacks.protocol import Attacker
from benchmark.attacks.reconstruction import Reconstruction
from benchmark.attacks.retrained import Retrained
from benchmark.config import BenchmarkConfig
from benchmark.tracks.identity import identification
from generation.phantom.population import draw_patient
from generation.phantom.render import render
from mema.taxonomy import load_taxonomy

CONFIGS = Path(__file__).parents[3] / "configs" / "methods"
CODES = load_taxonomy("eye_clinic").codes
RIVALS = (
    "medsem-deid-phantom",
    "password",
    "latent_code",
    "k_same_eigen",
    "eye_bar",
    "gaussian_blur_strong",
    "pixelate_coarse",
    "blackout",
)
TRACED, OWN, MANY = 8, 20, 50
"""Patients of each disease, of any severity: those to be traced, and the attackers' own, few and many."""
QUICK, PATIENT = (Parrot, KeptRegion, Keys), (Parrot, Reconstruction, Retrained)


class Seen(NamedTuple):
    """What was measured of a method: shares of the traced patients, and decibel (NaN without a key)."""

    utility: float
    worst: float
    columns: dict[str, float]
    psnr: float


def photographed(first: int, per_disease: int) -> np.ndarray:
    cases = [
        draw_patient(
            "patients",
            "eye_clinic",
            first + number,
            7077,
            disease=CODES[number % len(CODES)],
            photos=(1, 1),
            photography="clinical",
        )
        for number in range(per_disease * len(CODES))
    ]
    return np.stack([render(case.subject, case.shots[0], case.finding, 128).image for case in cases])


@pytest.fixture(scope="module")
def patients() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The attackers' own photos, those that are to be traced, and other photos of the same people."""
    traced = photographed(0, TRACED)
    others = np.stack([other_photos(photo[None], [0, row])[0] for row, photo in enumerate(traced)])
    return photographed(10_000, OWN), traced, others


def keys(first: int, count: int) -> list[str]:
    return [f"{first + number:064x}" for number in range(count)]


def measure(
    name: str, patients: tuple[np.ndarray, np.ndarray, np.ndarray], attackers: Sequence[type[Attacker]] = QUICK
) -> Seen:
    from mema.classifier import load, predict
    from mema.faces.detector import detect
    from mema.faces.recognisers import recogniser
    from mema.weights import locate

    own, traced, others = patients
    method = make_method(load_method_config(CONFIGS / f"{name}.yaml"))
    probe_keys = keys(0, len(traced))
    probes = method.deidentify(traced, keys=probe_keys, seed=0)
    recovered = nearly = None
    psnr = float("nan")
    if method.reversible:
        recovered = method.recover(probes, probe_keys)
        nearly = method.recover(probes, [one_bit_away(key) for key in probe_keys])
        errors = np.square((recovered.astype(float) - traced) / 255).mean(axis=(1, 2, 3))
        psnr = float(-10 * np.log10(errors).mean())
    people = [str(row) for row in range(len(traced))]
    learning = Learning(
        own, method.deidentify(own, keys=keys(5000, len(own)), seed=0), [f"own {row}" for row in range(len(own))]
    )
    enrolled = method.deidentify(others, keys=keys(9000, len(others)), seed=0)
    target = Target(probes, others, people, enrolled, None, recovered, nearly)
    instrument = recogniser("phantom-sphereface")
    vectors = [instrument.embed(images).vectors for images in (probes, traced)]
    columns = {"naive": identification(*vectors, people, people)}
    for attacker in attackers:
        columns |= attacker(learning, BenchmarkConfig()).trace(target)
    worst = np.max([column for title, column in columns.items() if title != "stolen-key"], axis=0)
    judge = load(locate("phantom-judge/eye_clinic"))
    right = predict(judge, probes).argmax(1) == [
        judge.classes.index(CODES[row % len(CODES)]) for row in range(len(probes))
    ]
    seen = Seen(
        float((right & detect(probes)).mean()),
        float(worst.mean()),
        {title: float(column.mean()) for title, column in columns.items()},
        psnr,
    )
    told = " ".join(f"{title} {share:.3f}" for title, share in seen.columns.items())
    print(f"{name}: utility {seen.utility:.3f} worst {seen.worst:.3f} | {told} | {seen.psnr:.2f} dB")
    return seen


@pytest.fixture(scope="module")
def ours(patients: tuple[np.ndarray, np.ndarray, np.ndarray]) -> Seen:
    return measure("medsem-turn", patients)


@pytest.mark.slow
def test_it_hides_shows_and_gives_back(ours: Seen) -> None:
    assert ours.utility > 0.9
    assert ours.worst < 0.25
    assert ours.columns["near-key"] < 0.1
    assert ours.columns["stolen-key"] >= 0.95
    assert ours.psnr > 38


@pytest.mark.slow
@pytest.mark.parametrize("name", RIVALS)
def test_no_rival_that_protects_as_well_shows_as_much(
    name: str, ours: Seen, patients: tuple[np.ndarray, np.ndarray, np.ndarray]
) -> None:
    rival = measure(name, patients)
    assert rival.worst > ours.worst or rival.utility < ours.utility - 0.3


@pytest.mark.slow
@pytest.mark.parametrize("name", ["medsem-turn", "pixelate_coarse"])
def test_attackers_that_learn_for_minutes_trace_a_mosaic_and_not_ours(
    name: str, patients: tuple[np.ndarray, np.ndarray, np.ndarray]
) -> None:
    seen = measure(name, (photographed(10_000, MANY), *patients[1:]), PATIENT)
    learning = {title: share for title, share in seen.columns.items() if title != "naive"}
    assert all(share < 0.15 if name == "medsem-turn" else share > 0.5 for share in learning.values()), learning
