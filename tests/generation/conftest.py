"""A build that is real but for its size: 32 px, random weights, a fine-tuning of two steps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml

from generation.finetune import finetune
from mema.build import Build
from mema.imageset import Face, ImageSet, write_imageset
from mema.records import FaceRecord

SIZE = 32
DISEASES = ("bcc", "normal", "ptosis", "bcc")


def write_people(path: Path, count: int, prefix: str, *, photos: int = 1, diseases: tuple[str, ...] = ()) -> ImageSet:
    """Write noise of so many photos; the photos of a person are alike and share age, gender, tone and disease."""
    faces = []
    for n in range(count):
        person = n // photos
        random = np.random.default_rng([len(prefix), person])
        image = random.integers(0, 256, (SIZE, SIZE, 3)) + np.random.default_rng(n).integers(-9, 10, (SIZE, SIZE, 3))
        record = FaceRecord(
            image_id=f"{prefix}-photo-{n:03d}",
            subject_id=f"{prefix}-{person:03d}",
            disease=diseases[person % len(diseases)] if diseases else None,
            age=20 + 7 * (person % 9),
            gender=("female", "male")[person % 2],
            skin_tone=1 + person % 10,
        )
        faces.append(Face(record, image.clip(0, 255).astype(np.uint8)))
    return write_imageset(path, count, lambda start, stop: faces[start:stop], config={"test": prefix})


def make_tiny_build(folder: Path, weights: Path, **sections: object) -> Build:
    """Return a fine-tuned build of 24 photos of 12 patients, 6 controls and 16 donors; ``sections`` replace its own."""
    from mema.classifier import DiseaseClassifier, save
    from mema.taxonomy import load_taxonomy

    folder.mkdir(exist_ok=True)
    save(DiseaseClassifier(load_taxonomy("eye_clinic").codes), folder / "judge.safetensors")
    config = {
        "name": "tiny",
        "clinic": "eye_clinic",
        "size": SIZE,
        "paths": {"private": str(folder / "private"), "runs": str(folder / "runs")},
        "finetune": {"checkpoint": str(weights / "sd"), "rank": 4, "steps": 2, "batch": 4},
        "plan": {"count": 24, "donor_uses_max": 9},
        "sample": {"adapter": str(weights / "adapter"), "steps": 2, "batch": 8, "shard_size": 8},
        "effects": {
            "samples": 24,
            "judge": str(folder / "judge.safetensors"),
            "recognisers": ["phantom-arcface", "phantom-sphereface"],
            "far": 0.01,
            "population": "noise",
        },
    }
    (folder / "build.yaml").write_text(yaml.safe_dump(config | sections))
    build = Build.load(folder / "build.yaml")
    write_people(build.cohort, 24, "patient", photos=2, diseases=DISEASES)
    write_people(build.controls, 6, "control", diseases=DISEASES)
    write_people(build.donors, 16, "donor")
    finetune(build)
    return build


@pytest.fixture(scope="session")
def tiny_build(tmp_path_factory, tiny_generator) -> Build:
    """A build before its plan; tests may add samples but change nothing that is there."""
    return make_tiny_build(tmp_path_factory.mktemp("tiny-build"), tiny_generator)
