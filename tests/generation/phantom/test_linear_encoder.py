import numpy as np
import pytest
import torch

from generation.phantom.training.vae import LATENTS, SPREAD, build, latents_of, patch_components, set_linear_encoder


@pytest.fixture(scope="module")
def photos():
    random = np.random.default_rng(0)
    smooth = random.integers(0, 256, (6, 16, 16, 3)).repeat(4, axis=1).repeat(4, axis=2)
    return np.clip(smooth + random.integers(-30, 30, smooth.shape), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def components(photos):
    return patch_components(photos, np.tile([8, 8, 40, 24], (len(photos), 1)))


def test_encoder_computes_the_components_of_patches(photos, components):
    mean, vectors = components
    vae = build()
    with torch.no_grad():
        set_linear_encoder(vae, mean, vectors)
    latents = latents_of(vae, photos, torch.device("cpu")).numpy()
    signal = photos.astype(np.float32) / 127.5 - 1
    patch = signal[2, 12:16, 40:44].reshape(48)
    np.testing.assert_allclose(latents[2, :, 3, 10], vectors @ (patch - mean), atol=2e-3)
    assert latents.shape == (6, LATENTS, 16, 16)
    spread = vae.encode(torch.zeros(1, 3, 64, 64)).latent_dist.std
    assert float(spread.detach().mean()) == pytest.approx(SPREAD, rel=0.01)


def test_colours_are_white_and_details_half_white(photos, components):
    mean, vectors = components
    signal = photos.astype(np.float32) / 127.5 - 1
    patches = signal.reshape(6, 16, 4, 16, 4, 3).transpose(0, 1, 3, 2, 4, 5).reshape(-1, 48)
    deviations = ((patches - mean) @ vectors.T).std(axis=0)
    # Eyes count more than the rest, so that the deviation over all places is only nearly 1.
    np.testing.assert_allclose(deviations[:3], 1, rtol=0.35)
    scales = np.linalg.norm(vectors, axis=1)
    np.testing.assert_allclose(deviations[3:] * scales[3:], 1, rtol=0.35)
    shapes = vectors / scales[:, None]
    np.testing.assert_allclose(shapes @ shapes.T, np.eye(LATENTS), atol=1e-5)


def test_a_patch_of_one_colour_has_no_details(components):
    _, vectors = components
    flat = np.tile([0.3, -0.4, 0.1], 16)
    colours, details = np.split(vectors @ flat, [3])
    np.testing.assert_allclose(details, 0, atol=1e-4)
    assert np.abs(colours).min() > 0.01


def test_only_the_decoder_learns(components):
    vae = build()
    with torch.no_grad():
        set_linear_encoder(vae, *components)
    learning = {name.split(".")[0] for name, value in vae.named_parameters() if value.requires_grad}
    assert learning == {"decoder", "post_quant_conv"}
