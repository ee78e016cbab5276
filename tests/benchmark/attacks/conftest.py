"""Two sets of phantoms, the attackers' own people and those to be traced, small enough to learn from in seconds."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest

from benchmark.attacks.material import write_other_photos, write_own_photos
from benchmark.config import BenchmarkConfig
from generation.phantom.population import draw_patient
from generation.phantom.render import render
from mema.imageset import Face, ImageSet, write_imageset
from mema.records import FaceRecord

OWN, TRACED, SIZE = 112, 40, 64


class People(NamedTuple):
    """``own`` are the attackers', ``originals`` those to be traced, ``others`` other photos of the same."""

    own: ImageSet
    originals: ImageSet
    others: ImageSet


def write_people(path: Path, first: int, count: int) -> ImageSet:
    def make(start: int, stop: int) -> list[Face]:
        faces = []
        for person in range(first + start, first + stop):
            case = draw_patient("tests", "eye_clinic", person, 11, photos=(1, 1))
            image = render(case.subject, case.shots[0], case.finding, SIZE).image
            faces.append(Face(FaceRecord(image_id=f"v{person:05d}", subject_id=f"v{person:05d}"), image))
        return faces

    return write_imageset(path, count, make, config={"first": first})


@pytest.fixture(scope="session")
def people(tmp_path_factory: pytest.TempPathFactory) -> People:
    folder = tmp_path_factory.mktemp("people")
    own, originals = write_people(folder / "own", 0, OWN), write_people(folder / "originals", OWN, TRACED)
    own = write_own_photos(own, folder / "pairs", 2 * OWN, 0)
    return People(own, originals, write_other_photos(originals, folder / "others", 0))


@pytest.fixture(scope="session")
def config() -> BenchmarkConfig:
    """Short trainings, and no recogniser that looks for a face first."""
    ladder = {"reconstruction_epochs": 2}
    return BenchmarkConfig.model_validate({"recognisers": ["phantom-sphereface"], "ladder": ladder})
