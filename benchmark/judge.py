"""The judge: what all methods of one release share, made once (``mema benchmark judge --config configs/demo.yaml``).

A folder with the fine-tuned disease classifier, the recognisers' vectors of the validation originals, the calibrated
thresholds, and ``judge.json``, written last, which says for which release and protocol it holds. Everything in it is
derived from the release, so it is as public as the release.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from benchmark.config import BenchmarkConfig
from mema.build import Build
from mema.errors import UserError
from mema.files import atomic_write, read_json, write_json
from mema.imageset import Face, ImageSet
from mema.release import Release
from mema.taxonomy import load_taxonomy

if TYPE_CHECKING:
    from mema.classifier import DiseaseClassifier

CLASSIFIER = "classifier.safetensors"
VECTORS = "originals.safetensors"
REPORT = "judge.json"


class MatchThreshold(NamedTuple):
    """A verification distance at the protocol's FAR, with the ends of its own 95 % interval."""

    distance: float
    low: float
    high: float


class Judge(NamedTuple):
    """``vectors`` are unit vectors (N, D) of the validation originals per recogniser, ``found`` is bool (N,)."""

    classifier: DiseaseClassifier
    vectors: dict[str, np.ndarray]
    found: np.ndarray
    thresholds: dict[str, MatchThreshold]


def prepare_judge(build: Build) -> Path:
    """Train and calibrate what the benchmark of ``build.release`` needs; return its folder.

    Does nothing when the folder already holds for this release, protocol and initial weights.
    """
    from safetensors.numpy import save

    from mema import classifier, weights
    from mema.faces.detector import detect

    config = build.section("benchmark", BenchmarkConfig)
    release = Release.open(build.release)
    folder = build.benchmark / "judge"
    init = weights.locate(f"{config.judge.init}/{release.clinic}") if config.judge.init else None
    identity = {**_identity(release, config), "init": weights.digest(init) if init else None}
    if (folder / REPORT).is_file() and read_json(folder / REPORT)["identity"] == identity:
        return folder
    (folder / REPORT).unlink(missing_ok=True)

    train, validation = release.imageset("train"), release.imageset("validation")
    labels = diseases_of(train)
    # An unfit validation split is to be said before the training, not after it.
    diseases_of(validation)
    model = classifier.fine_tune(
        train.images(),
        labels,
        load_taxonomy(release.clinic).codes,
        init=init,
        epochs=config.judge.epochs,
        seed=config.seed,
        label="judge",
    )
    classifier.save(model, folder / CLASSIFIER)

    arrays, thresholds = {}, {}
    for name in config.recognisers:
        arrays[name] = _embed(name, validation, config.batch_size)
        thresholds[name] = _threshold(_embed(name, train, config.batch_size), train, config)
    found = [detect(images) for images in image_batches(validation, config.batch_size)]
    arrays["found"] = np.concatenate(found).astype(np.uint8)
    atomic_write(folder / VECTORS, save(arrays))
    write_json(folder / REPORT, {"identity": identity, "thresholds": thresholds})
    return folder


def open_judge(folder: Path, release: Release, config: BenchmarkConfig) -> Judge:
    """Read a prepared judge; UserError when it is absent or belongs to another release or protocol."""
    from safetensors.numpy import load_file

    from mema import classifier

    if not (folder / REPORT).is_file():
        raise UserError(f"{folder} holds no judge: run 'mema benchmark judge' first")
    report = read_json(folder / REPORT)
    for key, value in _identity(release, config).items():
        if report["identity"].get(key) != value:
            raise UserError(f"{folder}: the judge is for another {key}: run 'mema benchmark judge' again")
    arrays = load_file(folder / VECTORS)
    found = arrays.pop("found").astype(bool)
    thresholds = {name: MatchThreshold(row["distance"], *row["interval"]) for name, row in report["thresholds"].items()}
    return Judge(classifier.load(folder / CLASSIFIER), arrays, found, thresholds)


def diseases_of(imageset: ImageSet) -> list[str]:
    """Return the disease of every record; UserError for an empty set, or naming the first image without one."""
    if imageset.count == 0:
        raise UserError(f"image set {imageset.path} is empty")
    diseases = []
    for record in imageset.records():
        if record.disease is None:
            raise UserError(f"image '{record.image_id}' of {imageset.path} has no disease")
        diseases.append(record.disease)
    return diseases


def image_batches(imageset: ImageSet, size: int) -> Iterator[np.ndarray]:
    """Yield the images of a set, uint8 (<= size, H, W, 3), never holding more than one batch and one shard."""
    batch: list[Face] = []
    for face in imageset.faces():
        batch.append(face)
        if len(batch) == size:
            yield np.stack([face.image for face in batch])
            batch = []
    if batch:
        yield np.stack([face.image for face in batch])


def _identity(release: Release, config: BenchmarkConfig) -> dict[str, Any]:
    return {"release": release.digest, "protocol": config.protocol_reference().model_dump()}


def _embed(name: str, imageset: ImageSet, batch_size: int) -> np.ndarray:
    from mema.faces.recognisers import recogniser

    instrument = recogniser(name)
    return np.concatenate([instrument.embed(images).vectors for images in image_batches(imageset, batch_size)])


def _threshold(vectors: np.ndarray, imageset: ImageSet, config: BenchmarkConfig) -> dict[str, Any]:
    """Calibrate on the training split: no subject of it is ever a probe."""
    from mema.faces.thresholds import calibrate

    subjects = [record.subject_id for record in imageset.records()]
    return calibrate(vectors, subjects, config.far, seed=config.seed)._asdict()
