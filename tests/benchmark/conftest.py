"""A small release of rendered phantoms, judged and scored once for all tests of this folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml

from generation.phantom.population import draw_patient
from generation.phantom.render import render
from mema.build import Build
from mema.imageset import Face, write_imageset
from mema.records import FaceRecord
from mema.release import SPLITS, Release
from mema.result import Result
from mema.taxonomy import load_taxonomy

CLINIC = "eye_clinic"
RECOGNISERS = ("dlib", "phantom-sphereface")
METHODS = ("pass_through", "blackout", "gaussian_blur", "pixelate", "eye_bar")


def make_release(folder: Path, per_disease: dict[str, int]) -> Release:
    """Render ``per_disease[split]`` patients of every disease, one photo each, and seal them as a release."""
    patient = 0
    for split in SPLITS:
        faces = []
        for code in load_taxonomy(CLINIC).codes:
            for _ in range(per_disease[split]):
                case = draw_patient("tests", CLINIC, patient, 7, disease=code, severity=0.8, photos=(1, 1))
                image = render(case.subject, case.shots[0], case.finding, 128).image
                person = case.subject
                record = FaceRecord(
                    image_id=f"v{patient:05d}",
                    subject_id=f"v{patient:05d}",
                    disease=code,
                    age=person.age,
                    gender=person.gender,
                    skin_tone=person.skin_tone,
                    split=split,
                )
                faces.append(Face(record, image))
                patient += 1
        write_imageset(folder / split, len(faces), lambda a, b, faces=faces: faces[a:b], config={"split": split})
    return Release.seal(
        folder,
        name="test-phantoms",
        version="0.1.0",
        clinic=CLINIC,
        phantom=True,
        machine_annotated=True,
        annotators=("renderer",),
    )


def make_build(folder: Path, per_disease: dict[str, int], **benchmark: object) -> Build:
    """Write a build's YAML and its release below ``folder``."""
    make_release(folder / "runs" / "release", per_disease)
    config = {
        "name": "test",
        "clinic": CLINIC,
        "size": 128,
        "paths": {"private": str(folder / "private"), "runs": str(folder / "runs")},
        "benchmark": {
            "recognisers": list(RECOGNISERS),
            "far": 0.01,
            "strict_far": 0.001,
            "methods": list(METHODS),
            # Nobody attacks, but in tests/benchmark/attacks.
            "ladder": {"attackers": []},
            **benchmark,
        },
    }
    path = folder / "build.yaml"
    path.write_text(yaml.safe_dump(config))
    return Build.load(path)


@pytest.fixture(scope="session")
def build(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Build]:
    """A build whose release has two training and two validation patients of each of 8 diseases."""
    planted = make_build(
        tmp_path_factory.mktemp("build"),
        {"train": 2, "selection": 1, "validation": 2},
        judge={"init": None, "epochs": 3, "judges": 2},
        tracks=["planted_track:Brightness", "agreement"],
    )
    with pytest.MonkeyPatch.context() as patch:
        # So that commands find the planted track too.
        patch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)
        yield planted


@pytest.fixture(scope="session")
def attacked_build(tmp_path_factory: pytest.TempPathFactory) -> Build:
    """A build with two quick attackers, who need not be good to count, and its judge."""
    from benchmark.judge import prepare_judge

    build = make_build(
        tmp_path_factory.mktemp("attacked"),
        {"train": 2, "selection": 1, "validation": 1},
        judge={"init": None, "epochs": 1, "judges": 1},
        recognisers=["phantom-sphereface"],
        ladder={"attackers": ["kept-region", "keys"], "certificate": 0.1},
    )
    prepare_judge(build)
    return build


@pytest.fixture(scope="session")
def results(build: Build) -> dict[str, Result]:
    """The results of all our methods on that release."""
    from benchmark.judge import prepare_judge
    from benchmark.run import run_method

    prepare_judge(build)
    return {name: run_method(build, name) for name in METHODS}


@pytest.fixture
def images() -> np.ndarray:
    """Four phantoms, uint8 (4, 96, 96, 3)."""
    cases = [draw_patient("tests", CLINIC, i, 3, photos=(1, 1)) for i in range(4)]
    return np.stack([render(case.subject, case.shots[0], case.finding, 96).image for case in cases])
