"""Populations: no one belongs to two, patients are repeatable, demography follows the disease."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from generation.phantom.population import (
    CLINICS,
    DEMOGRAPHY,
    POPULATIONS,
    draw_donor,
    draw_patient,
    subject_seed,
)
from mema.errors import UserError
from mema.taxonomy import load_taxonomy, taxonomies


def test_nobody_belongs_to_two_populations_clinics_or_hospitals() -> None:
    edges = (0, 1, 2**24 - 1), (0, 1, 2**16 - 1)
    people = [subject_seed(*place, *numbers) for place in product(POPULATIONS, CLINICS) for numbers in product(*edges)]
    assert len(set(people)) == len(people)
    assert max(people) < 2**48


def test_every_disease_has_a_demography() -> None:
    assert set(DEMOGRAPHY) == {code for name in taxonomies() for code in load_taxonomy(name).codes}
    assert set(taxonomies()) < set(CLINICS)


def test_the_same_arguments_give_the_same_patient() -> None:
    first, second = (draw_patient("tests", "eye_clinic", 7, 3) for _ in range(2))
    assert first == second
    assert first.subject != draw_patient("tests", "eye_clinic", 7, 4).subject
    assert 3 <= len(first.shots) <= 6
    assert len(set(first.shots)) == len(first.shots)


def test_severity_can_be_set_without_changing_the_person() -> None:
    free = draw_patient("tests", "dermatology", 1, 0, disease="acne")
    slight, heavy = (draw_patient("tests", "dermatology", 1, 0, disease="acne", severity=s) for s in (0.1, 0.9))
    assert slight.subject == heavy.subject == free.subject
    assert slight.shots == heavy.shots
    assert (slight.severity, heavy.severity) == (0.1, 0.9)


def draw_many(disease: str, clinic: str, count: int = 150) -> list:
    return [draw_patient("tests", clinic, index, 1, disease=disease, photos=(1, 1)).subject for index in range(count)]


def test_demography_follows_the_disease() -> None:
    ages = {code: np.mean([one.age for one in draw_many(code, "eye_clinic")]) for code in ("scc", "strabismus", "tao")}
    assert ages["strabismus"] < 25 < 38 < ages["tao"] < 55 < 65 < ages["scc"]
    assert np.mean([one.gender == "female" for one in draw_many("tao", "eye_clinic")]) > 0.7
    acne = draw_many("acne", "dermatology")
    assert max(one.age for one in acne) <= 40
    assert {one.skin_tone for one in acne} == set(range(1, 11))


def test_weights_choose_the_diseases() -> None:
    weights = {"bcc": 3.0, "normal": 1.0}
    drawn = [draw_patient("tests", "eye_clinic", index, 0, weights=weights).disease for index in range(200)]
    assert set(drawn) == {"bcc", "normal"}
    assert 0.6 < np.mean([disease == "bcc" for disease in drawn]) < 0.9


def test_donors_are_healthy_and_of_any_age() -> None:
    donors = [draw_donor(index, 0) for index in range(200)]
    assert all(donor.disease == "normal" and donor.finding.painters == () for donor in donors)
    ages = [donor.subject.age for donor in donors]
    assert min(ages) < 12
    assert max(ages) > 82


def test_mistakes_are_named() -> None:
    with pytest.raises(UserError, match="did you mean 'donors'"):
        subject_seed("donor", "none", 0, 0)
    with pytest.raises(UserError, match="index"):
        draw_donor(-1, 0)
    with pytest.raises(UserError, match="did you mean 'scc'"):
        draw_patient("tests", "eye_clinic", 0, 0, disease="sccc")


def test_a_protocol_changes_how_a_patient_is_photographed_and_not_the_patient() -> None:
    free, clinical = (
        [draw_patient("tests", "eye_clinic", index, 2, photography=how) for index in range(40)]
        for how in ("free", "clinical")
    )
    assert [(c.subject, c.disease, c.severity, len(c.shots)) for c in free] == [
        (c.subject, c.disease, c.severity, len(c.shots)) for c in clinical
    ]
    before, after = ([shot for case in cases for shot in case.shots] for cases in (free, clinical))
    for name in ("yaw", "pitch", "roll", "gaze_yaw", "exposure", "scale"):
        spreads = [np.std([getattr(shot, name) for shot in shots]) for shots in (before, after)]
        assert spreads[1] == pytest.approx(spreads[0] / 4), name
    assert len({shot.background for shot in after}) == len({shot.clothes for shot in after}) == 1
    assert all(np.linalg.norm(shot.light) == pytest.approx(1) for shot in after)
