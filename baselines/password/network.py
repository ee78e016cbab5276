"""The password network: a U-Net round a code of faces whose signs a password turns; one network for both ways.

The family is Gu et al., «Password-conditioned Anonymization and Deanonymization with Face Identity Transformers»
(ECCV 2020): a U-Net, steered by a password of bits, gives a photo another face, and the same network with the same
password takes it back. Theirs learns all of it; here the password turns the signs of a linear code of faces, as it does
before anything is learnt, and the U-Net adds what it learns to that (of phantoms little: docs/methods.md).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from baselines.keys import secret_generator
from baselines.latent_code.code import FaceCode
from baselines.photos import enlarged, reduced

SIZE = 128
"""Side in pixels of what the network sees."""

BITS = 64
WIDTHS = (24, 40, 56)
CELL = 12
"""Channels of 2 x 2 pixels, which are one place to the U-Net."""

HIDE, REVEAL = 1.0, -1.0
"""The last number of what steers the network: which way it is to go."""


class Block(nn.Module):
    """Two convolutions beside the identity, features scaled and shifted by what steers them (FiLM, 1709.07871)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(8, channels)
        self.first = nn.Conv2d(channels, channels, 3, 1, 1)
        self.film = nn.Linear(BITS + 1, 2 * channels)
        self.second = nn.Conv2d(channels, channels, 3, 1, 1)

    def forward(self, features: Tensor, steering: Tensor) -> Tensor:
        """Return the changed features, (N, C, h, w); ``steering`` is (N, BITS + 1)."""
        scale, shift = self.film(steering)[:, :, None, None].chunk(2, dim=1)
        hidden = self.first(functional.silu(self.norm(features)))
        return features + self.second(functional.silu(hidden * (1 + scale) + shift))


class SteeredUNet(nn.Module):
    """Cells of a turned photo beside those of its code's face, and steering, to what is to be added; at first nothing.

    Float (N, 2 * CELL, h, w), mostly in [-1, 1], and (N, BITS + 1) to (N, CELL, h, w).
    """

    def __init__(self, widths: Sequence[int] = WIDTHS) -> None:
        super().__init__()
        top, middle, bottom = widths
        # Faces are centred, so places have meaning: two channels say where a cell lies.
        self.enter = nn.Conv2d(2 * CELL + 2, top, 3, 1, 1)
        self.down = nn.ModuleList([nn.Conv2d(top, middle, 3, 2, 1), nn.Conv2d(middle, bottom, 3, 2, 1)])
        self.blocks = nn.ModuleList([Block(width) for width in (top, middle, bottom, middle, top)])
        self.up = nn.ModuleList([nn.Conv2d(bottom + middle, middle, 1), nn.Conv2d(middle + top, top, 1)])
        self.leave = nn.Conv2d(top, CELL, 3, 1, 1)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)  # type: ignore[arg-type]

    def forward(self, cells: Tensor, steering: Tensor) -> Tensor:
        """Return the change."""
        top = self.blocks[0](self.enter(torch.cat([cells, _places(cells)], dim=1)), steering)
        middle = self.blocks[1](self.down[0](top), steering)
        bottom = self.blocks[2](self.down[1](middle), steering)
        middle = self.blocks[3](self.up[0](torch.cat([_double(bottom), middle], dim=1)), steering)
        top = self.blocks[4](self.up[1](torch.cat([_double(middle), top], dim=1)), steering)
        change: Tensor = self.leave(functional.silu(top))
        return change


