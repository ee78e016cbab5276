"""What is wrong with images, a method or a result, said in seconds: one line a fault, none when all is well.

Needs no GPU and imports no torch (``mema benchmark validate``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import isclose, isfinite
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmark.attacks.ladder import absent_columns
from benchmark.board import Board
from benchmark.config import BenchmarkConfig
from benchmark.deidentify import FORMATS, image_key, public, read_output, strange_files
from benchmark.inputs import inputs_of
from benchmark.method_process import MethodProcess
from benchmark.metrics import METRICS, definitions_of, metrics_of
from benchmark.names import check_name
from benchmark.results import read_result
from benchmark.run import combined, start_method
from benchmark.tracks.protocol import Stated
from mema.build import Build
from mema.errors import UserError
from mema.imageset import ImageSet
from mema.release import Release
from mema.result import Metric, Result
from mema.weights import digest

TOLERANCE = 1e-6
# As many images are enough to see what a method does, and few enough for seconds.
TRIED_IMAGES = 4


class Report(NamedTuple):
    """What was looked at, in words, and a line for each fault."""

    subject: str
    faults: list[str]


def check_images(build: Build, folder: Path) -> Report:
    """Look at images that some tool made of what ``mema benchmark export`` wrote."""
    inputs = _intact(inputs_of(build))
    faults = faults_of_images(folder, inputs)
    revision = "" if faults else f", revision {digest(folder)[:12]}"
    return Report(f"{sum(one.count for one in inputs)} images{revision}", faults)


def check_method(build: Build, name: str) -> Report:
    """Start the method called ``name`` and try it on a few images of the validation split."""
    (originals,) = _intact([Release.open(build.release).imageset("validation")])
    seed = build.section("benchmark", BenchmarkConfig).seed
    with start_method(build, name) as process:
        faults = faults_of_method(process, originals, seed)
        method = process.description
    return Report(f"method '{method.name}', revision {method.revision}, on {TRIED_IMAGES} images", faults)


def check_result(build: Build, path: Path) -> Report:
    """Check a result against the release and the judge of ``build``."""
    result = read_result(path)
    faults = faults_of_result(result, Board.of(build))
    return Report(f"the result of '{result.method.name}', {len(result.image_ids)} images", faults)


def _intact(inputs: Sequence[ImageSet]) -> Sequence[ImageSet]:
    """Return ``inputs``, compared with their hashes; UserError names a file that is not what was written."""
    for one in inputs:
        one.verify()
    return inputs


def faults_of_images(folder: Path, inputs: Sequence[ImageSet]) -> list[str]:
    """Compare the images ``<image_id>.png`` (or .jpg, …) in ``folder`` with the ``inputs``: ids, sizes, counts."""
    if not folder.is_dir():
        return [f"{folder}: no such folder of images"]
    ids = {record.image_id for one in inputs for record in one.records()}
    faults = [f"{name}: not an id of this release" for name in strange_files(folder, ids)]
    stems = Counter(file.stem for file in folder.iterdir() if file.suffix.lower() in FORMATS and file.stem in ids)
    faults += [f"{stem}: {count} files of one id" for stem, count in sorted(stems.items()) if count > 1]
    for one in inputs:
        for face in one.faces():
            output = read_output(folder, face.record.image_id, face.image.shape)
            if isinstance(output, str):
                faults.append(f"{face.record.image_id}: {output}")
    if len(stems) < len(ids):
        faults.append(f"{len(stems)} of {len(ids)} images are there")
    return faults


def faults_of_method(process: MethodProcess, originals: ImageSet, seed: int) -> list[str]:
    """Run a started method on a few images, together, again and one by one, and compare what comes out."""
    faces = [face for face, _ in zip(originals.faces(), range(TRIED_IMAGES), strict=False)]
    images = np.stack([face.image for face in faces])
    keys = [image_key(face.record, seed) for face in faces]
    together = process.deidentify(images, keys, seed)
    faults = [
        f"{face.record.image_id}: {output}"
        for face, output in zip(faces, together, strict=True)
        if isinstance(output, str)
    ]
    if faults:
        return faults
    if not _equal(together, process.deidentify(images, keys, seed)):
        faults.append("two runs with the same keys and seed differ: draw from a generator made of the key and the seed")
    alone = [process.deidentify(images[i : i + 1], keys[i : i + 1], seed)[0] for i in range(len(images))]
    if not _equal(together, alone):
        faults.append("an image alone and in a batch come out different: treat each image by itself")
    return faults


def faults_of_result(result: Result, board: Board) -> list[str]:
    """Check a result against the release and protocol of ``board``, and its numbers against its per-image scores."""
    faults = [*_faults_of_reference(result, board), *_faults_of_images(result, board)]
    faults += _faults_of_texts(result)
    # Without its own images and settings the numbers mean nothing.
    return (
        faults
        or _faults_of_attacks(result, board)
        or _faults_of_scores(result, board)
        or _faults_of_metrics(result, board)
    )


def _faults_of_reference(result: Result, board: Board) -> list[str]:
    faults = []
    wanted, given = board.release, result.release
    if (given.name, given.version) != (wanted.name, wanted.version):
        faults.append(
            f"it is of release {public(given.name)} {public(given.version)}, not {wanted.name} {wanted.version}"
        )
    elif given.digest != wanted.digest:
        faults.append(
            f"it is of another {wanted.name} {wanted.version}: the release's digest is {wanted.digest[:12]}…,"
            f" the result's {public(given.digest)[:12]}…"
        )
    if result.protocol != board.protocol:
        name, version = board.protocol.name, board.protocol.version
        faults.append(
            f"it is of protocol {public(result.protocol.name)} {public(result.protocol.version)}, not {name} {version}"
        )
    if result.seeds != [board.config.seed]:
        faults.append(f"its seeds are {result.seeds}, not [{board.config.seed}]")
    return faults


def _faults_of_images(result: Result, board: Board) -> list[str]:
    known, given = set(board.image_ids), set(result.image_ids)
    faults = []
    if len(given) < len(result.image_ids):
        faults.append(f"{len(result.image_ids) - len(given)} of its image ids occur twice")
    if missing := [image_id for image_id in board.image_ids if image_id not in given]:
        faults.append(f"it lacks {len(missing)} of {len(known)} images of the split; the first is {missing[0]}")
    if strange := [image_id for image_id in result.image_ids if image_id not in known]:
        faults.append(f"it has {len(strange)} images that are not of the split; the first is {public(strange[0])}")
    if faults:
        return faults
    if result.image_ids != board.image_ids:
        faults.append("its images are not in the order of the release")
    elif result.subject_ids != board.subject_ids:
        faults.append("its subjects are not those of the release")
    failed = [failure.image_id for failure in result.failures]
    if len(set(failed)) < len(failed) or set(failed) - known:
        faults.append("its failures name an image twice, or one that is not of the split")
    counts = {"images": len(known), "subjects": len(set(board.subject_ids)), "failures": len(failed)}
    faults += [
        f"its count of {name} is {result.counts.get(name)}, not {count}"
        for name, count in counts.items()
        if result.counts.get(name) != count
    ]
    return faults


def _faults_of_texts(result: Result) -> list[str]:
    faults = []
    try:
        check_name(result.method.name)
    except UserError as error:
        faults.append(str(error))
    texts = [result.method.revision, result.method.prior, result.hardware, result.git_hash or ""]
    texts += [failure.reason for failure in result.failures]
    faults += [
        f"a text is longer than one line of 200 letters: '{public(text)[:60]}…'" for text in texts if len(text) > 200
    ]
    return faults


def _faults_of_attacks(result: Result, board: Board) -> list[str]:
    """Check that nobody who attacks every method was left out, and that certificates are the judge's."""
    faults = [
        f"there is no score '{name}': every method is attacked so"
        for name in absent_columns(result.scores, board.attacks)
    ]
    if [attack.model_copy(update={"note": ""}) for attack in result.attacks] != board.attacks:
        faults.append("its attackers' certificates are not the judge's")
    if any(len(attack.note) > 200 for attack in result.attacks):
        faults.append("an attacker's note is longer than one line of 200 letters")
    return faults


