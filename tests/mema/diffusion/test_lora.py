"""LoRA: its file is one that plain diffusers loads, training can go on from one, its shortcut changes no number."""

from __future__ import annotations

import pytest
import torch

from mema.diffusion.checkpoint import LORA_FILE, Generator, load_pipeline
from mema.diffusion.lora import add_lora, summed_weights
from mema.diffusion.settings import ATTENTION
from mema.errors import UserError


@pytest.mark.parametrize("targets", [ATTENTION, (*ATTENTION, "conv1", "ff.net.2")])
def test_plain_diffusers_loads_all_that_was_trained(tiny_generator, photos, run, settings, tmp_path, targets):
    from diffusers import StableDiffusionPipeline

    trained = load_pipeline(Generator(tiny_generator / "sd"), device="cpu")
    run(tmp_path, settings.model_copy(update={"targets": targets, "steps": 12}), pipe=trained)
    ours = load_pipeline(Generator(tiny_generator / "sd", tmp_path / "output"), device="cpu")
    theirs = StableDiffusionPipeline.from_pretrained(tiny_generator / "sd", safety_checker=None)
    theirs.load_lora_weights(tmp_path / "output")
    vanilla = load_pipeline(Generator(tiny_generator / "sd"), device="cpu")
    noisy, text = photos.latents[:2, 0], photos.texts[1:]
    with torch.no_grad():
        pipes = (trained, ours, theirs, vanilla)
        outputs = [p.unet.eval()(noisy, 500, encoder_hidden_states=text).sample for p in pipes]
    # The file is in half precision.
    assert torch.allclose(outputs[0], outputs[1], atol=5e-3) and torch.allclose(outputs[0], outputs[2], atol=5e-3)
    assert not torch.allclose(outputs[0], outputs[3], atol=5e-2)


def test_it_goes_on_from_an_earlier_lora(run, settings, tmp_path):
    run(tmp_path / "first", settings.model_copy(update={"steps": 10}))
    frozen = settings.model_copy(update={"steps": 1, "learning_rate": 1e-12})
    first = tmp_path / "first" / "output"
    run(tmp_path / "second", frozen, init=first)
    assert (first / LORA_FILE).read_bytes() == (tmp_path / "second/output" / LORA_FILE).read_bytes()
    with pytest.raises(UserError, match="other layers or another rank"):
        run(tmp_path / "third", settings.model_copy(update={"rank": 8}), init=first)


def test_convolutions_can_be_targets(tiny_generator, run, settings, tmp_path):
    targets = ("to_q", "to_v", "conv1", "conv2", "ff.net.2")
    assert len(run(tmp_path, settings.model_copy(update={"targets": targets, "steps": 1})).losses) == 1
    load_pipeline(Generator(tiny_generator / "sd", tmp_path / "output"), device="cpu")
    with pytest.raises(UserError, match="no layer of the UNet is called to_x"):
        run(tmp_path / "none", settings.model_copy(update={"targets": ("to_x",)}))


def test_summed_weights_are_the_same_function_with_the_same_gradients(settings, tiny_generator):
    unet = load_pipeline(Generator(tiny_generator / "sd"), device="cpu").unet
    wide = settings.model_copy(update={"rank": 32, "targets": ["to_q", "to_out.0", "conv1", "conv2"]})
    parameters = add_lora(unet, wide)
    draws = torch.Generator().manual_seed(0)
    for parameter in parameters.values():
        parameter.data = 0.05 * torch.randn(parameter.shape, generator=draws)
    config = unet.config
    latents = torch.randn(2, config.in_channels, 16, 16, generator=draws)
    text = torch.randn(2, 5, config.cross_attention_dim, generator=draws)

    def results() -> list[torch.Tensor]:
        predicted = unet(latents, torch.tensor([10, 700]), encoder_hidden_states=text).sample
        return [predicted, *torch.autograd.grad(predicted.square().mean(), list(parameters.values()))]

    plain = results()
    with summed_weights(unet):
        shortened = [layer for layer in unet.modules() if "forward" in vars(layer)]
        summed = results()
    assert len(shortened) > 10 and not any("forward" in vars(layer) for layer in unet.modules())
    for one, other in zip(plain, summed, strict=True):
        assert torch.allclose(one, other, rtol=1e-3, atol=1e-6)
