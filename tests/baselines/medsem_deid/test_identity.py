"""phi: the shipped recogniser as it measures, and ArcFace's network under its published names."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from baselines.medsem_deid.identity import cosine, load_identity
from baselines.medsem_deid.iresnet import IResNet, load_iresnet
from mema.classifier import as_tensor
from mema.errors import UserError
from mema.faces.recognisers import recogniser, unit


def test_phi_is_the_recogniser_and_is_differentiable():
    images = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
    phi, pixels = load_identity("phantom-arcface"), as_tensor(images).requires_grad_()
    vectors = phi(pixels)
    assert np.allclose(unit(vectors.detach().numpy()), recogniser("phantom-arcface").embed(images).vectors, atol=1e-4)
    cosine(vectors[:1], vectors[1:]).sum().backward()
    assert pixels.grad.abs().max() > 0
    assert all(not parameter.requires_grad for parameter in phi.parameters())


def test_an_unknown_one_is_named():
    with pytest.raises(UserError, match="did you mean 'phantom-arcface'"):
        load_identity("phantom-arcfase")


def test_arcface_has_its_published_names(tmp_path, monkeypatch):
    torch.manual_seed(0)
    network = IResNet((1, 1, 2, 1))
    names = set(network.state_dict())
    published = {
        "conv1.weight",
        "prelu.weight",
        "layer1.0.bn1.running_mean",
        "layer3.1.conv2.weight",
        "layer4.0.downsample.0.weight",
        "layer4.0.downsample.1.running_var",
        "bn2.bias",
        "fc.weight",
        "features.num_batches_tracked",
    }
    assert published <= names and "layer3.1.downsample.0.weight" not in names
    with torch.device("meta"):
        # The published ResNet-50 has 43.59 million parameters.
        assert sum(parameter.numel() for parameter in IResNet((3, 4, 14, 3)).parameters()) == pytest.approx(
            43.59e6, rel=1e-3
        )

    (tmp_path / "arcface-torch").mkdir()
    save_file(network.state_dict(), tmp_path / "arcface-torch" / "iresnet50.safetensors")
    assert load_iresnet(tmp_path / "arcface-torch" / "iresnet50.safetensors")(torch.zeros(1, 3, 112, 112)).shape == (
        1,
        512,
    )
    monkeypatch.setenv("MEMA_WEIGHTS", str(tmp_path))
    images = torch.rand(1, 3, 256, 256, requires_grad=True)
    load_identity("arcface")(images).sum().backward()
    seen = images.grad[0].abs().sum(dim=0) > 0
    assert seen[35:223, 32:220].float().mean() > 0.9 and not seen[:34].any() and not seen[:, 222:].any()


def test_other_weights_are_refused(tmp_path):
    save_file({"layer1.0.conv1.weight": torch.zeros(1)}, tmp_path / "x.safetensors")
    with pytest.raises(UserError, match="not the weights of an ArcFace"):
        load_iresnet(tmp_path / "x.safetensors")
    with pytest.raises(UserError, match="no such file"):
        load_iresnet(tmp_path / "y.safetensors")
