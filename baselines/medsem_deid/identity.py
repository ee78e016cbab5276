"""phi, the recogniser that training is against: differentiable, frozen, and never one that measures."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from mema.errors import UserError, nearest
from mema.weights import locate

ARCFACE_SIZE = 112
CROP = (35 / 256, 32 / 256, 223 / 256, 220 / 256)
"""Top, left, bottom, right of what ArcFace looks at in a photo that is aligned as FFHQ's are, as shares of its side."""

KNOWN = ("arcface", "phantom-arcface")


class _ArcFace(nn.Module):
    """An IResNet on the part of an FFHQ-aligned photo that it was trained on."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        side = images.shape[-1]
        top, left, bottom, right = (round(share * side) for share in CROP)
        face = images[:, :, top:bottom, left:right]
        small = functional.interpolate(face, (ARCFACE_SIZE, ARCFACE_SIZE), mode="bilinear", antialias=True)
        return self.network(small * 2 - 1)


def load_identity(name: str) -> nn.Module:
    """Load phi, frozen: float (N, 3, H, W) in [0, 1] -> float (N, D). UserError for an unknown name or no weights."""
    if name not in KNOWN:
        raise UserError(f"loss: unknown identity '{name}'{nearest(name, KNOWN)}")
    network: nn.Module
    if name == "arcface":
        from baselines.medsem_deid.iresnet import load_iresnet

        network = _ArcFace(load_iresnet(locate("arcface-torch/iresnet50")))
    else:
        from mema.faces.phantom_recogniser import load_network

        network = load_network(locate(f"phantom-recognisers/{name.removeprefix('phantom-')}"))
    return network.requires_grad_(False).eval()


def cosine(first: Tensor, second: Tensor) -> Tensor:
    """Return the cosines of rows of two float (N, D), float32 (N,)."""
    with torch.autocast(first.device.type, enabled=False):
        return functional.cosine_similarity(first.float(), second.float(), dim=1)
