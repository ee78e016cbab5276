"""The paper's settings on the true architecture: SD v1-5's blocks, 320 channels at H/16.

Shapes at 512 pixels are checked without memory. A few iterations on random weights need 4 GB of disk, about 12 GB of
memory and many minutes of a CPU, so they run only when they are asked for:

    MEMA_TRUE_ARCHITECTURE=1 python -m pytest -s tests/baselines/medsem_deid/test_true_architecture.py
"""

from __future__ import annotations

import os
import resource
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from baselines.medsem_deid.iresnet import IResNet
from baselines.medsem_deid.method import MedSemDeID
from baselines.medsem_deid.networks import MedSemNetwork
from baselines.medsem_deid.semantics import DiffusionSemantics, load_semantics
from baselines.medsem_deid.settings import MedSemParameters
from baselines.medsem_deid.training import LOSSES_FILE, train
from baselines.registry import load_method_config
from generation.random_weights import CHECKPOINT, build_models, write_settings, write_weights

PAPER = Path(__file__).parents[3] / "configs" / "methods" / "medsem-deid.yaml"
# All that differs from the paper's settings: how large, how many, how long; and nothing was tuned.
SIZE = 64
SMALLER = {"steps": 2, "batch": 2, "save_every": 1}


@pytest.fixture
def paper() -> MedSemParameters:
    return MedSemParameters.model_validate(load_method_config(PAPER).parameters)


def test_the_shapes_of_the_paper_beside_sd_v1_5(paper, tmp_path):
    from diffusers import PNDMScheduler, StableDiffusionPipeline
    from transformers import CLIPTokenizer

    write_settings(tmp_path)
    models = build_models()
    folder = tmp_path / CHECKPOINT
    pipe = StableDiffusionPipeline(
        vae=models["vae"],
        unet=models["unet"],
        text_encoder=models["text_encoder"],
        tokenizer=CLIPTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True),
        scheduler=PNDMScheduler.from_pretrained(folder / "scheduler"),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    semantics = DiffusionSemantics(pipe, paper.encoder)
    with torch.device("meta"):
        network = MedSemNetwork(paper.network, semantics.channels)
        image, password = torch.empty(1, 3, 512, 512), torch.empty(1, 512)
        medical = semantics(image)
        assert medical.shape == (1, 320, 32, 32)
        encrypted = network.encrypt(image, medical, password)
        assert network.decrypt(network.read(encrypted, semantics(encrypted)), password).shape == image.shape


@pytest.mark.slow
@pytest.mark.skipif(os.environ.get("MEMA_TRUE_ARCHITECTURE") != "1", reason="asked for by MEMA_TRUE_ARCHITECTURE=1")
def test_the_papers_settings_train_and_recover(paper, tmp_path, people, monkeypatch, change):
    write_weights(tmp_path, half=True)
    torch.manual_seed(0)
    (tmp_path / "arcface-torch").mkdir()
    save_file(IResNet((3, 4, 14, 3)).state_dict(), tmp_path / "arcface-torch" / "iresnet50.safetensors")
    monkeypatch.setenv("MEMA_WEIGHTS", str(tmp_path))
    small = change(paper, encoder={"tuned": None}, network={"size": SIZE}, schedule=SMALLER)
    semantics = load_semantics(small.encoder)
    assert semantics(torch.zeros(1, 3, SIZE, SIZE)).shape == (1, 320, SIZE // 16, SIZE // 16)
    del semantics

    train(small, tmp_path / "model", release=people.path)
    print((tmp_path / "model" / LOSSES_FILE).read_text())
    method = MedSemDeID(small.model_copy(update={"weights": str(tmp_path / "model")}))
    images = people.images()[:1]
    encrypted = method.deidentify(images, keys=["a"], seed=0)
    assert method.recover(encrypted, ["a"]).shape == images.shape and np.isfinite(encrypted).all()
    print(f"peak memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.1f} GiB")
