"""Full fine-tuning: the UNet is saved whole, as plain diffusers loads it, and stands wherever a LoRA does."""

from __future__ import annotations

import json
import shutil

import pytest
import torch

from mema.diffusion.checkpoint import LORA_FILE, Generator, generator_digest, load_pipeline
from mema.errors import UserError


@pytest.fixture(scope="module")
def full(settings):
    return settings.model_copy(update={"method": "full", "learning_rate": 1e-3})


def test_plain_diffusers_loads_all_that_was_trained(tiny_generator, photos, run, full, tmp_path):
    from diffusers import UNet2DConditionModel
    from safetensors.torch import load_file

    trained = load_pipeline(Generator(tiny_generator / "sd"), device="cpu")
    run(tmp_path, full.model_copy(update={"steps": 10}), pipe=trained)
    folder = tmp_path / "output" / "unet"
    ours = load_pipeline(Generator(tiny_generator / "sd", tmp_path / "output"), device="cpu").unet
    theirs = UNet2DConditionModel.from_pretrained(folder, dtype=torch.float32)
    vanilla = load_pipeline(Generator(tiny_generator / "sd"), device="cpu").unet
    noisy, text = photos.latents[:2, 0], photos.texts[1:]
    with torch.no_grad():
        unets = (trained.unet, ours, theirs, vanilla)
        outputs = [unet.eval()(noisy, 500, encoder_hidden_states=text).sample for unet in unets]
    assert torch.allclose(outputs[0], outputs[1], atol=5e-3) and torch.equal(outputs[1], outputs[2])
    assert not torch.allclose(outputs[0], outputs[3], atol=2e-2)
    saved = load_file(folder / "diffusion_pytorch_model.safetensors")
    assert {tensor.dtype for tensor in saved.values()} == {torch.float16}
    moved = [name for name, tensor in saved.items() if not torch.equal(tensor, vanilla.state_dict()[name].half())]
    assert len(moved) > 0.9 * len(saved), "every weight is trained, not attention alone"
    assert str(tiny_generator) not in (folder / "config.json").read_text(), "no path of this machine is published"


def test_the_last_method_alone_is_in_the_output(tiny_generator, run, settings, full, tmp_path):
    digests = []
    for method in (settings, full, settings):
        run(tmp_path, method.model_copy(update={"steps": 1}))
        digests.append(generator_digest(Generator(tiny_generator / "sd", tmp_path / "output")))
        assert {path.name for path in (tmp_path / "output").iterdir()} == {LORA_FILE if method is settings else "unet"}
    assert digests[0] == digests[2] != digests[1]


def test_a_unet_that_does_not_fit_is_named(tiny_generator, run, full, tmp_path):
    run(tmp_path, full.model_copy(update={"steps": 1}))
    config = tmp_path / "output" / "unet" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"cross_attention_dim": 24}))
    with pytest.raises(UserError, match=r"UNet .*: cannot be loaded"):
        load_pipeline(Generator(tiny_generator / "sd", tmp_path / "output"), device="cpu")
    from diffusers import UNet2DConditionModel

    shutil.rmtree(tmp_path / "output" / "unet")
    other = UNet2DConditionModel.from_config(json.loads((tiny_generator / "sd/unet/config.json").read_text()))
    UNet2DConditionModel.from_config({**other.config, "cross_attention_dim": 24}).save_pretrained(
        tmp_path / "output" / "unet"
    )
    with pytest.raises(UserError, match=r"does not fit the text encoder of"):
        load_pipeline(Generator(tiny_generator / "sd", tmp_path / "output"), device="cpu")
