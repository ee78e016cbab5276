"""The judge: what all methods of one release share, made once (``mema benchmark judge --config configs/demo.yaml``).

A folder with the fine-tuned disease classifiers, a reader of another family, the recognisers' vectors of the
validation originals, the calibrated thresholds, the attackers' photos and certificates, and ``judge.json``, written
last, which says for which release and protocol it holds. Everything in it is derived from the release, so it is as
public as the release.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from benchmark.attacks.certificates import certify
from benchmark.attacks.material import check_disjoint, write_other_photos, write_own_photos
from benchmark.config import BenchmarkConfig
from benchmark.embedding import embedded
from benchmark.ridge import Ridge
from benchmark.tracks import shortcut
from benchmark.tracks.protocol import TRACKS
from mema.build import Build
from mema.errors import UserError
from mema.files import atomic_write, read_json, write_json
from mema.imageset import ImageSet
from mema.release import Release
from mema.result import Attack
from mema.taxonomy import load_taxonomy

if TYPE_CHECKING:
    from mema.classifier import Classifier

CLASSIFIER = "classifier-{}.safetensors"
READER = "reader.safetensors"
VECTORS = "originals.safetensors"
REPORT = "judge.json"
OWN = "attackers"
OTHERS = "other-photos"
PREPARED = "tracks"


class MatchThreshold(NamedTuple):
    """Verification distances at the protocol's two FARs, each with the ends of its own 95 % interval."""

    distance: float
    low: float
    high: float
    strict: float
    strict_low: float
    strict_high: float


class Judge(NamedTuple):
    """``vectors`` are unit vectors (N, D) of the validation originals per recogniser, ``found`` is bool (N,).

    ``correct`` is what ``shortcut.readings`` says of the originals; ``own`` and ``others`` are attackers' photos
    (``benchmark.attacks.material``), ``certificates`` say per column whether it counts.
    """

    classifiers: list[Classifier]
    reader: shortcut.Reader
    vectors: dict[str, np.ndarray]
    found: np.ndarray
    correct: dict[str, np.ndarray]
    thresholds: dict[str, MatchThreshold]
    own: ImageSet
    others: ImageSet
    certificates: dict[str, Attack]


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
    initial = config.judge.initial_weights(release.clinic)
    init = weights.locate(initial) if initial else None
    identity = {**_identity(release, config), "init": weights.digest(init) if init else None}
    if (folder / REPORT).is_file() and read_json(folder / REPORT)["identity"] == identity:
        return folder
    (folder / REPORT).unlink(missing_ok=True)

    train, validation = release.imageset("train"), release.imageset("validation")
    labels, codes = diseases_of(train), load_taxonomy(release.clinic).codes
    # An unfit validation split is to be said before the training, not after it.
    diseases = diseases_of(validation)
    own = write_own_photos(train, folder / OWN, config.ladder.pairs, config.seed)
    others = write_other_photos(validation, folder / OTHERS, config.seed)
    check_disjoint(own, validation)
    models = []
    for number in range(config.judge.judges):
        model = classifier.fine_tune(
            train.images(),
            labels,
            codes,
            encoder=config.judge.encoder,
            init=init,
            epochs=config.judge.epochs,
            seed=config.seed + number,
            label=f"judge {number + 1}",
        )
        classifier.save(model, folder / CLASSIFIER.format(number))
        models.append(model)
    reader = shortcut.fit_reader(train.images(), labels, codes)
    atomic_write(folder / READER, save(dict(reader.map._asdict())))

    arrays, thresholds = {}, {}
    for name in config.recognisers:
        arrays[f"vectors.{name}"] = embedded(validation, name, config.batch_size)
        thresholds[name] = _thresholds(embedded(train, name, config.batch_size), train, config)
    found = [detect(images) for images in validation.batches(config.batch_size)]
    arrays["found"] = np.concatenate(found).astype(np.uint8)
    correct = shortcut.readings(models, reader, validation.batches(config.batch_size), diseases)
    arrays |= {f"correct.{name}": column for name, column in correct.items()}
    atomic_write(folder / VECTORS, save(arrays))
    certificates = certify(folder / "certificates", own, validation, others, config)
    noise: dict[str, float] = {}
    for name in config.tracks:
        noise |= TRACKS.load(name)(config).prepare(release, folder / PREPARED / name)
    write_json(
        folder / REPORT,
        {
            "identity": identity,
            "thresholds": thresholds,
            "certificates": {name: attack.model_dump() for name, attack in certificates.items()},
            "noise": noise,
        },
    )
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
    models = [classifier.load(folder / CLASSIFIER.format(number)) for number in range(config.judge.judges)]
    return Judge(
        classifiers=models,
        reader=shortcut.Reader(Ridge(**load_file(folder / READER)), models[0].classes),
        vectors={name: arrays[f"vectors.{name}"] for name in config.recognisers},
        found=arrays["found"].astype(bool),
        correct={
            name.removeprefix("correct."): column for name, column in arrays.items() if name.startswith("correct.")
        },
        thresholds=thresholds_of(report),
        own=ImageSet.open(folder / OWN),
        others=ImageSet.open(folder / OTHERS),
        certificates={name: Attack.model_validate(row) for name, row in report["certificates"].items()},
    )


def thresholds_of(report: dict[str, Any]) -> dict[str, MatchThreshold]:
    """Return the thresholds that a judge's report states, by recogniser."""
    thresholds = {}
    for name, rows in report["thresholds"].items():
        usual, strict = rows["far"], rows["strict_far"]
        (low, high), (strict_low, strict_high) = usual["interval"], strict["interval"]
        thresholds[name] = MatchThreshold(usual["distance"], low, high, strict["distance"], strict_low, strict_high)
    return thresholds


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


def _identity(release: Release, config: BenchmarkConfig) -> dict[str, Any]:
    return {"release": release.digest, "protocol": config.protocol_reference().model_dump()}


def _thresholds(vectors: np.ndarray, imageset: ImageSet, config: BenchmarkConfig) -> dict[str, Any]:
    """Calibrate on the training split: no subject of it is ever a probe."""
    from mema.faces.thresholds import calibrate

    subjects = [record.subject_id for record in imageset.records()]
    return {
        key: calibrate(vectors, subjects, far, seed=config.seed)._asdict()
        for key, far in (("far", config.far), ("strict_far", config.strict_far))
    }
