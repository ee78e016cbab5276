"""One method × one release × one protocol -> ``result.json`` (``mema benchmark run --config … --method NAME``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from benchmark.attacks.ladder import climb
from benchmark.attacks.material import Material, Recover, gather
from benchmark.config import BenchmarkConfig
from benchmark.cost import COST, cost_of
from benchmark.deidentify import Deliver, deidentify_set, from_folder, from_method
from benchmark.embedding import embedded
from benchmark.inputs import inputs_of
from benchmark.judge import PREPARED, Judge, diseases_of, open_judge
from benchmark.method_process import MethodProcess
from benchmark.method_server import BASELINES
from benchmark.metrics import metrics_of
from benchmark.names import JUDGE, check_name
from benchmark.remember import remembered
from benchmark.tracks import disease, identity, shortcut
from benchmark.tracks.protocol import TRACKS, Measured, Sample, Stated
from mema.build import Build
from mema.errors import UserError, nearest
from mema.files import git_hash, hardware
from mema.imageset import ImageSet
from mema.registry import resolve
from mema.release import Release
from mema.result import Failure, Interval, Method, ReleaseReference, Result
from mema.weights import digest


class Bench(NamedTuple):
    """What a method is run on and scored by, opened once; ``originals`` are the release's validation split."""

    config: BenchmarkConfig
    release: Release
    judge: Judge
    originals: ImageSet
    folder: Path

    @classmethod
    def open(cls, build: Build) -> Bench:
        """Open release and judge; UserError when one is absent or does not belong to the other."""
        config = build.section("benchmark", BenchmarkConfig)
        release = Release.open(build.release)
        judge = open_judge(build.benchmark / JUDGE, release, config)
        return cls(config, release, judge, release.imageset("validation"), build.benchmark)


def run_method(build: Build, name: str) -> Result:
    """Run the method called ``name``, in a process of its own, and return its result.

    ``name`` is a file of ``methods/`` beside the build's YAML, a registered method or a class as ``module:Class``,
    which then run with their default parameters, or the path of a YAML; UserError for any other, and for a method that
    does not start.
    """
    bench = Bench.open(build)
    with start_method(build, name) as process:
        description = process.description
        recover = process.recover if description.reversible else None
        taken = take_all(bench, process.deliver(bench.config.seed), recover, description)
        cost = take_cost(bench, process)
    return score(bench, description, *taken, cost)


def run_deidentifier(build: Build, method: Any, description: Method) -> Result:
    """Run a Deidentifier, which need not be registered, in this very process and return its result."""
    bench = Bench.open(build)
    recover = method.recover if description.reversible else None
    taken = take_all(bench, from_method(method, bench.config.seed), recover, description)
    return score(bench, description, *taken)


def score_folder(build: Build, name: str, folder: Path) -> Result:
    """Score images that some other tool made: ``<image_id>.png`` in ``folder``, of all that ``inputs_of`` names.

    The revision is the hash of the folder; UserError for a folder that is absent or a name that is not fit for one.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder of images")
    description = Method(name=check_name(name), revision=digest(folder)[:12], reversible=False, prior="Not stated")
    bench = Bench.open(build)
    deliver = from_folder(folder, {record.image_id for inputs in inputs_of(build) for record in inputs.records()})
    return score(bench, description, *take_all(bench, deliver, None, description))


def take_all(
    bench: Bench, deliver: Deliver, recover: Recover | None, description: Method
) -> tuple[ImageSet, list[Failure], Material | None]:
    """Take the originals, de-identified, their failures, and what attackers may have; ``score`` reads all three."""
    images, failures = take_delivery(bench, deliver, description)
    return images, failures, take_material(bench, deliver, recover, images, description)


def take_delivery(bench: Bench, deliver: Deliver, description: Method) -> tuple[ImageSet, list[Failure]]:
    """Write what is delivered for the originals to ``images/`` in the method's folder; return it and the failures.

    An interrupted delivery goes on where it stopped.
    """
    return deidentify_set(
        deliver,
        bench.originals,
        bench.folder / description.name / "images",
        batch_size=bench.config.batch_size,
        config={
            "method": description.model_dump(),
            "originals": bench.originals.digest,
            "seed": bench.config.seed,
        },
    )


def take_material(
    bench: Bench, deliver: Deliver, recover: Recover | None, images: ImageSet, description: Method
) -> Material | None:
    """Write what attackers may have of the method below ``attacks/`` in its folder; None when nobody attacks."""
    if not bench.config.ladder.attackers:
        return None
    return gather(
        bench.folder / description.name / "attacks",
        deliver,
        recover,
        own=bench.judge.own,
        others=bench.judge.others,
        probes=images,
        batch_size=bench.config.batch_size,
        seed=bench.config.seed,
        config={"method": description.model_dump()},
    )


def take_cost(bench: Bench, process: MethodProcess) -> dict[str, Stated]:
    """Return what the method in ``process`` costs, if the protocol asks for it; the method's folder keeps it."""
    if COST not in bench.config.tracks:
        return {}
    return cost_of(process, bench.originals, bench.folder / process.description.name / "cost.json", bench.config)


