"""Fine-tuning a build: the report says what was done, done work is kept, and what shows patients stays private."""

from __future__ import annotations

import json

import numpy as np
import pytest
import yaml

from generation.finetune import finetune
from mema.build import Build
from mema.diffusion.checkpoint import Generator, generator_digest, load_pipeline
from mema.imageset import Face, ImageSet, write_imageset
from mema.records import FaceRecord


def make_build(folder, tiny_generator, **finetune_section) -> Build:
    section = {"checkpoint": str(tiny_generator / "sd"), "rank": 4, "steps": 4, "batch": 4, "tracker": "none"}
    config = {
        "name": "test",
        "clinic": "eye_clinic",
        "size": 32,
        "paths": {"private": str(folder / "private"), "runs": str(folder / "runs")},
        "finetune": section | finetune_section,
    }
    (folder / "build.yaml").write_text(yaml.safe_dump(config))
    build = Build.load(folder / "build.yaml")
    for path, prefix, count in ((build.cohort, "patient", 12), (build.controls, "control", 2)):
        random = np.random.default_rng(count)
        faces = [
            Face(
                FaceRecord(
                    image_id=f"{prefix}-{n}", subject_id=f"{prefix}-of-{n // 2}", disease=("bcc", "ptosis")[n // 6]
                ),
                random.integers(0, 256, (32, 32, 3), dtype=np.uint8),
            )
            for n in range(count)
        ]
        write_imageset(path, count, lambda a, b, faces=faces: faces[a:b], config={"test": prefix})
    return build


@pytest.fixture(scope="module")
def whole(tmp_path_factory, tiny_generator):
    """A build whose UNet was fine-tuned in full, with patients held out, under the tracker's eyes."""
    watched = {"held_out": 0.34, "evaluate_every": 2, "tracker": "tensorboard", "sample_every": 4}
    build = make_build(tmp_path_factory.mktemp("whole"), tiny_generator, method="full", learning_rate=1e-3, **watched)
    finetune(build)
    return build


def test_the_report_says_what_was_done(whole):
    report = json.loads((whole.lora / "finetune.json").read_text())
    assert (report["photos"], report["patients"], report["steps"], len(report["loss"])) == (8, 4, 4, 4)
    assert (report["held_out"]["photos"], report["held_out"]["patients"]) == (4, 2)
    assert list(report["held_out"]["loss"]) == ["0", "2", "4"] and min(report["held_out"]["loss"].values()) > 0
    assert report["settings"]["method"] == "full" and report["settings"]["held_out"] == 0.34


def test_what_shows_patients_is_private(whole):
    secrets = [b"patient-", ImageSet.open(whole.cohort).digest.encode(), str(whole.private).encode()]
    public = [file for file in whole.runs.rglob("*") if file.is_file()]
    assert len(public) == 3 and not [f for f in public if any(secret in f.read_bytes() for secret in secrets)]
    tracked = [file for file in (whole.private / "finetune" / "tracker").rglob("*") if file.is_file()]
    assert len(tracked) == 1 and b"samples/A face, eye with ptosis" in tracked[0].read_bytes()
    assert b"patient-" not in tracked[0].read_bytes()


def test_done_is_done_until_a_setting_that_matters_changes(whole, tiny_generator, tmp_path):
    weights = whole.lora / "unet" / "diffusion_pytorch_model.safetensors"
    before = weights.stat().st_mtime_ns
    finetune(whole)
    assert weights.stat().st_mtime_ns == before
    values = yaml.safe_load(whole.config_path.read_text())
    values["finetune"] |= {"tracker": "none", "save_every": 7}
    (tmp_path / "quiet.yaml").write_text(yaml.safe_dump(values))
    finetune(Build.load(tmp_path / "quiet.yaml"))
    assert weights.stat().st_mtime_ns == before, "watching is no reason to train again"
    weights.write_bytes(weights.read_bytes()[:-2] + b"\0\0")
    finetune(whole)
    assert weights.stat().st_mtime_ns != before, "weights that are not what was written are made again"


@pytest.mark.parametrize("method", ["lora", "full"])
def test_full_goes_on_from_what_was_fine_tuned(tiny_generator, tmp_path, method):
    (tmp_path / "first").mkdir()
    first = make_build(tmp_path / "first", tiny_generator, method=method, learning_rate=1e-3)
    finetune(first)
    (tmp_path / "then").mkdir()
    then = make_build(
        tmp_path / "then", tiny_generator, method="full", learning_rate=1e-12, steps=1, init=str(first.lora)
    )
    finetune(then)
    unets = [load_pipeline(Generator(tiny_generator / "sd", one.lora), device="cpu").unet for one in (first, then)]
    vanilla = load_pipeline(Generator(tiny_generator / "sd"), device="cpu").unet.state_dict()
    for name, tensor in unets[0].state_dict().items():
        assert np.allclose(tensor, unets[1].state_dict()[name], rtol=1e-3, atol=1e-6), name
    assert any(not np.allclose(tensor, vanilla[name], atol=1e-5) for name, tensor in unets[1].state_dict().items())
    assert generator_digest(Generator(tiny_generator / "sd", then.lora)) != generator_digest(
        Generator(tiny_generator / "sd")
    )
