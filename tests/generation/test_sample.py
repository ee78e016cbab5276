"""Sampling the plan: rows can be made alone, a killed run goes on to the same bytes, provenance is complete."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import yaml
from PIL import Image

from generation.contact_sheet import LABEL_WIDTH, TITLE_HEIGHT
from generation.finetune import check_controls, finetune
from generation.plan import plan, read_plan
from generation.sample import embed_donors, first_of_each_kind, sample_plan, sample_rows
from mema.build import Build
from mema.diffusion.checkpoint import Generator, load_pipeline, native_precision
from mema.errors import UserError
from mema.imageset import Face, ImageSet, write_imageset
from mema.records import FaceRecord

GREY_LEVEL = 1
ROWS = 12


def write_faces(path, count, prefix, **fields):
    random = np.random.default_rng(count)
    faces = [
        Face(
            FaceRecord(
                image_id=f"{prefix}-{n:03d}",
                subject_id=f"{prefix}-{n // 2:03d}",
                age=20 + 3 * n,
                gender=("female", "male")[n % 2],
                **{key: values[n % len(values)] for key, values in fields.items()},
            ),
            random.integers(0, 256, (32, 32, 3), dtype=np.uint8),
        )
        for n in range(count)
    ]
    return write_imageset(path, count, lambda a, b: faces[a:b], config={"test": prefix})


def make_build(folder, tiny_generator, **sections) -> Build:
    config = {
        "name": "test",
        "clinic": "eye_clinic",
        "size": 32,
        "paths": {"private": str(folder / "private"), "runs": str(folder / "runs")},
        "finetune": {"checkpoint": str(tiny_generator / "sd"), "rank": 4, "steps": 2, "batch": 4},
        "plan": {"count": ROWS, "donor_uses_max": 9},
        "sample": {"adapter": str(tiny_generator / "adapter"), "steps": 2, "batch": 2, "shard_size": 4},
    }
    folder.mkdir(exist_ok=True)
    (folder / "build.yaml").write_text(yaml.safe_dump(config | sections))
    build = Build.load(folder / "build.yaml")
    write_faces(build.cohort, 8, "patient", disease=["bcc", "normal"])
    write_faces(build.controls, 4, "control", disease=["bcc", "normal"])
    write_faces(build.donors, 6, "donor")
    return build


@pytest.fixture(scope="module")
def done(tmp_path_factory, tiny_generator):
    """A build whose candidates were made without interruption."""
    build = make_build(tmp_path_factory.mktemp("done"), tiny_generator)
    finetune(build)
    plan(build)
    return build, sample_plan(build)


def test_a_row_alone_is_the_row_of_the_set(done, tiny_generator):
    build, made = done
    rows = read_plan(build.plan)
    pipe = load_pipeline(Generator(tiny_generator / "sd", build.lora, tiny_generator / "adapter"))
    donors = embed_donors(pipe, ImageSet.open(build.donors), rows)
    from generation.sample import SampleConfig

    config = build.section("sample", SampleConfig)
    for row, image in list(zip(rows, made.images(), strict=True))[::3]:
        alone = sample_rows(pipe, pipe, [row], donors, size=32, config=config)[0]
        assert np.abs(alone.astype(int) - image).max() <= GREY_LEVEL


def test_provenance_says_how_each_image_came_to_be(done):
    build, made = done
    for row, record in zip(read_plan(build.plan), made.records(), strict=True):
        assert record.subject_id.startswith("virtual-") and record.image_id == row.image_id
        assert (record.disease, record.severity, record.age) == (row.disease, row.severity, row.age)
        provenance = record.provenance
        assert (provenance.prompt, provenance.seed) == (row.prompt, row.seed)
        assert (provenance.donor_id, provenance.donor_weight) == (row.donor_id, row.donor_weight)
        assert len(provenance.generator) == 64
    assert len({record.provenance.generator for record in made.records()}) == 1
    assert (build.runs / "candidates.png").is_file()


def test_each_disease_has_a_sheet_with_a_row_for_each_severity(done):
    build, made = done
    kinds = {(record.disease, record.severity) for record in made.records()}
    sheets = {file.stem: file for file in (build.runs / "candidates-sheets").glob("*.png")}
    assert sheets.keys() == {disease for disease, _ in kinds} and len(sheets) == 2
    for disease, file in sheets.items():
        rows = len([kind for kind in kinds if kind[0] == disease])
        assert Image.open(file).size == (LABEL_WIDTH + 8 * 128, TITLE_HEIGHT + rows * 128)


def test_sheets_take_the_first_images_of_each_kind(done):
    _, made = done
    expected: dict = {}
    for face in made.faces():
        expected.setdefault((face.record.disease, face.record.severity), []).append(face.image)
    assert max(map(len, expected.values())) > 1
    for count in (1, 99):
        pictures = first_of_each_kind(made, count)
        assert pictures.keys() == expected.keys()
        for kind, images in pictures.items():
            assert np.array_equal(images, expected[kind][:count])


def test_nothing_private_is_in_what_sampling_writes(done):
    build, _ = done
    secrets = [b"patient-0", ImageSet.open(build.cohort).digest.encode(), str(build.private).encode()]
    written = [file for file in build.runs.rglob("*") if file.is_file() and build.donors not in file.parents]
    assert len(written) > 5
    assert not [file for file in written if any(secret in file.read_bytes() for secret in secrets)]


def test_again_is_the_same_set_and_another_seed_is_not(done, tmp_path, tiny_generator):
    build, made = done
    assert sample_plan(build).digest == made.digest
    before = (build.lora / "pytorch_lora_weights.safetensors").stat().st_mtime_ns
    finetune(build)
    assert (build.lora / "pytorch_lora_weights.safetensors").stat().st_mtime_ns == before, "done already"
    other = make_build(tmp_path, tiny_generator, plan={"count": ROWS, "donor_uses_max": 9, "seed": 1})
    finetune(other)
    plan(other)
    assert sample_plan(other).digest != made.digest


def test_auto_is_the_precision_that_the_machine_is_fast_in(done, tmp_path, tiny_generator, monkeypatch):
    import torch

    _, made = done
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True, "avx512_bf16": True})
    assert native_precision() == "bf16"
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True, "avx512_bf16": False})
    sampling = {"adapter": str(tiny_generator / "adapter"), "steps": 2, "batch": 2, "shard_size": 4}
    build = make_build(tmp_path, tiny_generator, sample=sampling | {"precision": "auto"})
    finetune(build)
    plan(build)
    assert sample_plan(build).digest == made.digest, "what was resolved is what counts"


@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_same_bytes(done, tmp_path, tiny_generator):
    build, made = done
    killed = make_build(tmp_path, tiny_generator)
    finetune(killed)
    plan(killed)
    assert killed.plan.read_bytes() == build.plan.read_bytes()
    command = [sys.executable, "-m", "mema.cli", "generate", "sample", "--config", str(tmp_path / "build.yaml")]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not list(killed.candidates.glob("shard-*.parquet")) and time.monotonic() < deadline:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = list(killed.candidates.glob("shard-*.parquet"))
    assert kept and not (killed.candidates / "_complete.json").exists(), "killed too late to test anything"
    with pytest.raises(UserError, match="is not finished"):
        ImageSet.open(killed.candidates)
    written = {file: file.stat().st_mtime_ns for file in kept}
    again = sample_plan(killed)
    assert again.digest == made.digest
    assert {file: file.stat().st_mtime_ns for file in kept} == written, "finished shards are not made again"


def test_a_control_in_the_cohort_is_refused(done, tmp_path):
    build, _ = done
    with pytest.raises(UserError, match="4 control patients are in the cohort"):
        check_controls(ImageSet.open(build.cohort), ImageSet.open(build.cohort))


def test_a_donor_that_is_gone_is_named(done, tmp_path, tiny_generator):
    build, _ = done
    pipe = load_pipeline(Generator(tiny_generator / "sd", adapter=tiny_generator / "adapter"))
    fewer = write_faces(tmp_path / "donors", 2, "stranger")
    with pytest.raises(UserError, match=r"names donor 'donor-00\d', which .* lacks"):
        embed_donors(pipe, fewer, read_plan(build.plan))
