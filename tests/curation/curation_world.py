"""A small phantom build: patients, controls, donors and candidates, with plants whose fate is known."""

from pathlib import Path

import numpy as np
import yaml

from generation.phantom.population import draw_donor, draw_patient
from generation.phantom.render import render_batch
from mema.build import Build
from mema.imageset import Face, write_imageset
from mema.records import FaceRecord, Provenance

CANARY = "CANARY"
DISEASES = ("bcc", "conjunctivitis", "normal", "ptosis")
FRESH = 40


def write_set(path: Path, faces: list[Face]):
    return write_imageset(path, len(faces), lambda start, stop: faces[start:stop], config={"test": path.name})


def rendered(cases) -> list[np.ndarray]:
    jobs = [(case.subject, shot, case.finding) for case in cases for shot in case.shots]
    return [photo.image for photo in render_batch(jobs, size=128)]


def patients(first: int, count: int) -> list[Face]:
    cases = [
        draw_patient("tests", "eye_clinic", index, 0, disease=DISEASES[index % 4], photos=(3, 3))
        for index in range(first, first + count)
    ]
    names = [(case, number) for case, index in zip(cases, range(count), strict=True) for number in range(3)]
    return [
        Face(
            FaceRecord(
                image_id=f"{CANARY}-photo-{first * 3 + row:04d}",
                subject_id=f"{CANARY}-patient-{first + row // 3:04d}",
                disease=case.disease,
            ),
            image,
        )
        for row, ((case, _), image) in enumerate(zip(names, rendered(cases), strict=True))
    ]


def candidate(index: int, image: np.ndarray, disease: str) -> Face:
    record = FaceRecord(
        image_id=f"virtual-{index:04d}",
        subject_id=f"subject-{index:04d}",
        disease=disease,
        severity="mid",
        age=40.0,
        gender="female",
        provenance=Provenance(
            prompt=f"A face, eye with {disease}, mid-level",
            seed=index,
            donor_id=f"donor-{index % 12:03d}",
            donor_weight=0.3,
        ),
    )
    return Face(record, image)


def draw_faces() -> dict[str, list[Face]]:
    """Candidates: fresh people, then two copies of patients' photos, a repeat, and noise without a face."""
    cohort, controls = patients(0, 14), patients(14, 6)
    donors = [
        Face(FaceRecord(image_id=f"donor-{index:03d}", subject_id=f"donor-{index:03d}", age=40.0), image)
        for index, image in enumerate(rendered([draw_donor(index, 0, population="tests") for index in range(18)]))
    ]
    fresh = [
        draw_patient("tests", "eye_clinic", 100 + i, 0, disease=DISEASES[i % 4], photos=(1, 1)) for i in range(FRESH)
    ]
    images = rendered(fresh)
    images += [cohort[0].image, cohort[10].image, images[5]]
    images.append(np.random.default_rng(0).integers(0, 256, images[0].shape, dtype=np.uint8))
    candidates = [candidate(index, image, DISEASES[index % 4]) for index, image in enumerate(images)]
    return {"cohort": cohort, "controls": controls, "donors": donors, "candidates": candidates}


def make_build(folder: Path, faces: dict[str, list[Face]], **sections) -> Build:
    values = {
        "name": "phantom-test",
        "clinic": "eye_clinic",
        "size": 128,
        "paths": {"private": f"{folder}/{CANARY}-private", "runs": f"{folder}/runs", "data": f"{folder}/data"},
        "audit": {"far": [0.05, 0.01], "decision_far": 0.01, "planted_members": 6},
        "filter": {"near_patient": "majority"},
        "annotate": {"confidence": 0.3},
        "release": {
            "version": "1.2.3",
            "phantom": True,
            "shares": {"train": 0.5, "selection": 0.2, "validation": 0.3},
        },
        **sections,
    }
    config = folder / "build.yaml"
    config.write_text(yaml.safe_dump(values))
    build = Build.load(config)
    for name in ("cohort", "controls", "donors", "candidates"):
        write_set(getattr(build, name), faces[name])
    return build
