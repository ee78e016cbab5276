"""A build with a release of noise and hand-made results, so that what a table must say is known."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml

from benchmark.config import BenchmarkConfig
from benchmark.statistics import interval_of
from mema.build import Build
from mema.imageset import Face, write_imageset
from mema.records import FaceRecord
from mema.release import SPLITS, Release
from mema.result import Method, Metric, ReleaseReference, Result

DISEASES = ("bcc", "conjunctivitis", "normal", "ptosis", "scc", "strabismus", "tao", "uveitis")
COUNT = 40


@pytest.fixture(scope="session")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A release with 40 images of 40 people in the validation split, five of each disease."""
    release = tmp_path_factory.mktemp("noise") / "release"
    for split in SPLITS:
        count = COUNT if split == "validation" else 1
        faces = [
            Face(
                FaceRecord(image_id=f"{split}-{n}", subject_id=f"{split}-{n}", disease=DISEASES[n % 8], split=split),
                np.full((8, 8, 3), n, np.uint8),
            )
            for n in range(count)
        ]
        write_imageset(release / split, count, lambda a, b, faces=faces: faces[a:b], config={"split": split})
    Release.seal(
        release,
        name="noise",
        version="1.0.0",
        clinic="eye_clinic",
        phantom=True,
        machine_annotated=True,
        annotators=("nobody",),
    )
    return release


@pytest.fixture
def build(tmp_path: Path, release: Path) -> Build:
    """A build of that release, without a result."""
    shutil.copytree(release, tmp_path / "runs" / "release")
    config = {
        "name": "test",
        "clinic": "eye_clinic",
        "paths": {"private": str(tmp_path / "private"), "runs": str(tmp_path / "runs")},
        "benchmark": {"recognisers": ["dlib", "phantom-sphereface"], "methods": ["blackout", "pixelate"]},
    }
    (tmp_path / "build.yaml").write_text(yaml.safe_dump(config))
    return Build.load(tmp_path / "build.yaml")


@pytest.fixture
def put(build: Build) -> Callable[..., Result]:
    """Write the result of a method from per-image scores, or from numbers that all images share."""

    def put(name: str, *, reversible: bool = False, **scores: object) -> Result:
        config = build.section("benchmark", BenchmarkConfig)
        release = Release.open(build.release)
        subjects = [record.subject_id for record in release.imageset("validation").records()]
        columns, metrics = {}, []
        for metric, given in {"disease_top1": 0.5, "attack": 0.5, **scores}.items():
            column = np.broadcast_to(np.asarray(given, float), COUNT)
            known = ~np.isnan(column)
            few = [subject for subject, there in zip(subjects, known, strict=True) if there]
            metrics.append(
                Metric(
                    name=metric.replace("__", "."),
                    version="1",
                    value=float(column[known].mean()),
                    higher_is_better=True,
                    interval=interval_of(column[known], few, draws=100, seed=0),
                )
            )
            columns[metric.replace("__", ".")] = [None if np.isnan(value) else float(value) for value in column]
        result = Result(
            method=Method(name=name, revision="1", reversible=reversible, prior="None"),
            release=ReleaseReference(name=release.name, version=release.version, digest=release.digest),
            protocol=config.protocol_reference(),
            metrics=metrics,
            seeds=[0],
            git_hash=None,
            hardware="none",
            counts={"images": COUNT},
            failures=[],
            image_ids=[f"validation-{n}" for n in range(COUNT)],
            subject_ids=subjects,
            scores=columns,
        )
        result.save(build.benchmark / name / "result.json")
        return result

    return put
