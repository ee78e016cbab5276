"""ArcFace's network, an IResNet of 50 or 100 layers, from the published weights (Deng et al. 2019).

Tensors are named as in ``backbone.pth`` of deepinsight/insightface's ``arcface_torch``, converted to safetensors.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor, nn

from mema.errors import UserError

WIDTHS = (64, 128, 256, 512)
DIMENSION = 512


class _Block(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.prelu = nn.PReLU(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, stride, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.downsample = (
            nn.Identity()
            if stride == 1
            else nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
        )

    def forward(self, features: Tensor) -> Tensor:
        inner = self.prelu(self.bn2(self.conv1(self.bn1(features))))
        return self.bn3(self.conv2(inner)) + self.downsample(features)


class IResNet(nn.Module):
    """Aligned faces, float (N, 3, 112, 112) in [-1, 1], as vectors (N, 512), not normalised; ``depths`` of stages."""

    layer1: nn.Sequential
    layer2: nn.Sequential
    layer3: nn.Sequential
    layer4: nn.Sequential

    def __init__(self, depths: Sequence[int]) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, WIDTHS[0], 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(WIDTHS[0])
        self.prelu = nn.PReLU(WIDTHS[0])
        inputs = WIDTHS[0]
        for stage, (width, depth) in enumerate(zip(WIDTHS, depths, strict=True), start=1):
            blocks = [_Block(inputs if first == 0 else width, width, 2 if first == 0 else 1) for first in range(depth)]
            self.add_module(f"layer{stage}", nn.Sequential(*blocks))
            inputs = width
        self.bn2 = nn.BatchNorm2d(WIDTHS[-1])
        self.fc = nn.Linear(WIDTHS[-1] * 49, DIMENSION)
        self.features = nn.BatchNorm1d(DIMENSION)

    def forward(self, faces: Tensor) -> Tensor:
        """Return the vectors of ``faces``."""
        states = self.prelu(self.bn1(self.conv1(faces)))
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            states = stage(states)
        return self.features(self.fc(self.bn2(states).flatten(1)))


def load_iresnet(path: Path) -> IResNet:
    """Load the IResNet in ``path``, of the depth that its names tell, in evaluation mode; UserError if it is none."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors = load_file(path)
        depths = [
            1 + max(int(name.split(".")[1]) for name in tensors if name.startswith(f"layer{stage}."))
            for stage in range(1, 5)
        ]
        network = IResNet(depths)
        network.load_state_dict(tensors)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (SafetensorError, RuntimeError, ValueError):
        raise UserError(f"{path}: not the weights of an ArcFace IResNet") from None
    return network.eval()
