"""Who lives in the phantom world: disjoint populations of subjects, and what each patient has.

Every subject is one integer seed. ``subject_seed`` is injective, so two populations, two clinics, or two
seeds of a hospital never share a person: what was trained on instruments' subjects never saw a patient's
face.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from generation.phantom.anatomy import Subject, draw_subject
from generation.phantom.canvas import Finding
from generation.phantom.shot import Shot, clinical, draw_shot
from generation.phantom.signs import find
from mema.errors import UserError, nearest
from mema.taxonomy import load_taxonomy

POPULATIONS = ("patients", "donors", "instruments", "judges", "attackers", "tests")
"""Patients of the hospital (its controls are patients whom no model trains on), donors of public faces,
and those on whom instruments (recognisers, classifiers), judges and attackers are trained, so that none of
them knows another's."""

Photography = Literal["free", "clinical"]
"""How patients are photographed: freely, or by a clinic's protocol (:func:`generation.phantom.shot.clinical`)."""

CLINICS = ("none", "eye_clinic", "dermatology")
_INDICES, _SEEDS = 2**24, 2**16


@dataclass(frozen=True)
class Demography:
    """Who gets a disease: ages in years (normal distribution cut to ``youngest``..``oldest``), the share
    of women, and the relative frequency of light (1-4), medium (5-7) and dark (8-10) steps of the Monk
    scale."""

    age: float
    spread: float
    youngest: int
    oldest: int
    women: float = 0.5
    tones: tuple[float, float, float] = (0.45, 0.33, 0.22)


DEMOGRAPHY: dict[str, Demography] = {
    "bcc": Demography(68, 11, 40, 90, 0.47, (0.70, 0.20, 0.10)),
    "scc": Demography(72, 10, 45, 90, 0.38, (0.70, 0.20, 0.10)),
    "conjunctivitis": Demography(34, 19, 5, 85, 0.52),
    "ptosis": Demography(58, 19, 5, 90, 0.54),
    "strabismus": Demography(14, 12, 5, 60, 0.50),
    "tao": Demography(45, 10, 22, 70, 0.80),
    "uveitis": Demography(41, 13, 16, 78, 0.50),
    "psoriasis": Demography(42, 15, 14, 85, 0.48),
    "atopic_dermatitis": Demography(18, 13, 5, 65, 0.54),
    "acne": Demography(20, 5.5, 12, 40, 0.55),
    "rosacea": Demography(46, 10, 28, 75, 0.66, (0.62, 0.26, 0.12)),
    "seborrheic_dermatitis": Demography(43, 14, 16, 80, 0.38),
    "normal": Demography(40, 21, 5, 90, 0.52),
}
"""After the epidemiology in the MSD Manual, rounded; tumours and rosacea lean to light skin but spare
none."""


@dataclass(frozen=True)
class Case:
    """One patient of a clinic: who, what, how severe (in [0, 1]), and how each photo was shot."""

    subject: Subject
    clinic: str
    disease: str
    severity: float
    shots: tuple[Shot, ...]

    @property
    def finding(self) -> Finding:
        """What the renderer applies, the same in every photo of the patient."""
        return find(self.disease, self.severity, self.subject, self.subject.seed)


def subject_seed(population: str, clinic: str, index: int, seed: int) -> int:
    """Return the seed of one person, below 2**48; different arguments give different persons.

    ``clinic`` is a taxonomy name or ``"none"``, ``index`` in [0, 2**24), ``seed`` in [0, 2**16). Raises
    UserError for an unknown population or clinic and for numbers out of range.
    """
    for value, known, kind in ((population, POPULATIONS, "population"), (clinic, CLINICS, "clinic")):
        if value not in known:
            raise UserError(f"unknown {kind} '{value}'{nearest(value, known)}")
    if not 0 <= index < _INDICES or not 0 <= seed < _SEEDS:
        raise UserError(f"index {index} must lie in [0, {_INDICES}) and seed {seed} in [0, {_SEEDS})")
    place = POPULATIONS.index(population) * len(CLINICS) + CLINICS.index(clinic)
    return (place * _SEEDS + seed) * _INDICES + index


def draw_patient(
    population: str,
    clinic: str,
    index: int,
    seed: int,
    *,
    disease: str | None = None,
    weights: Mapping[str, float] | None = None,
    severity: float | None = None,
    photos: tuple[int, int] = (3, 6),
    photography: Photography = "free",
) -> Case:
    """Draw patient ``index`` of a clinic, with the demography of the disease and ``photos`` (fewest, most)
    shots, taken freely or by the clinic's protocol.

    The disease is drawn by ``weights`` (uniform without them) unless given, the severity uniformly (0 for
    ``normal``). The same arguments give the same patient; ``disease`` and ``severity`` change what they name
    and the demography only.
    """
    number = subject_seed(population, clinic, index, seed)
    person, visit = np.random.default_rng([number, 0]), np.random.default_rng([number, 1])
    drawn_share, drawn_severity = (float(share) for share in visit.uniform(size=2))
    if disease is None:
        codes = load_taxonomy(clinic).codes
        shares = np.array([1.0 if weights is None else weights.get(code, 0.0) for code in codes])
        disease = codes[int(np.searchsorted(np.cumsum(shares) / shares.sum(), drawn_share, side="right"))]
    load_taxonomy(clinic).disease(disease)
    if disease == "normal":
        severity = 0.0
    return Case(
        subject=_draw_person(number, DEMOGRAPHY[disease], person),
        clinic=clinic,
        disease=disease,
        severity=drawn_severity if severity is None else severity,
        shots=_draw_shots(number, int(visit.integers(photos[0], photos[1] + 1)), photography),
    )


def draw_donor(index: int, seed: int, *, population: str = "donors", photos: int = 1) -> Case:
    """Draw a healthy person of any age from 5 to 90, as of a public face data set (MeMa's FFHQ)."""
    number = subject_seed(population, "none", index, seed)
    rng = np.random.default_rng([number, 0])
    subject = draw_subject(
        number,
        age=int(rng.integers(5, 91)),
        gender=("female", "male")[int(rng.integers(2))],
        skin_tone=int(rng.integers(1, 11)),
    )
    return Case(subject, "none", "normal", 0.0, _draw_shots(number, photos))


def _draw_person(number: int, demography: Demography, rng: np.random.Generator) -> Subject:
    ages = rng.normal(demography.age, demography.spread, 64)
    age = int(ages[(ages >= demography.youngest) & (ages < demography.oldest + 1)][0])
    gender = "female" if rng.random() < demography.women else "male"
    low, high = ((1, 4), (5, 7), (8, 10))[int(rng.choice(3, p=demography.tones))]
    return draw_subject(number, age=age, gender=gender, skin_tone=int(rng.integers(low, high + 1)))


def _draw_shots(number: int, count: int, photography: Photography = "free") -> tuple[Shot, ...]:
    """Shots' seeds derive from the person's by hashing, so that two people's photos share no light or
    pose."""
    seeds = np.random.SeedSequence([number, 2]).generate_state(count, np.uint64) >> np.uint64(16)
    shots = tuple(draw_shot(int(one)) for one in seeds)
    return tuple(clinical(shot) for shot in shots) if photography == "clinical" else shots
