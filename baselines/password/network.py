"""The password network: U-Nets in additive couplings, so that the right password inverts it by construction.

The family is Gu et al., «Password-conditioned Anonymization and Deanonymization with Face Identity Transformers»
(ECCV 2020): one network, steered by a password of bits. There the inverse is learnt; here it is built in (NICE, Dinh et
al., 1410.8516, Section 3), which lets a small network be trained in minutes on a CPU.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from baselines.keys import secret_generator

SIZE = 64
"""Side in pixels of what the network sees."""

BITS = 64
WIDTHS = (24, 48, 64)
HALF = 6
"""Channels of one half of the pixels, as 2x2 cells: a chequerboard's black or white."""

EDGE = 0.02
"""How far from 0 and 1 the logits of black and white are taken: nearer, rounding to 8 bits would blur them."""

BLACK, WHITE = (0, 3, 4, 7, 8, 11), (1, 2, 5, 6, 9, 10)


class Block(nn.Module):
    """Two convolutions beside the identity, their features scaled and shifted by a password (FiLM, 1709.07871)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(8, channels)
        self.first = nn.Conv2d(channels, channels, 3, 1, 1)
        self.film = nn.Linear(BITS, 2 * channels)
        self.second = nn.Conv2d(channels, channels, 3, 1, 1)

    def forward(self, features: Tensor, passwords: Tensor) -> Tensor:
        """Return the changed features, (N, C, h, w)."""
        scale, shift = self.film(passwords)[:, :, None, None].chunk(2, dim=1)
        hidden = self.first(functional.silu(self.norm(features)))
        return features + self.second(functional.silu(hidden * (1 + scale) + shift))


class SteeredUNet(nn.Module):
    """One half of the pixels (N, HALF, h, w) and a password to a change of the other half, of the same shape."""

    def __init__(self, widths: Sequence[int] = WIDTHS) -> None:
        super().__init__()
        top, middle, bottom = widths
        # Faces are centred, so places have meaning: two channels say where a cell lies.
        self.enter = nn.Conv2d(HALF + 2, top, 3, 1, 1)
        self.down = nn.ModuleList([nn.Conv2d(top, middle, 3, 2, 1), nn.Conv2d(middle, bottom, 3, 2, 1)])
        self.blocks = nn.ModuleList([Block(width) for width in (top, middle, bottom, middle, top)])
        self.up = nn.ModuleList([nn.Conv2d(bottom + middle, middle, 1), nn.Conv2d(middle + top, top, 1)])
        self.leave = nn.Conv2d(top, HALF, 3, 1, 1)

    def forward(self, half: Tensor, passwords: Tensor) -> Tensor:
        """Return the change."""
        top = self.blocks[0](self.enter(torch.cat([half * 2 - 1, _places(half)], dim=1)), passwords)
        middle = self.blocks[1](self.down[0](top), passwords)
        bottom = self.blocks[2](self.down[1](middle), passwords)
        middle = self.blocks[3](self.up[0](torch.cat([_double(bottom), middle], dim=1)), passwords)
        top = self.blocks[4](self.up[1](torch.cat([_double(middle), top], dim=1)), passwords)
        change: Tensor = self.leave(functional.silu(top))
        return change


class PasswordNetwork(nn.Module):
    """``hide`` and ``reveal`` take float images (N, 3, SIZE, SIZE) in [0, 1] and passwords (N, BITS) of signs.

    What ``reveal`` gives with the password of ``hide`` differs from the original only by what rounding and clipping of
    the published image took away.
    """

    def __init__(self) -> None:
        super().__init__()
        self.black, self.white = SteeredUNet(), SteeredUNet()

    def forward(self, images: Tensor, passwords: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
        """Return what training needs: the images hidden under ``passwords``, and those opened with ``others``."""
        hidden = self.hide(images, passwords)
        return hidden, self.reveal(hidden.clamp(0, 1), others)

    def hide(self, images: Tensor, passwords: Tensor) -> Tensor:
        """Return de-identified images; values may lie outside [0, 1] by up to ``EDGE``."""
        cells = functional.pixel_unshuffle(images, 2)
        black, white = cells[:, BLACK], cells[:, WHITE]
        black = _shifted(black, self.black(white, passwords).to(images.dtype))
        white = _shifted(white, self.white(black, passwords).to(images.dtype))
        return _joined(black, white)

    def reveal(self, images: Tensor, passwords: Tensor) -> Tensor:
        """Return what ``passwords`` open in images that ``hide`` made."""
        cells = functional.pixel_unshuffle(images, 2)
        black, white = cells[:, BLACK], cells[:, WHITE]
        white = _shifted(white, -self.white(black, passwords).to(images.dtype))
        black = _shifted(black, -self.black(white, passwords).to(images.dtype))
        return _joined(black, white)


def passwords_of(secrets: Sequence[str]) -> Tensor:
    """Return the signs that stand for ``secrets``, float (N, BITS)."""
    signs = [secret_generator(secret).integers(2, size=BITS) * 2 - 1 for secret in secrets]
    return torch.from_numpy(np.array(signs, np.float32).reshape(len(signs), BITS))


def random_passwords(count: int, generator: torch.Generator) -> Tensor:
    """Draw signs for training, float (count, BITS)."""
    return torch.randint(2, (count, BITS), generator=generator).float() * 2 - 1


def _shifted(values: Tensor, change: Tensor) -> Tensor:
    """Return ``values`` plus ``change``, as felt at mid-grey: added to logits, so that the range is hardly left."""
    logits = torch.logit(EDGE + (1 - 2 * EDGE) * values)
    # The logistic curve's slope at its middle is a quarter.
    return (torch.sigmoid(logits + 4 * change) - EDGE) / (1 - 2 * EDGE)


def _joined(black: Tensor, white: Tensor) -> Tensor:
    cells = torch.empty(len(black), 2 * HALF, *black.shape[2:], dtype=black.dtype, device=black.device)
    cells[:, BLACK], cells[:, WHITE] = black, white
    return functional.pixel_shuffle(cells, 2)


def _places(features: Tensor) -> Tensor:
    """Return each cell's row and column, from -1 to 1, (N, 2, h, w)."""
    height, width = features.shape[2:]
    rows = torch.linspace(-1, 1, height, device=features.device, dtype=features.dtype)
    columns = torch.linspace(-1, 1, width, device=features.device, dtype=features.dtype)
    return torch.stack(torch.meshgrid(rows, columns, indexing="ij")).expand(len(features), -1, -1, -1)


def _double(features: Tensor) -> Tensor:
    return functional.interpolate(features, scale_factor=2, mode="nearest")