def score(
    bench: Bench,
    description: Method,
    images: ImageSet,
    failures: list[Failure],
    material: Material | None,
    cost: Mapping[str, Stated] = MappingProxyType({}),
) -> Result:
    """Score the delivered ``images``, write ``result.json`` to the method's folder and return the result.

    ``cost`` is what only the method's process could tell.
    """
    config, release = bench.config, bench.release
    records, diseases = bench.originals.records(), diseases_of(bench.originals)
    subjects = [record.subject_id for record in records]
    image_ids = [record.image_id for record in records]
    failed = np.isin(image_ids, [failure.image_id for failure in failures])
    scores = score_images(bench.judge, images, diseases, subjects, failed, config)
    ladder = climb(
        bench.folder / description.name / "attacks",
        own=bench.judge.own,
        others=bench.judge.others,
        probes=images,
        material=material,
        naive=scores["identification"],
        failed=failed,
        certificates=bench.judge.certificates,
        config=config,
    )
    scores |= ladder.scores
    scores |= combined(scores)
    recovered = None if material is None else material.recovered
    measured = measure_tracks(bench, description.name, Sample(bench.originals, images, failed, recovered))
    scores |= measured.scores
    result = Result(
        method=description,
        release=ReleaseReference(name=release.name, version=release.version, digest=release.digest),
        protocol=config.protocol_reference(),
        metrics=metrics_of(scores, bench.judge.thresholds, diseases, subjects, config, {**measured.stated, **cost}),
        seeds=[config.seed],
        git_hash=git_hash(),
        hardware=hardware(),
        counts={"images": len(records), "subjects": len(set(subjects)), "failures": len(failures)},
        failures=failures,
        attacks=ladder.attacks,
        image_ids=image_ids,
        subject_ids=subjects,
        scores={name: _listed(column) for name, column in scores.items()},
    )
    result.save(bench.folder / description.name / "result.json")
    return result


def measure_tracks(bench: Bench, name: str, sample: Sample) -> Measured:
    """Return what the tracks in force measure of the method called ``name``; its folder keeps it."""
    scores: dict[str, np.ndarray] = {}
    stated: dict[str, Stated] = {}
    sets = [one.digest for one in (sample.originals, sample.images, sample.recovered) if one is not None]
    identity = {"protocol": bench.config.protocol_reference().version, "sets": sets, "failed": sample.failed.tolist()}
    for track in bench.config.tracks:

        def measure(track: str = track) -> dict[str, Any]:
            measured = TRACKS.load(track)(bench.config).measure(sample, bench.folder / JUDGE / PREPARED / track)
            return {
                "scores": {key: _listed(column) for key, column in measured.scores.items()},
                "stated": {
                    key: [number.value, number.interval and number.interval.model_dump()]
                    for key, number in measured.stated.items()
                },
            }

        kept = remembered(bench.folder / name / PREPARED / f"{track}.json", identity, measure)
        scores |= {key: np.array(column, dtype=float) for key, column in kept["scores"].items()}
        stated |= {
            key: Stated(value, interval and Interval.model_validate(interval))
            for key, (value, interval) in kept["stated"].items()
        }
    return Measured(scores, stated)


