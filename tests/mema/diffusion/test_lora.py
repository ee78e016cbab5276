"""LoRA fine-tuning: it learns, resumes to the bit, and its file is one that plain diffusers loads."""

from __future__ import annotations

from itertools import count

import numpy as np
import pytest
import torch

from mema.diffusion import lora
from mema.diffusion.checkpoint import LORA_FILE, Generator, encode_latents, encode_prompts, load_pipeline
from mema.diffusion.lora import LoraSettings, learning_rate, train_lora
from mema.errors import UserError

SETTINGS = LoraSettings(rank=4, batch=4, steps=6, save_every=2, learning_rate=1e-2, caption_dropout=0.2, seed=3)


@pytest.fixture(scope="module")
def data(tiny_generator):
    """Latents (6, 2, 4, 16, 16), captions (6,), texts (3, 64, 16)."""
    pipe = load_pipeline(Generator(tiny_generator / "sd"), device="cpu")
    images = np.random.default_rng(1).integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)
    latents = torch.stack([encode_latents(pipe, images), encode_latents(pipe, images[:, :, ::-1])], dim=1)
    texts = torch.stack(list(encode_prompts(pipe, ["", "ptosis", "scc"]).values()))
    return latents, [1, 2, 1, 2, 1, 2], texts


def run(tiny_generator, data, folder, settings=SETTINGS, fingerprint="a", init=None, pipe=None):
    pipe = pipe or load_pipeline(Generator(tiny_generator / "sd"), device="cpu")
    return train_lora(
        pipe, *data, settings, output=folder / "lora", state=folder / "state", fingerprint=fingerprint, init=init
    )


def test_the_loss_falls_and_the_seed_decides(tiny_generator, data, tmp_path):
    settings = SETTINGS.model_copy(update={"steps": 40, "snr_gamma": None})
    losses = run(tiny_generator, data, tmp_path / "one", settings)
    assert len(losses) == 40 and np.mean(losses[-10:]) < np.mean(losses[:10])
    assert run(tiny_generator, data, tmp_path / "two", settings) == losses
    assert run(tiny_generator, data, tmp_path / "other", settings.model_copy(update={"seed": 4})) != losses


def test_a_killed_run_resumes_to_the_bit(tiny_generator, data, tmp_path, monkeypatch):
    whole = run(tiny_generator, data, tmp_path / "whole")
    calls = count()

    def dies_at_the_fifth(*arguments, **keywords):
        if next(calls) == 4:
            raise KeyboardInterrupt
        return diffusion_loss(*arguments, **keywords)

    diffusion_loss = lora.diffusion_loss
    monkeypatch.setattr(lora, "diffusion_loss", dies_at_the_fifth)
    with pytest.raises(KeyboardInterrupt):
        run(tiny_generator, data, tmp_path / "killed")
    assert run(tiny_generator, data, tmp_path / "killed") == whole
    assert next(calls) == 7, "four steps, the killed one, and only the last two again"
    first, second = ((tmp_path / name / "lora" / LORA_FILE).read_bytes() for name in ("whole", "killed"))
    assert first == second


def test_a_state_of_other_inputs_is_not_used(tiny_generator, data, tmp_path):
    run(tiny_generator, data, tmp_path)
    other = run(tiny_generator, data, tmp_path, SETTINGS.model_copy(update={"seed": 9}), fingerprint="b")
    assert other == run(tiny_generator, data, tmp_path / "new", SETTINGS.model_copy(update={"seed": 9}))


@pytest.mark.parametrize("targets", [lora.ATTENTION, (*lora.ATTENTION, "conv1", "ff.net.2")])
def test_plain_diffusers_loads_all_that_was_trained(tiny_generator, data, tmp_path, targets):
    from diffusers import StableDiffusionPipeline

    trained = load_pipeline(Generator(tiny_generator / "sd"), device="cpu")
    run(tiny_generator, data, tmp_path, SETTINGS.model_copy(update={"targets": targets, "steps": 20}), pipe=trained)
    ours = load_pipeline(Generator(tiny_generator / "sd", tmp_path / "lora"), device="cpu")
    theirs = StableDiffusionPipeline.from_pretrained(tiny_generator / "sd", safety_checker=None)
    theirs.load_lora_weights(tmp_path / "lora")
    vanilla = load_pipeline(Generator(tiny_generator / "sd"), device="cpu")
    noisy, text = data[0][:2, 0], data[2][1:]
    with torch.no_grad():
        pipes = (trained, ours, theirs, vanilla)
        outputs = [p.unet.eval()(noisy, 500, encoder_hidden_states=text).sample for p in pipes]
    # The file is in half precision.
    assert torch.allclose(outputs[0], outputs[1], atol=5e-3) and torch.allclose(outputs[0], outputs[2], atol=5e-3)
    assert not torch.allclose(outputs[0], outputs[3], atol=5e-2)


def test_it_goes_on_from_an_earlier_lora(tiny_generator, data, tmp_path):
    run(tiny_generator, data, tmp_path / "first", SETTINGS.model_copy(update={"steps": 40}))
    frozen = SETTINGS.model_copy(update={"steps": 1, "learning_rate": 1e-12})
    run(tiny_generator, data, tmp_path / "second", frozen, init=tmp_path / "first" / "lora")
    assert (tmp_path / "first/lora" / LORA_FILE).read_bytes() == (tmp_path / "second/lora" / LORA_FILE).read_bytes()
    with pytest.raises(UserError, match="other layers or another rank"):
        run(
            tiny_generator,
            data,
            tmp_path / "third",
            SETTINGS.model_copy(update={"rank": 8}),
            init=tmp_path / "first" / "lora",
        )


def test_convolutions_can_be_targets(tiny_generator, data, tmp_path):
    targets = ("to_q", "to_v", "conv1", "conv2", "ff.net.2")
    settings = SETTINGS.model_copy(update={"targets": targets, "steps": 1})
    assert len(run(tiny_generator, data, tmp_path, settings)) == 1
    load_pipeline(Generator(tiny_generator / "sd", tmp_path / "lora"), device="cpu")
    with pytest.raises(UserError, match="no layer of the UNet is called to_x"):
        run(tiny_generator, data, tmp_path / "none", SETTINGS.model_copy(update={"targets": ("to_x",)}))


def test_the_rate_warms_up_and_decays_to_nothing():
    settings = LoraSettings(learning_rate=1.0, warmup=10)
    rates = [learning_rate(settings, step, 110) for step in range(110)]
    assert rates[0] == pytest.approx(0.1) and rates[10] == 1.0 and rates[60] == pytest.approx(0.5)
    assert rates[-1] < 1e-3 and np.argmax(rates) in (9, 10)
    assert LoraSettings().total_steps(320) == 100, "ten epochs of 320 photos in batches of 32"
