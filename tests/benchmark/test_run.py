"""The benchmark on a small release of phantoms: floors in their order, foreign methods without trust."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import misbehaving
import numpy as np
import pytest
import yaml
from PIL import Image

from baselines.protocol import NoParameters
from benchmark.deidentify import apply_method, deidentify_set, from_method
from benchmark.judge import open_judge, prepare_judge
from benchmark.run import (
    Bench,
    method_config,
    run_deidentifier,
    run_method,
    score_folder,
    start_method,
    take_delivery,
)
from mema.build import Build
from mema.errors import UserError
from mema.files import sha256_file
from mema.imageset import ImageSet
from mema.release import Release
from mema.result import Method, Result
from mema.taxonomy import load_taxonomy


def value(result: Result, metric: str) -> float:
    return result.metric(metric).value


def test_the_floors_are_the_ends_of_every_scale(results: dict[str, Result]) -> None:
    through, black = results["pass_through"], results["blackout"]
    count = len(through.image_ids)
    assert value(through, "identity_distance") == 0
    assert value(through, "identification") == value(through, "verification") == 1
    assert value(through, "privacy") == 0
    parts = [metric.name for metric in black.metrics if metric.name.startswith("identification.")]
    assert len(parts) == 2
    for part in parts:
        # One vector for all: each recogniser finds exactly one subject.
        assert value(black, part) == pytest.approx(1 / count)
    assert value(black, "verification") == 0
    assert value(black, "detection") == value(black, "utility") == 0
    # One answer for all images of eight equally frequent diseases.
    assert value(black, "disease_top1") == pytest.approx(1 / 8)
    for name, result in results.items():
        if name != "pass_through":
            assert value(result, "utility") <= value(through, "utility")
            assert value(result, "identity_distance") > 0
        # By luck a method may be found even less often than chance, by no more than that chance.
        assert value(result, "privacy") <= value(black, "privacy") + len(parts) / count + 1e-9
    assert value(results["eye_bar"], "privacy") > 0


def test_an_image_is_as_safe_as_its_worst_recogniser_says(results: dict[str, Result]) -> None:
    for result in results.values():
        for kind in ("identification", "verification"):
            parts = [column for name, column in result.scores.items() if name.startswith(f"{kind}.")]
            assert result.scores[kind] == np.max(np.array(parts), axis=0).tolist()
    # A mosaic does not hide a face from a recogniser that looks at coarse forms; one alone would have missed that.
    rates = [metric.value for metric in results["pixelate"].metrics if metric.name.startswith("identification.")]
    assert min(rates) < 0.5 < max(rates)


def test_scores_add_up_to_the_metrics(results: dict[str, Result]) -> None:
    for result in results.values():
        for metric in (metric for metric in result.metrics if metric.name in result.scores):
            there = [score for score in result.scores[metric.name] if score is not None]
            assert metric.value == pytest.approx(np.mean(there))
            assert metric.interval is not None
            assert metric.interval.low - 1e-9 <= metric.value <= metric.interval.high + 1e-9
        top1 = result.metric("disease_top1")
        assert len(top1.per_class) == 8
        assert np.mean(list(top1.per_class.values())) == pytest.approx(top1.value)
        assert value(result, "balanced") == pytest.approx((value(result, "utility") + value(result, "privacy")) / 2)
        assert value(result, "utility") <= value(result, "disease_top1")


def test_a_rerun_is_the_same_to_the_byte(build: Build, results: dict[str, Result], tmp_path: Path) -> None:
    folder = build.benchmark / "pixelate"
    kept = tmp_path / "kept"
    shutil.move(folder, kept)
    run_method(build, "pixelate")
    assert (folder / "result.json").read_bytes() == (kept / "result.json").read_bytes()
    shard = next((folder / "images").glob("*.parquet")).name
    assert (folder / "images" / shard).read_bytes() == (kept / "images" / shard).read_bytes()


def test_published_images_carry_nothing_but_the_face(build: Build, results: dict[str, Result]) -> None:
    original = Release.open(build.release).imageset("validation").records()
    published = ImageSet.open(build.benchmark / "gaussian_blur" / "images").records()
    assert [record.image_id for record in published] == [record.image_id for record in original]
    assert published[0].provenance.parents == (original[0].image_id,)
    assert published[0].provenance.prompt is None


class Foreign:
    """A method that misbehaves on images whose first pixel is 0."""

    name, revision, reversible, prior = "foreign", "1", False, "None"
    parameters_model = NoParameters
    parameters = NoParameters()

    def __init__(self, fault: str) -> None:
        self.fault = fault

    def deidentify(self, images: np.ndarray, *, keys: Sequence[str] | None, seed: int) -> object:
        images[:, -1] = 9
        if not (images[:, 0, 0, 0] == 0).any():
            return images
        if self.fault == "raises":
            raise RuntimeError("out of\nluck")
        return {
            "None": None,
            "shape": images[:, 1:],
            "count": images[1:],
            "nan": np.full(images.shape, np.nan),
            "integers": images.astype(np.int64),
        }[self.fault]


class AlwaysRaises(Foreign):
    def deidentify(self, images: np.ndarray, *, keys: Sequence[str] | None, seed: int) -> object:
        raise ValueError("no")


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("raises", "RuntimeError: out of"),
        ("None", "returned NoneType, not an array"),
        ("shape", "returned 8 x 7 pixels, not 8 x 8"),
        ("count", "returned 0 images for 1"),
        ("nan", "returned float64 with NaN or infinity"),
        ("integers", "returned int64, not uint8"),
    ],
)
def test_a_foreign_method_fails_image_by_image(fault: str, reason: str) -> None:
    images = np.full((5, 8, 8, 3), 7, np.uint8)
    images[2] = 0
    before = images.copy()
    outputs = apply_method(Foreign(fault), images, ["k"] * 5, 0)
    assert np.array_equal(images, before)
    assert [isinstance(output, str) for output in outputs] == [False, False, True, False, False]
    assert re.match(reason, str(outputs[2]))


def test_a_resumed_run_still_knows_its_failures(tmp_path: Path, build: Build) -> None:
    source = Release.open(build.release).imageset("validation")
    config = {"digest": source.digest}
    arguments = {"batch_size": 4, "config": config}

    images, failures = deidentify_set(from_method(AlwaysRaises("raises"), 0), source, tmp_path / "images", **arguments)
    assert len(failures) == source.count
    assert not images.images().any()
    again = deidentify_set(from_method(Foreign("raises"), 0), source, tmp_path / "images", **arguments)
    assert again[1] == failures


def test_failing_never_pays(build: Build, results: dict[str, Result]) -> None:
    """A method that always raises is a result, at the bottom of both scales."""
    description = Method(name="broken", revision="1", reversible=False, prior="None")
    try:
        result = run_deidentifier(build, AlwaysRaises("raises"), description)
    finally:
        shutil.rmtree(build.benchmark / "broken")
    assert result.counts["failures"] == len(result.failures) == len(result.image_ids)
    assert result.failures[0].reason == "ValueError: no"
    assert value(result, "privacy") == value(result, "utility") == value(result, "identity_distance") == 0


def test_a_folder_of_images_is_a_method_too(build: Build, results: dict[str, Result], tmp_path: Path) -> None:
    """Pictures made elsewhere score as the method that made them; what is missing or damaged is a failure."""
    faces = list(ImageSet.open(build.benchmark / "pixelate" / "images").faces())
    for face in faces:
        Image.fromarray(face.image).save(tmp_path / f"{face.record.image_id}.png")
    try:
        result = score_folder(build, "elsewhere", tmp_path)
        assert result.scores == results["pixelate"].scores
        missing, damaged, small = (face.record.image_id for face in faces[:3])
        (tmp_path / f"{missing}.png").unlink()
        (tmp_path / f"{damaged}.png").write_bytes(b"\x89PNG not really")
        Image.fromarray(faces[2].image[:64]).save(tmp_path / f"{small}.png")
        again = score_folder(build, "elsewhere", tmp_path)
    finally:
        shutil.rmtree(build.benchmark / "elsewhere")
    assert again.method.revision != result.method.revision
    reasons = {failure.image_id: failure.reason for failure in again.failures}
    assert set(reasons) == {missing, damaged, small}
    assert reasons[missing] == "no image of this id"
    assert reasons[small] == "returned 128 x 64 pixels, not 128 x 128"
    for name in ("../up", "judge", ""):
        with pytest.raises(UserError, match="cannot be a method's name"):
            score_folder(build, name, tmp_path)


def test_a_yaml_beside_the_build_names_a_method(build: Build, results: dict[str, Result]) -> None:
    folder = build.config_path.parent / "methods"
    folder.mkdir(exist_ok=True)
    (folder / "coarse.yaml").write_text("method: pixelate\nparameters: {blocks: 4}\n")
    assert method_config(folder, "coarse") == ({"method": "pixelate", "parameters": {"blocks": 4}}, "coarse")
    assert method_config(folder, str(folder / "coarse.yaml")) == method_config(folder, "coarse")
    assert method_config(folder, "pixelate") == ({"method": "pixelate"}, "pixelate")
    assert method_config(folder, "mine:Method") == ({"method": "mine:Method"}, None)
    with pytest.raises(UserError, match="did you mean 'coarse'"):
        method_config(folder, "coarze")
    (folder / "judge.yaml").write_text("method: pixelate\n")
    with pytest.raises(UserError, match="cannot be a method's name"):
        method_config(folder, "judge")
    (folder / "judge.yaml").unlink()


def test_a_killed_run_goes_on_and_ends_with_the_same_bytes(
    build: Build, results: dict[str, Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(misbehaving.__file__).parent))
    config = yaml.safe_load(build.config_path.read_text())
    config["benchmark"]["batch_size"] = 4
    path = tmp_path / "build.yaml"
    path.write_text(yaml.safe_dump(config))
    folder = build.benchmark / "slow"
    program = f"from benchmark.run import *; run_method(Build.load({str(path)!r}), 'misbehaving:Slow')"
    try:
        run = subprocess.Popen(
            [sys.executable, "-c", program], env={**os.environ, "SLOW": "1"}, stderr=subprocess.DEVNULL
        )
        second = folder / "images" / "shard-00001.parquet"
        while run.poll() is None and not second.is_file():
            time.sleep(0.05)
        run.kill()
        run.wait()
        assert second.is_file() and not (folder / "result.json").exists()
        made = second.stat().st_mtime_ns
        resumed = run_method(Build.load(path), "misbehaving:Slow")
        assert second.stat().st_mtime_ns == made, "what was done is not done again"
        bench = Bench.open(Build.load(path))._replace(folder=tmp_path)
        with start_method(Build.load(path), "misbehaving:Slow") as process:
            take_delivery(bench, process.deliver(bench.config.seed), resumed.method)
        for file in (tmp_path / "slow" / "images").iterdir():
            assert file.read_bytes() == (folder / "images" / file.name).read_bytes()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def test_a_judge_is_for_one_release_and_protocol(build: Build, results: dict[str, Result], tmp_path: Path) -> None:
    from benchmark.config import BenchmarkConfig

    release = Release.open(build.release)
    config = build.section("benchmark", BenchmarkConfig)
    with pytest.raises(UserError, match="run 'mema benchmark judge' first"):
        open_judge(tmp_path, release, config)
    stricter = config.model_copy(update={"far": 0.02})
    with pytest.raises(UserError, match="another protocol"):
        open_judge(build.benchmark / "judge", release, stricter)
    assert stricter.protocol_reference() != config.protocol_reference()
    assert config.model_copy(update={"batch_size": 5}).protocol_reference() == config.protocol_reference()


def test_a_judge_starts_from_named_weights(build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The judge says which weights it grew from, and without them which file is missing."""
    from mema.classifier import DiseaseClassifier, save

    config = yaml.safe_load(build.config_path.read_text())
    config["paths"]["runs"] = str(tmp_path / "runs")
    config["benchmark"] |= {"judge": {"init": "phantom-judge", "epochs": 1}, "recognisers": ["dlib"]}
    (tmp_path / "build.yaml").write_text(yaml.safe_dump(config))
    shutil.copytree(build.release, tmp_path / "runs" / "release")
    monkeypatch.setenv("MEMA_WEIGHTS", str(tmp_path / "weights"))
    other = Build.load(tmp_path / "build.yaml")
    with pytest.raises(UserError, match=r"eye_clinic\.safetensors.*licence"):
        prepare_judge(other)
    weights = tmp_path / "weights" / "phantom-judge" / "eye_clinic.safetensors"
    save(DiseaseClassifier(load_taxonomy("eye_clinic").codes), weights)
    report = json.loads((prepare_judge(other) / "judge.json").read_text())
    assert report["identity"]["init"] == sha256_file(weights)


