"""One method × one release × one protocol -> ``result.json`` (``mema benchmark run --config … --method NAME``)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.config import BenchmarkConfig
from benchmark.deidentify import Deliver, deidentify_set, from_folder, from_method
from benchmark.judge import Judge, diseases_of, image_batches, open_judge
from benchmark.metrics import metrics_of
from benchmark.tracks import disease, identity
from mema.build import Build
from mema.errors import UserError, nearest
from mema.files import git_hash, hardware
from mema.imageset import ImageSet
from mema.registry import resolve
from mema.release import Release
from mema.result import Method, ReleaseReference, Result
from mema.weights import digest

# A string, as in the command line's table: rooms do not import each other, and our methods stand as anyone's.
BASELINES = "baselines.registry"
JUDGE = "judge"


def run_method(build: Build, name: str) -> Result:
    """Run the method called ``name`` and return its result.

    ``name`` is a file of ``methods/`` beside the build's YAML, or a registered method, which then runs with its
    default parameters; UserError for any other.
    """
    return run_deidentifier(build, *load_method(build.config_path.parent / "methods", name))


def run_deidentifier(build: Build, method: Any, description: Method) -> Result:
    """Run a Deidentifier, which need not be registered, and return its result."""
    seed = build.section("benchmark", BenchmarkConfig).seed
    return score_delivery(build, from_method(method, seed), description)


def score_folder(build: Build, name: str, folder: Path) -> Result:
    """Score images that some other tool made of the validation split: ``<image_id>.png`` in ``folder``.

    The revision is the hash of the folder; UserError for a folder that is absent or a name that is not fit for one.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder of images")
    if name == JUDGE or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name):
        raise UserError(f"'{name}' cannot be a method's name: letters, digits, '.', '_' and '-' make one")
    description = Method(name=name, revision=digest(folder)[:12], reversible=False, prior="Not stated")
    return score_delivery(build, from_folder(folder), description)


def score_delivery(build: Build, deliver: Deliver, description: Method) -> Result:
    """Take what is delivered for the validation split of ``build.release``, score it, write and return the result.

    ``build.benchmark / description.name`` gets ``images/`` (an ImageSet) and ``result.json``. What is not delivered
    is a failure in the result. UserError when release or judge are absent.
    """
    config = build.section("benchmark", BenchmarkConfig)
    release = Release.open(build.release)
    judge = open_judge(build.benchmark / JUDGE, release, config)
    originals = release.imageset("validation")
    folder = build.benchmark / description.name
    images, failures = deidentify_set(
        deliver,
        originals,
        folder / "images",
        batch_size=config.batch_size,
        config={"method": description.model_dump(), "originals": originals.digest, "seed": config.seed},
    )
    records, diseases = originals.records(), diseases_of(originals)
    subjects = [record.subject_id for record in records]
    image_ids = [record.image_id for record in records]
    failed = np.isin(image_ids, [failure.image_id for failure in failures])
    scores = score_images(judge, images, diseases, subjects, failed, config)
    result = Result(
        method=description,
        release=ReleaseReference(name=release.name, version=release.version, digest=release.digest),
        protocol=config.protocol_reference(),
        metrics=metrics_of(scores, judge.thresholds, diseases, subjects, config),
        seeds=[config.seed],
        git_hash=git_hash(),
        hardware=hardware(),
        counts={"images": len(records), "subjects": len(set(subjects)), "failures": len(failures)},
        failures=failures,
        image_ids=image_ids,
        subject_ids=subjects,
        scores={score: column.tolist() for score, column in scores.items()},
    )
    result.save(folder / "result.json")
    return result


def load_method(folder: Path, name: str) -> tuple[Any, Method]:
    """Return the Deidentifier called ``name`` and how it is described in results; UserError for an unknown one."""
    if name == JUDGE:
        raise UserError(f"'{JUDGE}' is where the judge lies and cannot be a method's name")
    registry = resolve(f"{BASELINES}:METHODS")
    file = folder / f"{name}.yaml"
    if file.is_file():
        config = resolve(f"{BASELINES}:load_method_config")(file)
    elif name in registry.names():
        config = resolve(f"{BASELINES}:MethodConfig")(method=name)
    else:
        known = {*registry.names(), *(other.stem for other in folder.glob("*.yaml"))}
        raise UserError(f"unknown method '{name}'{nearest(name, known)}")
    method = resolve(f"{BASELINES}:make_method")(config)
    return method, Method(
        name=name,
        revision=method.revision,
        reversible=method.reversible,
        prior=method.prior,
        parameters=method.parameters.model_dump(mode="json"),
    )


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
    from mema.classifier import predict
    from mema.faces.detector import detect
    from mema.faces.recognisers import recogniser

    probabilities = [predict(judge.classifier, batch) for batch in image_batches(images, config.batch_size)]
    correct = disease.correct(np.concatenate(probabilities), judge.classifier.classes, diseases)
    correct[failed] = 0.0
    found = np.concatenate([detect(batch) for batch in image_batches(images, config.batch_size)]) & ~failed
    scores = {
        "utility": disease.usable(correct, judge.found, found),
        "disease_top1": correct,
        "detection": found.astype(float),
    }
    for name in config.recognisers:
        instrument, originals = recogniser(name), judge.vectors[name]
        vectors = [instrument.embed(batch).vectors for batch in image_batches(images, config.batch_size)]
        probes = np.concatenate(vectors)
        # An image that was not delivered protects nobody: it counts as its original.
        probes[failed] = originals[failed]
        distances = identity.identity_distance(originals, probes)
        scores[f"identity_distance.{name}"] = distances
        scores[f"identification.{name}"] = identity.identification(probes, originals, subjects, subjects)
        scores[f"verification.{name}"] = identity.verification(distances, judge.thresholds[name].distance)
    for kind in ("identification", "verification"):
        scores[kind] = np.max([scores[f"{kind}.{name}"] for name in config.recognisers], axis=0)
    scores["identity_distance"] = np.mean([scores[f"identity_distance.{name}"] for name in config.recognisers], axis=0)
    scores["privacy"] = 1.0 - scores["identification"]
    scores["balanced"] = (scores["utility"] + scores["privacy"]) / 2
    return scores
