"""The production settings on the true architecture: SD v1-5 and its IP-Adapter with random weights, drawn small.

Needs 4 GB of disk, about 8 GB of memory and many minutes of a CPU, so it runs only when it is asked for:

    MEMA_TRUE_ARCHITECTURE=1 python -m pytest -s tests/generation/test_true_architecture.py
"""

from __future__ import annotations

import gc
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors import safe_open

from generation.finetune import finetune
from generation.plan import plan, read_plan
from generation.random_weights import write_weights
from generation.sample import sample_plan
from mema.build import Build
from mema.files import read_json
from mema.imageset import Face, ImageSet, write_imageset
from mema.records import FaceRecord
from mema.weights import locate

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.environ.get("MEMA_TRUE_ARCHITECTURE") != "1", reason="asked for by MEMA_TRUE_ARCHITECTURE=1"),
]
PRODUCTION = Path(__file__).parents[2] / "configs" / "mema-sd15.yaml"
SIZE = 64
# All that differs from the production settings: how large, how many, how long.
SMALLER = {
    "finetune": {"batch": 2, "steps": 2, "save_every": 1, "tracker": "none"},
    "plan": {"count": 4},
    "sample": {"steps": 4},
}
DISEASES = ("bcc", "conjunctivitis", "ptosis", "tao")


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """The weights' folder, which ``MEMA_WEIGHTS`` names meanwhile."""
    folder = tmp_path_factory.mktemp("weights")
    began = time.monotonic()
    write_weights(folder, half=True)
    report("weights written", began)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEMA_WEIGHTS", str(folder))
        yield folder
    # Pytest keeps the folders of its last runs: too much of 3.5 GB each.
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def build(tmp_path_factory, weights):
    folder = tmp_path_factory.mktemp("build")
    config = yaml.safe_load(PRODUCTION.read_text())
    config |= {"size": SIZE, "paths": {"private": str(folder / "private"), "runs": str(folder / "runs")}}
    for section, values in SMALLER.items():
        config[section] |= values
    (folder / "build.yaml").write_text(yaml.safe_dump(config))
    build = Build.load(folder / "build.yaml")
    write_faces(build.cohort, "patient", diseases=DISEASES)
    write_faces(build.controls, "control", diseases=DISEASES)
    write_faces(build.donors, "donor")
    return build


def write_faces(path, prefix, diseases=()):
    """Four faces of different ages, two of each gender."""
    random = np.random.default_rng(len(prefix))
    faces = [
        Face(
            FaceRecord(
                image_id=f"{prefix}-{n}",
                subject_id=f"{prefix}-{n}",
                disease=diseases[n] if diseases else None,
                age=20 + 15 * n,
                gender=("female", "male")[n % 2],
            ),
            random.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8),
        )
        for n in range(4)
    ]
    write_imageset(path, len(faces), lambda a, b: faces[a:b], config={"test": prefix})


def report(what, began):
    own, children = (
        resource.getrusage(who).ru_maxrss / 2**20 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    print(f"\n{what}: {time.monotonic() - began:.0f} s; peak memory {own:.1f} GB, of a child {children:.1f} GB")


def test_the_production_settings_run_on_the_true_architecture(build, capfd):
    # Two training steps, of which the second is made by a run that resumes after a kill.
    began = time.monotonic()
    command = [sys.executable, "-m", "mema.cli", "generate", "finetune", "--config", str(build.config_path)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    state = build.private / "finetune" / "state.safetensors"
    while not state.is_file() and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert state.is_file() and not build.lora.exists(), "killed after the first step"
    capfd.readouterr()
    finetune(build)
    bars = capfd.readouterr().err
    assert "1/2" in bars and "0/2" not in bars, "the first step is not made again"
    done = read_json(build.lora / "finetune.json")
    assert done["steps"] == 2 and np.isfinite(done["loss"]).all()
    assert done["settings"]["rank"] == 64
    with capfd.disabled():
        report("two steps with a kill between them", began)
    gc.collect()

    # Plain diffusers reads the published names, and the LoRA.
    began = time.monotonic()
    check_plain_diffusers(build.lora)
    with capfd.disabled():
        report("loaded in plain diffusers", began)
    gc.collect()

    # Four images with four prompts, donors and donor weights, in one batch.
    began = time.monotonic()
    rows = plan(build)
    assert read_plan(build.plan) == rows
    for column in ("prompt", "donor_id", "donor_weight", "seed"):
        assert len({getattr(row, column) for row in rows}) == 4, column
    made = sample_plan(build)
    assert ImageSet.open(build.candidates).digest == made.digest
    images = made.images()
    assert images.shape == (4, SIZE, SIZE, 3)
    assert len({image.tobytes() for image in images}) == 4 and all(image.std() > 1 for image in images)
    with capfd.disabled():
        report("four images", began)


def check_plain_diffusers(lora):
    from diffusers import StableDiffusionPipeline
    from peft.tuners.lora import LoraLayer

    folder = locate("sd-v1-5")
    pipe = StableDiffusionPipeline.from_pretrained(folder, safety_checker=None, local_files_only=True)
    loaded = {
        "vae/diffusion_pytorch_model": (
            "encoder.mid_block.attentions.0.query.weight",
            pipe.vae.encoder.mid_block.attentions[0].to_q.weight,
        ),
        "text_encoder/model": (
            "text_model.embeddings.token_embedding.weight",
            pipe.text_encoder.get_input_embeddings().weight,
        ),
        "unet/diffusion_pytorch_model": ("conv_in.weight", pipe.unet.conv_in.weight),
    }
    for file, (name, parameter) in loaded.items():
        with safe_open(folder / f"{file}.safetensors", framework="pt") as published:
            assert torch.equal(published.get_tensor(name).float(), parameter.float()), name
    pipe.load_lora_weights(lora)
    layers = [module for module in pipe.unet.modules() if isinstance(module, LoraLayer)]
    assert len(layers) == 128, "four projections of 32 attentions"
    for layer in layers:
        (second,) = layer.lora_B.values()
        assert second.weight.shape[1] == 64 and second.weight.abs().max() > 0
    with torch.no_grad():
        text = torch.zeros(1, 77, 768)
        assert pipe.unet(torch.zeros(1, 4, 8, 8), 500, encoder_hidden_states=text).sample.isfinite().all()