def _faults_of_scores(result: Result, board: Board) -> list[str]:
    """Check that each score is in its range, that what follows from other scores does, and that no failure pays."""
    by_name = {definition.name: definition for definition in definitions_of(board.config)}
    core = {definition.name for definition in METRICS}
    failed = np.isin(result.image_ids, [failure.image_id for failure in result.failures])
    faults = []
    for name, column in result.scores.items():
        kind = name.partition(".")[0]
        definition = by_name.get(kind)
        there = [value for value in column if value is not None]
        if definition is None or definition.stated:
            faults.append(f"score '{public(name)}' is of no metric")
        elif not all(map(isfinite, there)) or (kind in core and len(there) < len(column)):
            faults.append(f"score '{name}' is not a finite number for every image")
        elif there and (min(there) < definition.lowest or max(there) > definition.highest):
            faults.append(f"score '{name}' leaves its range")
    faults += [f"there is no score '{one.name}'" for one in METRICS if one.whole and one.name not in result.scores]
    if faults:
        return faults
    scores = {name: np.asarray(column, float) for name, column in result.scores.items()}
    for name, derived in combined(scores).items():
        if not np.allclose(derived, scores[name], atol=TOLERANCE):
            faults.append(f"score '{name}' does not follow from the scores that make it")
    if (scores["utility"] > scores["disease_top1"] + TOLERANCE).any():
        faults.append("an image has utility though its disease is not recognised")
    for name in ("utility", "privacy", "disease_top1", "detection"):
        if scores[name][failed].any():
            faults.append(f"an image that failed has {name}")
    return faults