def _listed(column: np.ndarray) -> list[float | None]:
    return [None if np.isnan(value) else value for value in column.tolist()]


def start_method(build: Build, name: str) -> MethodProcess:
    """Return the process, to be entered, of the method called ``name`` as ``run_method`` takes it."""
    config, known_as = method_config(build.config_path.parent / "methods", name)
    limit = build.section("benchmark", BenchmarkConfig).time_limit
    return MethodProcess(config, name=known_as, time_limit=limit)


def method_config(folder: Path, name: str) -> tuple[dict[str, Any], str | None]:
    """Return the fields of the MethodConfig called ``name``, and under which name its results go.

    The name is None where the method names itself. Imports no method; UserError for an unknown one.
    """
    registry = resolve(f"{BASELINES}:METHODS")
    file = Path(name) if name.endswith((".yaml", ".yml")) else folder / f"{name}.yaml"
    if file.is_file():
        return resolve(f"{BASELINES}:load_method_config")(file).model_dump(), check_name(file.stem)
    if ":" in name:
        return {"method": name}, None
    if name in registry.names():
        return {"method": name}, check_name(name)
    known = {*registry.names(), *(other.stem for other in folder.glob("*.yaml"))}
    raise UserError(f"unknown method '{name}'{nearest(name, known)}")


def score_images(
    judge: Judge,
    images: ImageSet,
    diseases: Sequence[str],
    subjects: Sequence[str],
    failed: np.ndarray,
    config: BenchmarkConfig,
) -> dict[str, np.ndarray]:
    """Return every per-image score, float (N,), of the de-identified ``images``.

    ``failed`` marks images that the method did not deliver: they score as neither diagnosed nor protected, so that
    failing never pays. Identification and verification are each image's worst case over the recognisers.
    """
    from mema.faces.detector import detect

    batches = images.batches(config.batch_size)
    read = shortcut.readings(judge.classifiers, judge.reader, batches, diseases)
    read = {name: np.where(failed, 0.0, column) for name, column in read.items()}
    correct = read["plain"]
    found = np.concatenate([detect(batch) for batch in images.batches(config.batch_size)]) & ~failed
    scores = {
        "utility": disease.usable(correct, judge.found, found),
        "disease_top1": correct,
        "detection": found.astype(float),
        **{f"disease_top1.{name}": column for name, column in read.items() if name.startswith("judge-")},
        **{f"shortcut.{name}": column for name, column in shortcut.gaps(read, judge.correct).items()},
    }
    for name in config.recognisers:
        originals, probes = judge.vectors[name], embedded(images, name, config.batch_size)
        # An image that was not delivered protects nobody: it counts as its original.
        probes[failed] = originals[failed]
        distances = identity.identity_distance(originals, probes)
        scores[f"identity_distance.{name}"] = distances
        scores[f"identification.{name}"] = identity.identification(probes, originals, subjects, subjects)
        scores[f"verification.{name}"] = identity.verification(distances, judge.thresholds[name].distance)
        scores[f"verification_strict.{name}"] = identity.verification(distances, judge.thresholds[name].strict)
    return scores | combined(scores)


def combined(scores: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the scores that follow from others, each float (N,).

    Of ``identification.<recogniser>`` and ``verification.<recogniser>`` the worst case counts, of
    ``identity_distance.<recogniser>`` and ``shortcut.<washing>`` the mean. An attack is the worst case of
    identification and all ``attack.<attacker>``; privacy and balance follow.
    """

    def parts(kind: str) -> list[np.ndarray]:
        return [column for name, column in scores.items() if name.startswith(f"{kind}.")]

    identification = np.max(parts("identification"), axis=0)
    attack = np.max([identification, *parts("attack")], axis=0)
    return {
        "identification": identification,
        "attack": attack,
        "verification": np.max(parts("verification"), axis=0),
        "verification_strict": np.max(parts("verification_strict"), axis=0),
        "identity_distance": np.mean(parts("identity_distance"), axis=0),
        "shortcut": np.mean(parts("shortcut"), axis=0),
        "privacy": 1.0 - attack,
        "balanced": (scores["utility"] + 1.0 - attack) / 2,
    }
