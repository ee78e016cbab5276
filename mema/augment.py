"""Random changes of training photos that keep who is in them and what they have."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class Augmentation:
    """How far photos are changed; every amount is the widest of a uniform draw, zero switches it off.

    ``shift`` is a share of the side, drawn in whole pixels (resampling would blur the small signs away);
    ``brightness`` and ``contrast`` are relative; ``colour`` is relative per channel, and small by default because
    redness is a sign; ``noise`` a standard deviation in [0, 1] and ``blur`` one in pixels of the photo.
    """

    flip: bool = True
    shift: float = 0.05
    brightness: float = 0.15
    contrast: float = 0.15
    colour: float = 0.04
    noise: float = 0.015
    blur: float = 0.0


def augment(images: Tensor, settings: Augmentation, generator: torch.Generator) -> Tensor:
    """Change ``images``, float (N, 3, H, W) in [0, 1], each in its own way; same ``generator`` state, same result."""

    def uniform(widest: float, *shape: int) -> Tensor:
        return (torch.rand(len(images), *shape, generator=generator) * 2 - 1) * widest

    height, width = images.shape[2:]
    down = (torch.arange(height) + (uniform(settings.shift, 1) * height).round()).clamp(0, height - 1).long()
    right = (torch.arange(width) + (uniform(settings.shift, 1) * width).round()).clamp(0, width - 1).long()
    mirrored = torch.rand(len(images), 1, generator=generator) < 0.5 * settings.flip
    right = torch.where(mirrored, right.flip(1), right)
    each = torch.arange(len(images))
    moved = images[each[:, None, None], :, down[:, :, None], right[:, None, :]].permute(0, 3, 1, 2)

    level = moved.mean(dim=(1, 2, 3), keepdim=True)
    moved = (moved - level) * (1 + uniform(settings.contrast, 1, 1, 1)) + level
    moved = moved * (1 + uniform(settings.brightness, 1, 1, 1)) * (1 + uniform(settings.colour, 3, 1, 1))
    if settings.blur:
        moved = _blur(moved, settings.blur * torch.rand(len(images), generator=generator))
    noise = torch.randn(moved.shape, generator=generator)
    return (moved + noise * uniform(settings.noise, 1, 1, 1)).clamp(0, 1)


def _blur(images: Tensor, spread: Tensor) -> Tensor:
    """Blur each image with its own Gaussian, along rows and columns in turn."""
    radius = int(torch.ceil(2 * spread.max()).clamp(min=1))
    steps = torch.arange(-radius, radius + 1)
    kernel = torch.exp(-(steps**2) / (2 * spread.clamp(min=0.05)[:, None] ** 2))
    kernel = (kernel / kernel.sum(dim=1, keepdim=True)).repeat_interleave(3, dim=0)
    count, channels, height, width = images.shape
    # One group per image and channel: a batch of different kernels in one convolution.
    flat = images.reshape(1, count * channels, height, width)
    padded = functional.pad(flat, (radius, radius, radius, radius), mode="replicate")
    rows = functional.conv2d(padded, kernel[:, None, None, :], groups=count * channels)
    both = functional.conv2d(rows, kernel[:, None, :, None], groups=count * channels)
    return both.reshape(count, channels, height, width)