def _faults_of_metrics(result: Result, board: Board) -> list[str]:
    """Derive every metric again from the per-image scores and compare."""
    scores = {name: np.asarray(column, float) for name, column in result.scores.items()}
    by_name = {definition.name: definition for definition in definitions_of(board.config)}
    # What no per-image score yields is taken at its word: the page says so.
    stated = {
        metric.name: Stated(metric.value, metric.interval)
        for metric in result.metrics
        if (definition := by_name.get(metric.name.partition(".")[0])) is not None and definition.stated
    }
    derived = metrics_of(scores, board.thresholds, board.diseases, board.subject_ids, board.config, stated)
    given = {metric.name: metric for metric in result.metrics}
    wanted = {metric.name for metric in derived}
    faults = [f"metric '{public(name)}' is not one of the protocol's" for name in given if name not in wanted]
    for metric in derived:
        if metric.name not in given:
            faults.append(f"there is no metric '{metric.name}'")
        elif difference := _difference(given[metric.name], metric):
            faults.append(f"metric '{metric.name}' does not follow from the per-image scores: {difference}")
    return faults


def _difference(given: Metric, derived: Metric) -> str | None:
    if (given.version, given.higher_is_better) != (derived.version, derived.higher_is_better):
        return f"it is of version {public(given.version)}, not {derived.version}"
    if not _close(given.value, derived.value):
        return f"it says {given.value:.6g}, they give {derived.value:.6g}"
    ends = [(one.interval.low, one.interval.high) if one.interval else () for one in (given, derived)]
    if len(ends[0]) != len(ends[1]) or not all(map(_close, *ends)):
        return f"its interval is {ends[0]}, theirs {ends[1]}"
    if given.per_class.keys() != derived.per_class.keys() or not all(
        _close(given.per_class[name], value) for name, value in derived.per_class.items()
    ):
        return "its values by class are others"
    return None


def _close(a: float, b: float) -> bool:
    return isclose(a, b, abs_tol=TOLERANCE)


def _equal(first: Sequence[np.ndarray | str], second: Sequence[np.ndarray | str]) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
