"""The recognisers trained by this project on phantoms: one small network, three losses.

``python -m generation.phantom.training.recognisers --loss arcface`` makes the weights. What they say holds for
phantoms and is no statement about people.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from mema.classifier import as_tensor
from mema.errors import UserError
from mema.faces.recognisers import Embeddings, unit

DIMENSION = 128
INPUT_SIZE = 64
BATCH = 64


def _convolution(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.PReLU(outputs)
    )


class _Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(_convolution(channels, channels), _convolution(channels, channels))

    def forward(self, features: Tensor) -> Tensor:
        return features + self.body(features)


class EmbeddingNet(nn.Module):
    """A face as ``DIMENSION`` numbers: a residual CNN on 64 px with MobileFaceNet's global depthwise convolution.

    That last layer weighs places of the face instead of averaging over them: where a feature lies is identity.
    ``forward`` takes float (N, 3, H, W) in [0, 1] of any size and returns float (N, 128), not normalised; it is
    differentiable, so that de-identifiers and attackers can train against it.
    """

    def __init__(self, widths: Sequence[int] = (32, 48, 80, 104)) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs, outputs in zip((3, *widths), widths, strict=False):
            layers += [_convolution(inputs, outputs, stride=2), _Residual(outputs)]
        self.features = nn.Sequential(*layers)
        last, side = widths[-1], INPUT_SIZE // 2 ** len(widths)
        self.places = nn.Conv2d(last, last, side, groups=last, bias=False)
        self.head = nn.Sequential(
            nn.BatchNorm1d(last), nn.Linear(last, DIMENSION, bias=False), nn.BatchNorm1d(DIMENSION)
        )

    def forward(self, images: Tensor) -> Tensor:
        """Return the vectors of ``images``."""
        small = functional.interpolate(images, size=(INPUT_SIZE, INPUT_SIZE), mode="area")
        features = self.features((small * 2 - 1).contiguous(memory_format=torch.channels_last))
        return self.head(self.places(features).flatten(1))


def load_network(path: Path) -> EmbeddingNet:
    """Load an EmbeddingNet in evaluation mode, float32, from safetensors; UserError when they do not fit."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    network = EmbeddingNet()
    try:
        network.load_state_dict(load_file(path))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (SafetensorError, RuntimeError):
        raise UserError(f"{path}: not the weights of an EmbeddingNet") from None
    return network.eval().to(memory_format=torch.channels_last)


def save_network(network: EmbeddingNet, path: Path, metadata: dict[str, str]) -> None:
    """Write the weights as float16 safetensors with ``metadata`` (how they were trained); atomic."""
    from safetensors.torch import save

    from mema.files import atomic_write

    tensors = {
        key: value.half().contiguous() if value.is_floating_point() else value
        for key, value in network.state_dict().items()
    }
    atomic_write(path, save(tensors, metadata=metadata))


def embed_with(network: EmbeddingNet, images: np.ndarray) -> np.ndarray:
    """Return the unit vectors float32 (N, 128) of ``images``, uint8 RGB (N, H, W, 3)."""
    vectors = [np.zeros((0, DIMENSION), dtype=np.float32)]
    with torch.inference_mode():
        for start in range(0, len(images), BATCH):
            vectors.append(network(as_tensor(images[start : start + BATCH])).numpy())
    return unit(np.concatenate(vectors))


class PhantomRecogniser:
    """A shipped EmbeddingNet behind the Recogniser protocol; it takes the whole photo and detects no face itself.

    So ``found`` is always True: whether there is a face is the detector's to say.
    """

    dimension = DIMENSION

    def __init__(self, name: str) -> None:
        from mema.weights import locate

        self.name = name
        self.network = load_network(locate(f"phantom-recognisers/{name.removeprefix('phantom-')}"))

    def embed(self, images: np.ndarray) -> Embeddings:
        """Read ``images``, uint8 RGB (N, H, W, 3)."""
        return Embeddings(embed_with(self.network, images), np.ones(len(images), dtype=bool))