class PasswordNetwork(nn.Module):
    """``hide`` and ``reveal`` take float images (N, 3, SIZE, SIZE) in [0, 1] and passwords (N, BITS) of signs.

    The first BITS numbers of ``code`` are turned; it is no part of the state that is saved. ValueError when it has
    fewer, or is one of photos of more than SIZE px.
    """

    mean: Tensor
    back: Tensor
    axes: Tensor
    mean_face: Tensor

    def __init__(self, code: FaceCode) -> None:
        super().__init__()
        if len(code.axes) < BITS:
            raise ValueError(f"a code of {len(code.axes)} numbers is turned by no password of {BITS} bits")
        if code.side > SIZE:
            raise ValueError(f"a code of photos of {code.side} px is finer than the network's {SIZE}")
        self.side = code.side
        # Enlarged so that reducing gives the axes again: the code of a turned photo is the turned code.
        large = [_flat(enlarged(axis.reshape(3, code.side, code.side), SIZE, SIZE)) for axis in code.axes[:BITS]]
        mean_face = _flat(enlarged(code.mean.reshape(3, code.side, code.side), SIZE, SIZE))
        parts = {"mean": code.mean, "back": code.back[:BITS], "axes": np.stack(large), "mean_face": mean_face}
        for name, values in parts.items():
            self.register_buffer(name, torch.from_numpy(values.astype(np.float32)), persistent=False)
        self.unet = SteeredUNet()

    def forward(self, images: Tensor, passwords: Tensor, others: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return what training needs: the images hidden under ``passwords``, opened with them, and with ``others``.

        What is opened are the 8 bits of a file; gradients pass as if nothing had been rounded.
        """
        hidden = self.hide(images, passwords)
        saved = hidden.clamp(0, 1)
        saved = saved + ((saved * 255).round() / 255 - saved).detach()
        opened, wrong = self.reveal(saved.repeat(2, 1, 1, 1), torch.cat([passwords, others])).chunk(2)
        return hidden, opened, wrong

    def hide(self, images: Tensor, passwords: Tensor) -> Tensor:
        """Return de-identified images; values may lie outside [0, 1]."""
        return self._drawn(images, passwords, HIDE)

    def reveal(self, images: Tensor, passwords: Tensor) -> Tensor:
        """Return what ``passwords`` open in images that ``hide`` made; values may lie outside [0, 1]."""
        return self._drawn(images, passwords, REVEAL)

    def turn(self, images: Tensor, passwords: Tensor) -> tuple[Tensor, Tensor]:
        """Return ``images`` with the signs of ``passwords`` on their codes, and the faces of these codes alone.

        Both are (N, 3, SIZE, SIZE); turned again by the same passwords, images are what they were.
        """
        with torch.autocast(images.device.type, enabled=False):
            code = (reduced(images.float(), self.side).flatten(1) - self.mean) @ self.back.T
            turned = images + ((code * (passwords - 1)) @ self.axes).view_as(images)
            return turned, (self.mean_face + (code * passwords) @ self.axes).view_as(images)

    def _drawn(self, images: Tensor, passwords: Tensor, way: float) -> Tensor:
        turned, face = self.turn(images, passwords)
        cells = functional.pixel_unshuffle(torch.cat([turned, face], dim=1) * 2 - 1, 2)
        steering = functional.pad(passwords, (0, 1), value=way)
        return turned + functional.pixel_shuffle(self.unet(cells, steering).float(), 2)


def passwords_of(secrets: Sequence[str]) -> Tensor:
    """Return the signs that stand for ``secrets``, float (N, BITS)."""
    signs = [secret_generator(secret).integers(2, size=BITS) * 2 - 1 for secret in secrets]
    return torch.from_numpy(np.array(signs, np.float32).reshape(len(signs), BITS))


def random_passwords(count: int, generator: torch.Generator) -> Tensor:
    """Draw signs for training, float (count, BITS)."""
    return torch.randint(2, (count, BITS), generator=generator).float() * 2 - 1


def _flat(image: np.ndarray) -> np.ndarray:
    return image.transpose(2, 0, 1).ravel()


def _places(features: Tensor) -> Tensor:
    """Return each cell's row and column, from -1 to 1, (N, 2, h, w)."""
    height, width = features.shape[2:]
    rows = torch.linspace(-1, 1, height, device=features.device, dtype=features.dtype)
    columns = torch.linspace(-1, 1, width, device=features.device, dtype=features.dtype)
    return torch.stack(torch.meshgrid(rows, columns, indexing="ij")).expand(len(features), -1, -1, -1)


def _double(features: Tensor) -> Tensor:
    return functional.interpolate(features, scale_factor=2, mode="nearest")
