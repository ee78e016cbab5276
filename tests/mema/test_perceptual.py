"""Perceptual distances: LPIPS through torchmetrics on weights made here, and the shipped judge's features."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from torch import nn
from torch.nn import functional

from mema.classifier import as_tensor
from mema.errors import UserError
from mema.perceptual import perceptual_distance

# Where torchvision's networks are cut for LPIPS (Zhang et al. 2018): after these layers.
CUTS = {"alex": (1, 4, 7, 9, 11), "squeeze": (1, 4, 7, 9, 10, 11, 12)}
FILES = {"alex": "alexnet-owt-7be5be79.pth", "squeeze": "squeezenet1_1-b8a52dc0.pth"}


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MEMA_WEIGHTS", str(tmp_path))
    (tmp_path / "torchvision").mkdir()
    return tmp_path / "torchvision"


def photos(count: int = 2, side: int = 64) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, side, side, 3), np.uint8)


def lpips_by_hand(network: str, features: nn.Sequential, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """LPIPS from the paper's equation 1, with the linear weights that torchmetrics ships."""
    from torchmetrics.functional import image

    path = Path(image.__file__).parent / "lpips_models" / f"{network}.pth"
    linear = torch.load(path, map_location="cpu", weights_only=True)
    shift, scale = torch.tensor([-0.030, -0.088, -0.188]), torch.tensor([0.458, 0.448, 0.450])

    def unit_features(images: np.ndarray) -> list[torch.Tensor]:
        x = (as_tensor(images) * 2 - 1 - shift[:, None, None]) / scale[:, None, None]
        seen = []
        for number, layer in enumerate(features):
            x = layer(x)
            if number in CUTS[network]:
                seen.append(functional.normalize(x.clone(), dim=1))
        return seen

    total = torch.zeros(len(first))
    for number, (one, other) in enumerate(zip(unit_features(first), unit_features(second), strict=True)):
        weight = linear[f"lin{number}.model.1.weight"]
        total += ((one - other).square() * weight).sum(dim=1).mean(dim=(1, 2))
    return total.detach().numpy()


@pytest.mark.parametrize("network", ["alex", "squeeze"])
def test_lpips_is_the_papers_on_the_weights_that_lie_there(weights: Path, network: str) -> None:
    torch.manual_seed(0)
    model = {"alex": torchvision.models.alexnet, "squeeze": torchvision.models.squeezenet1_1}[network](weights=None)
    # The classifier, of which nothing is needed, is most of AlexNet.
    state = {key: value for key, value in model.state_dict().items() if key.startswith("features.")}
    torch.save(state, weights / FILES[network])
    first, second = photos(), 255 - photos()
    distance = perceptual_distance(network)
    assert distance(first, first) == pytest.approx([0, 0], abs=1e-6)
    wanted = lpips_by_hand(network, model.features.eval(), first, second)
    assert (wanted > 1e-3).all()
    assert distance(first, second) == pytest.approx(wanted, rel=1e-3)


def test_lpips_without_its_network_is_one_line(weights: Path) -> None:
    with pytest.raises(UserError, match=r"weights 'lpips/vgg' are missing: looked for .*vgg16-397923af\.pth; origin: "):
        perceptual_distance("vgg")
    torch.save({"features.0.weight": torch.zeros(1)}, weights / FILES["alex"])
    with pytest.raises(UserError, match="not torchvision's weights of this network"):
        perceptual_distance("alex")
    (weights / FILES["alex"]).write_bytes(b"no checkpoint")
    with pytest.raises(UserError, match="not torchvision's weights of this network"):
        perceptual_distance("alex")


def test_the_judges_distance_grows_with_what_is_lost() -> None:
    distance = perceptual_distance("phantom-judge/eye_clinic")
    first = photos(side=128)
    noise = np.random.default_rng(1).normal(size=first.shape)
    steps = [distance(np.clip(first + amount * noise, 0, 255).astype(np.uint8), first) for amount in (0, 10, 60)]
    assert steps[0] == pytest.approx([0, 0], abs=1e-6)
    assert (steps[0] < steps[1]).all() and (steps[1] < steps[2]).all()
    assert (distance(np.zeros_like(first), first) <= 1).all()
    # The same for one image as for many.
    assert distance(first[:1], 255 - first[:1])[0] == pytest.approx(distance(first, 255 - first)[0], rel=1e-5)
