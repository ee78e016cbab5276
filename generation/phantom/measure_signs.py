"""Can a disease be told from a phantom's photo, and only from its sign? Asked of the shipped classifier.

The patients are of the population "judges", whom no instrument was trained on: every disease equally often, and equally
often in every age, gender and tone. So with the region that carries the signs painted over, only chance is left.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from generation.phantom.population import Case, draw_donor
from generation.phantom.render import Photo, render_batch
from mema.statistics import wilson
from mema.taxonomy import load_taxonomy

REGIONS = {"eye_clinic": "upper_face", "dermatology": "face_region"}
"""Which mask of ``render.Photo`` covers the signs of a clinic."""


def measure_classifier(
    clinic: str, patients: int = 600, *, seed: int = 0, workers: int = 1
) -> dict[str, float | dict[str, float]]:
    """Measure the shipped classifier of ``clinic`` on one photo of each of ``patients``.

    Returns ``top1`` with its Wilson interval (``top1_low``, ``top1_high``), ``per_disease`` (top-1 of each) and
    ``per_severity`` (thirds: slight, mid, heavy; the diseased only), ``top1_masked`` with its interval when the
    sign-carrying region is filled with the mean colour of the rest, and ``chance``, 1 / diseases.
    """
    from mema import classifier
    from mema.weights import locate

    cases = judge_cases(clinic, patients, seed=seed)
    photos = list(render_batch([(case.subject, case.shots[0], case.finding) for case in cases], workers=workers))
    model = classifier.load(locate(f"phantom-judge/{clinic}"))
    truth = np.array([model.classes.index(case.disease) for case in cases])

    def right(images: list[np.ndarray]) -> np.ndarray:
        return classifier.predict(model, np.stack(images)).argmax(axis=1) == truth

    seen = right([photo.image for photo in photos])
    masked = right([paint_over(photo, REGIONS[clinic]) for photo in photos])
    low, high = wilson(int(seen.sum()), patients)
    masked_low, masked_high = wilson(int(masked.sum()), patients)
    return {
        "top1": float(seen.mean()),
        "top1_low": low,
        "top1_high": high,
        "per_disease": {code: float(seen[truth == i].mean()) for i, code in enumerate(model.classes)},
        "per_severity": _per_severity(cases, seen, clinic),
        "top1_masked": float(masked.mean()),
        "top1_masked_low": masked_low,
        "top1_masked_high": masked_high,
        "chance": 1 / len(load_taxonomy(clinic).codes),
    }


def judge_cases(clinic: str, patients: int, *, seed: int = 0) -> list[Case]:
    """Draw ``patients`` of a clinic, diseases in turn, with one shot each; severity and demography are uniform."""
    codes = load_taxonomy(clinic).codes
    cases = []
    for index in range(patients):
        person = draw_donor(index, seed, population="judges", photos=1)
        severity = float(np.random.default_rng([person.subject.seed, 0x5E7]).uniform())
        cases.append(replace(person, clinic=clinic, disease=codes[index % len(codes)], severity=severity))
    return cases


def paint_over(photo: Photo, region: str) -> np.ndarray:
    """Return the photo's image with one of its regions filled with the mean colour of the rest.

    The region itself must not enter that colour: it would tell of redness.
    """
    image: np.ndarray = photo.image.copy()
    inside = getattr(photo, region)
    image[inside] = image[~inside].mean(axis=0).round().astype(np.uint8)
    return image


def _per_severity(cases: list[Case], right: np.ndarray, clinic: str) -> dict[str, float]:
    taxonomy = load_taxonomy(clinic)
    levels = np.array([taxonomy.severity_level(case.severity) for case in cases])
    ill = np.array([case.disease != "normal" for case in cases])
    return {level: float(right[ill & (levels == level)].mean()) for level in taxonomy.levels}
