"""Clinical agreement: whether readers say of a de-identified photo what they said of the original (MeMa Table 4).

Every reader reads the original, the original again, and the de-identified image, and Cohen's kappa compares the first
with each of the others. Nobody agrees with themselves throughout, so the question is how much more is lost than by
looking twice: the *change* of kappa against the second reading of the original. A method is non-inferior when the
interval of the change lies above minus ``benchmark.agreement.margin``, inferior when it lies below, else undecided.

Readers are physicians, whose answers to a blinded study come back in the annotations' format
(``benchmark.reader_study``), or, without a study, machines that are no physicians and are named so: readers of another
family than the judge, each of which has learnt from other photos and sees a photo slightly moved and relit each time.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple

import numpy as np

from benchmark.config import BenchmarkConfig
from benchmark.definition import Definition
from benchmark.judge import diseases_of
from benchmark.reader_study import AGAIN, ORIGINAL, open_study
from benchmark.ridge import Ridge
from benchmark.tracks.protocol import Measured, Sample, Stated
from benchmark.tracks.shortcut import Reader, describe, fit_reader
from mema.annotations import majority
from mema.files import atomic_write, read_json, write_json
from mema.imageset import ImageSet
from mema.release import Release
from mema.result import Interval
from mema.statistics import cluster_draws, cohen_kappa
from mema.taxonomy import load_taxonomy

MACHINE = "machine"
FAILED = "not delivered"
DIVIDED = "divided"
READER = "reader-{}.safetensors"
READINGS = "readings.json"
BATCH = 32
# What a machine reads from: shares of the training photos, and how a photo that is shown again differs.
LEARNT = 2 / 3
LIGHT = 0.05
REPEATS = 4

Said = Sequence[str | None]
"""What a reader says of N images: a disease, or that it was rejected; None where they were not asked."""


class Readings(NamedTuple):
    """What one reader says of the originals, of the originals again, and of the de-identified images."""

    original: Said
    again: Said
    deidentified: Said


class Kappa(NamedTuple):
    """Cohen's kappa of two readings of the same images and, drawn with subjects, (draws,)."""

    value: float
    drawn: np.ndarray

    def stated(self) -> Stated:
        """Return the number with its 95 % interval, or without one where no draw has a kappa."""
        if np.isnan(self.drawn).all():
            return Stated(self.value)
        low, high = np.nanquantile(self.drawn, [0.025, 0.975])
        return Stated(self.value, Interval(low=float(low), high=float(high)))

    def less(self, other: Kappa) -> Kappa:
        """Return the difference to another from the same draws."""
        return Kappa(self.value - other.value, self.drawn - other.drawn)


