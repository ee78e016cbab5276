"""Enc_med: shapes, sameness, gradients, and what is wrong with a folder."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import ViTConfig, ViTImageProcessor, ViTMAEConfig, ViTMAEModel, ViTModel

from baselines.medsem_deid.semantics import load_semantics, semantics_digest
from baselines.medsem_deid.settings import EncoderSettings
from mema.diffusion.checkpoint import Generator, encode_latents, encode_prompts, load_pipeline
from mema.errors import UserError

VIT = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "image_size": 32,
    "patch_size": 8,
}


@pytest.fixture
def images():
    return torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.fixture(scope="session")
def vision(tmp_path_factory):
    """Folders ``vit`` and ``mae`` as transformers writes them, random weights."""
    folder = tmp_path_factory.mktemp("vision")
    torch.manual_seed(0)
    ViTModel(ViTConfig(**VIT), add_pooling_layer=False).save_pretrained(folder / "vit")
    ViTImageProcessor(image_mean=[0.4] * 3, image_std=[0.2] * 3).save_pretrained(folder / "vit")
    ViTMAEModel(ViTMAEConfig(**VIT)).save_pretrained(folder / "mae")
    return folder


def test_the_first_down_block_of_the_unet_at_a_small_step(tiny_generator, images):
    settings = EncoderSettings(weights=str(tiny_generator / "sd"), tuned=None, noise_step=30)
    semantics = load_semantics(settings)
    features = semantics(images)
    assert features.shape == (2, semantics.channels, 8, 8) == (2, 16, 8, 8)
    assert torch.equal(features, semantics(images))
    assert torch.allclose(features[1:], semantics(images[1:]), atol=1e-5)

    # The same by the whole UNet: what its first down block hands on to the second.
    pipe = load_pipeline(Generator(tiny_generator / "sd"), device="cpu")
    pixels = ((images + 1) * 127.5).permute(0, 2, 3, 1).round().byte().numpy()
    latents = encode_latents(pipe, pixels)
    noise = torch.randn(latents.shape[1:], generator=torch.Generator().manual_seed(0))
    spoilt = pipe.scheduler.add_noise(latents, noise.expand_as(latents), torch.tensor([30, 30]))
    handed = []
    pipe.unet.down_blocks[1].register_forward_pre_hook(
        lambda _, positional, named: handed.append(named.get("hidden_states", *positional[:1])), with_kwargs=True
    )
    with torch.no_grad():
        text = encode_prompts(pipe, [""])[""].expand(2, -1, -1)
        pipe.unet(spoilt, torch.tensor(30), encoder_hidden_states=text)
    exact = semantics(torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1)
    assert torch.allclose(handed[0], exact, atol=1e-4)


def test_gradients_reach_the_image_and_nothing_else(tiny_generator, images):
    semantics = load_semantics(EncoderSettings(weights=str(tiny_generator / "sd"), tuned=None))
    images.requires_grad_()
    semantics(images).square().mean().backward()
    assert images.grad.abs().max() > 0
    assert all(not parameter.requires_grad for parameter in semantics.parameters())


@pytest.mark.parametrize("kind", ["vit", "mae"])
def test_layers_of_a_vit(vision, images, kind):
    semantics = load_semantics(EncoderSettings(kind=kind, weights=str(vision / kind), tuned=None, blocks=1))
    features = semantics(images)
    assert features.shape == (2, 16, 4, 4)
    assert torch.allclose(features[1:], semantics(images[1:]), atol=1e-5)
    # A patch at row 1, column 2 is seen there: an MAE that shuffled its patches would show it elsewhere.
    images[0, :, 8:16, 16:24] = 1
    change = (semantics(images) - features).square().sum(dim=1)[0]
    assert divmod(int(change.argmax()), 4) == (1, 2)


def test_a_vit_is_normalised_as_its_folder_says(vision):
    semantics = load_semantics(EncoderSettings(kind="vit", weights=str(vision / "vit"), tuned=None))
    assert np.allclose(semantics.mean.flatten(), 0.4) and np.allclose(semantics.std.flatten(), 0.2)


def test_what_is_wrong_is_said(tiny_generator, vision, tmp_path):
    sd = str(tiny_generator / "sd")
    with pytest.raises(UserError, match="blocks 3 of a UNet that has 2"):
        load_semantics(EncoderSettings(weights=sd, tuned=None, blocks=3))
    with pytest.raises(UserError, match="blocks 3 of a model that has 2"):
        load_semantics(EncoderSettings(kind="vit", weights=str(vision / "vit"), tuned=None, blocks=3))
    with pytest.raises(UserError, match="not a mae"):
        load_semantics(EncoderSettings(kind="mae", weights=str(tmp_path), tuned=None))
    with pytest.raises(ValueError, match="no 'tuned'"):
        EncoderSettings(kind="mae", weights=sd)


def test_the_digest_is_of_the_weights(tiny_generator, vision):
    one = semantics_digest(EncoderSettings(weights=str(tiny_generator / "sd"), tuned=None))
    two = semantics_digest(EncoderSettings(kind="vit", weights=str(vision / "vit"), tuned=None))
    assert (
        one != two == semantics_digest(EncoderSettings(kind="vit", weights=str(vision / "vit"), tuned=None, blocks=2))
    )
