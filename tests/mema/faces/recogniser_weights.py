"""Weights of the names, shapes and layout that recognisers trained on photographs have, made here.

InsightFace's are a linear look at a face of 7 x 7 blocks, the others the published networks with random numbers.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from attribute_weights import model_of
from onnx import helper, save

ZOO = "insightface/models"
FACENET = {"facenet/20180402-114759-vggface2.pt": 8631, "facenet/20180408-102900-casia-webface.pt": 10575}
SPHEREFACE = "sphereface/sphere20a_20171020.pth"


def write_insightface(folder: Path) -> None:
    """Write ArcFace's graph, which takes any number of faces, and CosFace's, which takes one."""
    for file, faces, seed in (("buffalo_l/w600k_r50.onnx", "None", 0), ("glint360k_cosface_r50.onnx", 1, 1)):
        path = folder / ZOO / file
        path.parent.mkdir(parents=True, exist_ok=True)
        save(linear_recogniser(faces, seed), path)


def linear_recogniser(faces: int | str, seed: int, numbers: int = 512):
    """(n, 3, 112, 112) RGB in [-1, 1] -> (n, numbers)."""
    nodes = [
        helper.make_node("AveragePool", ["input.1"], ["blocks"], kernel_shape=[16, 16], strides=[16, 16]),
        helper.make_node("Flatten", ["blocks"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["683"]),
    ]
    weights = np.random.default_rng(seed).normal(size=(3 * 49, numbers)).astype(np.float32)
    given = ("input.1", [faces, 3, 112, 112])
    return model_of(nodes, {"weights": weights}, given, [("683", [faces, numbers])])


def write_facenet(folder: Path) -> None:
    """Write both sets of weights, each with the classifier of the people it was trained on."""
    from facenet_pytorch import InceptionResnetV1

    (folder / "facenet").mkdir(parents=True)
    for seed, (file, people) in enumerate(FACENET.items()):
        torch.manual_seed(seed)
        network = InceptionResnetV1(classify=True, num_classes=people)
        assert network.logits.weight.shape == (people, 512)
        torch.save(network.state_dict(), folder / file)


def write_sphereface(folder: Path) -> None:
    """Write the layers of sphere20a as its authors named and saved them (PyTorch 0.2: no zip file)."""
    (folder / SPHEREFACE).parent.mkdir(parents=True)
    torch.save(sphere20a_weights(), folder / SPHEREFACE, _use_new_zipfile_serialization=False)


def sphere20a_weights() -> dict[str, torch.Tensor]:
    """Random numbers under the names and in the shapes of ``sphere20a``, its classifier included."""
    random = torch.Generator().manual_seed(0)
    weights: dict[str, torch.Tensor] = {}
    inputs = 3
    for stage, (width, layers) in enumerate(((64, 3), (128, 5), (256, 9), (512, 3)), start=1):
        for layer in range(1, layers + 1):
            shape = (width, inputs, 3, 3)
            weights[f"conv{stage}_{layer}.weight"] = torch.randn(shape, generator=random) * (2 / (9 * inputs)) ** 0.5
            weights[f"conv{stage}_{layer}.bias"] = torch.randn(width, generator=random) / 10
            weights[f"relu{stage}_{layer}.weight"] = torch.rand(width, generator=random) / 2
            inputs = width
    weights["fc5.weight"] = torch.randn((512, 512 * 7 * 6), generator=random) / 100
    weights["fc5.bias"] = torch.randn(512, generator=random)
    weights["fc6.weight"] = torch.randn((512, 10574), generator=random)
    return weights
