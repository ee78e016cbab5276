"""The networks: the paper's shapes, what enters, and that no photo sees another."""

from __future__ import annotations

import pytest
import torch

from baselines.medsem_deid.networks import MedSemNetwork, PatchDiscriminator, as_saved, to_pixels, to_signal
from baselines.medsem_deid.settings import NetworkSettings

SMALL = NetworkSettings(size=32, patch=2, widths=(16, 32), layers=1, heads=2, discriminator=(8, 16))


def draw(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(len(shape))) * 2 - 1


def test_the_shapes_of_the_paper():
    with torch.device("meta"):
        network = MedSemNetwork(NetworkSettings(), 320)
        image, medical = torch.empty(1, 3, 512, 512), torch.empty(1, 320, 32, 32)
        assert network.encoder(image).shape == (1, 512, 16, 16)
        features = network.read(image, medical)
        assert features.shape == (1, 512, 16, 16)
        assert network.encrypt(image, medical, torch.empty(1, 512)).shape == image.shape
        assert network.decrypt(features, torch.empty(1, 512)).shape == image.shape
        assert PatchDiscriminator(NetworkSettings())(image).shape == (1, 1, 64, 64)


@pytest.mark.parametrize("medical", [True, False])
def test_what_enters_matters(medical):
    torch.manual_seed(0)
    settings = SMALL.model_copy(update={"medical": medical})
    network = MedSemNetwork(settings, 16)
    image, semantics, password = draw(1, 3, 32, 32), draw(1, 16, 8, 8), draw(1, 512).sign()
    encrypted = network.encrypt(image, semantics, password)
    assert encrypted.abs().max() <= 1
    assert not torch.equal(encrypted, network.encrypt(image.flip(3), semantics, password))
    assert not torch.equal(encrypted, network.encrypt(image, semantics, -password))
    assert torch.equal(encrypted, network.encrypt(image, semantics + 1, password)) is not medical


def test_no_photo_sees_another():
    torch.manual_seed(0)
    for model, inputs in (
        (MedSemNetwork(SMALL, 16).encrypt, (draw(3, 3, 32, 32), draw(3, 16, 8, 8), draw(3, 512))),
        (PatchDiscriminator(SMALL), (draw(3, 3, 32, 32),)),
    ):
        with torch.no_grad():
            together = model(*inputs)
            alone = torch.cat([model(*(value[row : row + 1] for value in inputs)) for row in range(3)])
        assert torch.allclose(together, alone, atol=1e-5)


def test_rounding_is_that_of_a_file_and_lets_gradients_through():
    signal = draw(2, 3, 8, 8).requires_grad_()
    saved = as_saved(signal)
    assert torch.allclose(saved, to_signal(to_pixels(signal)), atol=1e-6)
    assert not torch.equal(saved, signal)
    saved.sum().backward()
    assert torch.equal(signal.grad, torch.ones_like(signal))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"size": 48}, "no multiple of 32"),
        ({"widths": (64, 100)}, "multiples of 8"),
        ({"heads": 7}, "7 heads"),
        ({"discriminator": ()}, "at least one"),
    ],
)
def test_settings_that_cannot_be_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        NetworkSettings(**values)