class Agreement:
    """The readers' agreement with themselves before and after de-identification."""

    title: ClassVar[str] = "Clinical agreement"
    table: ClassVar[str] = "Table 4"
    definitions: ClassVar[tuple[Definition, ...]] = (
        Definition(
            "agreement",
            "Same reading",
            True,
            True,
            "Share of images of which a reader says the same as of the original: the disease, or that none can be "
            "told; the mean over readers, each of whom is a part. Readers called machine are models, not physicians.",
        ),
        Definition(
            "kappa",
            "Cohen's κ",
            True,
            False,
            "Agreement beyond chance between the readings of originals and of de-identified images (MeMa, Table 4), "
            "of what most readers say and by reader: 1 is perfect, 0 what chance alone would give.",
            lowest=-1.0,
            stated=True,
        ),
        Definition(
            "kappa_change",
            "κ less κ again",
            True,
            False,
            "κ less the κ that the same readers reach when they are shown the originals again. A method is "
            "non-inferior where the interval lies above minus the protocol's margin, inferior where it lies below.",
            lowest=-2.0,
            highest=2.0,
            stated=True,
        ),
        Definition(
            "kappa_disease",
            "κ of",
            True,
            False,
            "κ of one disease against all others, of what most readers say.",
            lowest=-1.0,
            whole=False,
            stated=True,
        ),
    )

    def __init__(self, config: BenchmarkConfig) -> None:
        self.config = config

    def prepare(self, release: Release, folder: Path) -> dict[str, float]:
        """Without a study: let machines learn and read the originals; the floor is the spread of looking again."""
        if self.config.agreement.study:
            return {}
        train, validation = release.imageset("train"), release.imageset("validation")
        subjects = [record.subject_id for record in validation.records()]
        readers = fit_readers(
            train, load_taxonomy(release.clinic).codes, self.config.agreement.readers, self.config.seed
        )
        for name, reader in readers.items():
            atomic_write(folder / READER.format(name), _packed(reader))
        times = [_machine_readings(readers, validation, time) for time in range(REPEATS)]
        kept = {name: {ORIGINAL: times[0][name], AGAIN: times[1][name]} for name in readers}
        write_json(folder / READINGS, kept)
        delivered = np.zeros(validation.count, bool)
        repeats: dict[str, list[float]] = {}
        for said in times[1:]:
            readings = {name: Readings(times[0][name], times[1][name], said[name]) for name in readers}
            again = compare(readings, subjects, delivered, draws=1, seed=0)
            repeats.setdefault("agreement", []).append(float(np.mean(again.scores["agreement"])))
            if "kappa" in again.stated:
                repeats.setdefault("kappa", []).append(again.stated["kappa"].value)
        return {name: float(np.std(values)) for name, values in repeats.items()}

    def measure(self, sample: Sample, folder: Path) -> Measured:
        """Compare what readers say; UserError when a study has not read these images, or not all of them yet."""
        subjects = [record.subject_id for record in sample.originals.records()]
        if self.config.agreement.study:
            readings = self._of_study(sample, self.config.agreement.study)
        else:
            readings = self._of_machines(sample, folder)
        return compare(readings, subjects, sample.failed, draws=self.config.bootstrap_draws, seed=self.config.seed)

    def _of_machines(self, sample: Sample, folder: Path) -> dict[str, Readings]:
        kept = read_json(folder / READINGS)
        readers = {name: _unpacked(folder / READER.format(name)) for name in kept}
        said = _machine_readings(readers, sample.images, REPEATS)
        return {name: Readings(kept[name][ORIGINAL], kept[name][AGAIN], said[name]) for name in kept}

    def _of_study(self, sample: Sample, path: Path) -> dict[str, Readings]:
        study = open_study(path)
        image_ids = [record.image_id for record in sample.originals.records()]
        arm = study.arm_of(sample.originals, sample.images)
        said = study.said()
        physicians = [name for name in said if not study.by_machine(name)]
        names = {name: name for name in physicians}
        names |= {
            name: f"{MACHINE}-{number}" for number, name in enumerate(sorted(set(said) - set(physicians)), start=1)
        }
        return {
            names[name]: Readings(*([given.get((one, id_)) for id_ in image_ids] for one in (ORIGINAL, AGAIN, arm)))
            for name, given in said.items()
        }


def compare(
    readings: Mapping[str, Readings], subjects: Sequence[str], failed: np.ndarray, *, draws: int, seed: int
) -> Measured:
    """Return the track's scores and stated numbers from the readings of each reader, of N images of ``subjects``.

    An image that ``failed``, bool (N,), is read as not delivered, which agrees with nothing.
    """
    told = {name: one._replace(deidentified=_delivered(one.deidentified, failed)) for name, one in readings.items()}
    weights = cluster_draws(subjects, draws, seed)
    scores = {f"agreement.{name}": _same(one.original, one.deidentified) for name, one in told.items()}
    each = np.stack(list(scores.values()))
    counts = (~np.isnan(each)).sum(axis=0)
    scores["agreement"] = np.divide(
        np.nansum(each, axis=0), counts, out=np.full(len(subjects), np.nan), where=counts > 0
    )
    most = Readings(*(_majority(column) for column in zip(*told.values(), strict=True)))
    stated = {}
    for part, one in {"": most, **{f".{name}": one for name, one in told.items()}}.items():
        kappa, again = (kappa_of(one.original, other, weights) for other in (one.deidentified, one.again))
        if kappa:
            stated[f"kappa{part}"] = kappa.stated()
        if kappa and again:
            stated[f"kappa_change{part}"] = kappa.less(again).stated()
    for disease in sorted({label for label in most.original if label is not None} - {DIVIDED}):
        if kappa := kappa_of(*_one_disease(disease, most.original, most.deidentified), weights):
            stated[f"kappa_disease.{disease}"] = kappa.stated()
    return Measured(scores, stated)