def test_the_threshold_never_saw_a_probe(build: Build, results: dict[str, Result]) -> None:
    """Calibration is on the training split, whose subjects are in no other."""
    release = Release.open(build.release)
    train = {record.subject_id for record in release.imageset("train").records()}
    assert train.isdisjoint(results["pass_through"].subject_ids)
    report = json.loads((build.benchmark / "judge" / "judge.json").read_text())
    row = report["thresholds"]["dlib"]["far"]
    assert row["pairs"] <= len(train) * (len(train) - 1) / 2
    assert row["interval"][0] <= row["distance"] <= row["interval"][1]


def test_listing_methods_imports_no_torch() -> None:
    code = (
        "import sys; from click.testing import CliRunner; from mema.cli import cli;"
        "print(CliRunner().invoke(cli, ['benchmark', 'methods']).output);"
        "CliRunner().invoke(cli, ['benchmark', '--help']);"
        "assert not {'torch', 'dlib', 'scipy', 'sklearn', 'datasets'} & set(sys.modules), 'heavy import'"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "gaussian_blur" in done.stdout


def test_an_unknown_key_of_the_section_is_named(build: Build, tmp_path: Path) -> None:
    from benchmark.config import BenchmarkConfig

    config = yaml.safe_load(build.config_path.read_text())
    config["benchmark"]["recognizers"] = ["dlib"]
    path = tmp_path / "build.yaml"
    path.write_text(yaml.safe_dump(config))
    with pytest.raises(UserError, match="did you mean 'recognisers'"):
        Build.load(path).section("benchmark", BenchmarkConfig)
