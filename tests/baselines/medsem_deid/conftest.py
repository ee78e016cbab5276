"""A MedSem-DeID that is real but for its size: 32 px, beside a diffusion UNet of random weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from baselines.medsem_deid.settings import MedSemParameters
from mema.imageset import Face, ImageSet, write_imageset
from mema.records import FaceRecord

SIZE = 32
DISEASES = ("bcc", "normal", "ptosis")


@pytest.fixture(scope="session")
def people(tmp_path_factory: pytest.TempPathFactory) -> ImageSet:
    """Two photos of each of three people with a disease each."""
    faces = []
    for n in range(6):
        smooth = np.random.default_rng(n // 2).integers(40, 216, (4, 4, 3)).repeat(8, 0).repeat(8, 1)
        image = smooth + np.random.default_rng(10 + n).integers(-9, 10, (SIZE, SIZE, 3))
        record = FaceRecord(image_id=f"photo-{n}", subject_id=f"person-{n // 2}", disease=DISEASES[n // 2])
        faces.append(Face(record, image.astype(np.uint8)))
    folder = tmp_path_factory.mktemp("people") / "set"
    return write_imageset(folder, len(faces), lambda start, stop: faces[start:stop], config={"test": "medsem"})


@pytest.fixture
def parameters(tiny_generator: Path) -> MedSemParameters:
    """Settings of a training of seconds."""
    return MedSemParameters.model_validate(
        {
            "encoder": {"weights": str(tiny_generator / "sd"), "tuned": None},
            "encoder_training": {"rank": 4, "batch": 2, "steps": 3, "save_every": 2, "tracker": "none"},
            "network": {
                "size": SIZE,
                "patch": 2,
                "widths": (16, 32),
                "layers": 1,
                "heads": 2,
                "password_added": True,
                "discriminator": (8, 16),
            },
            "loss": {"identity": "phantom-arcface", "jitter": True, "recover": 10.0},
            "schedule": {"steps": 5, "batch": 2, "rate": 1e-3, "save_every": 2, "halve_after": 4},
        }
    )


@pytest.fixture
def change() -> Callable[..., MedSemParameters]:
    """Return settings with some values of some sections changed, validated anew."""

    def change(parameters: MedSemParameters, **sections: dict[str, object]) -> MedSemParameters:
        values = parameters.model_dump()
        for section, changed in sections.items():
            values[section] |= changed
        return MedSemParameters.model_validate(values)

    return change