def kappa_of(first: Said, second: Said, weights: np.ndarray) -> Kappa | None:
    """Return the kappa of two readings of N images; None where it is not defined.

    ``weights`` (draws, N) say how often each image counts in a draw. Images that lack a reading are left out.
    """
    both = [place for place in range(len(first)) if first[place] is not None and second[place] is not None]
    labels = {label: number for number, label in enumerate(sorted({*first, *second} - {None}, key=str))}
    size = len(labels)
    pairs = np.zeros((len(both), size * size))
    for row, place in enumerate(both):
        pairs[row, labels[first[place]] * size + labels[second[place]]] = 1
    value = float(cohen_kappa(pairs.sum(axis=0).reshape(size, size)))
    if np.isnan(value):
        return None
    return Kappa(value, cohen_kappa((weights[:, both] @ pairs).reshape(-1, size, size)))


def verdict(change: Interval, margin: float) -> Literal["non-inferior", "inferior", "undecided"]:
    """Return what the interval of a change of kappa says of a loss of ``margin``."""
    if change.low > -margin:
        return "non-inferior"
    return "inferior" if change.high < -margin else "undecided"


def fit_readers(train: ImageSet, codes: Sequence[str], count: int, seed: int) -> dict[str, Reader]:
    """Return machine readers by name, each fitted to another draw of the training photos."""
    images, diseases = train.images(), np.array(diseases_of(train))
    readers = {}
    for number in range(1, count + 1):
        order = np.random.default_rng([seed, number]).permutation(train.count)
        rows = np.sort(order[: max(2, round(LEARNT * train.count))])
        readers[f"{MACHINE}-{number}"] = fit_reader(images[rows], diseases[rows].tolist(), codes)
    return readers


def shown(images: np.ndarray, time: int, first: int) -> np.ndarray:
    """Return ``images``, uint8 (N, H, W, 3), as they look another ``time``: moved by a 64th at most, and relit.

    ``first`` is the number of the first image in its set: an image looks the same in any batch.
    """
    height, width = images.shape[1:3]
    reach = max(1, height // 64)
    edges = ((reach, reach), (reach, reach), (0, 0))
    looks = np.empty_like(images)
    for place, image in enumerate(images):
        random = np.random.default_rng([time, first + place])
        down, right = random.integers(0, 2 * reach + 1, 2)
        moved = np.pad(image, edges, mode="edge")[down : down + height, right : right + width]
        looks[place] = np.clip(np.rint(moved * random.uniform(1 - LIGHT, 1 + LIGHT)), 0, 255)
    return looks


def _machine_readings(readers: Mapping[str, Reader], images: ImageSet, time: int) -> dict[str, list[str]]:
    said: dict[str, list[str]] = {name: [] for name in readers}
    start = 0
    for batch in images.batches(BATCH):
        features = describe(shown(batch, time, start))
        start += len(batch)
        for name, reader in readers.items():
            said[name] += [reader.classes[place] for place in reader.map(features).argmax(axis=1)]
    return said


def _delivered(said: Said, failed: np.ndarray) -> list[str | None]:
    return [FAILED if lost else label for label, lost in zip(said, failed, strict=True)]


def _one_disease(disease: str, original: Said, deidentified: Said) -> tuple[Said, Said]:
    """Return both readings with the disease, and all else, as one label each; what failed disagrees here too."""
    before = [None if label is None else str(label == disease) for label in original]
    after = [
        str(first != disease) if second == FAILED else None if second is None else str(second == disease)
        for first, second in zip(original, deidentified, strict=True)
    ]
    return before, after


def _same(original: Said, deidentified: Said) -> np.ndarray:
    """Return 1.0 where both readings are one, else 0.0, and NaN where one is missing; what failed is 0.0."""
    return np.array(
        [
            0.0 if after == FAILED else np.nan if before is None or after is None else float(before == after)
            for before, after in zip(original, deidentified, strict=True)
        ]
    )


def _majority(said: Sequence[Said]) -> list[str | None]:
    """Return what more than half of the readers of each image say, or that they are divided."""
    votes = ([label for label in labels if label is not None] for labels in zip(*said, strict=True))
    return [(majority(labels) or DIVIDED) if labels else None for labels in votes]


def _packed(reader: Reader) -> bytes:
    from safetensors.numpy import save

    return save(dict(reader.map._asdict()), metadata={"classes": json.dumps(reader.classes)})


def _unpacked(path: Path) -> Reader:
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as file:
        arrays = {name: file.get_tensor(name) for name in Ridge._fields}
        return Reader(Ridge(**arrays), tuple(json.loads(file.metadata()["classes"])))
